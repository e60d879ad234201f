"""Data sets: public ones, the user's own folders, and synthetic scenes."""
