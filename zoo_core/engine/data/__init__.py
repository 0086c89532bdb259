"""From image sets to batches of tensors: preprocessing, augmentation, loaders and splits."""
