"""Folds of a cross-validation: the same share of every class, and groups are never divided."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image
from torch import Tensor

from zoo_core import DataError, Job, PluginError, Registry, Store
from zoo_core.data.splits import open_splits
from zoo_core.engine.data.batches import groups_of
from zoo_core.engine.training.cross_validation import fit_head
from zoo_core.engine.training.features import Features
from zoo_core.engine.training.folds import assign_folds
from zoo_core.engine.training.run import execute
from zoo_core.engine.training.streamed_head import HeldOut
from zoo_core.engine.tuning.fold_scores import HeadScorer, in_memory
from zoo_core.events import drive, ignore_event
from zoo_core.images.image_sets import FolderImages, ImageSet

CPU = torch.device("cpu")
RANDOM_BACKBONE = {"settings.allow_random": True, "model": "pond-net", "weights": None}


def test_folds_without_groups_are_those_of_earlier_versions() -> None:
    labels = torch.tensor([0] * 7 + [1] * 4 + [2] + [3] * 5)
    assert assign_folds(labels, 4, 3).tolist() == [0, 2, 1, 1, 2, 0, 3, 3, 1, 2, 0, -1, 2, 3, 1, 0, 3]
    assert assign_folds(torch.zeros(9, 2), 4, 3).tolist() == [0, 1, 1, 2, 0, 2, 3, 0, 3]
    assert torch.equal(assign_folds(labels, 4, 3, torch.arange(17)), assign_folds(labels, 4, 3))
    assert HeldOut.of(40, 5).indices.tolist() == [11, 16, 25, 37]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=12, max_size=80), st.integers(2, 6))
def test_a_group_is_in_one_fold_and_no_class_is_missing_where_it_is_held_out(
    images: list[tuple[int, int]], folds: int
) -> None:
    labels, groups = (torch.tensor(column) for column in zip(*images, strict=True))
    try:
        assigned = assign_folds(labels, folds, 0, groups)
    except DataError:
        assert any(len(groups[labels == label].unique()) == 1 for label in labels.unique())
        return
    assert all(len(assigned[groups == group].unique()) == 1 for group in groups.unique())
    used = assigned[assigned >= 0].unique()
    assert used.tolist() == list(range(len(used)))
    for fold in used:
        assert set(labels[assigned == fold].tolist()) <= set(labels[assigned != fold].tolist())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=40), st.integers(2, 20), st.integers(1, 3))
def test_no_fold_is_empty_if_all_are_asked_for(labels: list[int], folds: int, burst: int) -> None:
    groups = torch.arange(len(labels)) // burst
    if len(groups.unique()) < folds:
        with pytest.raises(DataError, match=f"{len(groups.unique())} .* cannot be divided into {folds} folds"):
            assign_folds(torch.tensor(labels), folds, 0, groups, all_classes=False)
        return
    try:
        assigned = assign_folds(torch.tensor(labels), folds, 0, groups, all_classes=False)
    except DataError:
        return
    if (assigned >= 0).all():
        assert sorted(assigned.unique().tolist()) == list(range(folds))


def test_groups_of_one_class_are_dealt_out_evenly() -> None:
    labels = torch.tensor([label for label, size in enumerate((30, 40)) for _ in range(size)])
    groups = torch.arange(70) // 2
    assigned = assign_folds(labels, 5, 1, groups)
    assert [assigned[labels == 0].eq(fold).sum().item() for fold in range(5)] == [6] * 5
    assert [assigned[labels == 1].eq(fold).sum().item() for fold in range(5)] == [8] * 5
    uneven = torch.tensor([0] * 10 + [1] * 4 + [2] * 4 + [3] * 2 + [4] * 10)
    assigned = assign_folds(torch.zeros(30, dtype=torch.int64), 3, 0, uneven)
    assert sorted(assigned.bincount().tolist()) == [10, 10, 10]


def test_a_single_group_cannot_be_cross_validated() -> None:
    with pytest.raises(DataError, match="a single training image, or group of images"):
        assign_folds(torch.tensor([0, 0, 1, 1]), 2, 0, torch.tensor([0, 0, 1, 1]))
    with pytest.raises(DataError, match="all training images are in one group"):
        HeldOut.of(4, 0, torch.zeros(4, dtype=torch.int64))


def test_a_set_with_a_wrong_number_of_groups_is_a_plugins_error() -> None:
    files = tuple((Path(f"{number}.png"), number % 2) for number in range(4))
    images = FolderImages(Path(), files, ("a", "b"), groups=("x", "y", "x", "z"))
    assert groups_of(images).tolist() == [0, 1, 0, 2]  # type: ignore[union-attr]
    with pytest.raises(PluginError, match="4 images have 2 groups"):
        groups_of(replace(images, groups=("x", "y")))


def bursts(count: int = 24, of: int = 4, width: int = 60) -> tuple[Tensor, Tensor, Tensor]:
    """Noise with meaningless labels, each row several times: rows (N, D), labels and groups (N,)."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(count, width, generator=generator).repeat_interleave(of, dim=0)
    labels = torch.randint(0, 2, (count,), generator=generator).repeat_interleave(of)
    return rows, labels, torch.arange(count).repeat_interleave(of)


