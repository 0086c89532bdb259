"""The loop, the trainers and the run, on models that are trained in milliseconds."""

from __future__ import annotations

import copy
import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_core import (
    Checkpoint,
    DataError,
    Diverged,
    EpochResult,
    Job,
    Progress,
    Recipe,
    Registry,
    ResourceError,
    Store,
    TrainState,
    UsageError,
    ZooError,
)
from zoo_core.cards.fields import resolve
from zoo_core.data.dataset import load_split
from zoo_core.engine.compute.losses import class_logits, cross_entropy, probabilities
from zoo_core.engine.compute.precision import FLOAT32, Precision
from zoo_core.engine.compute.seeding import epoch_order
from zoo_core.engine.data.batches import decode_all
from zoo_core.engine.data.loaders import InMemoryImages
from zoo_core.engine.models.build import build_model, split_head, state_hash
from zoo_core.engine.training.examples import EvaluatedExamples
from zoo_core.engine.training.fast_path.switch import fast_path
from zoo_core.engine.training.feature_key import feature_key, source_hash
from zoo_core.engine.training.frozen_features import FrozenFeaturesTrainer
from zoo_core.engine.training.loop import TrainingLoop
from zoo_core.engine.training.optimizers import make_optimizer, scheduled_rate
from zoo_core.engine.training.run import execute
from zoo_core.engine.training.supervised import SupervisedTrainer
from zoo_core.recipes.settings import SGD, Adam, AdamW, HorizontalFlip
from zoo_core.registry.package_owners import owner_of
from zoo_core.runs.directory import RunDir

CPU = torch.device("cpu")
RECIPE = Recipe(name="r", summary="s", model="m", dataset="d", epochs=3, batch_size=3, optimizer=Adam(lr=0.01))


@dataclass(frozen=True)
class Rows:
    """Eight tensors, no disk."""

    rows: Tensor
    labels: Tensor

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(map(str, range(len(self.labels))))

    @property
    def inference_batch_size(self) -> int:
        return 3

    def stream(self, batches: Sequence[Tensor], epoch: int) -> Iterator[Tensor]:
        return (self.rows[indices] for indices in batches)


def rows(classes: int = 2) -> Rows:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(8) % classes
    return Rows(torch.randn(8, 4, generator=generator) + labels[:, None], labels)


def loop(model: nn.Module) -> TrainingLoop:
    return TrainingLoop(model, RECIPE, CPU, FLOAT32)


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2))


def job_for(registry: Registry, name: str, store: Store, **overrides: Any) -> Job:
    plan = registry.plan(name, overrides)
    torch.manual_seed(0)
    model = build_model(plan.model)
    train_set, validation = (load_split(plan.dataset, plan.edition, split, store) for split in ("train", "validation"))
    return Job(model, train_set, validation, plan, store, CPU)


def results(events: Iterator[Any]) -> list[EpochResult]:
    return [event for event in events if isinstance(event, EpochResult)]


def test_one_logit_gives_sigmoid_and_binary_cross_entropy() -> None:
    logits, labels = torch.randn(16, 1), torch.randint(0, 2, (16,))
    torch.testing.assert_close(
        cross_entropy(logits, labels), F.binary_cross_entropy(logits[:, 0].sigmoid(), labels.float())
    )
    both = probabilities(logits)
    torch.testing.assert_close(both[:, 1], logits[:, 0].sigmoid())
    torch.testing.assert_close(both.sum(dim=1), torch.ones(16))
    assert torch.isfinite(cross_entropy(torch.full((2, 1), 500.0), torch.tensor([0, 1])))


def test_several_logits_are_a_softmax() -> None:
    logits, labels = torch.randn(16, 3), torch.randint(0, 3, (16,))
    torch.testing.assert_close(cross_entropy(logits, labels), F.cross_entropy(logits, labels))
    torch.testing.assert_close(probabilities(logits), logits.softmax(dim=1))


