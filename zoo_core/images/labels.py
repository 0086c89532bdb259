"""The label of one image."""

from __future__ import annotations

Label = int | tuple[int, ...]  # the image's class, or the classes of a multi-label image in ascending order


def classes_in(label: Label) -> tuple[int, ...]:
    """Return the classes of an image: one, or any number of them if the data is multi-label."""
    return (label,) if isinstance(label, int) else label
