"""All models by name: those with a card of their own, and those whose card a catalogue makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from zoo_core.cards import Catalogue, ModelCard, resolve
from zoo_core.errors import PluginError


@dataclass(frozen=True)
class ModelIndex(Mapping[str, ModelCard]):
    """Cards by name. Of a catalogue's models only the names are held: listing a thousand costs next to nothing."""

    single: Mapping[str, ModelCard]
    catalogues: Mapping[str, Catalogue]

    def __getitem__(self, name: str) -> ModelCard:
        if name in self.single:
            return self.single[name]
        catalogue = self._catalogue_of(name)
        if catalogue is None:
            raise KeyError(name)
        return _made(catalogue, name)

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


def _made(catalogue: Catalogue, name: str) -> ModelCard:
    """Let the catalogue make a card.

    Raises:
        PluginError: what it made is not the card of this name.
    """
    try:
        card = resolve(catalogue.card)(name)
    except (TypeError, ValueError, LookupError, OSError) as error:
        raise _broken(catalogue, name, f"{type(error).__name__}: {error}") from error
    if not isinstance(card, ModelCard) or card.name != name:
        raise _broken(catalogue, name, f"it made {getattr(card, 'name', card)!r}")
    return card


def _broken(catalogue: Catalogue, name: str, why: str) -> PluginError:
    return PluginError(f"catalogue {catalogue.name!r} has no card for {name}", why=why, fix="zoo plugins")
