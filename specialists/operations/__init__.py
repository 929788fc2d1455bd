"""Running the site: figures of what works and waits, and why something does not move. Everything here only reads."""
