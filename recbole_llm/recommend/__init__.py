"""From a finished run to recommendations, without the data that it was trained on."""
