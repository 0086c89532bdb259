"""The names of ImageNet's classes, as timm knows them: WordNet's words for each of its synsets."""

from __future__ import annotations

from collections import Counter

from timm.data.imagenet_info import ImageNetInfo


def imagenet_1k() -> tuple[str, ...]:
    """Return the 1,000 classes of the ImageNet challenge (ILSVRC)."""
    return _names("imagenet-1k")


def imagenet_12k() -> tuple[str, ...]:
    """Return timm's 11,821 classes."""
    return _names("imagenet-12k")


def imagenet_21k_goog() -> tuple[str, ...]:
    """Return Google's 21,843 classes."""
    return _names("imagenet-21k-goog")


def imagenet_21k_miil() -> tuple[str, ...]:
    """Return the 11,221 classes that Alibaba's MIIL retained."""
    return _names("imagenet-21k-miil")


def imagenet_22k() -> tuple[str, ...]:
    """Return the 21,841 classes of the Fall 2011 release."""
    return _names("imagenet-22k")


def imagenet_22k_ms() -> tuple[str, ...]:
    """Return Microsoft's 21,842 classes, those of the challenge first."""
    return _names("imagenet-22k-ms")


def _names(subset: str) -> tuple[str, ...]:
    """Return the first word for each class; where several classes share it, all words and what they mean."""
    info = ImageNetInfo(subset)
    first = [words.partition(",")[0] for words in info.label_descriptions()]
    shared = Counter(first)
    meant = info.label_descriptions(detailed=True)
    return tuple(short if shared[short] == 1 else long for short, long in zip(first, meant, strict=True))
