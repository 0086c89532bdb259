"""`zoo export`: a run or a model as one file, or as a folder."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from zoo_core.api.exporting import MAX_DROP, export as write_export
from zoo_core.cli.console import human_bytes, print_json
from zoo_core.cli.options import Json, WeightsOption, all_names, registry
from zoo_core.cli.parity_table import print_parity

if TYPE_CHECKING:
    from zoo_core.engine.export.export import ExportResult


def export(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="The path of a run, or a model.", autocompletion=all_names)],
    path: Annotated[Path, typer.Argument(help="An .onnx or .pt2 file, a folder, or .safetensors for weights alone.")],
    format: Annotated[
        Literal["onnx", "openvino", "pt2", "safetensors"] | None,
        typer.Option(help="By default, that of the suffix; openvino writes a folder.", metavar="FORMAT"),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="A folder or CSV file of images to compare on.")] = None,
    weights: WeightsOption = "pretrained",
    dtype: Annotated[
        Literal["float32", "float16", "bfloat16"],
        typer.Option(help="For .safetensors: round to this type.", metavar="TYPE"),
    ] = "float32",
    int8: Annotated[bool, typer.Option("--int8", help="For .onnx: compute in 8-bit integers.")] = False,
    max_drop: Annotated[
        float, typer.Option(min=0, help="Percentage points of accuracy that 8 bits may cost.", metavar="POINTS")
    ] = MAX_DROP,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file, or an exported folder.")] = False,
    json: Json = False,
) -> None:
    """Export a run or a model; all formats but .safetensors are compared with PyTorch first."""
    known = registry(context)
    result = write_export(
        target,
        path,
        format=format,
        data=data,
        weights=weights,
        dtype=dtype,
        int8=int8,
        max_drop=max_drop,
        force=force,
        progress=True,
        registry=known,
    )
    if json:
        parity = None if result.parity is None else result.parity.model_dump()
        print_json({**asdict(result), "path": str(path), "parity": parity})
    else:
        _print(result)


def _print(result: ExportResult) -> None:
    if result.parity is None:
        covered = "all weights" if result.backbone is None else f"the head on {result.backbone}"
        print(f"{result.path}   {human_bytes(result.size)}   {covered}   sha256 {result.sha256}")
        return
    print_parity(result.parity)
    print(f"\n{result.path}   {human_bytes(result.size)}   sha256 {result.sha256}")
