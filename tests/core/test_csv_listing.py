"""CSV files that list images: what they may contain, and how their faults are reported."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from zoo_core.errors import DataError
from zoo_core.images.csv_listing import MAX_FAULTS, MAX_LINE
from zoo_core.images.folder import names_own_images, scan
from zoo_core.images.listing import ListedImages


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with files that nobody opens while they are listed."""
    for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg", "sub/e.jpg"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).touch()
    return tmp_path / "photos"


def listed(photos: Path, text: str | bytes, name: str = "list.csv") -> ListedImages:
    (photos / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return scan(photos / name)


def errors(listing: ListedImages) -> dict[str, tuple[str, ...]]:
    return {issue.what: issue.paths for issue in listing.issues if issue.fatal}


def test_a_csv_lists_paths_labels_and_splits(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "far.jpg").touch()
    far = tmp_path / "far.jpg"
    rows = f"a.jpg,cat,train\nb.jpg,dog,val\nsub/e.jpg,dog,test\n{far},cat,Validation\nc.jpg,ox,train\n"
    listing = listed(photos, "path,label,split\n" + rows)
    assert listing.classes == ("cat", "dog", "ox")
    assert listing.splits == {
        "train": ((photos / "a.jpg", 0), (photos / "c.jpg", 2)),
        "validation": ((photos / "b.jpg", 1), (tmp_path / "far.jpg", 0)),
        "test": ((photos / "sub/e.jpg", 1),),
    }
    assert (listing.issues, listing.split_by_zoo, listing.task) == ((), False, "single-label")
    assert (listing.dataset.name, listing.dataset.source) == ("csv", str(photos / "list.csv"))


@pytest.mark.parametrize(
    "text",
    [
        "path,label\na.jpg,cat\nb.jpg,dog\n",
        "\ufeffpath,label\r\na.jpg,cat\r\n\r\nb.jpg,dog",
        "path;label\na.jpg;cat\nb.jpg;dog\n",
        "path\tlabel\na.jpg\tcat\nb.jpg\tdog\n",
        'Label , note,PATH\n cat ,"one, two",a.jpg\ndog,"with\nline",b.jpg\n',
    ],
    ids=["commas", "BOM and CRLF", "semicolons", "tabs", "quoted, other columns"],
)
def test_every_usual_dialect_is_read(photos: Path, text: str) -> None:
    listing = listed(photos, text)
    assert listing.classes == ("cat", "dog")
    assert listing.splits == {"train": ((photos / "a.jpg", 0), (photos / "b.jpg", 1))}
    assert listing.split_by_zoo
    assert listing.issues == ()


@pytest.mark.parametrize(
    "text",
    [
        "path,label\na.jpg,indoors;cat\nb.jpg,cat\nc.jpg,\n",
        'path;label\na.jpg;"cat; indoors;"\nb.jpg;cat\nc.jpg;\n',
        "path,labels\na.jpg,cat;indoors;cat\nb.jpg,cat\nc.jpg,\n",
    ],
)
def test_a_semicolon_or_the_columns_name_makes_it_multi_label(photos: Path, text: str) -> None:
    listing = listed(photos, text)
    assert listing.task == listing.dataset.task == "multi-label"
    assert [label for _, label in listing.splits["train"]] == [(0, 1), (0,), ()]
    assert listing.issues == ()


def test_a_column_named_labels_may_have_one_label_each(photos: Path) -> None:
    assert listed(photos, "path,labels\na.jpg,cat\nb.jpg,\n").task == "multi-label"
    assert errors(listed(photos, "path,label\na.jpg,cat\nb.jpg,dog\nc.jpg,\n")) == {
        "1 row without a label": ("line 4",)
    }


def test_all_faults_are_reported_at_once_with_their_lines(photos: Path) -> None:
    rows = ["a.jpg,cat,val,", "a.jpg,dog,val,", "b.jpg,cat,,", "gone.jpg,cat,train,", ",cat,train,", "c.jpg,dog,trian,"]
    rows += ["sub,dog,train,", "a\0b,dog,train,", "d.jpg,,train,", "c.jpg,dog", "x" * 5000 + ",dog,train,"]
    found = errors(listed(photos, "\n".join(["path,label,split,group", *rows])))
    assert found == {
        "1 row whose file does not exist": ("line 5: gone.jpg",),
        "1 row without a path": ("line 6",),
        "1 row with an unknown split (known: train, validation, val, test)": ("line 7: trian",),
        "1 row whose path is a folder, not an image": ("line 8: sub",),
        "1 row whose path no file can have": ("line 9: a\0b",),
        "1 row with more or fewer cells than the first row": ("line 11: 2 cells",),
        "1 row whose file cannot be opened": (f"line 12: {'x' * 200}: File name too long",),
        "1 row with a different label, split or group from an earlier row of the same image": ("lines 2 and 3: a.jpg",),
        "1 row without a split, although others are training or validation images": ("line 4",),
        "1 row without a label": ("line 10",),
        "at least two classes are required, found 1: cat": (),
    }


def test_repeated_rows_that_agree_are_ignored_with_a_note(photos: Path) -> None:
    listing = listed(photos, "path,label\na.jpg,cat\nsub/../a.jpg,cat\nb.jpg,dog\n")
    assert [(issue.fatal, issue.what, issue.paths) for issue in listing.issues] == [
        (False, "ignored 1 repeated row", ("lines 2 and 3: sub/../a.jpg",))
    ]
    assert len(listing.splits["train"]) == 2


def test_rows_without_a_split_may_stand_beside_test_images(photos: Path) -> None:
    listing = listed(photos, "path,label,split\na.jpg,cat,test\nb.jpg,cat,\nc.jpg,dog,\n")
    assert {split: len(files) for split, files in listing.splits.items()} == {"train": 2, "test": 1}
    assert listing.split_by_zoo
    assert listing.issues == ()


def test_a_missing_split_is_an_error(photos: Path) -> None:
    found = errors(listed(photos, "path,label,split\na.jpg,cat,test\nb.jpg,dog,train\n"))
    assert found == {"no validation images in the column split": ()}


def test_many_faults_are_counted_and_the_first_listed(photos: Path) -> None:
    rows = "".join(f"gone-{number}.jpg,cat\n" for number in range(1234))
    (lines,) = (lines for what, lines in errors(listed(photos, "path,label\n" + rows)).items() if "exist" in what)
    assert len(lines) == MAX_FAULTS + 1
    assert lines[-1] == f"and {1234 - MAX_FAULTS:,} more"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "must name the columns path and label, each once; it has: nothing"),
        (b"file,class\na.jpg,cat\n", "it has: file, class"),
        (b"path,label,labels\n", "it has: path, label, labels"),
        (b"path,path,label\n", "it has: path, path, label"),
        (b"a," * 20, "it has: a, a, a, a, a, a, a, a, a, a, …"),
        (b"," * 3_000_000, f"longer than {MAX_LINE:,} characters"),
        (b"path,label\n\xff.jpg,cat\n", "not UTF-8"),
        ("path,label\na.jpg,cat\n".encode("utf-16"), "not UTF-8"),
    ],
)
def test_what_is_not_such_a_csv_is_refused(photos: Path, content: bytes, why: str) -> None:
    with pytest.raises(DataError) as raised:
        listed(photos, content)
    assert why in raised.value.why


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ("a.jpg," + "x" * 10_000_000, "line 2: longer than 100,000 characters"),
        ("a.jpg,cat\n" + "b.jpg" + "," * 10_000_000, "line 3: longer than 100,000 characters"),
        ('a.jpg,"cat"x\n', "line 2: ',' expected after '\"'"),
        ('a.jpg,"' + "cat\n" * 100_000, "field larger than field limit"),
    ],
    ids=["a long field", "many columns", "a stray quote", "an open quote"],
)
def test_a_malformed_row_is_reported_with_the_others(photos: Path, rows: str, line: str) -> None:
    began = time.perf_counter()
    found = errors(listed(photos, "path,label\n" + rows))
    assert line in found["1 row that cannot be read"][0]
    assert time.perf_counter() - began < 5


