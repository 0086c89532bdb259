"""Cells of a CSV file that spreadsheets open without evaluating them."""

from __future__ import annotations

import csv
import io
import re

FORMULA = re.compile(r"'*[=+\-@\t\r\n]")  # a spreadsheet would evaluate a cell that begins like this, without the "'"


def csv_cell(text: str) -> str:
    """Return a text as a CSV cell; one that a spreadsheet would evaluate as a formula begins with an apostrophe.

    Python 3.11's csv module leaves "\\r" unquoted, and then cannot read it back.
    """
    guarded = f"'{text}" if FORMULA.match(text) else text
    return '"' + guarded.replace('"', '""') + '"' if re.search(r'[,"\r\n]', guarded) else guarded


def csv_text(cell: str) -> str:
    """Undo the guard of `csv_cell`, after a CSV reader has removed the quotes."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


def csv_rows(content: bytes) -> list[list[str]]:
    """Return the cells of a CSV file, as they are written in it; raises ValueError if it is not one."""
    try:
        return list(csv.reader(io.StringIO(content.decode("utf-8", "surrogateescape"), newline="")))
    except csv.Error as error:
        raise ValueError(str(error)) from error
