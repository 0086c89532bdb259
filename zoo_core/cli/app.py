"""Puts the commands together."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from zoo_core.cli import cache, check, env, explain, export, plugins, predict, pull, run, show
from zoo_core.cli import eval as eval_
from zoo_core.cli import list as list_

app = typer.Typer(
    name="zoo",
    help="A plugin-based PyTorch model zoo.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

COMMANDS = (
    list_.list_,
    show.show,
    run.run,
    predict.predict,
    eval_.eval_,
    explain.explain,
    pull.pull,
    check.check,
    export.export,
    plugins.plugins,
    env.env,
)
for command in COMMANDS:
    app.command(name=command.__name__.rstrip("_"))(command)
app.add_typer(cache.app, name="cache")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"zoo {version('zoo-core')}")
        raise typer.Exit


@app.callback()
def zoo(
    context: typer.Context,
    registry: Annotated[Path | None, typer.Option(help="A registry file of your own, beside ./zoo.toml.")] = None,
    version: Annotated[bool, typer.Option("--version", "-V", callback=_version, is_eager=True)] = False,
) -> None:
    """A plugin-based PyTorch model zoo."""
    context.obj = registry
