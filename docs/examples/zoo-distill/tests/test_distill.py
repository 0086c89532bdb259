from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load, save
from torch.nn import functional as F
from zoo_distill.loss import distillation_loss
from zoo_distill.settings import DistillationSettings
from zoo_distill.trainer import Distillation

import zoo_core as zoo
from zoo_core.testing import check_distribution, check_trainer

NO_TEACHER = {"settings.soft": 0}  # for horses, the teacher's weights would have to be fetched


def test_the_plugin_passes_all_checks() -> None:
    check_distribution("zoo-distill")


def test_the_trainer_passes_all_checks() -> None:
    check_trainer("distillation")


# -- the dataset


@pytest.mark.parametrize(("edition", "wrong"), [("whole", 308), ("small", 19)])
def test_three_in_ten_training_labels_are_wrong(edition: str, wrong: int) -> None:
    def mislabelled(split: Literal["train", "validation"]) -> int:
        images = zoo.load_dataset("horses-mislabelled", split, edition=edition)
        folders = [images.name(index).partition("/")[0] for index in range(len(images))]
        return sum(folder != images.classes[images.label(index)] for index, folder in enumerate(folders))

    assert (mislabelled("train"), mislabelled("validation")) == (wrong, 0)


def test_the_pictures_are_those_of_horses_or_humans() -> None:
    original, ours = zoo.load_dataset("horses-or-humans"), zoo.load_dataset("horses-mislabelled")
    assert len(ours) == len(original)
    assert (ours.name(700), ours[700][0].tobytes()) == (original.name(700), original[700][0].tobytes())
    assert ours.fingerprint != original.fingerprint


# -- the loss


def softened(logits: list[float], temperature: float) -> list[float]:
    powers = [math.exp(logit / temperature) for logit in logits]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("soft", [0.0, 0.3, 1.0])
def test_the_loss_is_the_formula(temperature: float, soft: float) -> None:
    student, teacher, labels = [[1.0, -2.0, 0.5], [0.1, 0.2, 3.0]], [[2.0, 0.0, -1.0], [0.0, 4.0, 1.0]], [2, 1]
    expected = 0.0
    for s, t, label in zip(student, teacher, labels, strict=True):
        ours, target = softened(s, temperature), softened(t, temperature)
        expected += soft * temperature**2 * sum(q * math.log(q / p) for p, q in zip(ours, target, strict=True)) / 2
        expected -= (1 - soft) * math.log(softened(s, 1)[label]) / 2
    settings = DistillationSettings(temperature=temperature, soft=soft)
    found = distillation_loss(torch.tensor(student), torch.tensor(teacher), torch.tensor(labels), settings)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_one_logit_and_two_give_the_same_loss() -> None:
    one, labels = torch.randn(5, 1, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 1, 0, 1])
    two = zoo.class_logits(one)
    torch.testing.assert_close((two / 3).softmax(dim=1)[:, 1:], (one / 3).sigmoid())
    hard = distillation_loss(two, two, labels, DistillationSettings(soft=0))
    torch.testing.assert_close(hard, F.binary_cross_entropy_with_logits(one[:, 0], labels.float()))
    assert distillation_loss(two, two + 7, labels, DistillationSettings(soft=1)).item() == pytest.approx(0, abs=1e-6)


# -- the trainer


def job(recipe: str, overrides: Mapping[str, Any], folder: Path, count: int = 64) -> zoo.Job:
    """Return a recipe's job: of horses the small edition, of clothes the first images."""
    edition = {"edition": "small"} if recipe == "horses-distill" else {}
    plan = zoo.load_registry().plan(recipe, {**edition, **overrides}, device="cpu")
    torch.manual_seed(1)
    model = zoo.create_model(plan.model.name)
    train = zoo.load_dataset(plan.dataset.name, edition=plan.edition.name)
    if isinstance(train, zoo.ArrayImages):
        train = zoo.ArrayImages(train.pixels[:count], train.labels[:count], train.classes)
    return zoo.Job(model, train, None, plan, zoo.Store(folder), torch.device("cpu"))


