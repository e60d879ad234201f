"""Pages and terminal output for people: one look for all of them."""
