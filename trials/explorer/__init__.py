"""Pages that ask many trials at once. Every one costs the same in a search of any length."""
