"""Reads Google's Inception weights of 2015 from a TorchScript archive, without running or unpickling anything.

The archive is a zip. Its entries out_jit_module/data/0 to 375 are little-endian float32, uncompressed: four for each
of the 94 convolution blocks, in the order of timm's modules. The BatchNorms have no scale: it is 1.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
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
                content = archive.read(ENTRY.format(len(PER_BLOCK) * number + offset))
                tensors[block + what] = np.frombuffer(content, "<f4").reshape(shapes[block + what])
            tensors[block + "bn.weight"] = np.ones(shapes[block + "bn.weight"], np.float32)
            tensors[block + "bn.num_batches_tracked"] = np.zeros((), np.int64)
    yield save(tensors)
