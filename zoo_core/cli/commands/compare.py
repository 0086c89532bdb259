"""`zoo compare`: which backbone to take for your images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zoo_core.cli.commands.run import parse_overrides
from zoo_core.cli.console import eprint, human_bytes, is_first_rank, percent, print_json, print_table
from zoo_core.cli.options import DeviceOption, Json, all_names, registry
from zoo_core.errors import DataError
from zoo_core.recipes.settings import PrecisionName
from zoo_core.runs.backbones import BackboneRanking, BackboneScore


def compare(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL]...",
            help="Models or patterns, such as timm/resnet18*. [default: all with pretrained weights that are cached, "
            "in an installed package or on the package index]",
            autocompletion=all_names,
        ),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="A folder of images. [default: a demonstration dataset]")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE for a field of transfer; may be repeated.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed of the split and the folds.")] = None,
    precision: Annotated[
        PrecisionName | None,
        typer.Option(help="auto, float32 (full precision) or bfloat16.", metavar="PRECISION"),
    ] = None,
    device: DeviceOption = "auto",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Also write a page, such as compare.html.")] = None,
    json: Json = False,
) -> None:
    """Compare backbones on your images.

    Each gets the linear head of the recipe transfer: zoo run transfer --set model=MODEL trains the same one, and is
    quick afterwards, because the features are cached. A comparison that was stopped continues where it was.
    """
    overrides = parse_overrides(set_ or [])
    known = registry(context)
    from zoo_core.api.selection import compare as compare_models
    from zoo_core.runs.backbones_page import require_html, write_page  # matplotlib is imported here, not before

    page = None if out is None else require_html(out)
    ranking = compare_models(
        data,
        names,
        seed=seed,
        precision=precision,
        overrides=overrides,
        device=device,
        progress=True,
        registry=known,
    )
    if not is_first_rank():
        return
    print_json(ranking.to_dict()) if json else _print_ranking(ranking)
    if page is not None:
        eprint(f"Page: {write_page(ranking, page)}")
    if ranking.failed:
        for score in ranking.failed:
            eprint(f"{score.model}: {score.error}")
        counted = "1 model" if len(ranking.failed) == 1 else f"{len(ranking.failed)} models"
        raise DataError(f"{counted} could not be compared", why="see above for the reasons")


def _print_ranking(ranking: BackboneRanking) -> None:
    headers = ("model", "accuracy", "95 % interval", "balanced", "cross-validated", "ms/picture", "weights", "")
    rows = [_cells(score, ranking.mark(score)) for score in ranking.measured]
    print_table(headers, rows, right=headers[1:7])
    images = max(score.images for score in ranking.measured)
    eprint(
        f"\nAccuracy on {images or ranking.training_images:,} images ({ranking.split}); "
        f"{ranking.training_images:,} training images. Times: {ranking.device}, {ranking.precision}."
    )
    if ranking.recommended is not None:
        eprint(f"Try: {ranking.command(ranking.recommended)}")


def _cells(score: BackboneScore, mark: str) -> tuple[str, ...]:
    low, high = score.interval
    return (
        score.model,
        percent(score.accuracy),
        f"{100 * low:.1f} to {100 * high:.1f} %",
        percent(score.balanced_accuracy),
        percent(score.cross_validation_accuracy),
        f"{score.milliseconds:.1f}",
        human_bytes(score.bytes),
        mark,
    )
