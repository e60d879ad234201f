"""The result of a comparison for people: an HTML page, Markdown and a table for the terminal."""