def test_the_loop_equals_a_loop_written_by_hand() -> None:
    """The same steps written out by hand give the same parameters and the same mean over batches."""
    data, model = rows(), nn.Linear(4, 2)
    by_hand = copy.deepcopy(model)
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=0.01)
    losses = []
    for epoch in range(3):
        batch_losses = []
        for indices in epoch_order(0, epoch, 8).split(3):
            optimizer.zero_grad()
            one = F.cross_entropy(by_hand(data.rows[indices]), data.labels[indices])
            one.backward()
            optimizer.step()
            batch_losses.append(one.item())
        losses.append(sum(batch_losses) / 3)
    found = results(loop(model).train(data, {"train_accuracy": data}))
    assert [result.metrics["loss"] for result in found] == pytest.approx(losses, abs=1e-7)
    torch.testing.assert_close(model.weight, by_hand.weight)
    accuracy = (by_hand(data.rows).argmax(1) == data.labels).float().mean().item()
    assert found[-1].metrics["train_accuracy"] == pytest.approx(accuracy)


@pytest.mark.parametrize(("asked", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.03)])
def test_the_fast_path_learns_what_full_precision_does(
    pond: Registry, store: Store, asked: str, tolerance: float
) -> None:
    """Channels last and a fused optimizer, in float32 and bfloat16: every epoch's loss within the tolerance."""
    curves = []
    for precision in (FLOAT32, Precision(getattr(torch, asked))):
        job = job_for(pond, "pond", store, epochs=4)
        images = InMemoryImages(decode_all(job.train, job.plan.input), job.plan.input)
        found = results(TrainingLoop(job.model, job.plan.recipe, CPU, precision).train(images, {}))
        curves.append([result.metrics["loss"] for result in found])
    assert curves[1] == pytest.approx(curves[0], abs=tolerance)
    assert curves[1] != curves[0]  # it is another path


def test_only_the_fast_path_uses_the_fused_optimizer() -> None:
    assert make_optimizer(Adam(), small_model().parameters(), fused=True).param_groups[0]["fused"]
    assert not make_optimizer(Adam(), small_model().parameters()).param_groups[0]["fused"]


def test_events_come_in_order() -> None:
    kinds = [type(event) for event in loop(small_model()).train(rows(), {})]
    assert kinds == ([Progress] * 3 + [EpochResult, Checkpoint]) * 3


def test_resuming_gives_the_same_bits_as_no_interruption() -> None:
    """With dropout and Adam's moments: bit for bit."""
    through = small_model()
    straight = results(loop(through).train(rows(), {}))
    states: list[TrainState] = []
    for event in loop(small_model()).train(rows(), {}):
        if isinstance(event, Checkpoint):
            states.append(replace(event.state, tensors={k: v.clone() for k, v in event.state.tensors.items()}))
            break
    torch.manual_seed(99)
    resumed = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2))
    rest = results(loop(resumed).train(rows(), {}, states[0]))
    assert [r.metrics["loss"] for r in rest] == [r.metrics["loss"] for r in straight[1:]]
    assert state_hash(resumed) == state_hash(through)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        (Adam(), torch.optim.Adam),
        (AdamW(name="adamw", weight_decay=0.1), torch.optim.AdamW),
        (SGD(name="sgd", lr=0.1, momentum=0.9, nesterov=True), torch.optim.SGD),
    ],
)
def test_optimizers_get_every_setting(settings: Any, kind: type) -> None:
    model = small_model()
    model[0].weight.requires_grad = False
    made = make_optimizer(settings, model.parameters())
    assert type(made) is kind
    assert len(made.param_groups[0]["params"]) == 3
    for name, value in settings.model_dump(exclude={"name", "decay_biases"}).items():
        assert made.param_groups[0][name] == value


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_nan_loss_stops_the_run(bad: float) -> None:
    data = rows()
    data.rows[3, 0] = bad
    with pytest.raises(Diverged, match=r"the loss is nan at epoch 1, step [123]") as raised:
        list(loop(small_model()).train(data, {}))
    assert raised.value.fix == "zoo run r --lr 0.001"
    assert raised.value.exit_code == 7


