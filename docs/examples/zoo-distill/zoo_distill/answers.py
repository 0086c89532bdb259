"""What a network says of images, and what the teacher says of those that its student learns from."""

from __future__ import annotations

from collections.abc import Callable, Generator
from hashlib import sha256
from importlib.metadata import version

import torch
from PIL import Image
from safetensors.torch import load, save
from torch import Tensor, nn

import zoo_core as zoo
from zoo_distill.objective import for_each_class
from zoo_distill.settings import DistillationSettings

AT_ONCE = 32  # images that go through a network together when nothing is learned


def answers(
    network: nn.Module, images: zoo.ImageSet, see: Callable[[Image.Image], Tensor], job: zoo.Job, what: str
) -> Generator[zoo.Progress, None, Tensor]:
    """Return the network's logits for every image, clean and in order: (N, classes) float32, on the CPU."""
    network.to(job.device).eval()
    rows: list[Tensor] = []
    for chosen in torch.split(torch.arange(len(images)), AT_ONCE):
        batch = torch.stack([see(images[index][0]) for index in chosen.tolist()])
        with torch.inference_mode(), job.precision.autocast(job.device):  # never across a yield: it is the thread's
            rows.append(for_each_class(network(job.precision.to_device(batch, job.device))).cpu())
        yield zoo.Progress(what, int(chosen[-1]) + 1, len(images), "images")
    return torch.cat(rows)


def teachers_answers(job: zoo.Job, settings: DistillationSettings) -> Generator[zoo.Progress, None, Tensor]:
    """Return the teacher's logits for the training images, (N, classes) float32; they are kept for the next run.

    Raises:
        UnknownName: there is no such model.
        UsageError: it has no such weights, or they tell other classes apart.
        NetworkError: its weights could not be had.
    """
    registry = zoo.load_registry()
    card = _fitting(registry.model(settings.teacher), job, settings.teacher_weights)
    key, count = _key(card, job, settings.teacher_weights), len(job.train)
    if (kept := job.store.get_cached(key)) is not None:
        yield zoo.Progress("the teacher's answers (kept from before)", count, count, "images")
        return load(kept)["logits"]
    teacher = zoo.create_model(card.name, weights=settings.teacher_weights, registry=registry, store=job.store)
    see = zoo.transforms(card.name, weights=settings.teacher_weights, registry=registry)
    logits = yield from answers(teacher, job.train, see, job, "the teacher's answers")
    job.store.put_cached(key, save({"logits": logits}))
    return logits


def _fitting(card: zoo.ModelCard, job: zoo.Job, weights: str) -> zoo.ModelCard:
    """Return the teacher's card, if it was trained to tell the data's classes apart; nothing is fetched for that."""
    selection, data = card.select(weights), job.plan.classes
    theirs = selection.classes if selection.has_head else None
    if theirs != data:
        raise zoo.UsageError(
            f"{card.name} with weights {weights!r} cannot teach {', '.join(data)}",
            why=f"it tells apart {', '.join(theirs)}" if theirs else "its head was not trained",
            fix=f"zoo run {job.plan.recipe.name} --set settings.teacher=NAME",
        )
    return card


def _key(card: zoo.ModelCard, job: zoo.Job, weights: str) -> str:
    """Return a hash of all that the answers depend on; change any of it, and the teacher is asked anew."""
    code = [version(name) for name in ("zoo-distill", "zoo-core", "torch", "torchvision", "pillow")]
    depends = (card.model_dump_json(), weights, job.train.fingerprint, job.precision.name, job.device.type, code)
    return sha256(repr(depends).encode()).hexdigest()
