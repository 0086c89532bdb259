"""From the bytes of an image file to a picture: the one place where images are decoded."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from zoo_core.errors import DataError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = 50_000_000
MAX_BYTES = 64_000_000


def decode_image(content: bytes, name: str) -> Image.Image:
    """Decode one image wholly, and turn it the way its EXIF says.

    Raises:
        DataError: it is no image of a known format, is damaged, or is too large to be decoded safely.
    """
    if len(content) > MAX_BYTES:
        raise DataError(f"{name} is too large", why=f"{len(content):,} bytes, at most {MAX_BYTES:,} are read")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"{name} is too large", why=f"{image.width} × {image.height} pixels")
            return ImageOps.exif_transpose(image)
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(f"{name} is not an image", why=f"it is none of {', '.join(FORMATS)}") from error
    except Exception as error:  # decoders raise many kinds, SyntaxError among them
        raise DataError(f"{name} cannot be decoded", why=str(error)) from error


def read_image(path: Path) -> Image.Image:
    """Read and decode an image file.

    Raises:
        DataError: it cannot be read or decoded.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read", why=error.strerror or str(error)) from error
    return decode_image(content, str(path))
