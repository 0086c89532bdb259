"""Assembles the commands. A command's module is imported when the command is used, so that each starts fast."""

from __future__ import annotations

from importlib.metadata import version
from inspect import cleandoc
from pathlib import Path
from pkgutil import resolve_name
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from zoo_core.errors import UsageError

COMMANDS = {
    "list": "zoo_core.cli.commands.list:list_",
    "show": "zoo_core.cli.commands.show:show",
    "run": "zoo_core.cli.commands.run:run",
    "predict": "zoo_core.cli.commands.predict:predict",
    "eval": "zoo_core.cli.commands.eval:eval_",
    "explain": "zoo_core.cli.commands.explain:explain",
    "report": "zoo_core.cli.commands.report:report",
    "compare": "zoo_core.cli.commands.compare:compare",
    "tune": "zoo_core.cli.commands.tune:tune",
    "runs": "zoo_core.cli.commands.runs:runs",
    "tag": "zoo_core.cli.commands.tag:tag",
    "reproduce": "zoo_core.cli.commands.reproduce:reproduce",
    "pull": "zoo_core.cli.commands.pull:pull",
    "import-weights": "zoo_core.cli.commands.import_weights:import_weights",
    "check": "zoo_core.cli.commands.check:check",
    "export": "zoo_core.cli.commands.export:export",
    "bench": "zoo_core.cli.commands.bench:bench",
    "plugins": "zoo_core.cli.commands.plugins:app",
    "env": "zoo_core.cli.commands.env:env",
    "cache": "zoo_core.cli.commands.cache:app",
}
ALIASES = {  # what other tools call them
    "train": "run",
    "fit": "run",
    "finetune": "run",
    "evaluate": "eval",
    "test": "eval",
    "classify": "predict",
    "benchmark": "bench",
    "download": "pull",
    "fetch": "pull",
    "note": "tag",
    "label": "tag",
    "models": "list",
    "info": "show",
}


class Commands(TyperGroup):
    """The commands by name, each built when it is first looked up."""

    def list_commands(self, context: Any) -> list[str]:  # noqa: ANN401 - typer's own context
        """Return all names."""
        return list(COMMANDS)

    def get_command(self, context: Any, name: str) -> Any:  # noqa: ANN401 - typer's own context and command
        """Return one command; for an unknown name, all are built, so that the closest can be suggested."""
        if name in ALIASES:
            raise UsageError(f"no command named {name!r}", fix=f"zoo {ALIASES[name]} --help")
        for known in [name] if name in COMMANDS else COMMANDS:
            if known not in self.commands:
                self.add_command(_built(known, resolve_name(COMMANDS[known])))
        return self.commands.get(name)


def _built(name: str, command: Any) -> Any:  # noqa: ANN401 - a function, or an app with subcommands
    if isinstance(command, typer.Typer):
        group = command
    else:
        group = typer.Typer(add_completion=False, rich_markup_mode=None)
        group.command(name=name, help=_paragraphs(command))(command)
    built: Any = typer.main.get_command(group)
    built.name = name
    for part in (built, *getattr(built, "commands", {}).values()):
        part.rich_markup_mode = None  # plain help: Rich would interpret [default: …] as markup
    return built


def _paragraphs(command: Any) -> str:  # noqa: ANN401 - any function
    """Return a docstring with each paragraph on one line, so that help wraps it to the terminal."""
    return "\n\n".join(" ".join(part.split()) for part in cleandoc(command.__doc__ or "").split("\n\n"))


app = typer.Typer(
    name="zoo",
    rich_markup_mode=None,
    cls=Commands,
    help="A plugin-based PyTorch model zoo.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"zoo {version('zoo-core')}")
        raise typer.Exit


@app.callback()
def zoo(
    context: typer.Context,
    registry: Annotated[Path | None, typer.Option(help="A registry file, in addition to ./zoo.toml.")] = None,
    version: Annotated[bool, typer.Option("--version", "-V", callback=_version, is_eager=True)] = False,
) -> None:
    """A plugin-based PyTorch model zoo."""
    context.obj = registry
