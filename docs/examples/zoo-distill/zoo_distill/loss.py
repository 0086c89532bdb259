"""The distillation loss: match the teacher's softened probabilities, and the labels."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

import zoo_core as zoo
from zoo_distill.settings import DistillationSettings


def distillation_loss(student: Tensor, teacher: Tensor, labels: Tensor, settings: DistillationSettings) -> Tensor:
    """Return soft * T^2 * KL(teacher at T || student at T) + (1 - soft) * cross-entropy, averaged over the batch.

    T^2 keeps the gradients of the first term as large as those of the second for every temperature T: Hinton et al.
    2015, https://arxiv.org/abs/1503.02531, section 2.

    Args:
        student: logits (n, K); K may be 1 for two classes.
        teacher: logits (n, classes).
        labels: (n,) int64.
        settings: the temperature and the teacher's weight.
    """
    soft, temperature, student = settings.soft, settings.temperature, zoo.class_logits(student)
    ours, target = (F.log_softmax(logits / temperature, dim=1) for logits in (student, teacher))
    divergence = F.kl_div(ours, target, reduction="batchmean", log_target=True) * temperature**2
    return soft * divergence + (1 - soft) * F.cross_entropy(student, labels)
