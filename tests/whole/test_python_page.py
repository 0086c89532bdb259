"""The examples on the page about Python are executed, and print what the page says."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "python.md"


@pytest.mark.slow
def test_the_examples_of_the_python_page_print_what_it_says(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.M | re.S)
    assert len(blocks) >= 10
    parsed = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, PAGE.name, str(PAGE), 0)
    result = doctest.DocTestRunner(optionflags=doctest.FAIL_FAST).run(parsed)
    assert result.failed == 0
    assert (tmp_path / "boot.html").is_file()


def test_every_function_of_the_interface_is_on_the_page() -> None:
    headings = re.findall(r"^## (.+)$", PAGE.read_text(), flags=re.M)
    functions = {"check", "create_model", "evaluate", "explain", "export", "load", "load_dataset", "predict", "run"}
    assert functions | {"list_runs", "transforms"} <= set(headings)
