"""Using trained models: classify, evaluate, explain, check and export."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from zoo_core.api.models import load
from zoo_core.cards.fields import Split
from zoo_core.errors import DataError, UsageError, printable
from zoo_core.events import OnEvent, Progress, drive
from zoo_core.images.image_sets import ImageSet
from zoo_core.predictions import Prediction
from zoo_core.progress import handled_events
from zoo_core.recipes.settings import PrecisionName
from zoo_core.registry.registry import Registry, load_registry
from zoo_core.results import Check, Evaluation
from zoo_core.store.store import Store

if TYPE_CHECKING:
    from zoo_core.engine.compute.distributed import World
    from zoo_core.engine.evaluation.predictor import Predictor
    from zoo_core.engine.evaluation.sources import ImageLike, ImageSource
    from zoo_core.engine.models.export import ExportResult


def predict(
    target: str | Path | Predictor,
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
        target: a model's name, the path of a run, or what `load` returned.
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
    from zoo_core.engine.evaluation.predictor import Predictor
    from zoo_core.engine.evaluation.sources import image_sources

    sources, predictions = image_sources(images), list[Prediction]()
    with handled_events(on_event, progress) as handle:
        if not isinstance(target, Predictor):
            target = load(
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


def predict_each(predictor: Predictor, images: Sequence[ImageSource]) -> Iterator[Prediction | DataError]:
    """Yield a prediction for each image as soon as there is one, or the error that explains why it cannot be read."""
    from zoo_core.engine.compute.distributed import distributed_session

    with distributed_session() as world:
        yield from predictor.predict_each(images, world)


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
        target: a model's name, or the path of a run.
        data: a folder or CSV file of images. Without it and `dataset`: a run's own data, or the data on the model's
            card.
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
    from zoo_core.engine.compute.distributed import distributed_session
    from zoo_core.engine.evaluation.target import open_eval_data

    registry, store = registry or load_registry(), store or Store.default()
    folder = None if data is None else Path(data)
    with distributed_session() as world, handled_events(on_event, progress) as handle:
        predictor = load(
            target,
            weights=weights,
            device=device,
            precision=precision,
            on_event=handle,
            progress=False,
            registry=registry,
            store=store,
        )
        opened = open_eval_data(
            registry,
            store,
            target,
            predictor.classes,
            data=folder,
            dataset=dataset,
            split=split,
            world=world,
            on_event=handle,
        )
        evaluation = _measure(predictor, opened.images, world, handle)
        return replace(evaluation, data=opened.name, split=opened.split)


def _measure(predictor: Predictor, images: ImageSet, world: World, on_event: OnEvent) -> Evaluation:
    from zoo_core.engine.evaluation.evaluate import evaluate as evaluation_steps, require_task

    require_task(images, "single-label" if predictor.thresholds is None else "multi-label")
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


def explain(
    target: str | Path,
    image: Path | str,
    out: Path | str = "explain.html",
    *,
    weights: str = "pretrained",
    device: str = "auto",
    on_event: OnEvent | None = None,
    progress: bool | None = None,
    registry: Registry | None = None,
    store: Store | None = None,
) -> Path:
    """Write a page that shows a model's filters, feature maps and layer sizes for one image, and return its path.

    Args:
        target: a model's name, or the path of a run.
        image: an image file.
        out: the .html page or .png picture to write.
        weights: for a model: "pretrained", or a name on its card.
        device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1".
        on_event: called with each event, such as the progress of a download.
        progress: show progress on stderr; None does so on a terminal and in a notebook.
        registry: None loads the installed plugins.
        store: None uses the default cache.

    Raises:
        UsageError: `out` is neither .html nor .png, or the model has no convolution.
        DataError: the image cannot be read.
    """
    from zoo_core.engine.explain.activations import explain as explanation_of
    from zoo_core.engine.explain.render import require_suffix, write_page
    from zoo_core.engine.models.summary import layers_in
    from zoo_core.images.decode import read_image  # Pillow is imported here, not before

    image, out = Path(image), require_suffix(Path(out))
    if image.is_dir():
        raise UsageError(f"{printable(str(image))} is a folder", why="give one image file")
    picture = read_image(image)
    predictor = load(
        target,
        weights=weights,
        device=device,
        precision="float32",
        on_event=on_event,
        progress=progress,
        registry=registry,
        store=store,
    )
    explanation = explanation_of(predictor, picture, printable(str(image)))
    return write_page(explanation, layers_in(predictor.model, predictor.input), predictor.origin, out)


def check(
    name: str | None = None, *, full: bool = False, registry: Registry | None = None, store: Store | None = None
) -> list[Check]:
    """Count parameters, layers and images again, and compare them with the cards and reference metrics.

    Args:
        name: a model, dataset or recipe; None checks everything that is installed.
        full: also measure accuracies that need a download.
        registry: None loads the installed plugins.
        store: None uses the default cache.

    Raises:
        UnknownName: nothing has this name.
    """
    from zoo_core.engine.checks.declared import check as checks

    return list(checks(registry or load_registry(), store or Store.default(), name, full=full))


def export(
    run: str | Path,
    target: str | Path,
    *,
    dtype: Literal["float32", "float16", "bfloat16"] = "float32",
    force: bool = False,
) -> ExportResult:
    """Write a run's weights as one safetensors file, with the model, classes and preprocessing in its metadata.

    Args:
        run: the path of a run.
        target: the .safetensors file to write.
        dtype: what floating-point tensors are rounded to.
        force: replace an existing file.

    Raises:
        UsageError: `target` has another suffix, or exists already.
        DataError: the run did not finish.
    """
    from zoo_core.engine.models.export import export as write_export

    return write_export(Path(run), Path(target), dtype=dtype, force=force)
