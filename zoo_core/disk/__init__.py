"""Writing to disk: atomic files and folders, temporary names, and child processes with limits."""
