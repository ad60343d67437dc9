"""Files to sequences: exact time order, flat storage, windows gathered per batch."""
