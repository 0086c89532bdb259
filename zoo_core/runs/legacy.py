"""Translates run documents that were written before documents had a schema (commit ece8b4a and earlier)."""

from __future__ import annotations

from typing import Any

DOORS = {  # built-in code was referenced by inner module paths
    "zoo_core.engine.supervised:Supervised": "zoo_core:SupervisedTrainer",
    "zoo_core.engine.frozen_features:FrozenFeatures": "zoo_core:FrozenFeaturesTrainer",
    "zoo_core.trainers:SupervisedSettings": "zoo_core:SupervisedSettings",
    "zoo_core.trainers:FrozenFeaturesSettings": "zoo_core:FrozenFeaturesSettings",
    "zoo_core.readers:gunzip": "zoo_core:gunzip",
    "zoo_core.readers:rezip": "zoo_core:rezip",
}
RENAMED = {  # keys, wherever they appear in a document
    "plan.json": {
        "documented": "reference",
        "place": "section",
        "figures": "metrics",
        "says": "quote",
        "trunk": "backbone",
        "probes": "reported",
    },
    "result.json": {"documented": "reference", "held": "passed", "says": "quote"},
    "environment.json": {"arithmetic": "precision", "ranks": "world_size"},
}
# "pretrained" used to mean a backbone under a fresh head; any other weights were loaded whole
_HEADS: dict[str | None, dict[str, str]] = {None: {}, "pretrained": {"head": "fresh"}}


def upgrade(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a document of schema 0, such as "plan.json", as schema 1 names them."""
    upgraded: dict[str, Any] = _renamed(fields, RENAMED.get(name, {}))
    if name == "plan.json" and isinstance(upgraded.get("recipe"), dict):
        upgraded["recipe"] = {**_HEADS.get(upgraded["recipe"].get("weights"), {"head": "keep"}), **upgraded["recipe"]}
    return upgraded


def _renamed(value: Any, keys: dict[str, str]) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        return {keys.get(key, key): _covers(key, _renamed(inner, keys)) for key, inner in value.items()}
    if isinstance(value, list):
        return [_renamed(inner, keys) for inner in value]
    return DOORS.get(value, value) if isinstance(value, str) else value


def _covers(key: str, value: Any) -> Any:  # noqa: ANN401 - any JSON value
    return "backbone" if (key, value) == ("covers", "trunk") else value
