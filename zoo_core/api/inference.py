"""Using trained models: classify images, and evaluate on labeled ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from os.path import isfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo_core.api.models import load
from zoo_core.cards.fields import Split
from zoo_core.data.ranks import ONE_PROCESS
from zoo_core.errors import DataError, UsageError, printable
from zoo_core.events import OnEvent, Progress, drive
from zoo_core.images.image_sets import ImageSet
from zoo_core.predictions import Prediction
from zoo_core.progress import handled_events
from zoo_core.recipes.settings import PrecisionName
from zoo_core.registry.registry import Registry, load_registry
from zoo_core.results import Evaluation
from zoo_core.store.store import Store

if TYPE_CHECKING:
    from zoo_core.engine.compute.distributed import World
    from zoo_core.engine.evaluation.predictor import Predictor
    from zoo_core.exported.model import ExportedModel
    from zoo_core.images.sources import ImageLike, ImageSource


def predict(
    target: str | Path | Predictor | ExportedModel,
    images: ImageLike | Iterable[ImageLike],
    *,
    weights: str = "pretrained",
    device: str = "auto",
    precision: PrecisionName = "auto",
    on_event: OnEvent | None = None,
    progress: bool | None = None,
    registry: Registry | None = None,
    store: Store | None = None,
) -> list[Prediction]:
    """Classify images.

    Args:
        target: a model's name, the path of a run or of an exported file, or what `load` returned.
        images: one or several: image files, folders, PIL images, (H, W) or (H, W, 3) uint8 arrays.
        weights: for a model: "pretrained", or a name on its card.
        device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1".
        precision: "auto" uses bfloat16 where the device supports it natively; "float32" is full precision.
        on_event: called with each event, such as the progress of a download.
        progress: show progress on stderr; None does so on a terminal and in a notebook.
        registry: None loads the installed plugins.
        store: None uses the default cache.

    Raises:
        UnknownName: there is no such model or run.
        DataError: an image cannot be read.
        IntegrityError: the model's outputs are not finite.
    """
    from zoo_core.images.sources import image_sources  # Pillow is imported here, not before

    sources, predictions = image_sources(images), list[Prediction]()
    with handled_events(on_event, progress) as handle:
        if isinstance(target, str | Path):
            target = open_classifier(
                target,
                weights=weights,
                device=device,
                precision=precision,
                on_event=handle,
                progress=False,
                registry=registry,
                store=store,
            )
        for answer in predict_each(target, sources):
            predictions.append(_or_raise(answer))
            handle(Progress("predicting", len(predictions), len(sources), "images"))
    return predictions


def open_classifier(
    target: str | Path,
    *,
    weights: str = "pretrained",
    device: str = "auto",
    precision: PrecisionName = "auto",
    on_event: OnEvent | None = None,
    progress: bool | None = None,
    registry: Registry | None = None,
    store: Store | None = None,
) -> Predictor | ExportedModel:
    """Open an exported file, without importing torch unless it is a .pt2, or load a model or a run; see `load`.

    Raises:
        UsageError: weights, a device or a precision are chosen for an exported file, which contains its own.
        IntegrityError: the file was not exported by zoo, or is damaged.
    """
    opener = opener_of(target)
    if opener is None:
        return load(
            target,
            weights=weights,
            device=device,
            precision=precision,
            on_event=on_event,
            progress=progress,
            registry=registry,
            store=store,
        )
    if (weights, precision) != ("pretrained", "auto") or device not in ("auto", "cpu"):
        raise UsageError(
            f"{printable(str(target))} contains its weights, and runs on the CPU in the precision it was exported in",
            fix="leave --weights, --precision and --device out",
        )
    return opener(Path(target))


def opener_of(target: str | Path) -> Callable[[Path], ExportedModel] | None:
    """Return the function that opens an exported file; None: the target is something else.

    Torch is imported for a .pt2 file alone.
    """
    from zoo_core.exported.files import is_exported, open_exported  # Pillow and numpy are imported here, not before

    if is_exported(target):
        return open_exported
    if Path(target).suffix == ".pt2" and isfile(target):  # noqa: PTH113 - a Path of a name that is too long raises
        from zoo_core.engine.export.pt2_file import open_pt2

        return open_pt2
    return None


def predict_each(
    classifier: Predictor | ExportedModel, images: Sequence[ImageSource]
) -> Iterator[Prediction | DataError]:
    """Yield a prediction for each image as soon as there is one, or the error that explains why it cannot be read."""
    from zoo_core.exported.model import ExportedModel  # numpy is imported here, not before

    if isinstance(classifier, ExportedModel):
        yield from classifier.predict_each(images)
        return
    from zoo_core.engine.compute.distributed import distributed_session

    with distributed_session() as world:
        yield from classifier.predict_each(images, world)


def _or_raise(answer: Prediction | DataError) -> Prediction:
    if isinstance(answer, DataError):
        raise answer
    return answer


def evaluate(
    target: str | Path,
    *,
    data: Path | str | None = None,
    dataset: str | None = None,
    split: Split | None = None,
    weights: str = "pretrained",
    device: str = "auto",
    precision: PrecisionName = "auto",
    on_event: OnEvent | None = None,
    progress: bool | None = None,
    registry: Registry | None = None,
    store: Store | None = None,
) -> Evaluation:
    """Evaluate a model or a run on labeled images.

    Args:
        target: a model's name, or the path of a run or of an exported file.
        data: a folder or CSV file of images. Without it and `dataset`: a run's own data, the data on the model's card,
            or the dataset that the exported file names.
        dataset: "NAME" or "NAME.EDITION".
        split: None takes the test split, otherwise the validation split; and all images of a `data` that nobody has
            split, unless the run was trained on it.
        weights: for a model: "pretrained", or a name on its card.
        device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1".
        precision: "auto" uses bfloat16 where the device supports it natively; "float32" is full precision.
        on_event: called with each event.
        progress: show progress on stderr; None does so on a terminal and in a notebook.
        registry: None loads the installed plugins.
        store: None uses the default cache.

    Raises:
        UsageError: the model's card names no dataset, or a run was trained on all of its images.
        DataError: the images have other classes than the model, or some are damaged.
        IntegrityError: the model's outputs are not finite.
    """
    from zoo_core.data.evaluation import open_eval_data, require_task  # Pillow is imported here, not before
    from zoo_core.exported.model import ExportedModel  # as above

    registry, store = registry or load_registry(), store or Store.default()
    with _session(target) as world, handled_events(on_event, progress) as handle:
        classifier = open_classifier(
            target,
            weights=weights,
            device=device,
            precision=precision,
            on_event=handle,
            progress=False,
            registry=registry,
            store=store,
        )
        origin: str | Path | None = target
        if isinstance(classifier, ExportedModel):
            origin, dataset = None, dataset or (classifier.description.dataset if data is None else None)
        opened = open_eval_data(
            registry,
            store,
            origin,
            classifier.classes,
            data=None if data is None else Path(data),
            dataset=dataset,
            split=split,
            world=world,
            on_event=handle,
        )
        require_task(opened.images, "single-label" if classifier.thresholds is None else "multi-label")
        if isinstance(classifier, ExportedModel):
            evaluation = drive(classifier.evaluate(opened.images), handle)
        else:
            evaluation = _measure(classifier, opened.images, world, handle)
        return replace(evaluation, data=opened.name, split=opened.split)


def _session(target: str | Path) -> AbstractContextManager[Any]:
    """Join the processes that `torchrun` started; for an exported file, without importing torch, there is one."""
    from zoo_core.exported.files import is_exported  # Pillow is imported here, not before

    if is_exported(target):
        return nullcontext(ONE_PROCESS)
    from zoo_core.engine.compute.distributed import distributed_session

    return distributed_session()


def _measure(predictor: Predictor, images: ImageSet, world: World, on_event: OnEvent) -> Evaluation:
    from zoo_core.engine.evaluation.evaluate import evaluate as evaluation_steps

    precision = predictor.precision
    steps = evaluation_steps(
        predictor.model,
        images,
        predictor.input,
        predictor.device,
        precision=precision,
        world=world,
        thresholds=predictor.thresholds,
    )
    return replace(
        drive(steps, on_event), model=predictor.origin, precision=str(precision.dtype).removeprefix("torch.")
    )
