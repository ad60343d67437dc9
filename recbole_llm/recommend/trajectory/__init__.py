"""How a user's interest moved: towards what, how fast, and where it turned."""
