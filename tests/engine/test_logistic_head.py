"""The logistic head: against scikit-learn, and what it may and may not look at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from tests.conftest import Zoo
from zoo_core import Checkpoint, DataError, EpochResult, Job, Progress, Registry, Store, UsageError
from zoo_core.cards.fields import resolve
from zoo_core.data.dataset import load_split
from zoo_core.engine.compute.losses import class_weights
from zoo_core.engine.models.build import build_planned, state_hash
from zoo_core.engine.models.weights import save_tensors
from zoo_core.engine.training import feature_shards, features, streamed_head
from zoo_core.engine.training.cross_validation import FittedHead, fit_head
from zoo_core.engine.training.feature_shards import FeatureShards
from zoo_core.engine.training.folds import assign_folds
from zoo_core.engine.training.logistic import PrincipalRows, Solution, Standardization, fit_temperature, solve
from zoo_core.engine.training.logistic_head import LogisticHeadTrainer
from zoo_core.events import drive, ignore_event

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking up which distribution a package belongs to reads every installed distribution, for every key."""
    monkeypatch.setattr("zoo_core.engine.training.feature_key.owner_of", lambda package: package)


def clusters(classes: int = 3, count: int = 60, width: int = 12, spread: float = 1.5) -> tuple[Tensor, Tensor]:
    """Overlapping clusters whose features have different scales and means."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % classes
    centers = torch.randn(classes, width, generator=generator)
    rows = centers[labels] + spread * torch.randn(count, width, generator=generator)
    return rows * torch.logspace(-1, 1, width) + 5, labels


def fit(rows: Tensor, targets: Tensor, classes: int = 3, **options: Any) -> FittedHead:
    return drive(fit_head(rows, targets, classes=classes, **options), ignore_event)


@pytest.mark.parametrize("width", [12, 200])  # fewer and more features than images
@pytest.mark.parametrize("balance", [0.0, 1.0])
def test_the_solution_is_scikit_learns(width: int, balance: float) -> None:
    rows, labels = clusters(width=width)
    labels[:10] = 0
    weights = class_weights(labels, 3, balance).double()
    standard = Standardization.of(rows)
    principal, strength = PrincipalRows.of(standard.apply(rows)), 0.05
    found = solve(
        principal.rows,
        labels,
        weights[labels],
        principal.variance,
        strength=strength,
        start=Solution.zero(3, principal.rows.shape[1]),
    )
    theirs = LogisticRegression(
        C=1 / (strength * len(rows)), tol=1e-10, max_iter=5000, class_weight=dict(enumerate(weights.tolist()))
    ).fit(standard.apply(rows).numpy(), labels.numpy())
    weight = found.weight @ principal.basis.T
    torch.testing.assert_close(weight, torch.from_numpy(theirs.coef_), atol=1e-5, rtol=1e-4)
    bias = torch.from_numpy(theirs.intercept_)
    torch.testing.assert_close(found.bias - found.bias.mean(), bias - bias.mean(), atol=1e-5, rtol=1e-4)


def test_several_labels_are_one_regression_against_the_rest_for_each() -> None:
    rows, labels = clusters()
    targets = torch.nn.functional.one_hot(labels, 3).float()
    targets[:5] = 1
    fitted = fit(rows, targets, strengths=[0.05], standardize=True)
    standard = Standardization.of(rows)
    for label in range(3):
        theirs = LogisticRegression(C=1 / (0.05 * len(rows)), tol=1e-10, max_iter=5000)
        theirs.fit(standard.apply(rows).numpy(), targets[:, label].numpy())
        expected = torch.from_numpy(theirs.decision_function(standard.apply(rows).numpy()))
        torch.testing.assert_close(fitted.logits(rows)[:, label] * fitted.temperature, expected, atol=1e-4, rtol=1e-4)


def test_standardization_and_temperature_are_folded_in_exactly() -> None:
    rows, labels = clusters()
    fitted = fit(rows, labels, strengths=[0.1])
    standard = Standardization.of(rows)
    weight, bias = torch.randn(3, 12).double(), torch.randn(3).double()
    folded, moved = standard.fold(weight, bias)
    torch.testing.assert_close(rows.double() @ folded.T + moved, standard.apply(rows) @ weight.T + bias)
    unscaled = fitted.held_out * fitted.temperature
    assert fit_temperature(unscaled, labels) == pytest.approx(fitted.temperature, rel=1e-6)
    assert fit_temperature(fitted.held_out, labels) == pytest.approx(1, rel=1e-4)


def test_held_out_logits_come_from_a_fit_without_the_image() -> None:
    """Labels exchanged inside a fold change every fit that includes its images, so not the logits of that fold."""
    rows, labels = clusters()
    targets = torch.nn.functional.one_hot(labels, 3)  # the folds of such targets do not depend on them
    assigned = assign_folds(targets, 5, 3)
    held = (assigned == 0).nonzero()[:, 0]
    moved = targets.clone()
    moved[held] = targets[held.flip(0)]
    assert not torch.equal(moved, targets)
    before, after = (fit(rows, one, strengths=[0.1], seed=3) for one in (targets, moved))
    difference = (before.held_out * before.temperature - after.held_out * after.temperature).abs()
    assert difference[assigned == 0].max() < 1e-6
    assert all(difference[assigned == fold].max() > 1e-3 for fold in range(1, 5))


def test_the_strength_with_the_best_held_out_score_is_chosen() -> None:
    rows, labels = clusters(spread=4)
    by_loss, by_accuracy = (fit(rows, labels, criterion=criterion) for criterion in ("loss", "accuracy"))
    scores = by_loss.scores
    assert scores == by_accuracy.scores
    assert by_loss.cross_validation_loss == min(scores.losses)
    assert by_accuracy.cross_validation_accuracy == max(scores.accuracies)
    assert 0.01 < by_loss.strength < 100


def test_the_same_rows_give_the_same_bits() -> None:
    rows, labels = clusters()
    first, second = fit(rows, labels), fit(rows, labels)
    assert torch.equal(first.weight, second.weight)
    assert not torch.equal(first.weight, fit(rows, labels, seed=1).weight)


@pytest.mark.parametrize("sizes", [(1, 2, 5), (2, 2), (3, 40), (1, 1, 2)])
def test_small_classes_are_never_missing_where_they_are_held_out(sizes: tuple[int, ...]) -> None:
    labels = torch.cat([torch.full((size,), label) for label, size in enumerate(sizes)])
    assigned = assign_folds(labels, 5, 0)
    for label, size in enumerate(sizes):
        folds = assigned[labels == label]
        assert (folds == -1).all() if size == 1 else len(folds.unique()) >= 2
    fitted = fit(torch.randn(len(labels), 4, generator=torch.Generator().manual_seed(0)), labels, len(sizes))
    assert fitted.weight.isfinite().all()
    assert fitted.held_out.isnan().any(dim=1).tolist() == (assigned == -1).tolist()


def test_what_cannot_be_fitted_is_an_error() -> None:
    rows, labels = clusters()
    rows[7, 3] = float("nan")
    with pytest.raises(DataError, match="the features contain NaN or infinity"):
        fit(rows, labels)
    with pytest.raises(DataError, match="every class has a single training image"):
        fit(torch.randn(4, 3), torch.arange(4), 4)


def test_constant_features_have_no_weight() -> None:
    rows, labels = clusters()
    rows[:, 3] = 0.1
    fitted = fit(rows, labels)
    assert fitted.weight[:, 3].tolist() == [0, 0, 0]
    assert fit(torch.ones_like(rows), labels).weight.abs().max() == 0


def test_balance_raises_the_recall_of_a_rare_class() -> None:
    rows, labels = clusters(classes=2, count=200, spread=3)
    chosen = torch.cat([(labels == 0).nonzero()[:, 0], (labels == 1).nonzero()[:6, 0]])
    rows, labels = rows[chosen], labels[chosen]
    recalls = [
        (fit(rows, labels, 2, balance=balance).held_out.argmax(1)[labels == 1] == 1).float().mean().item()
        for balance in (0.0, 1.0)
    ]
    assert recalls[1] > recalls[0]


def job_for(pond: Registry, store: Store, trainer: str = "logistic-head", **overrides: Any) -> Job:
    few = {"settings.strengths": [1.0, 0.1], "settings.folds": 3} if trainer == "logistic-head" else {}
    changes = {"trainer": trainer, **few, **{key.replace("__", "."): value for key, value in overrides.items()}}
    plan = pond.plan("pond-features", changes)
    torch.manual_seed(0)
    train, validation = (load_split(plan.dataset, plan.edition, split, store) for split in ("train", "validation"))
    return Job(build_planned(plan), train, validation, plan, store, CPU)


def test_a_run_reports_one_epoch_with_what_was_chosen(pond: Registry, store: Store) -> None:
    job = job_for(pond, store, metrics=["macro-f1"])
    *progress, result, checkpoint = LogisticHeadTrainer().fit(job)
    assert {event.what for event in progress if isinstance(event, Progress)} >= {
        "training features",
        "cross-validation",
    }
    assert isinstance(result, EpochResult)
    assert isinstance(checkpoint, Checkpoint)
    assert list(result.metrics) == [
        "loss",
        "train_accuracy",
        "validation_accuracy",
        "validation_loss",
        "validation_balanced_accuracy",
        "validation_macro_f1",
        "cross_validation_loss",
        "cross_validation_accuracy",
        "strength",
        "temperature",
    ]
    assert result.predictions is not None
    assert len(result.predictions.labels) == 24


def test_the_strength_never_sees_validation_images(pond: Registry, store: Store) -> None:
    job = job_for(pond, store)
    list(LogisticHeadTrainer().fit(job))
    without = replace(job_for(pond, store), validation=None)
    list(LogisticHeadTrainer().fit(without))
    assert state_hash(without.model) == state_hash(job.model)


def test_a_run_from_its_checkpoint_has_the_same_head(pond: Registry, store: Store) -> None:
    job, again = job_for(pond, store), job_for(pond, store)
    checkpoint = list(LogisticHeadTrainer().fit(job))[-1]
    assert isinstance(checkpoint, Checkpoint)
    assert list(LogisticHeadTrainer().fit(again, checkpoint.state)) == []
    assert state_hash(again.model) == state_hash(job.model)


def test_another_head_is_refused_and_head_units_replaces_it(installed: Registry, pond: Registry, store: Store) -> None:
    job = job_for(pond, store)
    job.model.fc = torch.nn.Sequential(job.model.fc)
    with pytest.raises(UsageError, match="needs a head of one linear layer with 3 outputs") as raised:
        list(LogisticHeadTrainer().fit(job))
    assert raised.value.fix == "zoo run pond-features --set head_units=0"
    assert installed.plan("transfer").recipe.head_units == 0


@pytest.mark.parametrize("trainer", ["frozen-features", "logistic-head"])
def test_a_random_frozen_backbone_is_refused(pond: Registry, installed: Registry, trainer: str) -> None:
    with pytest.raises(UsageError, match="pond-net starts from random weights") as raised:
        pond.plan("pond-features", {"trainer": trainer, "settings.allow_random": False})
    assert raised.value.fix == "zoo run pond-features --set trainer=supervised"
    with pytest.raises(UsageError, match="efficientnet-lite0 starts from random weights") as raised:
        installed.plan("transfer", {"weights": None, "trainer": trainer})
    assert raised.value.fix == "zoo run transfer --weights pretrained"
    assert "settings.allow_random=true" in raised.value.why


def test_the_run_predicts_like_any_other(pond: Registry, with_pond: Registry, zoo: Zoo, tmp_path: Path) -> None:
    options = (
        "--set",
        "trainer=logistic-head",
        "--set",
        "settings.strengths=[1.0]",
        "--epochs",
        "2",
        "--out",
        tmp_path,
    )
    assert zoo("run", "pond-features", *options).code == 0
    assert zoo("eval", tmp_path / "pond-features" / "latest").code == 0


def shards_of(rows: Tensor, folder: Path) -> FeatureShards:
    """Write rows as the cache does, in shards of four."""
    parts: list[Path | Tensor] = []
    for number, part in enumerate(torch.split(rows, feature_shards.SHARD_ROWS)):
        path = folder / f"{number}.safetensors"
        path.write_bytes(save_tensors({"features": part}))
        parts.append(path)
    return FeatureShards.of(parts)


@pytest.fixture
def four_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_shards, "SHARD_ROWS", 4)
    monkeypatch.setattr(features, "SHARD_ROWS", 4)


@pytest.mark.usefixtures("four_rows")
def test_shards_give_the_same_rows(tmp_path: Path) -> None:
    rows = torch.randn(38, 3)
    shards = shards_of(rows, tmp_path)
    assert torch.equal(shards.load(), rows)
    assert torch.equal(torch.cat(list(shards.chunks())), rows)
    order = shards.order(0, 0)
    assert order.sort().values.tolist() == list(range(38))
    assert not torch.equal(order, shards.order(0, 1))
    for given, found in zip(torch.split(order, 5), shards.stream(torch.split(order, 5)), strict=True):
        assert torch.equal(found, rows[given])
    moments, streamed = Standardization.of(rows), Standardization.of_chunks(shards.chunks())
    torch.testing.assert_close(streamed.mean, moments.mean)
    torch.testing.assert_close(streamed.scale, moments.scale)


@pytest.mark.usefixtures("four_rows")
@pytest.mark.parametrize("trainer", ["frozen-features", "logistic-head"])
def test_sharded_features_give_the_same_head(
    pond: Registry, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trainer: str
) -> None:
    changes = {"trainer": trainer, "precision": "float32"}
    sharded, again = (job_for(pond, store, **changes) for _ in range(2))
    list(resolve(sharded.plan.trainer.trainer)().fit(sharded, None))
    assert len([entry for entry in store.entries() if entry.kind == "features"]) == 12 + 6
    monkeypatch.setattr(features, "SHARD_ROWS", 4096)
    monkeypatch.setattr(feature_shards, "SHARD_ROWS", 4096)
    whole = replace(again, store=Store(tmp_path / "whole"))
    list(resolve(whole.plan.trainer.trainer)().fit(whole, None))
    for name, tensor in whole.model.state_dict().items():  # batches of 4 and of 16 images round differently
        torch.testing.assert_close(sharded.model.state_dict()[name], tensor, atol=1e-4, rtol=1e-4)


@pytest.mark.usefixtures("four_rows")
def test_a_killed_computation_of_features_resumes_with_the_next_shard(pond: Registry, store: Store) -> None:
    first = job_for(pond, store)
    events = LogisticHeadTrainer().fit(first)
    for event in events:
        if isinstance(event, Progress) and event.done == 12:
            break
    events.close()  # type: ignore[attr-defined]
    kept = [entry for entry in store.entries() if entry.kind == "features"]
    assert len(kept) in (2, 3)
    job = job_for(pond, store)
    done = [event for event in LogisticHeadTrainer().fit(job) if isinstance(event, Progress)]
    assert sum(event.what == "training features (cached)" for event in done) == len(kept)
    assert [event.done for event in done if event.what == "training features"][-1] == 48
    kept[0].path.write_bytes(b"damaged")
    again = job_for(pond, store)
    done = [event for event in LogisticHeadTrainer().fit(again) if isinstance(event, Progress)]
    assert sum(event.what == "training features (cached)" for event in done) == 11
    assert state_hash(again.model) == state_hash(job.model)


@pytest.mark.usefixtures("four_rows")
def test_a_head_on_streamed_features_resumes_with_the_same_bits(
    pond: Registry, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamed_head, "STEPS", 1)
    monkeypatch.setattr(streamed_head, "RATE", 0.1)
    options = {"settings__hold_bytes": 0, "settings__strengths": [1.0, 0.01]}
    straight, resumed = job_for(pond, store, **options), job_for(pond, store, **options)
    states, results = [], []
    for event in LogisticHeadTrainer().fit(straight):
        if isinstance(event, Checkpoint):
            tensors = {name: tensor.clone() for name, tensor in event.state.tensors.items()}
            states.append(replace(event.state, tensors=tensors))
        results += [event] if isinstance(event, EpochResult) else []
    assert len(results) == 1
    assert results[0].metrics["validation_accuracy"] == 1
    rest = list(LogisticHeadTrainer().fit(resumed, states[len(states) // 2]))
    assert state_hash(resumed.model) == state_hash(straight.model)
    assert [event.metrics for event in rest if isinstance(event, EpochResult)] == [results[0].metrics]
