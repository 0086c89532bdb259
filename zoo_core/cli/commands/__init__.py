"""One short file per command: it parses, makes one call, and prints."""
