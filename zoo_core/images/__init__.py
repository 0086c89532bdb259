"""Image files and sets of labelled images. Needs no torch."""