def test_supervised_measures_clean_and_augmented_validation_images(pond: Registry, store: Store) -> None:
    flip = [{"name": "rotation", "degrees": 90}]
    job = job_for(pond, "pond", store, augment=flip, **{"settings.validate_through_augmentation": True})
    (*_, last) = results(SupervisedTrainer().fit(job))
    assert list(last.metrics) == [
        "loss",
        "train_accuracy",
        "validation_accuracy",
        "validation_accuracy_augmented",
        "validation_loss",
        "validation_balanced_accuracy",
        "validation_macro_f1",
    ]
    assert last.predictions is not None
    assert len(last.predictions.labels) == 24


def test_supervised_leaves_training_images_unmeasured_on_request(pond: Registry, store: Store) -> None:
    measured, spared = job_for(pond, "pond", store), job_for(pond, "pond", store, **{"settings.measure_train": False})
    (*_, last) = results(SupervisedTrainer().fit(spared))
    (*_, expected) = results(SupervisedTrainer().fit(measured))
    assert set(expected.metrics) - set(last.metrics) == {"train_accuracy"}
    assert all(value == expected.metrics[name] for name, value in last.metrics.items())


def test_validation_images_are_not_augmented(pond: Registry, store: Store) -> None:
    job = job_for(pond, "pond", store, augment=[{"name": "rotation", "degrees": 90}])
    (*_, last) = results(SupervisedTrainer().fit(job))
    assert job.validation is not None
    examples = InMemoryImages(decode_all(job.validation, job.plan.input), job.plan.input)
    with torch.inference_mode():
        rows = job.model.eval()(examples.inputs(torch.arange(24), 0))
    assert last.metrics["validation_accuracy"] == int((rows.argmax(1) == examples.labels).sum()) / 24


def test_a_frozen_backbone_keeps_its_parameters_and_buffers(pond: Registry, store: Store) -> None:
    job = job_for(pond, "pond-features", store)
    with split_head(job.model, job.plan.model) as (backbone, head):
        before, head_before = state_hash(backbone), state_hash(head)
    list(FrozenFeaturesTrainer().fit(job))
    with split_head(job.model, job.plan.model) as (backbone, head):
        assert state_hash(backbone) == before
        assert state_hash(head) != head_before


