"""The catalogue: cards that say what the installed timm says, labels, and a list that imports nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest
import timm
import timm.data
import torch
from PIL import Image
from zoo_timm import labels
from zoo_timm.model import build
from zoo_timm.table import table

import zoo_core as zoo
from zoo_core import UnknownName, UsageError
from zoo_core.engine.data.preprocessing import preprocessing

REGISTRY = zoo.load_registry()
TINY, NAME = "test_resnet.r160_in1k", "timm/test_resnet.r160_in1k"


def test_no_option_changes_which_model_is_built() -> None:
    with pytest.raises(UsageError, match="multiple values for keyword argument 'model'"):
        zoo.create_model(NAME, options={"model": "test_vit.r160_in1k"})


@pytest.mark.parametrize("name", ["hf-hub:timm/test_resnet.r160_in1k", "local-dir:.", "resnt18"])
def test_only_models_that_timm_holds_itself_are_built(name: str) -> None:
    with pytest.raises(UnknownName, match="no timm model named"):
        build(2, model=name)


def test_dropout_is_an_option() -> None:
    with torch.device("meta"):
        assert zoo.create_model(NAME, options={"drop_rate": 0.3}).drop_rate == 0.3


@pytest.mark.parametrize("subset", ["1k", "12k", "21k_goog", "21k_miil", "22k", "22k_ms"])
def test_classes_are_told_apart_by_their_names(subset: str) -> None:
    names = getattr(labels, f"imagenet_{subset}")()
    assert len(set(names)) == len(names)
    assert len(names) in {row["num_classes"] for row in table()["models"].values() if "labels" in row}


def test_labels_are_in_the_order_of_imagenet() -> None:
    names = labels.imagenet_1k()
    assert (names[0], names[1], names[999]) == ("tench", "goldfish", "toilet tissue")


SAMPLE = [TINY, "test_vit.r160_in1k", *sorted(table()["models"])[::150]]


@pytest.mark.parametrize("name", SAMPLE)
def test_a_card_says_what_the_installed_timm_says(name: str) -> None:
    card = REGISTRY.model(f"timm/{name}")
    with torch.device("meta"):
        model = build(card.num_classes, model=name)
    assert sum(parameter.numel() for parameter in model.parameters()) == card.parameters
    assert card.head == model.pretrained_cfg["classifier"]
    data = timm.data.resolve_model_data_config(model)
    assert (3, card.input.size, card.input.size) == data["input_size"]
    assert (card.input.mean, card.input.std) == (data["mean"], data["std"])
    covers = "all" if card.num_classes == model.pretrained_cfg["num_classes"] else "backbone"
    assert card.weights[0].covers == covers


def kinds_of_input() -> dict[tuple[str, str], str]:
    """One model for each kind of cutting and interpolation."""
    examples = {}
    for name, row in table()["models"].items():
        spec = table()["inputs"][row["input"]]
        examples.setdefault((spec.get("resize", "squash"), spec["interpolation"]), name)
    return examples


@pytest.mark.parametrize("name", kinds_of_input().values(), ids=map("-".join, kinds_of_input()))
def test_preprocessing_is_timms(name: str) -> None:
    image = Image.effect_noise((700, 500), 90).convert("RGB")
    config = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    theirs = timm.data.create_transform(**config)(image)
    torch.testing.assert_close(preprocessing(REGISTRY.model(f"timm/{name}").input)(image), theirs, atol=1e-5, rtol=0)


def test_a_table_of_the_installed_timm_is_not_ahead_of_it() -> None:
    have, made = (tuple(map(int, v.split(".")[:3])) for v in (timm.__version__, table()["timm"]))
    assert have >= made


def test_listing_imports_neither_timm_nor_torch() -> None:
    program = "import sys; sys.argv = ['zoo', 'list', 'timm/*resnet18*']\nfrom zoo_core.cli import main\n"
    program += "try: main()\nexcept SystemExit as end: assert not end.code\n"
    program += "assert not {'torch', 'timm', 'huggingface_hub'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "timm/resnet18.a1_in1k" in done.stdout


def test_the_plain_list_has_one_line_for_all_of_them() -> None:
    done = subprocess.run([sys.executable, "-m", "zoo_core", "list"], capture_output=True, text=True, check=True)
    (line,) = (line for line in done.stdout.splitlines() if "timm" in line)
    assert f"{len(table()['models']):,} models" in line
    assert "zoo list 'timm/*'" in line


def test_by_a_pattern_they_are_all_there() -> None:
    assert zoo.list_models("timm/*", registry=REGISTRY) == sorted(f"timm/{name}" for name in table()["models"])
