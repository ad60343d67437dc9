"""Official releases of public datasets to RecBole's atomic files; nothing here needs torch."""
