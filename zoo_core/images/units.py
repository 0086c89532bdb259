"""Which images must stay on one side of a split: those of a group, and those with the same pixels."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from zoo_core.images.listing import LabelledFile, ListedImages
from zoo_core.images.names import name_below


def groups_of(listed: ListedImages, pattern: str | None) -> Mapping[Path, str]:
    """Return the group of each image that has one.

    Args:
        listed: the images; without a pattern, a CSV file's column `group` says.
        pattern: a regular expression, searched for in each image's path inside the folder. Its first named group that
            matches is the image's group, else its first group, else all that it matches.
    """
    if pattern is None:
        return listed.groups
    groups, compiled = {}, re.compile(pattern)
    for files in listed.splits.values():
        for path, _ in files:
            if found := compiled.search(name_below(listed.root, path)):
                groups[path] = _group(found)
    return groups


def _group(found: re.Match[str]) -> str:
    named = (text for text in found.groupdict().values() if text is not None)
    unnamed = (text for text in found.groups() if text is not None)
    return next(named, None) or next(unnamed, None) or found[0]


def unit_keys(
    files: Sequence[LabelledFile],
    digests: Mapping[Path, str],
    pixels: Mapping[Path, bytes],
    groups: Mapping[Path, str],
) -> Mapping[Path, str]:
    """Return a key for each image, in hexadecimal digits; images that must stay together share it.

    The key is the SHA-256 of the image's bytes, or of its group's name. Images with the same pixels or in the same
    group are joined, also through others, and take the smallest key among them.

    Args:
        files: the images. Those without a digest, which could not be read, get no key.
        digests: the SHA-256 of each file's bytes.
        pixels: a hash of each decoded image.
        groups: the group of each image that has one.
    """
    known = [path for path, _ in files if path in digests]
    parents = list(range(len(known)))

    def root_of(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    first: dict[object, int] = {}
    keys = []
    for index, path in enumerate(known):
        group = groups.get(path)
        keys.append(
            digests[path] if group is None else hashlib.sha256(group.encode("utf-8", "surrogateescape")).hexdigest()
        )
        shared = [("digest", digests[path]), ("pixels", pixels.get(path)), ("group", group)]
        for bond in [bond for bond in shared if bond[1]]:
            parents[root_of(index)] = root_of(first.setdefault(bond, index))
    smallest: dict[int, str] = {}
    for index, key in enumerate(keys):
        smallest[root_of(index)] = min(key, smallest.get(root_of(index), key))
    return {path: smallest[root_of(index)] for index, path in enumerate(known)}
