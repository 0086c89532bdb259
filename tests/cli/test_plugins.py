"""`zoo plugins`: listing, examining, disabling."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Zoo
from tests.fakes.installation import install, model
from zoo_core.registry.settings import UserConfig


def test_without_a_command_and_with_list_the_plugins_are_listed(zoo: Zoo) -> None:
    said = zoo("plugins")
    assert (said.code, said.err) == (0, "")
    assert "zoo-fashion-cnn 0.1.0        models: fashion-cnn, fashion-net; datasets: fashion-mnist" in said.out
    assert zoo("plugins", "list").out == said.out
    document = json.loads(zoo("plugins", "--json").out)
    assert json.loads(zoo("plugins", "list", "--json").out) == document
    assert (document["disabled"], document["problems"]) == ([], [])


def test_a_disabled_plugin_is_not_imported_and_is_shown(zoo: Zoo, site: Path) -> None:
    install(site, "zoo-tired", f"open({str(site / 'imported')!r}, 'w').close()\n" + model("tired"))
    assert zoo("plugins", "disable", "Zoo_Tired").out == "zoo-tired is disabled\n"
    listed = zoo("plugins")
    assert "zoo-tired 1.0                disabled" in listed.out
    assert json.loads(zoo("plugins", "--json").out)["disabled"] == ["zoo-tired 1.0"]
    assert zoo("show", "tired").code == 2
    doctor = zoo("plugins", "doctor")
    assert doctor.code == 0
    assert "zoo-tired is disabled: you disabled it\n  Try: zoo plugins enable zoo-tired" in doctor.err
    assert not (site / "imported").exists()
    assert zoo("plugins", "enable", "zoo-tired").out == "zoo-tired is enabled\n"
    assert "models: tired" in zoo("plugins").out
    assert (site / "imported").exists()


def test_a_broken_plugin_can_be_disabled(zoo: Zoo, site: Path) -> None:
    install(site, "zoo-tiresome", "raise SystemExit('no')")
    said = zoo("list")
    assert "Skipped: zoo-tiresome 1.0: importing 'zoo_tiresome' raised SystemExit: no" in said.err
    assert "zoo plugins disable zoo-tiresome" in said.err
    assert zoo("plugins", "doctor").code == 8
    zoo("plugins", "disable", "zoo-tiresome")
    assert zoo("list").err == ""
    assert zoo("plugins", "doctor").code == 0


@pytest.mark.parametrize("command", ["disable", "enable"])
def test_an_unknown_name_suggests_the_closest_installed_one(zoo: Zoo, command: str) -> None:
    said = zoo("plugins", command, "zoo-fashon-cnn")
    assert (said.code, said.out) == (2, "")
    assert "no installed plugin named 'zoo-fashon-cnn'; did you mean 'zoo-fashion-cnn'?" in said.err
    assert UserConfig.default().settings().disabled == ()


def test_what_was_uninstalled_can_be_enabled(zoo: Zoo) -> None:
    UserConfig.default().disable("zoo-gone")
    assert zoo("plugins", "enable", "zoo-gone").code == 0
    assert UserConfig.default().settings().disabled == ()


def test_the_doctor_prints_a_row_for_each_plugin(zoo: Zoo) -> None:
    said = zoo("plugins", "doctor")
    assert (said.code, said.err) == (0, "")
    header, *rows = said.out.splitlines()
    assert header.split() == ["name", "version", "state", "ms", "provides"]
    (row,) = (one.split() for one in rows if one.startswith("zoo-horses-cnn "))
    assert row[1:3] == ["0.1.0", "ok"]
    assert int(row[3]) >= 0
    assert row[4:] == ["models:", "horses-cnn,", "horses-cnn-300;", "components:", "flat-background"]


def test_the_doctor_as_json_names_cause_and_cure(zoo: Zoo, site: Path) -> None:
    install(site, "zoo-later", model("later"), requires="zoo-core>=99")
    said = zoo("plugins", "doctor", "--json")
    assert said.code == 8
    assert "1 of 7 plugins cannot be used\nzoo-later" in said.err
    document = {one["distribution"]: one for one in json.loads(said.out)}
    assert document["zoo-later"]["state"] == "incompatible"
    assert document["zoo-later"]["cure"] == "pip install --upgrade zoo-core"
    assert document["zoo-fashion-cnn"]["state"] == "ok"


def test_a_process_that_does_not_end_is_named(zoo: Zoo, site: Path) -> None:
    install(site, "zoo-lingers", "import threading, time\nthreading.Thread(target=time.sleep, args=(99,)).start()\n")
    said = zoo("plugins", "doctor", "--timeout", "5")
    assert said.code == 8
    assert "zoo-lingers is broken: after it was imported it did not finish within 5 s" in said.err


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "soon"])
def test_a_time_limit_is_a_positive_number(zoo: Zoo, seconds: str) -> None:
    assert zoo("plugins", "doctor", "--timeout", seconds).code == 2


def test_a_trainers_settings_can_be_discovered(zoo: Zoo) -> None:
    """Each with its type, default and meaning, under the key that --set takes."""
    said = zoo("show", "supervised").out
    for key in ("settings.freeze_until", "settings.hold_bytes", "settings.validate_through_augmentation"):
        assert key in said
    document = json.loads(zoo("show", "frozen-features", "--json").out)["trainer"]
    field = next(field for field in document["settings_fields"] if field["key"].endswith("batch_size"))
    assert (field["key"], field["type"], field["default"]) == ("settings.feature_batch_size", "int > 0", "16")
    assert "backbone" in field["meaning"]


def test_a_recipes_fields_are_shown_with_their_legal_values(zoo: Zoo) -> None:
    fields = {field["key"]: field for field in json.loads(zoo("show", "horses-cnn", "--json").out)["recipe"]["fields"]}
    assert fields["schedule"]["type"] == "'constant' or 'cosine'"
    assert fields["optimizer.name"]["type"] == "'adam' or 'adamw' or 'sgd' or a plugin's"
    assert "optimizer.lr" in fields
    assert all(field["meaning"] for field in fields.values())
    assert "'constant' or 'cosine'" in zoo("show", "horses-cnn").out.replace("\n", " ")
