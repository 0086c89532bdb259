"""Which device to compute on."""

from __future__ import annotations

import torch

from zoo_core.errors import UsageError


def pick_device(name: str) -> torch.device:
    """Return a device by name; "auto" is the first GPU if there is one, otherwise the CPU.

    Raises:
        UsageError: this machine has no such device, or PyTorch was not built for it.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.ones(1, device=name).item()  # "meta" is a device, but computes nothing
        return torch.device(name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        why = str(error).partition("\n")[0].partition(". ")[0]  # the dispatcher's full text is pages long
        raise UsageError(f"device {name!r} is not available", why=why[:200], fix="--device auto") from error
