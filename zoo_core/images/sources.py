"""Turns what a user names as images into a list of images to read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from zoo_core.errors import DataError, UsageError, printable
from zoo_core.images.decode import read_image
from zoo_core.images.folder import SUFFIXES, images_below

ImageLike = str | PathLike[str] | Image.Image | np.ndarray[Any, Any]
ImageSource = tuple[str, Callable[[], Image.Image]]  # an image's name, and how to read it


def image_sources(images: ImageLike | Iterable[ImageLike]) -> list[ImageSource]:
    """List the images of one item or of several: files, folders, PIL images, and (H, W) or (H, W, 3) uint8 arrays.

    Raises:
        DataError: a file does not exist, or a folder contains no images.
        UsageError: an item is something else.
    """
    single = isinstance(images, str | PathLike | Image.Image) or (isinstance(images, np.ndarray) and images.ndim < 4)
    items: list[Any] = [images] if single else list(images)  # type: ignore[arg-type]  # not one of the single kinds
    return [source for number, item in enumerate(items) for source in _sources(item, number)]


def image_source(path: Path) -> ImageSource:
    """Return an image file as `Predictor.predict_each` takes it."""
    return str(path), lambda: read_image(path)


def list_image_files(path: Path) -> list[Path]:
    """Return the image file at `path`, or all image files below the folder at `path`, sorted.

    Raises:
        DataError: there are none.
    """
    name = printable(str(path))
    try:
        if not path.is_dir() and not path.exists():
            raise DataError(f"{name} does not exist", why="give an image file, a folder, or - for standard input")
        files = images_below(path) if path.is_dir() else [path]
    except OSError as error:
        raise DataError(f"{name} cannot be opened", why=error.strerror or str(error)) from error
    if not files:
        raise DataError(f"{name} contains no images", why=f"no file in it ends in {', '.join(SUFFIXES)}")
    return files


def _sources(item: Any, number: int) -> Iterator[ImageSource]:  # noqa: ANN401 - a user may pass anything
    if isinstance(item, str | PathLike):
        text = fspath(item)
        if text.startswith(("http://", "https://")):
            raise UsageError(
                f"{printable(text)} is a URL; zoo reads local files", why="download it first, and give the file's path"
            )
        yield from map(image_source, list_image_files(Path(text)))
    elif isinstance(item, Image.Image):
        yield f"image {number}", lambda: item
    else:
        image = _from_array(item)
        yield f"image {number}", lambda: image


def _from_array(item: Any) -> Image.Image:  # noqa: ANN401 - a user may pass anything
    if isinstance(item, np.ndarray) and item.dtype == np.uint8 and (item.ndim == 2 or item.shape[2:] == (3,)):
        return Image.fromarray(item)
    shape = (
        f" of shape {item.shape} and dtype {item.dtype}" if hasattr(item, "shape") and hasattr(item, "dtype") else ""
    )
    raise UsageError(
        f"a {type(item).__name__}{shape} is not an image",
        why="give a path, a folder, a PIL image, or an (H, W) or (H, W, 3) uint8 array",
    )
