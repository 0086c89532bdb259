"""Writes the pages that are generated from the code: `python docs/generate.py`. A test fails if one is stale.

    python docs/generate.py [--runs FOLDER]

With --runs, the metrics of the newest finished run of each recipe and seed below FOLDER are first written to
explanation/measured.json, from which explanation/documented-numbers.md is made.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import accuracy
import documented_numbers
import performance
import reliability
import typer.main
from pydantic import BaseModel

from zoo_core import errors, events, hookspecs, testing
from zoo_core.cards import components, datasets, files, models, trainers
from zoo_core.cards.fields import FrozenModel
from zoo_core.cli.app import COMMANDS, app
from zoo_core.engine.compute import losses, seeding
from zoo_core.engine.data import augmentation
from zoo_core.engine.training import examples, loop, optimizers, trainer
from zoo_core.recipes import plan, recipe, reference, settings
from zoo_core.registry.field_docs import FieldDoc, describe_fields
from zoo_core.registry.registry import load_registry

HERE = Path(__file__).parent
DESCRIPTIONS = (files, models, datasets, trainers, components, settings, reference, recipe, plan)  # in reading order
MEASURED = HERE / "explanation" / "measured.json"
HEAD = "<!-- written by docs/generate.py: change the code, not this page -->\n\n"


def pages() -> dict[Path, str]:
    """Return every generated page by its path."""
    return {
        HERE / "reference" / "cli.md": HEAD + "# Commands\n\n" + "\n".join(_commands()),
        HERE / "reference" / "cards.md": HEAD + "# Cards, recipes and plans\n\n" + "\n".join(_values()),
        HERE / "reference" / "hooks.md": HEAD + "# Hooks\n\n" + "\n".join(_hooks()),
        HERE / "reference" / "trainers.md": HEAD + "# Writing a trainer\n\n" + "\n".join(_trainers()),
        HERE / "reference" / "testing.md": HEAD + "# Testing a plugin\n\n" + "\n".join(_testing()),
        HERE / "explanation" / "accuracy.md": HEAD + "\n".join(accuracy.accuracy(load_registry(), accuracy.measured())),
        HERE / "explanation" / "performance.md": HEAD + "\n".join(performance.performance(performance.measured())),
        HERE / "explanation" / "scaling.md": HEAD + "\n".join(performance.scaling(performance.measured())),
        HERE / "explanation" / "reliability.md": HEAD + "\n".join(reliability.reliability(reliability.ledger())),
        HERE / "explanation" / "documented-numbers.md": HEAD
        + "\n".join(documented_numbers.numbers(load_registry(), _measured())),
    }


def _commands() -> Iterator[str]:
    root: Any = typer.main.get_command(app)
    yield "`zoo [--registry FILE] COMMAND`. Data goes to stdout, everything else to stderr; exit codes:\n"
    yield f"```text\n{inspect.cleandoc(errors.__doc__ or '').partition(chr(10) * 2)[2]}\n```\n"
    yield "Other exit codes: 0 success, 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP (closed terminal), 141 broken pipe.\n"
    for name, command in sorted((name, root.get_command(None, name)) for name in COMMANDS):
        inner = getattr(command, "commands", {})
        for path, one in [(f"{name} {sub}", sub_command) for sub, sub_command in inner.items()] or [(name, command)]:
            yield from _command(path, one)


def _command(name: str, command: Any) -> Iterator[str]:  # noqa: ANN401 - click has few types
    yield f"## zoo {name}\n\n{command.help}\n"
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            yield f"- `{parameter.name.upper()}`: {parameter.help or ''}"
        else:
            yield f"- `{', '.join(parameter.opts)}`: {parameter.help or ''}"
    yield ""


def _values() -> Iterator[str]:
    for module in DESCRIPTIONS:
        for name, kind in vars(module).items():
            if inspect.isclass(kind) and kind.__module__ == module.__name__ and issubclass(kind, FrozenModel):
                yield f"## {name}\n\n{inspect.getdoc(kind)}\n"
                yield from _fields(kind)


def _fields(kind: type) -> Iterator[str]:
    """Yield a table of a pydantic model's or a dataclass's fields."""
    rows = describe_fields(kind) if issubclass(kind, BaseModel) else list(_dataclass_fields(kind))
    if rows:
        yield "| field | type | default | |\n|---|---|---|---|"
        for row in rows:
            default = "required" if row.default is None else f"`{row.default}`"
            yield f"| `{row.key}` | {row.type.replace('|', 'or')} | {default} | {row.meaning} |"
        yield ""


def _dataclass_fields(kind: Any) -> Iterator[FieldDoc]:  # noqa: ANN401 - any dataclass
    """Yield a dataclass's fields; their meanings are the comments on their lines."""
    lines = {line.strip().partition(":")[0]: line.partition("  # ")[2] for line in inspect.getsource(kind).splitlines()}
    for field in dataclasses.fields(kind):
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        value = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        default = None if required else getattr(value, "__name__", repr(value))
        yield FieldDoc(field.name, str(field.type), default, lines.get(field.name, ""))


