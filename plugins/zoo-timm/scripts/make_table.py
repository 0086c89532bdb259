"""Writes zoo_timm/models.json: the contents of timm's cards, read from the installed timm. Needs no network.

    python plugins/zoo-timm/scripts/make_table.py
    python plugins/zoo-timm/scripts/make_table.py --check

Every model that has pretrained weights is built on the meta device, where nothing is computed, its parameters are
counted, and two images go through it. Models that zoo's cards cannot express are left out, and the reasons are
printed with their counts. It takes ten minutes. With --check nothing is written, and a stale table is an error.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import timm
import torch
from timm.data.config import resolve_data_config
from timm.models import PretrainedCfg, get_pretrained_cfg
from torch import nn

TABLE = Path(__file__).parents[1] / "zoo_timm" / "models.json"
FRESH = 1000  # classes of the head that is counted with a model that has none
# by the number of classes, as timm.data.infer_imagenet_subset identifies them
LABELS = {1000: "imagenet_1k", 11221: "imagenet_21k_miil", 11821: "imagenet_12k", 21841: "imagenet_22k"}
LABELS |= {21842: "imagenet_22k_ms", 21843: "imagenet_21k_goog"}


class LeftOut(Exception):
    """A model that a card cannot express, and why."""


def row(name: str) -> dict[str, object]:
    """Return one model's row.

    Raises:
        LeftOut: a card cannot express it.
    """
    config = get_pretrained_cfg(name)
    seen = image_input(config)
    head, labels = config.classifier, labels_of(config)
    if not config.hf_hub_id or config.hf_hub_filename:
        raise LeftOut("its weights are not on the Hub as safetensors under timm's names")
    if not isinstance(head, str):
        raise LeftOut("it has several classifiers, or none")
    classes = config.num_classes if labels else FRESH
    parameters = counted(config.architecture, classes, head, seen["size"], config.fixed_input_size)
    fields = {"input": seen, "license": config.license or "unknown", "head": head, "parameters": parameters}
    hub = {} if config.hf_hub_id == f"timm/{name}" else {"repo": hub_id(config, name)}
    return fields | hub | ({"labels": labels, "num_classes": classes} if labels else {"num_classes": classes})


def labels_of(config: PretrainedCfg) -> str | None:
    """Return which of ImageNet's label sets a model predicts; a thousand outputs may also mean something else."""
    known = LABELS.get(config.num_classes)
    return None if known == "imagenet_1k" and "in1k" not in (config.tag or "") else known


def hub_id(config: PretrainedCfg, name: str) -> str:
    """Return the repository; for timm's own, only the organization is named."""
    return f"timm/{name}" if config.hf_hub_id == "timm/" else config.hf_hub_id


def image_input(config: PretrainedCfg) -> dict[str, object]:
    """Return the fields of an ImageInput, as timm's evaluation resolves them."""
    data = resolve_data_config(pretrained_cfg=config.to_dict())
    channels, height, width = data["input_size"]
    if (channels, height) != (3, width):
        raise LeftOut("its images are not square, or do not have three channels")
    if data["crop_mode"] not in ("center", "squash") or (data["crop_mode"] == "squash" and data["crop_pct"] != 1):
        raise LeftOut("its images are cropped in a way that zoo does not support")
    cut = {"resize": "crop", "crop_fraction": data["crop_pct"]} if data["crop_mode"] == "center" else {}
    return {"size": height, "interpolation": data["interpolation"], "mean": data["mean"], "std": data["std"], **cut}


@cache
def counted(architecture: str, classes: int, head: str, size: int, fixed: bool) -> int:
    """Count the parameters of a model that `through` accepts; models that differ only by tag are counted once."""
    through(architecture, head, size, fixed)
    return sum(parameter.numel() for parameter in built(architecture, classes, size, fixed).parameters())


def built(architecture: str, classes: int, size: int, fixed: bool) -> nn.Module:
    """Build a model with its tag's input size, which determines the number of position embeddings."""
    seen = {"input_size": (3, size, size), "fixed_input_size": fixed}
    with torch.device("meta"):
        model: nn.Module = timm.create_model(architecture, num_classes=classes, pretrained_cfg_overlay=seen)
    return model.eval()


@cache
def through(architecture: str, head: str, size: int, fixed: bool) -> None:
    """Send two images through a model with three classes, and again through its backbone and head separately.

    Raises:
        LeftOut: the logits are not (2, 3).
    """
    try:
        with torch.device("meta"), torch.inference_mode():
            model = built(architecture, 3, size, fixed)
            images, last = torch.zeros(2, 3, size, size), model.get_submodule(head)
            logits = model(images)
            model.set_submodule(head, nn.Identity())
            features = model(images)
            again = last(features)
    except Exception as error:
        raise LeftOut("it, or its head alone, cannot be run on the meta device") from error
    if features.ndim != 2 or not logits.shape == again.shape == (2, 3):
        raise LeftOut("its head cannot be trained on the features of its backbone")


def rows() -> Iterator[tuple[str, dict[str, object]]]:
    """Yield the name and row of each model that a card can express, and print how many it cannot."""
    reasons: Counter[str] = Counter()
    names = timm.list_models(pretrained=True)
    for number, name in enumerate(names):
        print(f"\r{number:,} of {len(names):,}", end="", file=sys.stderr)
        try:
            yield name, row(name)
        except LeftOut as reason:
            reasons[str(reason)] += 1
    print(file=sys.stderr)
    for reason, count in reasons.most_common():
        print(f"{count:5,} left out: {reason}")


def compact(models: dict[str, dict[str, object]]) -> Iterator[str]:
    """Yield the table's lines: one line per model, so that diffs are short; equal inputs are written once."""
    inputs = list(dict.fromkeys(json.dumps(fields["input"]) for fields in models.values()))
    yield f'{{"timm": "{timm.__version__}",\n"inputs": [\n' + ",\n".join(inputs) + '\n],\n"models": {\n'
    lines = []
    for name, fields in models.items():
        lines.append(f"{json.dumps(name)}: {json.dumps(fields | {'input': inputs.index(json.dumps(fields['input']))})}")
    yield ",\n".join(lines) + "\n}}\n"


def main() -> None:
    """Make the table, or check it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    only_check = parser.parse_args().check
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    models = dict(rows())
    text = "".join(compact(models))
    if only_check:
        sys.exit(None if text == TABLE.read_text(encoding="utf-8") else "models.json is stale")
    TABLE.write_text(text, encoding="utf-8")
    print(f"{len(models):5,} models, timm {timm.__version__}: {TABLE.stat().st_size:,} bytes in {TABLE}")


if __name__ == "__main__":
    main()
