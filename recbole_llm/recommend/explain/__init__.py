"""Why an item is recommended: what would have been without an event, and which words say so."""
