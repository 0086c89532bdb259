"""The reference page of the hooks says what the hooks are."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from zoo_core import hookspecs
from zoo_core.registry.discovery import new_manager
from zoo_core.registry.kinds import KINDS

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "hooks.md").read_text()


def test_the_pages_signatures_are_the_hookspecs() -> None:
    printed = dict(re.findall(r"^## (\w+)\n\n```python\ndef \1(.*)\n```$", PAGE, flags=re.M))
    declared = {name: getattr(hookspecs, name) for name in vars(hookspecs) if name.startswith("zoo_")}
    assert printed == {name: str(inspect.signature(function)) for name, function in declared.items()}
    for function in declared.values():
        assert inspect.getdoc(function) in PAGE


def test_the_page_and_pluggy_know_the_same_hooks() -> None:
    known = {name for name in vars(new_manager().hook) if name.startswith("zoo_")}
    assert known == {kind.hook for kind in KINDS} == set(re.findall(r"^## (\w+)$", PAGE, flags=re.M))
