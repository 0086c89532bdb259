"""`zoo predict`: classify images."""

from __future__ import annotations

import json as json_
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo_core.cli.console import eprint, is_first_rank, percent
from zoo_core.cli.options import DeviceOption, PrecisionOption, WeightsOption, all_names, registry
from zoo_core.errors import DataError, UsageError, printable
from zoo_core.predictions import Prediction

if TYPE_CHECKING:
    from zoo_core.images.sources import ImageSource


def predict(
    context: typer.Context,
    target: Annotated[
        str, typer.Argument(help="A model, or the path of a run or an exported file.", autocompletion=all_names)
    ],
    images: Annotated[list[str], typer.Argument(help="Image files, folders, or - for an image on standard input.")],
    weights: WeightsOption = "pretrained",
    top_k: Annotated[
        int, typer.Option(min=1, help="How many classes to print; labels above their thresholds are all printed.")
    ] = 5,
    precision: PrecisionOption = "auto",
    device: DeviceOption = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print JSON Lines.")] = False,
) -> None:
    """Classify images; of a multi-label run, print every label above its threshold."""
    from zoo_core.api.inference import open_classifier, predict_each  # torch is imported here, but for exported files
    from zoo_core.exported.files import is_exported  # Pillow is imported here, not before
    from zoo_core.images.issues import counted  # as above

    known = None if is_exported(target) else registry(context)
    classifier = open_classifier(
        target, weights=weights, device=device, precision=precision, progress=True, registry=known
    )
    eprint(f"Using {classifier.origin}")
    sources, failed = _sources(images)
    for answer in predict_each(classifier, sources):
        if isinstance(answer, DataError):
            failed.append(_report(answer))
        elif is_first_rank():
            print(_json_line(answer, top_k, classifier.origin) if json else _line(answer, top_k), flush=True)
    if failed:
        raise DataError(f"{counted(len(failed), 'image')} could not be read", why="see above for the reasons")


def _sources(arguments: list[str]) -> tuple[list[ImageSource], list[DataError | UsageError]]:
    """List the images of all arguments; one without images is reported, and the others are still used."""
    from zoo_core.images.decode import MAX_BYTES, decode_image  # Pillow is imported here, not before
    from zoo_core.images.sources import image_sources  # as above

    sources: list[ImageSource] = []
    failed: list[DataError | UsageError] = []
    for argument in arguments:
        try:
            if argument == "-":
                sources.append(("-", lambda: decode_image(sys.stdin.buffer.read(MAX_BYTES + 1), "-")))
            else:
                sources += image_sources(Path(argument) if "://" not in argument else argument)
        except (DataError, UsageError) as error:
            failed.append(_report(error))
    return sources, failed


def _report(error: DataError | UsageError) -> DataError | UsageError:
    eprint(f"{error.what}: {error.why}" if error.why else error.what)
    return error


def _line(prediction: Prediction, top_k: int) -> str:
    if prediction.several is not None:
        chosen = ", ".join(f"{printable(label)} {share:.2f}" for label, share in prediction.chosen)
        return f"{printable(prediction.image)}  {chosen or 'none'}"
    ranking = "  ".join(f"{printable(label)} {percent(share)}" for label, share in prediction.ranking[:top_k])
    return f"{printable(prediction.image)}  {ranking}"


def _json_line(prediction: Prediction, top_k: int, origin: str) -> str:
    top = [{"label": label, "probability": probability} for label, probability in prediction.ranking[:top_k]]
    answer = top[0] if prediction.several is None else {"labels": prediction.several}
    fields = {"image": prediction.image, **answer, "top": top, "model": origin}
    as_ascii = not prediction.image.isprintable()  # a file name may not be valid text
    return json_.dumps(fields, ensure_ascii=as_ascii, allow_nan=False)
