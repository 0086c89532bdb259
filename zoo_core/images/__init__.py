"""Image files and sets of labeled images. Needs no torch."""
