"""External files, verified by hash and cached: sources, downloads, archives and their readers."""
