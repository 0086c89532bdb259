"""What one plugin provides, by kind; it can be written as JSON and read back by another process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from zoo_core.cards.fields import FrozenModel
from zoo_core.cards.models import Catalogue
from zoo_core.registry import kinds


def _read_cards(cards: Mapping[str, Any]) -> dict[str, tuple[FrozenModel, ...]]:
    """Give each value the class of its kind: in JSON they are all plain objects."""
    classes = {kind.plural: kind.card for kind in kinds.KINDS}
    return {plural: tuple(map(classes[plural].model_validate, values)) for plural, values in cards.items()}


Cards = Annotated[Mapping[str, tuple[SerializeAsAny[FrozenModel], ...]], BeforeValidator(_read_cards)]


@dataclass(frozen=True)
class PluginContents:
    """Everything that one plugin provides."""

    plugin: str  # "zoo-fashion-cnn 0.1.0"
    cards: Cards  # by the plural of their kind

    @property
    def entries(self) -> tuple[tuple[str, str, Any], ...]:
        """All of it, as (plural of the kind, name, value)."""
        return tuple((plural, card.name, card) for plural, cards in self.cards.items() for card in cards)  # type: ignore[attr-defined]

    @property
    def claimed_names(self) -> tuple[tuple[str, str], ...]:
        """The (kind, name) pairs that no other plugin can use; a catalogue also claims its models' names."""
        in_catalogues = (
            ("models", name) for _, _, card in self.entries if isinstance(card, Catalogue) for name in card.models
        )
        return (*((plural, name) for plural, name, _ in self.entries), *in_catalogues)

    def without(self, refused: set[tuple[str, str]]) -> PluginContents:
        """Return it without these (kind, name) pairs; a catalogue loses the models whose names are refused."""
        if refused.isdisjoint(self.claimed_names):
            return self
        taken = {name for plural, name in refused if plural == "models"}
        remaining: dict[str, tuple[FrozenModel, ...]] = {plural: () for plural in self.cards}
        for plural, name, card in self.entries:
            if (plural, name) not in refused:
                if isinstance(card, Catalogue):
                    card = card.model_copy(update={"models": card.models - taken})
                remaining[plural] += (card,)
        return PluginContents(self.plugin, {plural: cards for plural, cards in remaining.items() if cards})

    @property
    def names(self) -> dict[str, list[str]]:
        """The names of all of it, by kind; kinds that it does not provide are left out."""
        names: dict[str, list[str]] = {}
        for plural, name, _ in self.entries:
            names.setdefault(plural, []).append(name)
        return names
