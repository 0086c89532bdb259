"""Bytes from outside, verified by hash and cached: sources, downloads, archives and their readers."""
