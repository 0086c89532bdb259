"""`zoo predict`: what is on these images?"""

from __future__ import annotations

import json as json_
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo_core.cli.console import eprint, percent
from zoo_core.cli.options import PrecisionOption, all_names, registry
from zoo_core.cli.progress import Bars
from zoo_core.errors import DataError, printable
from zoo_core.results import Prediction

if TYPE_CHECKING:
    from zoo_core.engine.evaluation.predictor import ImageSource


def predict(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="A model, or the path of a run.", autocompletion=all_names)],
    images: Annotated[list[str], typer.Argument(help="Image files, folders, or - for an image on standard input.")],
    weights: Annotated[str, typer.Option(help="Of a model: trained, or their name.")] = "trained",
    top_k: Annotated[int, typer.Option(min=1, help="How many classes to name.")] = 5,
    precision: PrecisionOption = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print JSON Lines.")] = False,
) -> None:
    """Say what is on images."""
    known = registry(context)
    from zoo_core.api import predictor_for  # torch starts here, and nowhere sooner
    from zoo_core.engine.compute.distributed import distributed_session
    from zoo_core.store.store import Store

    with Bars() as bars:
        store = Store.default()
        predictor = predictor_for(target, known, store, weights=weights, precision=precision, on_event=bars)
    eprint(f"Using {predictor.origin}")
    images_, bad = _to_read(images)
    with distributed_session() as world:
        for one in predictor.predict(images_, world):
            if isinstance(one, DataError):
                bad.append(_complain(one))
            elif world.is_first:
                print(_json_line(one, top_k, predictor.origin) if json else _line(one, top_k), flush=True)
    if bad:
        raise DataError(f"{len(bad)} of the images could not be read", why="they are named above")


def _to_read(places: list[str]) -> tuple[list[ImageSource], list[DataError]]:
    """List the images in all places; a place without any is told, and the others go on."""
    from zoo_core.engine.evaluation.predictor import image_source, list_image_files
    from zoo_core.images.decode import MAX_BYTES, decode_image

    found, bad = [], []
    for place in places:
        try:
            if place == "-":
                found.append(("-", lambda: decode_image(sys.stdin.buffer.read(MAX_BYTES + 1), "-")))
            else:
                found += [image_source(path) for path in list_image_files(Path(place))]
        except DataError as error:
            bad.append(_complain(error))
    return found, bad


def _complain(error: DataError) -> DataError:
    eprint(f"{error.what}: {error.why}" if error.why else error.what)
    return error


def _line(prediction: Prediction, top_k: int) -> str:
    ranking = "  ".join(f"{label} {percent(probability)}" for label, probability in prediction.ranking[:top_k])
    return f"{printable(prediction.image)}  {ranking}"


def _json_line(prediction: Prediction, top_k: int, origin: str) -> str:
    top = [{"label": label, "probability": probability} for label, probability in prediction.ranking[:top_k]]
    told = {"image": prediction.image, **top[0], "top": top, "model": origin}
    return json_.dumps(told, ensure_ascii=not prediction.image.isprintable())  # a name may be no text at all
