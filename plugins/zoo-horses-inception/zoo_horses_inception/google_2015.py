"""Reads Google's 2015 Inception weights from a TorchScript archive, without running or unpickling anything.

The archive is a zip. Its entries out_jit_module/data/0 to 375 are little-endian float32: four for each of the 94
convolution blocks, in the order of timm's modules. The BatchNorms have no scale, so it is 1.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save

from zoo_horses_inception.model import horses_inception

ENTRY = "out_jit_module/data/{}"
ITEM = 4  # bytes of a float32
PER_BLOCK = ("conv.weight", "bn.bias", "bn.running_mean", "bn.running_var")


def read(path: Path) -> Iterator[bytes]:
    """Yield the backbone as a safetensors file, with timm's tensor names.

    Raises:
        KeyError: an entry is missing.
        ValueError: an entry does not have the size of its tensor; it is not unpacked.
    """
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in horses_inception(2).state_dict().items()}
    blocks = [name.removesuffix("conv.weight") for name in shapes if name.endswith("conv.weight")]
    tensors: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(path) as archive:
        for number, block in enumerate(blocks):
            for offset, what in enumerate(PER_BLOCK):
                entry = archive.getinfo(ENTRY.format(len(PER_BLOCK) * number + offset))
                tensors[block + what] = _tensor(archive, entry, shapes[block + what])
            tensors[block + "bn.weight"] = np.ones(shapes[block + "bn.weight"], np.float32)
            tensors[block + "bn.num_batches_tracked"] = np.zeros((), np.int64)
    yield save(tensors)


def _tensor(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, shape: tuple[int, ...]) -> np.ndarray:
    expected = ITEM * math.prod(shape)
    if entry.file_size != expected:  # a small archive may unpack to many gigabytes
        raise ValueError(f"{entry.filename} unpacks to {entry.file_size:,} bytes, expected {expected:,}")
    return np.frombuffer(archive.read(entry), "<f4").reshape(shape)
