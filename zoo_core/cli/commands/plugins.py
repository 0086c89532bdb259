"""`zoo plugins`: list, diagnose, enable, disable, check and create plugins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from zoo_core.cli.checks_table import show_checks
from zoo_core.cli.console import eprint, print_json, print_table
from zoo_core.cli.options import Json, registry
from zoo_core.errors import PluginError, UnknownName, UsageError
from zoo_core.plugin_tools.scaffold import Kind, write_plugin
from zoo_core.registry.distributions import installed, installed_as, normalized
from zoo_core.registry.registry import Registry
from zoo_core.registry.settings import UserConfig

app = typer.Typer(
    help="List, diagnose, disable, check and create plugins.", invoke_without_command=True, add_completion=False
)


def distribution_names(incomplete: str) -> list[str]:
    """Complete the name of an installed distribution; no plugin is imported."""
    return [plugin.name for plugin in installed() if plugin.name.startswith(incomplete)]


DistributionName = Annotated[
    str, typer.Argument(metavar="NAME", help="An installed distribution.", autocompletion=distribution_names)
]


@app.callback()
def plugins(context: typer.Context, json: Json = False) -> None:
    """List, diagnose, disable, check and create plugins; without a command, list them."""
    if context.invoked_subcommand is None:
        list_(context, json)


@app.command("list")
def list_(context: typer.Context, json: Json = False) -> None:
    """List the installed plugins and what they provide."""
    known, disabled = registry(context), UserConfig.default().settings().disabled
    brings = {offer.plugin: offer.names for offer in known.plugins}
    absent = [plugin.label for plugin in installed() if plugin.name in disabled]
    if json:
        problems = [vars(problem) for problem in known.problems]
        listed = [{"plugin": plugin, **names} for plugin, names in brings.items()]
        return print_json({"plugins": listed, "disabled": absent, "problems": problems})
    rows = [(plugin, _brought(names)) for plugin, names in brings.items()]
    return print_table(("plugin", "provides"), [*rows, *((label, "disabled") for label in absent)])


@app.command()
def doctor(
    timeout: Annotated[float, typer.Option(min=0.1, help="Time limit for each plugin, in seconds.")] = 10.0,
    json: Json = False,
) -> None:
    """Import every plugin in a separate process and report its state; exit code 8 if one is broken."""
    from zoo_core.plugin_tools.doctor import diagnose  # only this command starts subprocesses

    diagnoses = diagnose(timeout)
    if json:
        print_json([vars(diagnosis) for diagnosis in diagnoses])
    else:
        rows = [
            (d.distribution, d.version, d.state, _milliseconds(d.milliseconds), _brought(d.brings)) for d in diagnoses
        ]
        print_table(("name", "version", "state", "ms", "provides"), rows, right=["ms"])
        for d in diagnoses:
            if d.cause:
                eprint(f"{d.distribution} is {d.state}: {d.cause}\n  Try: {d.cure}")
    unusable = [d.distribution for d in diagnoses if not d.well]
    if unusable:
        raise PluginError(f"{len(unusable)} of {len(diagnoses)} plugins cannot be used", why=", ".join(unusable))


@app.command()
def disable(name: DistributionName) -> None:
    """Disable a plugin, even one that fails to import."""
    known = installed_as(name).name
    UserConfig.default().disable(known)
    print(f"{known} is disabled")


@app.command()
def enable(name: DistributionName) -> None:
    """Enable a disabled plugin."""
    configuration = UserConfig.default()
    known = {
        *(plugin.name for plugin in installed()),
        *configuration.settings().disabled,
    }  # it may be uninstalled by now
    if normalized(name) not in known:
        raise UnknownName("installed plugin", name, known, fix="zoo plugins list")
    configuration.enable(normalized(name))
    print(f"{normalized(name)} is enabled")


@app.command()
def check(name: DistributionName, json: Json = False) -> None:
    """Check everything that an installed plugin provides, offline; exit code 9 if a check fails."""
    from zoo_core.testing import checks_of  # torch is imported here, not before

    show_checks(list(checks_of(name)), json=json)


@app.command()
def new(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Its name; the distribution is zoo-NAME.")],
    kind: Annotated[Kind, typer.Option(help="What it provides, in addition to a recipe.")],
    out: Annotated[Path, typer.Option(help="Parent folder of the new plugin.")] = Path(),
) -> None:
    """Create a plugin skeleton with passing tests, and print the commands to try it."""
    known, short = registry(context), name.removeprefix("zoo-")
    if _is_taken(short, known):
        raise UsageError(
            f"{short!r} is taken",
            why="choose another name; zoo list and zoo plugins show who uses it",
            fix="zoo plugins",
        )
    folder = write_plugin(name, kind, out)
    print(f"cd {quote(str(folder))}")
    print('pip install -e ".[test]"')
    print(f"pytest\nzoo plugins check {folder.name}\nzoo run {folder.name.removeprefix('zoo-')}")


def _is_taken(name: str, known: Registry) -> bool:
    return any(name in table for table in known.tables.values()) or f"zoo-{name}" in [
        plugin.name for plugin in installed()
    ]


def _brought(names: Mapping[str, list[str]]) -> str:
    return "; ".join(f"{kind}: {', '.join(some)}" for kind, some in names.items())


def _milliseconds(taken: float | None) -> str:
    return "" if taken is None else f"{taken:.0f}"
