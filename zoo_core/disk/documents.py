"""The JSON documents that zoo writes: one object each, which names the schema it follows.

A document without the key predates schemas: it counts as schema 0, which `zoo_core.runs.legacy` translates.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

SCHEMA = 1


def dump_document(fields: Mapping[str, Any], *, indent: int | None = 2) -> bytes:
    """Return the bytes of a document with these fields."""
    return (json.dumps({"schema": SCHEMA, **fields}, indent=indent, allow_nan=False) + "\n").encode()


def load_document(content: bytes) -> tuple[int, dict[str, Any]]:
    """Return a document's schema and its other fields.

    Raises:
        ValueError: it is not a JSON object, or a newer version of zoo wrote it.
        RecursionError: it is nested too deeply.
    """
    try:
        fields = json.loads(content)
    except ValueError as error:
        raise ValueError(f"invalid JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ValueError("it is not a JSON object")
    schema = fields.pop("schema", 0)
    if schema not in (0, SCHEMA) or isinstance(schema, bool):
        raise ValueError(f"it follows schema {schema!r:.20}; this version of zoo reads up to {SCHEMA}")
    return schema, fields