def test_copies_do_not_raise_the_cross_validated_accuracy() -> None:
    rows, labels, groups = bursts()
    leaked, honest = (
        drive(fit_head(rows, labels, classes=2, strengths=[0.01], groups=chosen), ignore_event)
        for chosen in (None, groups)
    )
    assert leaked.cross_validation_accuracy == 1
    assert honest.cross_validation_accuracy < 0.75


def test_configurations_are_compared_on_whole_groups(pond: Registry, store: Store) -> None:
    rows, labels, groups = bursts()
    plan = pond.plan("pond-features", {"trainer": "logistic-head", "settings.strengths": [0.01]})
    job = Job(torch.nn.Identity(), None, None, plan, store, CPU)  # type: ignore[arg-type]
    names = tuple(map(str, range(len(rows))))
    for numbers, least, most in ((None, 0.95, 1.0), (groups, 0.0, 0.75)):
        features = in_memory(Features(rows, labels, names, numbers), 80, seed=0)
        scores = HeadScorer(features, job).score(plan.recipe)
        assert least <= sum(scores.accuracies) / len(scores.accuracies) <= most


def test_whole_groups_are_held_out_of_streamed_features() -> None:
    groups = torch.arange(400) // 8
    held = HeldOut.of(400, 0, groups)
    assert len(held.indices) == 40
    assert held.mask.nonzero()[:, 0].equal(held.indices)
    assert not set(groups[held.mask].tolist()) & set(groups[~held.mask].tolist())


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """Two classes of six pictures of noise; of each there are four copies with the same pixels."""
    generator = np.random.default_rng(0)
    for name in ("left", "right"):
        (tmp_path / "noise" / name).mkdir(parents=True)
        for index in range(6):
            image = Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            for copy, suffix in enumerate(("png", "bmp", "png", "bmp")):
                image.save(tmp_path / "noise" / name / f"{index}-{copy}.{suffix}")
    return tmp_path / "noise"


def opened(registry: Registry, data: Path, store: Store, **overrides: Any) -> ImageSet:
    plan = registry.plan("transfer", {**RANDOM_BACKBONE, **overrides}, data=data)
    return drive(open_splits(plan, store), ignore_event).splits["train"]


def test_the_trainer_knows_what_belongs_together(noise: Path, pond: Registry, store: Store) -> None:
    images = opened(pond, noise, store)
    numbers = groups_of(images)
    assert numbers is not None
    stems = [images.name(index).partition("-")[0] for index in range(len(images))]
    assert len(set(zip(stems, numbers.tolist(), strict=True))) == len(set(stems)) == len(numbers.unique())
    for path in noise.rglob("*-[123].*"):
        path.unlink()
    assert groups_of(opened(pond, noise, store)) is None
    by_pattern = groups_of(opened(pond, noise, store, **{"split.group": "/[0-3]"}))
    assert by_pattern is not None
    assert len(by_pattern.unique()) < len(by_pattern)
    rows = [f"{path.relative_to(noise)},{path.parent.name},{path.stem[0] < '2'}" for path in noise.rglob("*.png")]
    sides = [f"{row},{'val' if '5-' in row else 'train'}" for row in sorted(rows)]
    (noise / "table.csv").write_text("\n".join(["path,label,group,split", *sides]))
    by_column = groups_of(opened(pond, noise / "table.csv", store))
    assert by_column is not None
    assert len(by_column) == 10
    assert len(by_column.unique()) == 2


def test_a_run_on_copies_does_not_learn_them_by_heart(
    noise: Path, pond: Registry, store: Store, tmp_path: Path
) -> None:
    changes = {**RANDOM_BACKBONE, "settings.strengths": [1e-4], "settings.standardize": True}
    result = execute(pond.plan("transfer", changes, data=noise), store=store, out=tmp_path / "runs")
    assert result.metrics["train_accuracy"] == 1
    assert result.metrics["cross_validation_accuracy"] < 0.9