def figures(events: list[Any]) -> list[Mapping[str, float]]:
    return [event.metrics for event in events if isinstance(event, zoo.EpochResult)]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("recipe", "overrides", "place"),
    [
        ("horses-distill", {**NO_TEACHER, "batch_size": 16}, (0, 3)),  # augmentation, dropout, one logit
        ("fashion-distill", {"batch_size": 8}, (0, 6)),  # a teacher
        ("fashion-distill", {"batch_size": 8}, (1, 0)),
        ("fashion-distill", {"batch_size": 8}, (1, 3)),
    ],
)
def test_a_resumed_run_gives_the_same_bits(
    recipe: str, overrides: Mapping[str, Any], place: tuple[int, int], precision: str, tmp_path: Path
) -> None:
    chosen = {**overrides, "epochs": 2, "precision": precision, "schedule": "cosine"}
    through, events, saved = replace(job(recipe, chosen, tmp_path), due=lambda: True), [], []
    for event in Distillation().fit(through):
        events.append(event)
        if isinstance(event, zoo.Checkpoint) and (event.state.epoch, event.state.step) == place:
            saved.append((written(event.state), event.state.values))
    ((tensors, values),) = saved
    resumed = job(recipe, chosen, tmp_path)
    rest = list(Distillation().fit(resumed, zoo.TrainState(*place, load(tensors), values)))
    for name, tensor in through.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name
    assert figures(rest) == figures(events)[place[0] :]


def written(state: zoo.TrainState) -> bytes:
    """Return a state's tensors as a file would hold them."""
    return save({name: tensor.contiguous() for name, tensor in state.tensors.items()})


def test_the_teachers_logits_are_cached(tmp_path: Path) -> None:
    first, second = ([*Distillation().fit(job("fashion-distill", {"epochs": 1}, tmp_path))] for _ in range(2))
    names = [next(event.what for event in events if isinstance(event, zoo.Progress)) for events in (first, second)]
    assert names == ["teacher logits", "teacher logits (cached)"]
    assert figures(first) == figures(second)


def test_a_student_without_labels_learns_from_its_teacher(tmp_path: Path) -> None:
    work = job("fashion-distill", {"epochs": 3, "batch_size": 32, "settings.soft": 1}, tmp_path, count=1_000)
    assert isinstance(work.train, zoo.ArrayImages)
    all_shirts = zoo.ArrayImages(work.train.pixels, 0 * work.train.labels, work.train.classes)
    list(Distillation().fit(replace(work, train=all_shirts)))
    test, see = zoo.load_dataset("fashion-mnist", "test"), work.preprocessing
    with torch.inference_mode():
        called = work.model(torch.stack([see(test[index][0]) for index in range(500)])).argmax(dim=1)
    assert (called == torch.tensor([test.label(index) for index in range(500)])).float().mean() > 0.5  # chance: 0.1


# -- what is refused


@pytest.mark.parametrize(
    ("setting", "value"),
    [("temperature", 0), ("temperature", math.inf), ("soft", 1.1), ("soft", -0.1), ("t", 1)],
)
def test_an_invalid_setting_is_refused(setting: str, value: float) -> None:
    with pytest.raises(zoo.UsageError, match=setting):
        zoo.load_registry().plan("horses-distill", {f"settings.{setting}": value})


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"teacher": "fashion-cnn"}, "its classes are T-shirt/top, Trouser"),
        ({"teacher_weights": "google-2015"}, "its head was not trained"),
        ({"teacher": "horses-cnn"}, "horses-cnn has no 'pretrained' weights"),
        ({"teacher": "horses-incepton"}, "did you mean 'horses-inception'"),
    ],
)
def test_a_teacher_for_other_classes_is_refused(settings: dict[str, str], cause: str, tmp_path: Path) -> None:
    work = job("horses-distill", {f"settings.{key}": value for key, value in settings.items()}, tmp_path)
    with pytest.raises(zoo.UsageError, match=cause):
        next(iter(Distillation().fit(work)))


def test_a_nan_loss_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(zoo.Diverged, match=r"zoo run horses-distill --lr 1e\+29"):
        list(Distillation().fit(job("horses-distill", {**NO_TEACHER, "optimizer.lr": 1e30}, tmp_path)))
