"""The reference pages match the code: the hooks' signatures and examples, and every field of every card."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import get_type_hints

import zoo_core
from zoo_core import cards, hookspecs, recipes
from zoo_core.cards.fields import FrozenModel
from zoo_core.registry.discovery import new_manager
from zoo_core.registry.kinds import KINDS

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
PAGE = (REFERENCE / "hooks.md").read_text()
HOOKS = {name: getattr(hookspecs, name) for name in vars(hookspecs) if name.startswith("zoo_")}


def test_the_pages_signatures_are_the_hookspecs() -> None:
    printed = dict(re.findall(r"^## (\w+)\n\n```python\ndef \1(.*)\n```$", PAGE, flags=re.M))
    assert printed == {name: str(inspect.signature(hook)).replace("'", "") for name, hook in HOOKS.items()}
    for hook in HOOKS.values():
        assert (inspect.getdoc(hook) or "").partition("\n\nExample:")[0] in PAGE


def test_the_page_and_pluggy_know_the_same_hooks() -> None:
    known = {name for name in vars(new_manager().hook) if name.startswith("zoo_")}
    assert known == {kind.hook for kind in KINDS} == set(re.findall(r"^## (\w+)$", PAGE, flags=re.M))


def test_each_hook_has_an_example_that_works() -> None:
    examples = re.findall(r"^```python\n(@hookimpl.*?)^```$", PAGE, flags=re.M | re.S)
    assert len(examples) == len(KINDS)
    names = {name: getattr(zoo_core, name) for name in zoo_core.__all__}
    for example, kind in zip(examples, KINDS, strict=True):
        exec(example, names)
        (card,) = names[kind.hook]()
        assert isinstance(card, kind.card)


def test_every_field_of_every_card_is_on_its_page() -> None:
    page = (REFERENCE / "cards.md").read_text()
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page, flags=re.M | re.S))
    modules = [
        import_module(f"{package.__name__}.{module.name}")
        for package in (cards, recipes)
        for module in iter_modules(package.__path__)
        if module.name not in ("fields", "component_choice")
    ]
    models = {
        value
        for module in modules
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, FrozenModel) and value.__module__ == module.__name__
    }
    assert {"ImageInput", "Rotation", "Affine", "Recipe", "Plan"} <= set(sections)
    for model in models:
        printed = re.findall(r"^\| `(\w+)` \|", sections[model.__name__], flags=re.M)
        assert printed == [name for name in get_type_hints(model) if name in model.model_fields]
    assert "Field(" not in page