def _hooks() -> Iterator[str]:
    yield inspect.getdoc(hookspecs) or ""
    yield ""
    for name, function in vars(hookspecs).items():
        if name.startswith("zoo_"):
            text, _, example = (inspect.getdoc(function) or "").partition("\n\nExample:\n")
            yield f"## {name}\n\n```python\ndef {name}{_signature(function)}\n```\n"
            yield f"{text}\n\n```python\n{textwrap.dedent(example)}\n```\n"


def _signature(function: Any) -> str:  # noqa: ANN401 - any function
    """Return a function's signature as it is written, without the quotes of postponed annotations."""
    return re.sub(r"'([^']*)'(?=[,)=: ]|$)", r"\1", str(inspect.signature(function)))


def _testing() -> Iterator[str]:
    yield inspect.getdoc(testing) or ""
    yield ""
    for name, function in vars(testing).items():
        if name.startswith("check") and function.__module__ == testing.__name__:
            yield from _function(name, function)


def _function(name: str, function: Any) -> Iterator[str]:  # noqa: ANN401 - any function
    signature = re.sub(r"<function (\w+) at \w+>", r"\1", str(inspect.signature(function)))
    yield f"## {name}\n\n```python\ndef {name.rpartition('.')[2]}{signature}\n```\n"
    text = re.sub(r"\n {8,}", " ", inspect.getdoc(function) or "").replace(":\n    ", ":\n\n    ")
    yield text.replace("\n    ", "\n- ") + "\n"


def _trainers() -> Iterator[str]:
    yield f"{inspect.getdoc(trainer)}\n"
    yield "[zoo-distill](../examples/zoo-distill/README.md) is a complete example. `zoo_core` exports all names.\n"
    yield f"## Trainer\n\n{inspect.getdoc(trainer.Trainer)}\n"
    yield from _function("fit", trainer.Trainer.fit)
    yield from _class(trainer.Job, "loop", "examples", "measures")
    yield from _class(loop.TrainingLoop, "train", "measure")
    for kind in (examples.EvaluatedExamples, events.Progress, events.EpochResult, events.Checkpoint, events.TrainState):
        yield from _class(kind)
    for function in (losses.class_logits, losses.cross_entropy, seeding.seed_torch, augmentation.augmentation):
        yield from _function(function.__name__, function)
    for name in ("make_optimizer", "scheduled_rate", "optimizer_tensors", "restore_optimizer"):
        yield from _function(name, getattr(optimizers, name))


def _class(kind: type, *methods: str) -> Iterator[str]:
    yield f"## {kind.__name__}\n\n{inspect.getdoc(kind)}\n"
    yield from _fields(kind)
    properties = {name: value for name, value in vars(kind).items() if isinstance(value, property | cached_property)}
    public = {name: value for name, value in properties.items() if not name.startswith("_")}
    yield from (f"- `{name}`: {inspect.getdoc(value)}" for name, value in public.items())
    yield ""
    for name in methods:
        yield from _function(f"{kind.__name__}.{name}", getattr(kind, name))


def _measured() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(MEASURED.read_text()) if MEASURED.is_file() else {}
    return found


def _take_runs(folder: Path) -> None:
    """Save the metrics of every finished run with documented or default settings, by recipe and seed."""
    measured = _measured()
    for result in sorted(folder.glob("*/*/result.json")):
        told, plan = json.loads(result.read_text()), json.loads((result.parent / "plan.json").read_text())
        if told["status"] == "finished" and not result.parent.is_symlink():
            recipe = plan["recipe"]
            epochs = [json.loads(line) for line in (result.parent / "metrics.jsonl").read_text().splitlines()]
            dropped = {"epoch", "seconds"}
            kept = [{k: v for k, v in epoch.items() if k not in dropped} for epoch in epochs]
            final = {k: v for k, v in told["metrics"].items() if k.startswith("test_")}
            key = f"{recipe['name']} seed {recipe['seed']}"
            measured[key] = {"recipe": recipe["name"], "seed": recipe["seed"], "epochs": kept, "final": final}
    MEASURED.write_text(json.dumps(dict(sorted(measured.items())), indent=1) + "\n")


def main() -> None:
    """Write every page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path)
    runs = parser.parse_args().runs
    if runs is not None:
        _take_runs(runs)
    for path, text in pages().items():
        path.write_text(text.rstrip() + "\n")
        print(path.relative_to(HERE.parent))


if __name__ == "__main__":
    main()
