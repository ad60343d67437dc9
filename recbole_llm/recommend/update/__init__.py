"""A finished run that goes on with new events."""
