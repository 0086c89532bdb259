"""What a recorded plan keeps when it is planned again: choices that would be made differently today."""

from __future__ import annotations

from collections.abc import Mapping

from zoo_core.cards.models import PUBLISHED, WeightsCard
from zoo_core.recipes.plan import Plan
from zoo_core.registry.imported_weights import with_imported


def with_recorded_weights(plan: Plan, recorded: Plan, imported: Mapping[str, tuple[WeightsCard, ...]]) -> Plan:
    """Take over which weights were the published ones then, if the installed card still has them."""
    if plan.recipe.weights not in PUBLISHED or not recorded.weights:
        return plan
    card, name = with_imported(plan.model, imported), recorded.weights[-1].name
    if name not in {weights.name for weights in card.weights}:
        return plan
    return plan.model_copy(update={"weights": card.select(name, plan.recipe.head).cards})


def with_recorded_split(plan: Plan, recorded: Plan) -> Plan:
    """Take over the recorded split of images that zoo split: listing only counts them, and reading them splits them."""
    listed, examples = plan.edition.examples, recorded.edition.examples
    unsplit = plan.data is not None and "validation" not in listed
    return plan.with_examples(examples) if unsplit and sum(examples.values()) == sum(listed.values()) else plan
