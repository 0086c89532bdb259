"""Diagnoses installed plugins, each in a separate process, so that none can disturb the diagnosis of another."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from zoo_core.disk.atomic import atomic_write
from zoo_core.disk.sandbox import describe_exit, limit_memory, run_child
from zoo_core.errors import Problem
from zoo_core.registry import kinds
from zoo_core.registry.contents import PluginContents
from zoo_core.registry.discovery import collect, find_plugins, new_manager
from zoo_core.registry.distributions import Distribution, installed
from zoo_core.registry.registry import Registry, registry_of
from zoo_core.registry.settings import UserConfig

State = Literal["ok", "slow", "disabled", "incompatible", "broken"]

PATIENCE = 10.0  # seconds for one plugin
SLOW = 500.0  # milliseconds to import, above which every command becomes noticeably slower
MEMORY = 4 * 2**30  # bytes that a plugin may allocate while it is examined
PROGRAM = "from zoo_core.plugin_tools.doctor import examine; examine(*sys.argv[1:])"


@dataclass(frozen=True)
class ImportReport:
    """What happened when a plugin was imported in its process."""

    offers: tuple[PluginContents, ...] = ()
    problems: tuple[Problem, ...] = ()
    milliseconds: float | None = None  # to import the entry modules, zoo_core being imported already
    imports_torch: bool = False


@dataclass(frozen=True)
class Diagnosis:
    """The state of an installed distribution's plugins."""

    distribution: str
    version: str
    state: State
    milliseconds: float | None  # None: its import was not attempted, or did not finish
    brings: Mapping[str, list[str]]  # names by kind; empty if it is not loaded
    cause: str = ""
    cure: str = ""

    @property
    def well(self) -> bool:
        """Whether there is nothing to fix."""
        return self.state not in ("broken", "incompatible")


def diagnose(seconds: float = PATIENCE) -> list[Diagnosis]:
    """Examine every installed plugin, several at once, each for at most `seconds`."""
    plugins, disabled = installed(), UserConfig.default().settings().disabled
    fit = [plugin for plugin in plugins if plugin.name not in disabled and plugin.incompatibility is None]
    findings = dict(zip((plugin.name for plugin in fit), examine_all(fit, seconds), strict=True))
    core, _ = collect(new_manager())
    together = registry_of([*core, *(offer for report in findings.values() for offer in report.offers)])
    return [
        _diagnosis(plugin, plugin.name in disabled, findings.get(plugin.name, ImportReport()), together)
        for plugin in plugins
    ]


def examine(name: str, report: str) -> None:
    """Import one distribution's plugins in this process, and write an ImportReport to a file."""
    limit_memory(MEMORY)
    distribution = next(plugin for plugin in installed() if plugin.name == name)
    atomic_write(
        Path(report), TypeAdapter(ImportReport).dump_json(_findings(distribution), fallback=str, warnings=False)
    )


def _findings(distribution: Distribution) -> ImportReport:
    new_manager()  # so that what it loads is not counted
    began = perf_counter()
    try:
        manager, problems = find_plugins([distribution])
        milliseconds = 1000 * (perf_counter() - began)
        offers, broken = collect(manager)
    except KeyboardInterrupt:  # no one presses Ctrl-C here: the plugin raised it
        return ImportReport(problems=(_problem(distribution, "it raised KeyboardInterrupt, as Ctrl-C does"),))
    provided = tuple(offer for offer in offers if offer.plugin != "zoo-core")
    return ImportReport(provided, (*problems, *broken), milliseconds, "torch" in sys.modules)


def examine_all(distributions: Iterable[Distribution], seconds: float) -> list[ImportReport]:
    """Examine each distribution in a separate process, as many at once as there are cores."""
    with TemporaryDirectory(prefix="zoo-") as folder:
        pool = ThreadPoolExecutor(os.cpu_count())
        try:
            return list(pool.map(lambda plugin: _examine(plugin, Path(folder), seconds), distributions))
        finally:
            pool.shutdown(cancel_futures=True)


def _examine(distribution: Distribution, folder: Path, seconds: float) -> ImportReport:
    report = folder / f"{distribution.name}.json"
    code = run_child(PROGRAM, [distribution.name, str(report)], seconds=seconds)
    try:
        findings: ImportReport = TypeAdapter(ImportReport).validate_json(report.read_bytes())
    except (OSError, ValidationError):
        return ImportReport(problems=(_problem(distribution, f"while it was imported {describe_exit(code, seconds)}"),))
    if code != 0:
        cause = f"after it was imported {describe_exit(code, seconds)}"
        return ImportReport(problems=(*findings.problems, _problem(distribution, cause)))
    return findings


def _diagnosis(plugin: Distribution, disabled: bool, findings: ImportReport, together: Registry) -> Diagnosis:
    state, problem = ("disabled", _disabled(plugin)) if disabled else _state(plugin, findings, together)
    offers = [offer for offer in together.plugins if plugin.provides(offer.plugin)]
    brings = {
        kind.plural: [name for offer in offers for name in offer.names.get(kind.plural, ())] for kind in kinds.KINDS
    }
    cause, cure = (problem.cause, problem.cure) if problem else ("", "")
    return Diagnosis(
        plugin.name, plugin.version, state, findings.milliseconds, {k: v for k, v in brings.items() if v}, cause, cure
    )


def _state(plugin: Distribution, findings: ImportReport, together: Registry) -> tuple[State, Problem | None]:
    if plugin.incompatibility is not None:
        return "broken" if plugin.fault else "incompatible", plugin.incompatibility
    problems = [*findings.problems, *(p for p in together.problems if plugin.provides(p.subject))]
    if problems:
        return "broken", Problem(plugin.label, "; ".join(p.cause for p in problems), problems[0].cure)
    if findings.imports_torch or (findings.milliseconds or 0) > SLOW:
        return "slow", _slow(plugin, findings)
    return "ok", None


def _problem(plugin: Distribution, cause: str) -> Problem:
    return Problem(plugin.label, cause, f"zoo plugins disable {plugin.name}")


def _disabled(plugin: Distribution) -> Problem:
    return Problem(plugin.label, "you disabled it", f"zoo plugins enable {plugin.name}")


def _slow(plugin: Distribution, findings: ImportReport) -> Problem:
    cause = "its entry module imports torch" if findings.imports_torch else "importing it takes long"
    cure = "move its imports to the modules that its cards name: they are loaded when they are used"
    return Problem(plugin.label, f"{cause}, which delays every command", cure)
