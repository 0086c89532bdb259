"""What the loop does for fine-tuning: warmup, rates by layer, clipping, accumulation, averaging, and two phases."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.engine.recorded_examples import RecordedExamples
from zoo_core import Checkpoint, EpochResult, Recipe, Registry, Store, UsageError
from zoo_core.data.dataset import load_split
from zoo_core.engine.compute.losses import cross_entropy
from zoo_core.engine.compute.precision import FLOAT32
from zoo_core.engine.compute.seeding import epoch_order
from zoo_core.engine.data.mixing import Mixing
from zoo_core.engine.models.build import build_model, split_head, state_hash
from zoo_core.engine.training.batch_shards import BatchShard
from zoo_core.engine.training.checkpointing import from_files, to_files
from zoo_core.engine.training.finetune import FinetuneTrainer
from zoo_core.engine.training.loop import TrainingLoop
from zoo_core.engine.training.optimizers import make_optimizer, scheduled_rate, set_rate
from zoo_core.engine.training.parameter_groups import parameter_blocks, parameter_groups
from zoo_core.engine.training.trainer import Job
from zoo_core.events import TrainState

CPU = torch.device("cpu")
RECIPE = Recipe(name="r", summary="s", model="m", dataset="d", epochs=3, batch_size=3)
LR = 0.01
FULL: dict[str, Any] = {
    "optimizer": {"name": "adamw", "lr": LR, "weight_decay": 0.1, "decay_biases": False},
    "schedule": "cosine",
    "warmup": 0.3,
    "layer_decay": 0.5,
    "clip_norm": 0.5,
    "accumulate": 2,
    "ema": 0.9,
    "augment": [{"name": "mixup"}, {"name": "cutmix", "p": 0.5}],
    "loss": {"name": "cross-entropy", "label_smoothing": 0.1},
    "batch_size": 5,
}


def network() -> nn.Module:
    """Convolutions, running statistics, and dropout."""
    torch.manual_seed(0)
    convolutions = (nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 2))


def recipe(**fields: Any) -> Recipe:
    return Recipe.model_validate({**RECIPE.model_dump(), **fields})


def loop(model: nn.Module, **fields: Any) -> TrainingLoop:
    return TrainingLoop(model, recipe(**fields), CPU, FLOAT32, due=lambda: True)


def without_norm() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, 2))


def trained(model: nn.Module, **fields: Any) -> nn.Module:
    list(loop(model, **fields).train(RecordedExamples()))
    return model


def test_warmup_rises_linearly_before_the_schedule() -> None:
    ten = [
        scheduled_rate(recipe(warmup=0.4, optimizer={"name": "adam", "lr": 1.0}), step / 10, 0.1) for step in range(10)
    ]
    assert ten == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1])
    cosine = recipe(warmup=0.5, schedule="cosine", optimizer={"name": "adam", "lr": 2.0})
    assert [scheduled_rate(cosine, done) for done in (0.25, 0.5, 0.75, 1)] == pytest.approx([1, 2, 1, 0])
    assert scheduled_rate(recipe(warmup=1.0, schedule="cosine"), 1.0) == RECIPE.optimizer.lr


def test_without_warmup_rates_are_what_they_were() -> None:
    plain = recipe(schedule="cosine")
    for done in (0.0, 1 / 7, 0.3, 0.9):
        assert scheduled_rate(plain, done, 0.1) == RECIPE.optimizer.lr * (1 + math.cos(math.pi * done)) / 2


class Stages(nn.Module):
    """A position embedding, a stem and its norm, a Sequential of two blocks, and a head of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(1, 3))
        self.stem, self.norm = nn.Linear(3, 3), nn.LayerNorm(3)
        self.blocks = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
        self.head = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))


def test_blocks_go_from_the_input_to_the_head() -> None:
    model = Stages()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    blocks = [[names[id(parameter)] for parameter in block] for block in parameter_blocks(model)]
    assert blocks == [
        ["position", "stem.weight", "stem.bias", "norm.weight", "norm.bias"],
        ["blocks.0.weight", "blocks.0.bias"],
        ["blocks.2.weight", "blocks.2.bias"],
        ["head.0.weight", "head.0.bias", "head.1.weight", "head.1.bias"],
    ]
    wrapped = nn.Sequential(model, nn.Linear(2, 2))  # a backbone and a head: divided inside the backbone
    assert [len(block) for block in parameter_blocks(wrapped)] == [5, 2, 2, 2, 2, 2]
    assert len(parameter_blocks(nn.Linear(2, 2))) == 1


