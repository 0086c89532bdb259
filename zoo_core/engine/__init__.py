"""Everything that needs torch; it is imported only by what uses it."""
