"""Decodes image files and converts every pixel format to 8 bits.

docs/reference/images.md documents the conversions; a test checks the page against this module.
"""

from __future__ import annotations

import io
import math
import re
import stat
from pathlib import Path

import numpy as np
from PIL import (  # each plugin explicitly: otherwise Pillow loads all of them, in whichever thread comes first
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    ImageOps,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from zoo_core.errors import DataError, printable
from zoo_core.images.strict_pillow import strict_pillow

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = 50_000_000
MAX_BYTES = 64_000_000
MAX_SCANS = 100  # a progressive JPEG has about ten; each takes few bytes, but time for every pixel
MAX_DEFLATE_RATIO = 1032  # decompressed bytes per byte of a PNG
PHOTOMETRIC = 262  # the TIFF tag that says whether 0 is white
GREY_MODES = ("1", "L", "LA", "La")
WHITE_POINTS = {"I": 65_535, "F": 1}  # of modes with more than 8 bits: integers, floats


def decode_image(content: bytes, name: str) -> Image.Image:
    """Decode one image, rotate it as its EXIF orientation says, and convert it with `to_8bit`.

    Only the first frame or page is decoded.

    Args:
        content: the bytes of the file.
        name: what error messages call the image.

    Raises:
        DataError: the image is damaged or truncated, its format is not supported, or it is too large to be decoded
            safely.
    """
    name = printable(name)
    if len(content) > MAX_BYTES:
        raise DataError(f"{name} is too large", why=f"more than {MAX_BYTES:,} bytes")
    try:
        with strict_pillow(), Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _stop_if_costly(image, content, name)
            image.load()
            return to_8bit(_upright(image), name)
    except DataError:
        raise
    except UnidentifiedImageError as error:
        supported = ", ".join(FORMATS)
        raise DataError(f"{name} is not an image", why=f"unsupported or corrupt (supported: {supported})") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{name} is too large", why=f"more than {MAX_PIXELS:,} pixels") from error
    except Exception as error:  # decoders raise many types, even SyntaxError
        raise DataError(f"{name} cannot be decoded", why=_without_addresses(error)) from error


def to_8bit(image: Image.Image, name: str = "the image") -> Image.Image:
    """Convert an image to 8 bits per channel: mode "L" if it is gray, else "RGB".

    Transparent pixels are composited onto white. 16-bit values keep their upper 8 bits; 32-bit integers are read as
    16-bit values, and floats as 0 (black) to 1 (white).

    Raises:
        DataError: integers or floats are outside these ranges, so that the white point is unknown.
    """
    if image.mode[0] in WHITE_POINTS:
        return _narrowed(image, name)
    grey = image.mode in GREY_MODES
    if image.has_transparency_data:
        image = _on_white(image)
    return image.convert("L" if grey else "RGB")


def read_image(path: Path) -> Image.Image:
    """Read and decode an image file.

    Raises:
        DataError: the file cannot be read or decoded.
    """
    return decode_image(read_bytes(path), str(path))


def read_bytes(path: Path) -> bytes:
    """Read an image file.

    Raises:
        DataError: the file cannot be read, has more than MAX_BYTES, or is not a regular file. Pipes, devices and files
            that are too large are not opened.
    """
    name = printable(str(path))
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            why = "a folder that cannot be listed" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise DataError(f"{name} cannot be read", why=why)
        if status.st_size > MAX_BYTES:
            raise DataError(f"{name} is too large", why=f"{status.st_size:,} bytes, the limit is {MAX_BYTES:,}")
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)  # it may have grown; decode_image refuses more than MAX_BYTES
    except OSError as error:
        raise DataError(f"{name} cannot be read", why=error.strerror or str(error)) from error


def _stop_if_costly(image: Image.Image, content: bytes, name: str) -> None:
    """Refuse an image by its header, before anything is decoded."""
    size = f"{image.width} × {image.height} pixels"
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise DataError(f"{name} is too large", why=f"{size}, the limit is {MAX_PIXELS:,}")
    if pixels > 8 * len(content) * _max_ratio(image):  # Pillow would fill the rest with black
        raise DataError(f"{name} is damaged", why=f"{len(content):,} bytes cannot contain {size}")
    if image.mode[0] in WHITE_POINTS and getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == 0:  # Pillow ignores the tag
        raise DataError(f"{name} cannot be converted", why="a TIFF with more than 8 bits in which 0 is white")
    if image.format in ("JPEG", "MPO") and (scans := content.count(b"\xff\xda")) > MAX_SCANS:
        raise DataError(f"{name} is too costly", why=f"a JPEG with {scans:,} scans, the limit is {MAX_SCANS}")


def _max_ratio(image: Image.Image) -> float:
    """Return the largest possible ratio of decompressed to compressed bytes, where it is known."""
    if image.format == "PNG":
        return MAX_DEFLATE_RATIO
    return 1 if image.info.get("compression") == "raw" else math.inf


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # the image is intact; a corrupt EXIF is ignored
        return image


def _narrowed(image: Image.Image, name: str) -> Image.Image:
    """Convert pixels of more than 8 bits, which are always gray, to "L"."""
    white, values = WHITE_POINTS[image.mode[0]], np.asarray(image)
    if (transparent := image.info.get("transparency")) is not None:
        values = np.where(values == transparent, white, values)
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= white):  # also true for NaN
        raise DataError(
            f"{name} has an unknown value range",
            why=f"its pixels range from {low:g} to {high:g}, expected 0 to {white:,}; rescale it to 8 or 16 bits",
        )
    narrow = (values * 255).round() if white == 1 else values.astype(np.uint16) >> 8
    return Image.fromarray(narrow.astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    if rgba.getchannel("A").getextrema() == (255, 255):
        return rgba
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)


def _without_addresses(error: Exception) -> str:
    """Return a decoder's message without the memory addresses of objects in this process."""
    return re.sub(r"<[^<>]* at 0x[0-9a-fA-F]+>", "it", str(error)) or type(error).__name__
