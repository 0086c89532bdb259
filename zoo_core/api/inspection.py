"""Looking into models: explain an image, and check what cards declare."""

from __future__ import annotations

from pathlib import Path

from zoo_core.api.models import load
from zoo_core.errors import UsageError, printable
from zoo_core.events import OnEvent
from zoo_core.registry.registry import Registry, load_registry
from zoo_core.results import Check
from zoo_core.store.store import Store


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