@pytest.mark.timeout(20)
def test_pipes_and_folders_are_not_read_as_a_csv(photos: Path) -> None:
    os.mkfifo(photos / "pipe.csv")
    with pytest.raises(DataError, match="cannot be read") as raised:
        scan(photos / "pipe.csv")
    assert raised.value.why == "not a regular file"
    (photos / "folder.csv").mkdir()
    assert scan(photos / "folder.csv").dataset.name == "folder"
    with pytest.raises(DataError, match="is not a folder or a CSV file"):
        scan(photos / "a.jpg")
    with pytest.raises(DataError, match="is not a folder or a CSV file"):
        scan(photos / "gone.csv")
    with (photos / "huge.csv").open("wb") as file:
        file.truncate(60_000_000_000)  # sparse
    with pytest.raises(DataError, match="is too large"):
        scan(photos / "huge.csv")


def test_a_name_of_own_images_may_be_too_long_to_be_a_path(photos: Path) -> None:
    (photos / "list.csv").touch()
    assert names_own_images(str(photos))
    assert names_own_images(str(photos / "list.csv"))
    assert not names_own_images("x" * 10_000 + ".csv")
    assert not names_own_images(str(photos / "a.jpg"))


CELLS = st.lists(st.text(st.sampled_from('ab.jpg,;"\n\r\t \0/\ufeffé')), max_size=5)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(CELLS, max_size=5), st.sampled_from(["path,label\n", "path;labels;split\r\n", ""]))
def test_any_text_is_listed_or_refused(photos: Path, rows: list[list[str]], header: str) -> None:
    try:
        listing = listed(photos, header + "\n".join(",".join(cells) for cells in rows))
    except DataError:
        return
    assert all(path.exists() for files in listing.splits.values() for path, _ in files)
