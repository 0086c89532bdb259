"""Reads Google's Inception weights of 2015 from a TorchScript archive, without running or unpickling anything.

The archive is a zip. Its entries out_jit_module/data/0 to 375 are little-endian float32, uncompressed: four for each
of the 94 convolution blocks, in the order of timm's modules. The BatchNorms have no scale: it is 1.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save

from zoo_horses_inception.model import horses_inception

ENTRY = "out_jit_module/data/{}"
PER_BLOCK = ("conv.weight", "bn.bias", "bn.running_mean", "bn.running_var")


def read(path: Path) -> Iterator[bytes]:
    """Yield the backbone as a safetensors file, under timm's names."""
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in horses_inception(2).state_dict().items()}
    blocks = [name.removesuffix("conv.weight") for name in shapes if name.endswith("conv.weight")]
    tensors: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(path) as archive:
        for number, block in enumerate(blocks):
            for offset, what in enumerate(PER_BLOCK):
                entry, shape = ENTRY.format(len(PER_BLOCK) * number + offset), shapes[block + what]
                tensors[block + what] = np.frombuffer(_content(archive, entry, 4 * prod(shape)), "<f4").reshape(shape)
            tensors[block + "bn.weight"] = np.ones(shapes[block + "bn.weight"], np.float32)
            tensors[block + "bn.num_batches_tracked"] = np.zeros((), np.int64)
    yield save(tensors)


def _content(archive: zipfile.ZipFile, entry: str, size: int) -> bytes:
    """Return an entry of `size` bytes; one that claims another size is refused before it is unpacked."""
    info = archive.getinfo(entry)
    if info.file_size != size:
        raise ValueError(f"{entry} has {info.file_size:,} bytes, not {size:,}")
    return archive.read(info)
