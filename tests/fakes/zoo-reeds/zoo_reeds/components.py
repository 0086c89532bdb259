from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Speckle(nn.Module):
    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, image: Tensor) -> Tensor:
        if self.share == 1:
            raise RuntimeError("nothing would be left of the image")
        return torch.where(torch.rand(image.shape[1:]) < self.share, torch.full_like(image, 255), image)


class SignMomentum(torch.optim.Optimizer):
    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, beta: float) -> None:
        super().__init__(parameters, {"lr": lr, "beta": beta})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                mean = state.setdefault("mean", torch.zeros_like(parameter))
                state["steps"] = state.get("steps", 0) + 1
                mean.lerp_(parameter.grad, 1 - group["beta"])
                parameter.sub_(mean.sign(), alpha=group["lr"] / state["steps"] ** 0.5)


def focal(gamma: float) -> Callable[[Tensor, Tensor], Tensor]:
    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        log_p = F.log_softmax(logits, dim=1).gather(1, labels[:, None])[:, 0]
        return (-((1 - log_p.exp()) ** gamma) * log_p).mean()

    return loss


def top2_error(logits: Tensor, labels: Tensor) -> float:
    return 1 - (logits.topk(2).indices == labels[:, None]).any(dim=1).float().mean().item()
