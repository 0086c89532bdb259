"""The names of ImageNet's 1,000 classes, as timm knows them."""

from __future__ import annotations

from collections import Counter

from timm.data.imagenet_info import ImageNetInfo


def imagenet() -> tuple[str, ...]:
    """Return WordNet's first word for each class, in logit order; all words and what they mean where two share it."""
    info = ImageNetInfo("imagenet-1k")
    first = [words.partition(",")[0] for words in info.label_descriptions()]
    shared = Counter(first)
    meant = info.label_descriptions(detailed=True)
    return tuple(short if shared[short] == 1 else long for short, long in zip(first, meant, strict=True))
