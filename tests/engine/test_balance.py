"""`balance`: class weights in cross-entropy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.engine.test_resume import CPU, RECIPE
from zoo_core import EpochResult, Registry, Store, UsageError
from zoo_core.engine.compute.losses import class_weights, cross_entropy, make_loss
from zoo_core.engine.compute.precision import FLOAT32
from zoo_core.engine.training.loop import TrainingLoop
from zoo_core.engine.training.run import execute
from zoo_core.recipes.settings import Adam, CrossEntropy

LABELS = torch.tensor([0] * 90 + [1] * 9 + [3] * 3)  # class 2 has no images


def test_weights_are_powers_of_the_inverse_frequency() -> None:
    weights = class_weights(LABELS, 4, 0.5)
    assert weights[LABELS].mean().item() == pytest.approx(1)
    assert (weights[1] / weights[0]).item() == pytest.approx(10**0.5)
    assert (weights[3] / weights[0]).item() == pytest.approx(30**0.5)
    assert weights.isfinite().all()
    assert class_weights(LABELS, 4, 0.0).tolist() == [1, 1, 1, 1]


def test_full_balance_gives_every_class_the_same_part_of_the_loss() -> None:
    weights = class_weights(LABELS, 4, 1.0)
    parts = [(weights[k] * (k == LABELS).sum()).item() for k in (0, 1, 3)]
    assert parts == pytest.approx([len(LABELS) / 3] * 3)


@pytest.mark.parametrize("balance", [0.3, 1.0])
def test_the_loss_is_that_of_pytorch_with_a_weight(balance: float) -> None:
    """PyTorch divides by the weights of the batch: over all training images that is their number."""
    logits = torch.randn(len(LABELS), 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    weights = class_weights(LABELS, 4, balance)
    ours = cross_entropy(logits, LABELS, weight=weights)
    theirs = F.cross_entropy(logits, LABELS, weight=weights)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    mine, other = (torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in (ours, theirs))
    assert torch.allclose(mine, other, atol=1e-7)


def test_a_single_logit_is_weighted_as_pytorch_weights_it() -> None:
    labels = torch.tensor([0] * 30 + [1] * 10)
    logits = torch.randn(40, 1, generator=torch.Generator().manual_seed(0))
    weights = class_weights(labels, 2, 1.0)
    expected = F.binary_cross_entropy_with_logits(logits[:, 0], labels.float(), weight=weights[labels])
    assert cross_entropy(logits, labels, weight=weights).item() == pytest.approx(expected.item())


def test_the_mean_does_not_depend_on_how_a_batch_is_cut() -> None:
    logits = torch.randn(len(LABELS), 4, generator=torch.Generator().manual_seed(0))
    loss = make_loss(CrossEntropy(label_smoothing=0.1), class_weights(LABELS, 4, 1.0))
    shards = [torch.arange(len(LABELS))[rank::3] for rank in range(3)]
    parts = sum(loss(logits[shard], LABELS[shard]).item() * len(shard) for shard in shards)
    assert parts / len(LABELS) == pytest.approx(loss(logits, LABELS).item(), rel=1e-5)


@dataclass(frozen=True)
class UnevenRows:
    """Three classes: 20, 4 and 1 rows of random numbers."""

    rows: Tensor = field(default_factory=lambda: torch.randn(25, 6, generator=torch.Generator().manual_seed(0)))
    labels: Tensor = field(default_factory=lambda: torch.tensor([0] * 20 + [1] * 4 + [2]))
    names: tuple[str, ...] = tuple(map(str, range(25)))
    inference_batch_size: int = 25

    def stream(self, batches: Sequence[Tensor], epoch: int) -> Iterator[Tensor]:
        return (self.rows[indices] for indices in batches)


@pytest.mark.parametrize("batch_size", [25, 5])
def test_a_loop_trains_every_class_alike(batch_size: int) -> None:
    """With hardly any learning rate, the loss of an epoch is the mean over classes of the first loss."""
    examples, model = UnevenRows(), nn.Linear(6, 3)
    changes = {"balance": 1.0, "optimizer": Adam(lr=1e-12), "epochs": 1, "batch_size": batch_size}
    losses = F.cross_entropy(model(examples.rows), examples.labels, reduction="none")
    expected = sum(losses[examples.labels == k].mean().item() for k in range(3)) / 3
    events = TrainingLoop(model, RECIPE.model_copy(update=changes), CPU, FLOAT32).train(examples)
    (result,) = (event for event in events if isinstance(event, EpochResult))
    assert result.metrics["loss"] == pytest.approx(expected, rel=1e-5)


def test_a_loss_that_takes_no_weights_is_refused() -> None:
    loop = TrainingLoop(nn.Linear(6, 3), RECIPE.model_copy(update={"balance": 0.5}), CPU, FLOAT32)
    with pytest.raises(UsageError, match="the trainer's own loss cannot be balanced"):
        next(loop.train(UnevenRows(), loss=F.cross_entropy))


def test_what_cannot_be_balanced_is_refused(pond: Registry, store: Store) -> None:
    with pytest.raises(UsageError, match="patient does not use balance"):
        execute(pond.plan("pond-patient", {"balance": 0.5}), store=store)
