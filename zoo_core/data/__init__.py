"""Opens the images that a command names: an edition of a dataset, or the user's own."""