def test_frozen_features_equal_training_without_them(pond: Registry, store: Store) -> None:
    """Against the whole model with its backbone in evaluation mode, step by step: equal within 1e-5."""
    job = job_for(pond, "pond-features", store, epochs=3, **{"precision": "float32"})
    by_hand = copy.deepcopy(job.model)
    list(FrozenFeaturesTrainer().fit(job))
    examples = InMemoryImages(decode_all(job.train, job.plan.input), job.plan.input)
    for parameter in [*by_hand.conv.parameters(), *by_hand.bn.parameters()]:
        parameter.requires_grad = False
    optimizer = torch.optim.Adam(by_hand.fc.parameters(), lr=1e-3)
    by_hand.eval()
    for epoch in range(3):
        for indices in epoch_order(0, epoch, len(examples.labels)).split(8):
            optimizer.zero_grad()
            F.cross_entropy(by_hand(examples.inputs(indices, epoch)), examples.labels[indices]).backward()
            optimizer.step()
    torch.testing.assert_close(job.model.fc.weight, by_hand.fc.weight, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(job.model.fc.bias, by_hand.fc.bias, atol=1e-5, rtol=1e-5)


def test_cached_features_give_the_same_run(pond: Registry, store: Store) -> None:
    jobs = [job_for(pond, "pond-features", store) for _ in range(2)]
    computed, cached = (results(FrozenFeaturesTrainer().fit(job)) for job in jobs)
    assert [r.metrics for r in computed] == [r.metrics for r in cached]
    assert len([entry for entry in store.entries() if entry.kind == "features"]) == 2
    assert state_hash(jobs[0].model) == state_hash(jobs[1].model)


def test_an_unwritable_feature_cache_does_not_stop_a_run(
    pond: Registry, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.root.mkdir()
    (store.root / "zoo-cache.json").touch()
    (store.root / "features").touch()  # no folder can be made here
    events = list(FrozenFeaturesTrainer().fit(job_for(pond, "pond-features", store)))
    assert len(results(iter(events))) == 2
    assert caplog.messages == [
        f"the {what} features were not cached: File exists" for what in ("training", "validation")
    ]


def test_the_feature_key_changes_with_everything_it_depends_on(pond: Registry, store: Store) -> None:
    job = job_for(pond, "pond-features", store)

    def key(job: Job) -> str:
        with split_head(job.model, job.plan.model) as (backbone, _):
            return feature_key(backbone, job.train, job)

    first = key(job)
    assert key(job_for(pond, "pond-features", store)) == first
    assert job.validation is not None
    assert key(replace(job, train=job.validation)) != first
    other_input = job.plan.model.model_copy(update={"input": job.plan.input.model_copy(update={"size": 9})})
    assert key(replace(job, plan=job.plan.model_copy(update={"model": other_input}))) != first
    job.model.bn.running_mean += 1e-3
    assert key(job) != first


def test_frozen_features_refuse_random_augmentation(pond: Registry, store: Store) -> None:
    with pytest.raises(UsageError, match="the trainer frozen-features does not use augment"):
        job_for(pond, "pond-features", store, augment=[{"name": "horizontal-flip"}])


def test_a_model_without_a_head_cannot_have_its_head_trained(pond: Registry, store: Store) -> None:
    job = job_for(pond, "pond-features", store)
    headless = job.plan.model_copy(update={"model": job.plan.model.model_copy(update={"head": None})})
    with pytest.raises(UsageError, match="pond-net has no head to train alone"):
        list(FrozenFeaturesTrainer().fit(replace(job, plan=headless)))


def test_a_model_without_a_head_is_refused_by_the_plan(pond: Registry) -> None:
    with pytest.raises(UsageError, match="alexnet has no head to train alone") as raised:
        pond.plan("pond-features", {"model": "alexnet"})
    assert raised.value.fix == "zoo run pond-features --set trainer=supervised"


def test_a_plugins_trainer_resumes_in_the_middle_of_an_epoch(pond: Registry, store: Store) -> None:
    straight_job = job_for(pond, "pond-patient", store)
    trainer = resolve(straight_job.plan.trainer.trainer)()
    straight = results(trainer.fit(straight_job, None))
    first = job_for(pond, "pond-patient", store)
    for event in trainer.fit(first, None):
        if isinstance(event, Checkpoint) and (event.state.epoch, event.state.step) == (1, 2):
            state = replace(event.state, tensors={k: v.clone() for k, v in event.state.tensors.items()})
            break
    rest = results(trainer.fit(job_for(pond, "pond-patient", store), state))
    assert [r.metrics for r in rest] == [r.metrics for r in straight[1:]]


def read(directory: Path, name: str) -> Any:
    return json.loads((directory / name).read_text())


@pytest.mark.parametrize("recipe", ["pond", "pond-features", "pond-patient"])
def test_a_run_leaves_a_complete_directory(pond: Registry, store: Store, tmp_path: Path, recipe: str) -> None:
    seen: list[Any] = []
    result = execute(pond.plan(recipe), store=store, out=tmp_path / "runs", on_event=seen.append)
    assert result.directory.parent == tmp_path / "runs" / recipe
    assert (result.directory.parent / "latest").resolve() == result.directory
    assert read(result.directory, "result.json")["status"] == "finished"
    assert read(result.directory, "result.json")["metrics"] == dict(result.metrics)
    assert read(result.directory, "environment.json")["packages"]["torch"].startswith("2.")
    assert len((result.directory / "metrics.jsonl").read_text().splitlines()) == 2
    assert RunDir.open(result.directory).plan().recipe.name == recipe
    assert "test_accuracy" in result.metrics  # touched once, at the end
    assert len(result.history) == 2
    assert any(isinstance(event, EpochResult) for event in seen)


def test_predictions_are_written_for_every_validation_image(pond: Registry, store: Store, tmp_path: Path) -> None:
    result = execute(pond.plan("pond"), store=store, out=tmp_path)
    header, *lines = (result.directory / "predictions.csv").read_text().splitlines()
    assert header == "image,label,prediction,p(ducks),p(frogs),p(newts)"
    assert len(lines) == 24
    correct = sum(line.split(",")[1] == line.split(",")[2] for line in lines)
    assert correct / 24 == pytest.approx(result.metrics["validation_accuracy"])


def test_the_seed_determines_the_result(pond: Registry, store: Store, tmp_path: Path) -> None:
    flip = {"augment": [HorizontalFlip(name="horizontal-flip").model_dump()]}
    runs = [
        execute(pond.plan("pond", {"seed": seed, **flip}), store=store, out=tmp_path).directory for seed in (3, 3, 4)
    ]
    first, again, other = ((run / "weights.safetensors").read_bytes() for run in runs)
    assert first == again
    assert first != other


def test_a_failed_run_is_recorded_in_its_directory(pond: Registry, store: Store, tmp_path: Path) -> None:
    with pytest.raises(ZooError):
        execute(pond.plan("pond", {"optimizer": {"name": "sgd", "lr": 1e30}}), store=store, out=tmp_path)
    (directory,) = (path for path in (tmp_path / "pond").iterdir() if not path.is_symlink())
    assert read(directory, "result.json")["status"] == "failed"
    assert "Diverged" in read(directory, "result.json")["reason"]


def test_ctrl_c_leaves_a_readable_directory(pond: Registry, store: Store, tmp_path: Path) -> None:
    def interrupt(event: object) -> None:
        if isinstance(event, EpochResult):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(pond.plan("pond"), store=store, out=tmp_path, on_event=interrupt)
    (directory,) = (path for path in (tmp_path / "pond").iterdir() if not path.is_symlink())
    assert read(directory, "result.json")["status"] == "interrupted"
    assert RunDir.open(directory).plan().recipe.name == "pond"


def test_two_runs_at_once_get_a_directory_each(pond: Registry, tmp_path: Path) -> None:
    plan = pond.plan("pond")
    assert len({RunDir.create(tmp_path, plan, {}).path for _ in range(5)}) == 5


def test_a_dangling_link_does_not_hang_a_run(pond: Registry, tmp_path: Path) -> None:
    (tmp_path / "runs").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ResourceError):
        RunDir.create(tmp_path / "runs", pond.plan("pond"), {})


def test_a_run_that_diverges_in_its_last_step_fails(pond: Registry, store: Store, tmp_path: Path) -> None:
    plan = pond.plan("pond", {"epochs": 1, "batch_size": 48, "optimizer": {"name": "sgd", "lr": 1e38}})
    with pytest.raises(Diverged):
        execute(plan, store=store, out=tmp_path)


def test_event_handlers_are_not_in_inference_mode(pond: Registry, store: Store) -> None:
    modes = {torch.is_inference_mode_enabled() for _ in SupervisedTrainer().fit(job_for(pond, "pond", store))}
    assert modes == {False}


def test_freezing_everything_is_refused(pond: Registry, store: Store) -> None:
    job = job_for(pond, "pond", store, **{"settings.freeze_until": "fc.bias"})
    with pytest.raises(UsageError, match="leaves nothing to train"):
        list(SupervisedTrainer().fit(job))


@pytest.mark.parametrize("device", ["meta", "cuda:77"])
def test_a_missing_device_is_named(pond: Registry, store: Store, tmp_path: Path, device: str) -> None:
    with pytest.raises(UsageError, match=f"device '{device}' is not available"):
        execute(pond.plan("pond", device=device), store=store, out=tmp_path)
    assert not tmp_path.joinpath("pond").exists()


def test_a_cosine_schedule_falls_from_the_learning_rate_to_zero() -> None:
    recipe = RECIPE.model_copy(update={"schedule": "cosine"})
    assert [scheduled_rate(recipe, done) for done in (0, 0.5, 1)] == pytest.approx([0.01, 0.005, 0])
    assert scheduled_rate(RECIPE, 0.7) == 0.01


def test_streamed_images_give_the_same_run_as_images_in_memory(pond: Registry, store: Store) -> None:
    """Bit for bit, including augmentation."""
    turned = {"augment": [{"name": "rotation", "degrees": 30}]}
    in_memory, streamed = (
        job_for(pond, "pond", store, **turned, **{"settings.hold_bytes": hold}) for hold in (10**9, 0)
    )
    assert [r.metrics for r in results(SupervisedTrainer().fit(in_memory))] == [
        r.metrics for r in results(SupervisedTrainer().fit(streamed))
    ]
    assert state_hash(in_memory.model) == state_hash(streamed.model)


def test_a_damaged_image_in_a_worker_is_named(pond: Registry, store: Store) -> None:
    job = job_for(pond, "pond", store, **{"settings.hold_bytes": 0})
    with pytest.raises(DataError, match="41 cannot be decoded"):
        list(SupervisedTrainer().fit(replace(job, train=Spoilt(job.train, damaged))))


def test_a_worker_that_is_killed_is_named(pond: Registry, store: Store) -> None:
    job = job_for(pond, "pond", store, **{"settings.hold_bytes": 0})
    with pytest.raises(ResourceError, match="a process that decodes images died") as raised:
        list(SupervisedTrainer().fit(replace(job, train=Spoilt(job.train, killed))))
    assert raised.value.exit_code == 6


@dataclass(frozen=True)
class Spoilt:
    """A set of images with one at which something happens."""

    inner: Any
    happens: Callable[[], None]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> Any:
        if index == 41:
            self.happens()
        return self.inner[index]


def damaged() -> None:
    raise DataError("41 cannot be decoded")


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)  # as the system does when memory is short


