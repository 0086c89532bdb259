"""Opens Fashion-MNIST's idx files: a header of big-endian numbers, then one byte for each pixel or label."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from zoo_core import ArrayImages, DataError
from zoo_fashion_cnn import CLASSES

UNSIGNED_BYTES = 8  # the idx format's code for the type of its values


def load(files: Mapping[str, Path], split: str) -> ArrayImages:
    """Return one split: (N, 28, 28) uint8 pixels with (N,) labels."""
    return ArrayImages(read_idx(files[f"{split}-images"]), read_idx(files[f"{split}-labels"]), CLASSES)


def read_idx(path: Path) -> np.ndarray:
    """Return an idx file's array; the file may be compressed with gzip.

    Raises:
        DataError: it is not an idx file of bytes, or its length does not match its header.
    """
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    if len(content) < 4 or content[:3] != bytes([0, 0, UNSIGNED_BYTES]):
        raise DataError(f"{path} is not an idx file of bytes")
    start = 4 + 4 * content[3]
    shape = tuple(np.frombuffer(content[4:start], ">u4").tolist())
    if len(content) - start != np.prod(shape, dtype=np.int64):
        raise DataError(f"{path} is truncated", why=f"its header says {shape}, {len(content) - start:,} bytes follow")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
