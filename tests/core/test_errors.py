from __future__ import annotations

import pickle

import pytest

from zoo_core import DataError, UnknownName, ZooError, errors


@pytest.mark.parametrize(
    "error", [DataError("what", why="why", fix="fix"), UnknownName("model", "a", ["b"]), ZooError("what")]
)
def test_an_error_arrives_in_another_process_as_it_was_raised(error: ZooError) -> None:
    arrived = pickle.loads(pickle.dumps(error))
    assert (type(arrived), str(arrived), arrived.exit_code) == (type(error), str(error), error.exit_code)


def test_an_unknown_name_keeps_what_programs_need() -> None:
    error = pickle.loads(pickle.dumps(UnknownName("model", "resnt", ["resnet", "alexnet"])))
    assert (error.kind, error.name, error.known) == ("model", "resnt", ("alexnet", "resnet"))


def test_an_error_says_what_why_and_what_to_type_next() -> None:
    assert str(DataError("x is damaged", why="it ends early", fix="zoo pull x")) == (
        "x is damaged\nit ends early\nTry: zoo pull x"
    )


def test_exit_codes_are_stable() -> None:
    """Scripts rely on them: see the tree at the head of errors.py."""
    found = {
        kind.__name__: kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, ZooError)
    }
    assert found == {
        "ZooError": 1,
        "UsageError": 2,
        "UnknownName": 2,
        "DataError": 3,
        "NetworkError": 4,
        "IntegrityError": 5,
        "ResourceError": 6,
        "Diverged": 7,
        "PluginError": 8,
        "CheckFailed": 9,
    }
