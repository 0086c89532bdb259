"""From the bytes of an image file to a picture of 8 bits: the one place where images are decoded and converted.

docs/reference/images.md shows what becomes of every kind of pixel; a test holds the page and this file together.
"""

from __future__ import annotations

import io
import math
import re
import stat
from pathlib import Path

import numpy as np
from PIL import (  # each format's own module: otherwise Pillow loads all it has, in whichever thread comes first
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

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = 50_000_000
MAX_BYTES = 64_000_000
MAX_SCANS = 100  # of a progressive JPEG, which has about ten: each costs time for every pixel, and takes but few bytes
DEFLATE = 1032  # bytes that a byte of a PNG can stand for, at most
PHOTOMETRIC = 262  # the TIFF tag that says whether 0 is white
GREY = ("1", "L", "LA", "La")
WHITE = {"I": 65_535, "F": 1}  # of pixels with more than 8 bits: integers, floats


def decode_image(content: bytes, name: str) -> Image.Image:
    """Decode one image wholly, turn it the way its EXIF says, and return it as `plain` does.

    Of several frames or pages, the first is taken, and the others are not decoded.

    Raises:
        DataError: it is no image of a known format, is damaged, or is too large to be decoded safely.
    """
    name = printable(name)
    if len(content) > MAX_BYTES:
        raise DataError(f"{name} is too large", why=f"more than {MAX_BYTES:,} bytes, which is all that is read")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _stop_if_costly(image, content, name)
            image.load()
            return to_8bit(_upright(image), name)
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(f"{name} is not an image", why=f"it is no {' or '.join(FORMATS)} that can be read") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{name} is too large", why=f"more than {MAX_PIXELS:,} pixels") from error
    except Exception as error:  # decoders raise many kinds, SyntaxError among them
        raise DataError(f"{name} cannot be decoded", why=_without_addresses(error)) from error


def to_8bit(image: Image.Image, name: str = "the image") -> Image.Image:
    """Return a picture with 8 bits a channel: mode "L" where it is grey, else "RGB".

    What is transparent lies on white. Of 16 bits, the upper 8 are taken; integers of 32 bits are read as 16, and
    floats as 0 (black) to 1 (white).

    Raises:
        DataError: integers or floats lie outside these ranges, so that nothing says what is white.
    """
    if image.mode[0] in WHITE:
        return _narrowed(image, name)
    grey = image.mode in GREY
    if image.has_transparency_data:
        image = _on_white(image)
    return image.convert("L" if grey else "RGB")


def read_image(path: Path) -> Image.Image:
    """Read and decode an image file.

    Raises:
        DataError: it cannot be read or decoded.
    """
    return decode_image(read_bytes(path), str(path))


def read_bytes(path: Path) -> bytes:
    """Return what an image file holds, and no more than one byte beyond what may be decoded.

    Raises:
        DataError: it cannot be read; what is no regular file, such as a pipe, is not even opened.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            why = "it is a folder that cannot be listed" if stat.S_ISDIR(mode) else "it is no regular file"
            raise DataError(f"{printable(str(path))} cannot be read", why=why)
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DataError(f"{printable(str(path))} cannot be read", why=error.strerror or "the system says no") from error


def _stop_if_costly(image: Image.Image, content: bytes, name: str) -> None:
    """Look at what the header says, before anything is decoded."""
    if image.width * image.height > MAX_PIXELS:
        raise DataError(f"{name} is too large", why=f"{image.width} × {image.height} pixels, at most {MAX_PIXELS:,}")
    if image.width * image.height > 8 * len(content) * _most_expanded(image):  # Pillow would fill it up with black
        raise DataError(
            f"{name} is damaged", why=f"{len(content):,} bytes hold no {image.width} × {image.height} pixels"
        )
    if image.mode[0] in WHITE and getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == 0:  # Pillow would show a negative
        raise DataError(f"{name} cannot be converted", why="a TIFF of more than 8 bits whose 0 is white")
    if image.format in ("JPEG", "MPO") and (scans := content.count(b"\xff\xda")) > MAX_SCANS:
        raise DataError(f"{name} is too costly", why=f"a JPEG of {scans:,} scans, at most {MAX_SCANS} are decoded")


def _most_expanded(image: Image.Image) -> float:
    """Return how many bytes a byte of the file can stand for at most, where that is known."""
    if image.format == "PNG":
        return DEFLATE
    return 1 if image.info.get("compression") == "raw" else math.inf


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # the picture is whole, and an EXIF that cannot be read says nothing
        return image


def _narrowed(image: Image.Image, name: str) -> Image.Image:
    """Turn pixels of more than 8 bits, which are always grey, into "L"."""
    white, values = WHITE[image.mode[0]], np.asarray(image)
    if (clear := image.info.get("transparency")) is not None:
        values = np.where(values == clear, white, values)
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= white):  # NaN is neither
        raise DataError(
            f"{name} has no black and white that are known",
            why=f"its pixels run from {low:g} to {high:g}, and only 0 to {white:,} is read",
            fix="scale it yourself, and save it with 8 or 16 bits",
        )
    narrow = (values * 255).round() if white == 1 else values.astype(np.uint16) >> 8
    return Image.fromarray(narrow.astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    whole = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    if whole.getchannel("A").getextrema() == (255, 255):
        return whole
    return Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole)


def _without_addresses(error: Exception) -> str:
    """Return what a decoder says, without the objects of this process that it names."""
    return re.sub(r"<[^<>]* at 0x[0-9a-fA-F]+>", "it", str(error)) or type(error).__name__
