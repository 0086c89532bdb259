"""Nested JSON objects as one flat list of fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


def flatten(fields: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield ("outer.inner", value) for every value that is not an object itself."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
