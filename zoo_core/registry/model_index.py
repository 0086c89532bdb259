"""All models by name: those that plugins list one by one, and those whose cards a catalogue makes on demand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from zoo_core.cards.fields import resolve
from zoo_core.cards.models import Catalogue, ModelCard
from zoo_core.errors import PluginError, author_line
from zoo_core.registry.pydantic_errors import describe


@dataclass(frozen=True)
class ModelIndex(Mapping[str, ModelCard]):
    """Model cards by name. A catalogue's cards are made on lookup, so listing its names is cheap."""

    single: Mapping[str, ModelCard]
    catalogues: Mapping[str, Catalogue]

    def __getitem__(self, name: str) -> ModelCard:
        if name in self.single:
            return self.single[name]
        catalogue = self._catalogue_of(name)
        if catalogue is None:
            raise KeyError(name)
        return _make_card(catalogue, name)

    def __contains__(self, name: object) -> bool:
        return name in self.single or (isinstance(name, str) and self._catalogue_of(name) is not None)

    def __iter__(self) -> Iterator[str]:
        yield from self.single
        for catalogue in self.catalogues.values():
            yield from sorted(catalogue.models)

    def __len__(self) -> int:
        return len(self.single) + sum(len(catalogue.models) for catalogue in self.catalogues.values())

    @property
    def in_catalogues(self) -> set[str]:
        """The names of the models that catalogues provide."""
        return {name for catalogue in self.catalogues.values() for name in catalogue.models}

    def _catalogue_of(self, name: str) -> Catalogue | None:
        catalogue = self.catalogues.get(name.partition("/")[0])
        return catalogue if catalogue is not None and name in catalogue.models else None


def _make_card(catalogue: Catalogue, name: str) -> ModelCard:
    """Let the catalogue make a card.

    Raises:
        PluginError: its function raised an exception, or returned another card.
    """
    try:
        card = resolve(catalogue.card)(name)
    except PluginError:
        raise
    except Exception as error:
        text = describe(error) if isinstance(error, ValidationError) else str(error)
        line = author_line(error, catalogue.card)
        raise _broken(
            catalogue, name, f"{type(error).__name__}: {text}{line and f' (for its author: {line})'}"
        ) from error
    if not isinstance(card, ModelCard) or card.name != name:
        raise _broken(catalogue, name, f"{catalogue.card} returned {getattr(card, 'name', card)!r}")
    return card


def _broken(catalogue: Catalogue, name: str, why: str) -> PluginError:
    return PluginError(f"catalogue {catalogue.name!r} has no card for {name}", why=why, fix="zoo plugins")