def test_layer_decay_gives_each_block_its_rate_and_spares_biases_from_decay() -> None:
    fields = {"layer_decay": 0.5, "optimizer": {"name": "adamw", "lr": LR, "weight_decay": 0.1, "decay_biases": False}}
    model = Stages()
    model.blocks[0].weight.requires_grad = False
    optimizer = make_optimizer(recipe(**fields).optimizer, parameter_groups(model, recipe(**fields)))
    set_rate(optimizer, 1.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {
        names[id(p)]: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]
    }
    assert found["stem.weight"] == (0.125, 0.1)
    assert found["position"] == (0.125, 0.1)
    assert found["norm.weight"] == found["stem.bias"] == (0.125, 0.0)
    assert found["blocks.0.bias"] == (0.25, 0.0)
    assert found["blocks.2.weight"] == (0.5, 0.1)
    assert found["head.0.weight"] == found["head.1.weight"] == (1.0, 0.1)
    assert found.keys() == {name for name, p in model.named_parameters() if p.requires_grad}


def test_without_layer_decay_there_is_one_group_in_the_models_order() -> None:
    model = Stages()
    for optimizer in ({"name": "adam"}, {"name": "adamw"}):
        assert all(
            a is b
            for a, b in zip(parameter_groups(model, recipe(optimizer=optimizer)), model.parameters(), strict=True)
        )


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_parts_cover_a_shard_and_have_two_examples_each(count: int) -> None:
    for total in range(1, 9):
        parts = BatchShard(torch.arange(total), 1.0).parts(count)
        assert [i for part in parts for i in range(total)[part]] == list(range(total))
        assert len(parts) == max(1, min(count, total // 2))
        assert total == 1 or all(len(range(total)[part]) >= 2 for part in parts)


@pytest.mark.parametrize("parts", [2, 3])
def test_accumulated_parts_give_the_gradient_of_the_whole_batch(parts: int) -> None:
    fields = {"batch_size": 7, "optimizer": {"name": "sgd", "lr": 0.1}, "augment": [{"name": "mixup", "alpha": 1.0}]}
    whole, in_parts = trained(without_norm(), **fields), trained(without_norm(), accumulate=parts, **fields)
    for one, other in zip(whole.parameters(), in_parts.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_clipping_limits_the_norm_of_the_step() -> None:
    start, fields = without_norm(), {"batch_size": 14, "epochs": 1, "optimizer": {"name": "sgd", "lr": 1.0}}
    end = trained(copy.deepcopy(start), clip_norm=1e-2, **fields)
    moved = torch.cat([(a - b).flatten() for a, b in zip(start.parameters(), end.parameters(), strict=True)])
    assert moved.norm().item() == pytest.approx(1e-2, rel=1e-3)
    assert state_hash(trained(copy.deepcopy(start), clip_norm=1e6, **fields)) == state_hash(trained(start, **fields))


def test_the_average_is_what_is_measured_and_kept_and_training_goes_on_from_the_own_weights() -> None:
    decay, raw, averaged = 0.8, network(), network()
    model = averaged
    held: list[dict[str, Tensor]] = []
    for event in loop(model, ema=decay).train(RecordedExamples()):
        if isinstance(event, EpochResult):
            held.append({name: value.clone() for name, value in model.state_dict().items()})
    expected = {name: value.clone() for name, value in raw.state_dict().items()}
    by_epoch, steps = [], 0
    for event in loop(raw).train(RecordedExamples()):
        if isinstance(event, Checkpoint) and event.state.step:  # after each step
            now = min(decay, (1 + steps) / (10 + steps))
            for name, value in raw.state_dict().items():
                expected[name] = (
                    now * expected[name] + (1 - now) * value if value.is_floating_point() else value.clone()
                )
            steps += 1
        if isinstance(event, EpochResult):
            by_epoch.append(dict(expected))
    assert steps == 15
    for mine, theirs in zip(held, by_epoch, strict=True):
        for name, value in theirs.items():
            torch.testing.assert_close(mine[name], value, atol=1e-6, rtol=1e-5)
    assert all(torch.equal(held[-1][name], value) for name, value in model.state_dict().items())
    assert not torch.equal(model[0].weight, raw[0].weight)


def test_frozen_statistics_stay_and_their_scale_is_trained() -> None:
    model, start = network(), network()
    list(replace(loop(model), freeze_batch_norm=True).train(RecordedExamples()))
    assert torch.equal(model[1].running_mean, start[1].running_mean)
    assert model[1].num_batches_tracked == 0
    assert not torch.equal(model[1].weight, start[1].weight)


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_mixing_is_torchvisions_with_soft_targets(name: str) -> None:
    from torchvision.transforms import v2

    mixing = Mixing.of(recipe(augment=[{"name": name, "alpha": 0.7}]).augment)
    inputs, labels, logits = torch.randn(6, 3, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2]), torch.randn(6, 3)
    torch.manual_seed(3)
    batch = mixing(inputs)
    torch.manual_seed(3)
    torch.randint(1, ()), torch.rand(())  # which way of mixing, and whether
    images, soft = (v2.MixUp if name == "mixup" else v2.CutMix)(alpha=0.7, num_classes=3)(inputs, labels)
    assert torch.equal(batch.inputs, images)
    partner = labels[batch.partners(torch.arange(6))]
    losses = [cross_entropy(logits, target, label_smoothing=0.1) for target in (labels, partner)]
    mixed = batch.share * losses[0] + (1 - batch.share) * losses[1]
    torch.testing.assert_close(mixed, F.cross_entropy(logits, soft, label_smoothing=0.1))
    assert 0 < batch.share < 1


def test_a_batch_of_one_or_an_improbable_mix_stays_as_it_is() -> None:
    image = torch.randn(1, 3, 4, 4)
    assert Mixing.of(recipe(augment=[{"name": "mixup"}]).augment)(image).inputs is image
    never = Mixing.of(recipe(augment=[{"name": "cutmix", "p": 0.0}]).augment)
    assert never(torch.randn(4, 3, 4, 4)).share == 1
    assert Mixing.of(RECIPE.augment).steps == ()


def state_of(event: Checkpoint) -> TrainState:
    return from_files(to_files(event.state))


def test_with_everything_on_a_kill_after_any_step_does_not_change_the_result() -> None:
    """Averaging, accumulation, clipping, mixing, warmup, rates by layer: also between an epoch's end and the next."""
    through = network()
    metrics = [dict(e.metrics) for e in loop(through, **FULL).train(RecordedExamples()) if isinstance(e, EpochResult)]
    assert state_hash(through) != state_hash(trained(network(), **{**FULL, "ema": None}))
    measured = {"train_accuracy": RecordedExamples()}
    straight = network()
    list(loop(straight, **FULL).train(RecordedExamples(), measured))
    state, found, model = None, {}, network()
    for _ in range(100):
        model = network()
        for parameter in model.parameters() if state else ():
            nn.init.normal_(parameter)
        for event in loop(model, **FULL).train(RecordedExamples(), measured, state):
            if isinstance(event, EpochResult):
                found[event.epoch] = event.metrics["loss"]
            if isinstance(event, Checkpoint) and (state is None or position(event) > (state.epoch, state.step)):
                state = state_of(event)
                break
        else:
            break
    assert state_hash(model) == state_hash(straight) == state_hash(through)
    assert [found[epoch] for epoch in sorted(found)] == [epoch["loss"] for epoch in metrics]


def position(event: Checkpoint) -> tuple[int, int]:
    return event.state.epoch, event.state.step


def test_a_checkpoint_during_measuring_holds_both_weights() -> None:
    """While the model holds the average, a checkpoint's `model.` tensors are still its own weights."""
    model, own = network(), {}
    for event in loop(model, ema=0.9).train(RecordedExamples(), {"train_accuracy": RecordedExamples()}):
        if isinstance(event, Checkpoint):
            tensors = event.state.tensors
            if event.state.step == 5 and not own:  # after the last step, before measuring
                own = {name: value.clone() for name, value in tensors.items()}
            elif own and event.state.epoch < 2 and event.state.step in (0, 5):
                assert all(torch.equal(tensors[name], value) for name, value in own.items())
                assert torch.equal(model[0].weight, own["average.0.weight"])
                if event.state.step == 0:
                    break
    assert not torch.equal(own["average.0.weight"], own["model.0.weight"])


@pytest.fixture(autouse=True)
def _packages_are_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of cached features name the package that a builder belongs to, which takes seconds to find."""
    monkeypatch.setattr("zoo_core.engine.training.feature_key.owner_of", lambda package: package)


def job_for(registry: Registry, store: Store, **overrides: Any) -> Job:
    fields = {"trainer": "finetune", "epochs": 4, "settings": {"allow_random": True}, **overrides}
    plan = registry.plan("pond", fields)
    torch.manual_seed(0)
    model = build_model(plan.model)
    train, validation = (load_split(plan.dataset, plan.edition, split, store) for split in ("train", "validation"))
    return Job(model, train, validation, plan, store, CPU, due=lambda: True)


def backbone_hash(job: Job) -> str:
    with split_head(job.model, job.plan.model) as (backbone, _):
        return state_hash(backbone)


def test_the_head_is_trained_first_and_then_everything(pond: Registry, store: Store) -> None:
    job = job_for(pond, store, ema=0.9, accumulate=2, augment=[{"name": "mixup"}])
    start, hashes, results = backbone_hash(job), [], []
    for event in FinetuneTrainer().fit(job):
        if isinstance(event, EpochResult):
            hashes.append(backbone_hash(job))
            results.append(event)
    assert [(result.epoch, result.epochs) for result in results] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [one == start for one in hashes] == [True, False, False, False]
    assert len({frozenset(result.metrics) for result in results}) == 1
    assert all({"train_accuracy", "validation_accuracy"} <= result.metrics.keys() for result in results)


def test_batch_norm_is_frozen_for_small_batches(pond: Registry, store: Store) -> None:
    def moved(**overrides: Any) -> bool:
        job = job_for(pond, store, **overrides)
        before = [buffer.clone() for buffer in job.model.buffers()]
        list(FinetuneTrainer().fit(job))
        return any(not torch.equal(a, b) for a, b in zip(before, job.model.buffers(), strict=True))

    for overrides, moves in (
        ({"batch_size": 31}, False),
        ({"batch_size": 32}, True),
        ({"batch_size": 32, "accumulate": 2}, False),
        ({"batch_size": 8, "settings.freeze_batch_norm": False}, True),
        ({"batch_size": 48, "settings.freeze_batch_norm": True}, False),
    ):
        assert moved(epochs=3, **overrides) is moves, overrides


def test_a_random_backbone_and_a_plan_without_a_second_phase_are_refused(pond: Registry, store: Store) -> None:
    with pytest.raises(UsageError, match="pond-net starts from random weights, and the trainer finetune needs"):
        pond.plan("pond", {"trainer": "finetune", "weights": "none"})
    with pytest.raises(UsageError, match="fine-tuning needs at least two epochs"):
        list(FinetuneTrainer().fit(job_for(pond, store, epochs=1)))
    with pytest.raises(UsageError, match="alexnet has no head"):
        pond.plan("pond", {"trainer": "finetune", "model": "alexnet"})


def test_fine_tuning_resumes_bit_for_bit_in_both_phases(pond: Registry, store: Store) -> None:
    fields = {"ema": 0.9, "layer_decay": 0.7, "augment": [{"name": "cutmix"}, {"name": "random-crop", "padding": 2}]}
    straight = job_for(pond, store, **fields)
    states = [state_of(event) for event in FinetuneTrainer().fit(straight) if isinstance(event, Checkpoint)]
    assert {state.epoch for state in states} == {1, 2, 3, 4}
    chosen = {(state.epoch, state.step): state for state in states}
    for where in [(1, 0), (1, 1), (2, 0), (3, 0), (3, 4), (4, 0)]:
        job = job_for(pond, store, **fields)
        list(FinetuneTrainer().fit(job, chosen[where]))
        assert state_hash(job.model) == state_hash(straight.model), where


def test_the_recipe_is_planned_for_its_model(installed: Registry) -> None:
    plan = installed.plan("finetune")
    assert plan.recipe.epochs > 1
    assert plan.recipe.keep == "best"


def test_order_of_examples_does_not_depend_on_parts() -> None:
    seen = RecordedExamples()
    list(loop(network(), accumulate=3, epochs=1, batch_size=6).train(seen))
    assert [index for _, index in seen.seen] == epoch_order(0, 0, 14).tolist()
