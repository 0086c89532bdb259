"""`zoo predict`: what is on these images?"""

from __future__ import annotations

import json as json_
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo_core.cli.bars import Bars
from zoo_core.cli.console import note, percent
from zoo_core.cli.context import all_names, registry
from zoo_core.errors import DataError
from zoo_core.results import Prediction

if TYPE_CHECKING:
    from PIL.Image import Image


def predict(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="A model, or the path of a run.", autocompletion=all_names)],
    images: Annotated[list[str], typer.Argument(help="Image files, folders, or - for an image on standard input.")],
    top_k: Annotated[int, typer.Option(min=1, help="How many classes to name.")] = 5,
    json: Annotated[bool, typer.Option("--json", help="Print JSON Lines.")] = False,
) -> None:
    """Say what is on images."""
    known = registry(context)
    from zoo_core.api import predictor_for  # torch starts here, and nowhere sooner
    from zoo_core.store import Store

    with Bars() as bars:
        predictor = predictor_for(target, known, Store.default(), watch=bars.fetched)
    note(f"Using {predictor.origin}")
    bad: list[DataError] = []
    for prediction in predictor.predict(_readable(images, bad)):
        print(_json_line(prediction, top_k, predictor.origin) if json else _line(prediction, top_k), flush=True)
    if bad:
        raise DataError(f"{len(bad)} of the images could not be read", why="they are named above")


def _readable(places: list[str], bad: list[DataError]) -> Iterator[tuple[str, Image]]:
    """Yield every image that can be read; say which can't as we come to them."""
    from zoo_core.engine.images import decode_image, read_image
    from zoo_core.engine.predict import image_files

    def images_at(place: str) -> Iterator[Callable[[], tuple[str, Image]]]:
        if place == "-":
            yield lambda: ("-", decode_image(sys.stdin.buffer.read(), "-"))
        else:
            yield from (lambda path=path: (str(path), read_image(path)) for path in image_files(Path(place)))

    for place in places:
        try:
            ready = list(images_at(place))
        except DataError as error:
            ready = []
            _complain(error, bad)
        for read in ready:
            try:
                yield read()
            except DataError as error:
                _complain(error, bad)


def _complain(error: DataError, bad: list[DataError]) -> None:
    note(f"{error.what}: {error.why}" if error.why else error.what)
    bad.append(error)


def _line(prediction: Prediction, top_k: int) -> str:
    ranking = "  ".join(f"{label} {percent(probability)}" for label, probability in prediction.ranking[:top_k])
    return f"{prediction.image}  {ranking}"


def _json_line(prediction: Prediction, top_k: int, origin: str) -> str:
    top = [{"label": label, "probability": probability} for label, probability in prediction.ranking[:top_k]]
    return json_.dumps({"image": prediction.image, **top[0], "top": top, "model": origin}, ensure_ascii=False)
