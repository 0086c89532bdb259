"""The teacher's logits for the images that the student learns from."""

from __future__ import annotations

from collections.abc import Generator
from hashlib import sha256
from importlib.metadata import version

from safetensors.torch import load, save
from torch import Tensor

import zoo_core as zoo
from zoo_distill.settings import DistillationSettings

WHAT = "teacher logits"


def teacher_logits(job: zoo.Job, settings: DistillationSettings) -> Generator[zoo.Event, None, Tensor]:
    """Return the teacher's logits for the clean training images, (N, classes) float32; they are cached in the Store.

    Raises:
        UnknownName: there is no such model.
        UsageError: it does not have these weights, or they are for other classes.
        NetworkError: its weights could not be downloaded.
    """
    registry, weights = zoo.load_registry(), settings.teacher_weights
    card = _matching(registry.model(settings.teacher), job, weights)
    key, count = _key(card, job, weights), len(job.train)
    cached = job.store.get_cached(key)
    if job.world.all_reduce_mean(float(cached is not None)) == 1.0:  # on every machine, or all compute
        assert cached is not None
        yield zoo.Progress(f"{WHAT} (cached)", count, count, "images")
        return load(cached)["logits"]
    model = zoo.create_model(card.name, weights=weights, registry=registry, store=job.store)
    images = job.examples("train", input=card.select(weights).input).clean
    measured = yield from job.loop(model).measure(images, what=WHAT)
    logits = zoo.class_logits(measured.logits)
    if job.world.is_first:
        job.store.put_cached(key, save({"logits": logits}))
    return logits


def _matching(card: zoo.ModelCard, job: zoo.Job, weights: str) -> zoo.ModelCard:
    """Return the teacher's card if it was trained on the data's classes; nothing is downloaded to find out."""
    selection, data = card.select(weights), job.plan.classes
    classes = selection.classes if selection.has_head else None
    if classes != data:
        raise zoo.UsageError(
            f"{card.name} with weights {weights!r} cannot teach {', '.join(data)}",
            why=f"its classes are {', '.join(classes)}" if classes else "its head was not trained",
            fix=f"zoo run {job.plan.recipe.name} --set settings.teacher=NAME",
        )
    return card


def _key(card: zoo.ModelCard, job: zoo.Job, weights: str) -> str:
    """Return a hash of everything the logits depend on; if any of it changes, they are computed again."""
    code = [version(name) for name in ("zoo-distill", "zoo-core", "torch", "torchvision", "pillow")]
    depends_on = (card.model_dump_json(), weights, job.train.fingerprint, job.precision.name, job.device.type, code)
    return sha256(repr(depends_on).encode()).hexdigest()