def test_features_are_computed_again_when_the_models_code_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "zoo_edited"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "net.py").write_text("pool = 'mean'\n")
    monkeypatch.syspath_prepend(tmp_path)
    first = source_hash("zoo_edited")
    assert source_hash("zoo_edited") == first
    (package / "net.py").write_text("pool = 'amax'\n")
    assert source_hash("zoo_edited") != first


def test_the_owner_of_an_editable_plugins_package_is_found() -> None:
    assert owner_of("zoo_fashion_cnn").startswith("zoo-fashion-cnn ")
    assert owner_of("no_such_package") == ""


def test_an_accuracy_is_a_count_divided_by_a_count() -> None:
    labels = torch.zeros(6_000, dtype=torch.int64)
    logits = torch.zeros(6_000, 2)
    logits[5_232:, 1] = 1
    examples = Rows(torch.zeros(6_000, 4), labels)
    assert EvaluatedExamples(examples, logits).accuracy == 0.872  # float32 says 0.87199998


def test_one_logit_becomes_a_logit_per_class() -> None:
    one = torch.randn(5, 1)
    torch.testing.assert_close(class_logits(one).softmax(dim=1)[:, 1:], one.sigmoid())
    assert class_logits(torch.zeros(5, 3, dtype=torch.bfloat16)).dtype == torch.float32


def test_full_precision_turns_the_fast_path_off() -> None:
    model = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2))
    with fast_path(model, FLOAT32):
        assert type(model[0]) is nn.ReLU
    with fast_path(model, Precision()):
        assert type(model[0]) is nn.MaxPool2d
