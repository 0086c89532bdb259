"""What a student is to learn: its teacher's probabilities, softened, and the labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo_distill.settings import DistillationSettings


def distillation_loss(student: Tensor, teacher: Tensor, labels: Tensor, settings: DistillationSettings) -> Tensor:
    """Return soft · T² · KL(teacher at T ‖ student at T) + (1 - soft) · cross-entropy, meant over the images.

    Both models' logits are (N, classes), `labels` (N,). T² keeps the gradients of the first term as large as those of
    the second, whatever the temperature T is: Hinton et al. 2015, https://arxiv.org/abs/1503.02531, section 2.
    """
    soft, temperature = settings.soft, settings.temperature
    said, told = (F.log_softmax(logits / temperature, dim=1) for logits in (student, teacher))
    apart = F.kl_div(said, told, reduction="batchmean", log_target=True) * temperature**2
    return soft * apart + (1 - soft) * F.cross_entropy(student, labels)


def for_each_class(logits: Tensor) -> Tensor:
    """Return a logit for each class, (N, classes) float32: with two classes a model may have one, for the second.

    A sigmoid of one logit z is the softmax of (0, z), at every temperature.
    """
    logits = logits.float()
    return torch.cat([torch.zeros_like(logits), logits], dim=1) if logits.shape[1] == 1 else logits
