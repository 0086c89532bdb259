"""How every kind of pixel is converted, and files that are images only by their name."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

import zoo_core as zoo
from tests.conftest import ROOT, Zoo
from tests.reliability.corpus import png, png_chunk, tiff
from tests.reliability.ledger import Ledger
from zoo_core import DataError, ImageInput, Registry, Store
from zoo_core.engine.data.preprocessing import preprocessing, resize_transform
from zoo_core.events import drive, ignore_event
from zoo_core.images.audit import audit
from zoo_core.images.decode import MAX_PIXELS, decode_image, read_image, to_8bit
from zoo_core.images.folder import images_below, scan
from zoo_core.images.issues import DataIssue
from zoo_core.images.strict_pillow import strict_pillow

PAGE = (ROOT / "docs" / "reference" / "images.md").read_text()
LOSSY = 3  # how far a JPEG's pixels may be from what was stored
Colour = tuple[int, ...]


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def flat(mode: str, value: object, *kinds: str, **options: object) -> dict[str, bytes]:
    """The same image of one color in several formats."""
    return {kind: saved(Image.new(mode, (8, 8), value), kind, **options) for kind in kinds}  # type: ignore[arg-type]


def palette(value: Colour) -> Image.Image:
    image = Image.new("P", (8, 8), 7)
    image.putpalette([*([9, 9, 9] * 7), *value])
    return image


def ycck(luminance: int) -> bytes:
    """A CMYK JPEG whose Adobe marker says YCCK."""
    content = bytearray(saved(Image.new("CMYK", (8, 8), (255 - luminance, 127, 127, 0)), "JPEG", quality=100))
    content[content.index(b"Adobe") + 11] = 2
    return bytes(content)


@dataclass(frozen=True)
class Golden:
    """A stored pixel, its formats, and the converted pixel: one row of the page."""

    pixels: str
    stored: str
    becomes: Colour  # one number: "L"; three: "RGB"
    files: dict[str, bytes]
    within: int = 0

    @property
    def row(self) -> str:
        return f"| {self.pixels} | {', '.join(self.files)} | {self.stored} | {', '.join(map(str, self.becomes))} |"


WIDE = (40_000).to_bytes(2, "big")
COLOURS = WIDE + (255).to_bytes(2, "big") + (65_535).to_bytes(2, "big")
HALF = (128).to_bytes(2, "big")

GOLDEN = [
    Golden("1 bit", "1", (255,), flat("1", 1, "BMP", "PNG", "TIFF")),
    Golden("8-bit gray", "40", (40,), flat("L", 40, "BMP", "JPEG", "PNG", "TIFF"), LOSSY),
    Golden(
        "8-bit gray, stored as colors by these formats",
        "40",
        (40, 40, 40),
        flat("L", 40, "GIF") | flat("L", 40, "WEBP", lossless=True),
    ),
    Golden("8-bit gray, 0 is white", "40", (215,), {"TIFF": tiff(1, 1, bits=8, photometric=0, pixels=b"\x28")}),
    Golden(
        "8-bit colors",
        "200, 100, 50",
        (200, 100, 50),
        flat("RGB", (200, 100, 50), "BMP", "JPEG", "PNG", "TIFF"),
        LOSSY,
    ),
    Golden("8-bit colors", "200, 100, 50", (200, 100, 50), flat("RGB", (200, 100, 50), "WEBP", lossless=True)),
    Golden(
        "16-bit gray",
        "40000",
        (156,),
        {
            "PNG": png(1, 1, depth=16, colour=0, rows=b"\0" + WIDE),
            "TIFF (little-endian)": tiff(1, 1, bits=16, pixels=WIDE[::-1]),
            "TIFF (big-endian)": tiff(1, 1, bits=16, pixels=WIDE, order=">"),
        },
    ),
    Golden(
        "16-bit colors",
        "40000, 255, 65535",
        (156, 0, 255),
        {
            "PNG": png(1, 1, depth=16, colour=2, rows=b"\0" + COLOURS),
            "TIFF": tiff(1, 1, bits=16, samples=3, photometric=2, pixels=COLOURS, order=">"),
        },
    ),
    Golden(
        "16-bit gray, half transparent",
        "40000, 32896",
        (205, 205, 205),
        {"PNG": png(1, 1, depth=16, colour=4, rows=b"\0" + WIDE + b"\x80\x80")},
    ),
    Golden(
        "16-bit gray, one value transparent",
        "40000, which is transparent",
        (255,),
        {"PNG": png(1, 1, depth=16, colour=0, rows=b"\0" + WIDE, before=png_chunk(b"tRNS", WIDE))},
    ),
    Golden(
        "32-bit integers, read as 16-bit",
        "40000",
        (156,),
        {
            "TIFF (signed)": tiff(1, 1, bits=32, sample_format=2, pixels=(40_000).to_bytes(4, "little")),
            "TIFF (unsigned)": tiff(1, 1, bits=32, pixels=(40_000).to_bytes(4, "little")),
        },
    ),
    Golden("32-bit floats, 1 is white", "0.5", (128,), flat("F", 0.5, "TIFF")),
    Golden("gray, half transparent", "40, 128", (147,), flat("LA", (40, 128), "PNG", "TIFF")),
    Golden(
        "colors, half transparent",
        "200, 100, 50, 128",
        (227, 177, 152),
        flat("RGBA", (200, 100, 50, 128), "PNG", "TIFF") | flat("RGBA", (200, 100, 50, 128), "WEBP", lossless=True),
    ),
    Golden(
        "colors, fully transparent",
        "200, 100, 50, 0",
        (255, 255, 255),
        flat("RGBA", (200, 100, 50, 0), "GIF", "PNG", "TIFF"),
    ),
    Golden(
        "colors, one of them transparent",
        "200, 100, 50, which is transparent",
        (255, 255, 255),
        flat("RGB", (200, 100, 50), "PNG", transparency=(200, 100, 50)),
    ),
    Golden(
        "gray, one value transparent",
        "40, which is transparent",
        (255,),
        flat("L", 40, "PNG", transparency=40),
    ),
    Golden(
        "palette",
        "7, which is 200, 100, 50",
        (200, 100, 50),
        {kind: saved(palette((200, 100, 50)), kind) for kind in ("BMP", "GIF", "PNG", "TIFF")},
    ),
    Golden(
        "palette, one color transparent",
        "7, which is transparent",
        (255, 255, 255),
        {kind: saved(palette((200, 100, 50)), kind, transparency=7) for kind in ("GIF", "PNG")},
    ),
    Golden(
        "palette, one color half transparent",
        "7, which is 200, 100, 50, 128",
        (227, 177, 152),
        {"PNG": saved(palette((200, 100, 50)), "PNG", transparency=b"\xff" * 7 + b"\x80")},
    ),
    Golden("CMYK", "0, 255, 255, 0", (255, 0, 0), flat("CMYK", (0, 255, 255, 0), "JPEG", "TIFF"), LOSSY),
    Golden("YCCK", "155, 128, 128, 0", (100, 100, 100), {"JPEG": ycck(155)}, LOSSY),
    Golden("YCbCr", "76, 85, 255", (254, 0, 0), flat("YCbCr", (76, 85, 255), "TIFF")),
    Golden("CIE L*a*b*", "128, 128, 128", (119, 119, 119), flat("LAB", (128, 128, 128), "TIFF")),
]


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.pixels)
def test_every_kind_of_pixel_is_converted_as_documented(golden: Golden) -> None:
    for kind, content in golden.files.items():
        image = decode_image(content, kind)
        assert image.mode == ("L" if len(golden.becomes) == 1 else "RGB"), kind
        pixel = np.asarray(image)[0, 0].reshape(-1).astype(int)
        assert np.abs(pixel - golden.becomes).max() <= (golden.within if kind == "JPEG" else 0), (kind, pixel)


def test_the_page_has_exactly_these_rows() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| pixels")]
    assert rows == [golden.row for golden in GOLDEN]


def test_conversions_hold_for_models_of_one_and_three_channels(ledger: Ledger) -> None:
    files = [(golden, content) for golden in GOLDEN for content in golden.files.values()]
    grey = ImageInput(size=4, channels=1, mean=(0,), std=(1,))
    colour = ImageInput(size=4, channels=3, mean=(0,) * 3, std=(1,) * 3)
    wrong = 0
    for golden, content in files:  # gray models see the luminance of colors
        image = decode_image(content, "x")
        red, green, blue = golden.becomes * (3 // len(golden.becomes))
        luminance = torch.tensor(0.299 * red + 0.587 * green + 0.114 * blue)
        wrong += not torch.allclose(resize_transform(grey)(image).float(), luminance, atol=LOSSY + 1)
        seen = resize_transform(colour)(image).float()[:, 0, 0]
        wrong += not torch.allclose(seen, torch.tensor([red, green, blue]).float(), atol=LOSSY)
    ledger.record("pixels converted as documented: files", tried=len(files), wrong=wrong)
    assert wrong == 0


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_rotated_once_as_its_exif_says(kind: str, orientation: int) -> None:
    upright = np.zeros((16, 32), np.uint8)
    upright[:8, :8], upright[:8, 24:], upright[8:, :8] = 255, 160, 80  # three corners distinguish all orientations
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: upright.T[::-1],
        7: upright.T[::-1, ::-1],
        8: upright.T[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}
    content = saved(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif, **options)
    seen = np.asarray(decode_image(content, "x").convert("L")).astype(int)
    assert seen.shape == upright.shape
    assert np.abs(seen - upright).max() <= 24  # JPEG, at the edges


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_corrupt_exif_data_is_ignored() -> None:
    content = saved(Image.new("RGB", (8, 4), "red"), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40)
    assert decode_image(content, "x").size == (8, 4)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.int32([[0, 70_000]]), "from 0 to 70000"),
        (np.int32([[-5, 3]]), "from -5 to 3"),
        (np.float32([[0, 255]]), "from 0 to 255"),
        (np.float32([[0, np.nan]]), "nan"),
    ],
)
def test_values_of_unknown_range_are_refused_not_clipped(values: np.ndarray, why: str) -> None:
    content = saved(Image.fromarray(values), "TIFF")
    with pytest.raises(DataError, match=r"x\.tif has an unknown value range") as raised:
        decode_image(content, "x.tif")
    assert why in raised.value.why


def test_a_16_bit_tiff_whose_zero_is_white_is_refused() -> None:
    with pytest.raises(DataError, match="cannot be converted"):
        decode_image(tiff(1, 1, bits=16, photometric=0, pixels=b"\0\0"), "x.tif")


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_only_the_first_frame_is_used(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("#c86432", "#0000ff", "#00ff00")]
    content = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    assert np.abs(np.asarray(decode_image(content, "x"))[8, 8].astype(int) - (200, 100, 50)).max() <= 12


def test_images_of_the_user_are_converted_in_the_same_way() -> None:
    see = preprocessing(ImageInput(size=4, mean=(0,) * 3, std=(1,) * 3))
    clear = Image.new("RGBA", (9, 9), (0, 0, 0, 0))
    assert see(clear).min() == 1  # white
    assert to_8bit(Image.new("La", (2, 2), (0, 0))).getpixel((0, 0)) == 255
    deep = Image.fromarray(np.full((9, 9), 40_000, np.uint16))
    assert see(deep).unique().tolist() == [pytest.approx(156 / 255)]


@pytest.mark.parametrize("size", [(1, 1), (1, MAX_PIXELS), (MAX_PIXELS, 1), (3, 1_000_000)])
@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
def test_a_line_of_pixels_is_not_enlarged(size: tuple[int, int], resize: str) -> None:
    """Scaling the shorter side to 341 pixels would make the longer one 17,000,000,000."""
    spec = ImageInput(size=299, resize=resize, crop_fraction=0.875, mean=(0,) * 3, std=(1,) * 3)  # type: ignore[arg-type]
    values = set(resize_transform(spec)(Image.new("L", size, 77)).unique().tolist())
    assert values - {0} == {77}
    assert values == {77} or resize == "pad"


def test_a_long_image_is_cropped_to_its_middle() -> None:
    spec = ImageInput(size=8, resize="crop", mean=(0,), std=(1,), channels=1)
    values = np.zeros((10, 1000), np.uint8)
    values[:, 490:510] = 200
    assert resize_transform(spec)(Image.fromarray(values)).min() > 150


def issues(root: Path) -> dict[str, DataIssue]:
    return {issue.what: issue for issue in drive(audit(scan(root)), ignore_event).issues}


NAMES = [
    b"new\nline.png",
    b"\xff\xfe.png",
    "\u202egnp.txt.png".encode(),  # reads from right to left
    b"-rf.png",
    b"--help.png",
    "e\u0301.png".encode(),
    "\u00e9.png".encode(),
    "😀.png".encode(),
    b"\x1b[2J.png",
    b" .png",
    b"a" * 251 + b".png",
    b"%s%n{}$(touch canary)`touch canary`.png",
    b"'\";--.png",
]


@pytest.fixture
def named(tmp_path: Path) -> Path:
    """A folder whose images have every kind of name."""
    root = tmp_path / "mine"
    for side in ("train", "val"):
        for label, colour in enumerate(("red", "blue")):
            (root / side / colour).mkdir(parents=True)
            for number, name in enumerate(NAMES):
                noise = np.random.default_rng([label, number, len(side)]).integers(0, 90, (8, 8, 3), np.uint8)
                path = root / side / colour / os.fsdecode(name)
                path.write_bytes(saved(Image.fromarray(noise + np.uint8([120, 0, 0][:: 1 - 2 * label])), "PNG"))
    return root


def test_file_names_are_saved_byte_by_byte(
    named: Path, pond: Registry, store: Store, tmp_path: Path, ledger: Ledger
) -> None:
    os.link(named / "train/red" / os.fsdecode(NAMES[1]), named / "val/blue/copy\n.png")
    result = zoo.run("pond", data=named, epochs=1, out=tmp_path / "runs", registry=pond, store=store)
    table = (result.directory / "predictions.csv").read_bytes()
    wrong = sum(name.replace(b'"', b'""') not in table for name in NAMES)
    ledger.record("file names kept byte by byte", tried=len(NAMES), wrong=wrong)
    assert wrong == 0
    assert json.loads((result.directory / "audit.json").read_text())["findings"]
    assert not (tmp_path / "canary").exists()


def test_messages_escape_file_names(named: Path, pond: Registry, tmp_path: Path) -> None:
    for path in named.rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(DataError) as raised:
        zoo.run("pond", data=named, out=tmp_path / "runs", registry=pond)
    said = str(raised.value)
    assert said.isascii() or all(sign.isprintable() or sign == "\n" for sign in said)
    assert "train/blue/new\\nline.png: unsupported or corrupt" in said
    assert f"{4 * len(NAMES)} images cannot be used" in said


def test_class_names_that_are_not_text_or_easily_confused_are_reported(tmp_path: Path) -> None:
    for name in (b"\xff", b"a\nb", "e\u0301".encode(), "\u00e9".encode(), b"Cat", b"cat"):
        (tmp_path / os.fsdecode(b"train/" + name)).mkdir(parents=True)
    (tmp_path / "val").mkdir()
    found = issues(tmp_path)
    not_text = found["2 class names with control characters or bytes that are not UTF-8"]
    assert set(not_text.paths) == {"a\nb", "\udcff"}
    assert not_text.fatal
    similar = found["class names that are easily confused"]
    assert set(similar.paths) == {"'Cat' and 'cat'", r"'e\u0301' and '\xe9'"}
    assert not similar.fatal


def test_a_path_that_a_plan_cannot_store_is_explained(tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"\xff")
    root.mkdir()
    with pytest.raises(DataError, match="udcff is not a path that a plan can store"):
        scan(root)


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A folder with everything that is not a regular image file, named like one."""
    root = tmp_path / "odd"
    for side in ("train", "val"):
        for number, name in enumerate(("red", "blue")):
            (root / side / name).mkdir(parents=True)
            colour = (40 * number + len(side), 0, 0)
            (root / side / name / "good.png").write_bytes(saved(Image.new("RGB", (8, 8), colour), "PNG"))
    red = root / "train" / "red"
    os.mkfifo(red / "pipe.png")
    (red / "gone.png").symlink_to("nowhere.png")
    (red / "itself.png").symlink_to("itself.png")
    (red / "up").symlink_to("..")
    (red / "loop").symlink_to(".")
    (red / "zero.png").symlink_to("/dev/zero")
    (red / "folder.png").mkdir()
    (red / "folder.png" / "inside.png").write_bytes(saved(Image.new("RGB", (8, 8), "white"), "PNG"))
    (red / "labels.txt").write_text("red")
    (red / "Thumbs.db").write_text("")
    (root / "train" / "lost.png").write_bytes(saved(Image.new("RGB", (8, 8), "black"), "PNG"))
    return root


@pytest.mark.timeout(60)
def test_pipes_and_link_loops_are_listed_but_not_opened(odd: Path) -> None:
    found = issues(odd)
    assert found["4 images cannot be used"].paths == (
        "train/red/gone.png: No such file or directory",
        "train/red/itself.png: Too many levels of symbolic links",
        "train/red/pipe.png: not a regular file",
        "train/red/zero.png: not a regular file",
    )
    assert found["ignored 1 file without an image extension (.txt)"].paths == (".txt: 1",)
    assert found["ignored 1 image outside the class folders"].paths == ("train/lost.png",)
    assert "train/red/folder.png/inside.png" in {
        path.relative_to(odd).as_posix() for path, _ in scan(odd).splits["train"]
    }


def test_a_loop_of_links_is_followed_once(odd: Path) -> None:
    names = [path.relative_to(odd).as_posix() for path in images_below(odd / "train" / "red")]
    assert sum(name.endswith("inside.png") for name in names) == 1


@pytest.mark.timeout(60)
def test_class_folders_with_a_pipe_are_split_without_opening_it(odd: Path) -> None:
    assert issues(odd / "train")["4 images cannot be used"].fatal


def test_a_validation_folder_without_train_is_an_error(tmp_path: Path) -> None:
    for name in ("training/a", "training/b", "validation/a", "validation/b"):
        (tmp_path / name).mkdir(parents=True)
    assert issues(tmp_path)["found a validation folder, but no train/"].fatal


UNPRIVILEGED = """
import os, sys
from pathlib import Path
from zoo_core.events import drive, ignore_event
from zoo_core.images.audit import audit
from zoo_core.images.folder import scan
audit(scan(Path(sys.argv[1]))).__next__()  # modules imported later could not be read by this user
os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
for issue in drive(audit(scan(Path(sys.argv[1]))), ignore_event).issues:
    print(issue.what, *issue.paths, sep="\\n")
"""


def test_files_without_read_permission_are_listed(odd: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can become a user who may not read")
    for parent in [parent for parent in odd.parents if parent.name.startswith(("test_", "pytest-"))]:
        parent.chmod(0o755)
    (odd / "train/red/good.png").chmod(0)
    (odd / "train/blue/closed").mkdir(mode=0)
    done = subprocess.run(
        [sys.executable, "-c", UNPRIVILEGED, str(odd)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "6 images cannot be used" in done.stdout
    assert "train/red/good.png: Permission denied" in done.stdout
    assert "train/blue/closed: a folder that cannot be listed" in done.stdout


@pytest.mark.timeout(60)
def test_predict_reports_every_bad_file_and_continues(odd: Path, zoo: Zoo) -> None:
    said = zoo("predict", "fashion-cnn", odd / "train" / "red")
    assert said.code == 3
    assert len(said.out.splitlines()) == 2  # good.png and inside.png
    for name in ("gone.png", "itself.png", "pipe.png", "zero.png"):
        assert f"{name} cannot be read" in said.err
    assert "4 images could not be read" in said.err
    assert zoo("predict", "fashion-cnn", odd / "train/red/pipe.png").code == 3
    assert zoo("predict", "fashion-cnn", "x" * 300).code == 3
    assert zoo("predict", "x" * 300, odd).code == 2


def test_predict_prints_one_line_per_image_whatever_its_name(named: Path, zoo: Zoo) -> None:
    said = zoo("predict", "fashion-cnn", named / "val" / "red")
    assert len(said.out.splitlines()) == len(NAMES)
    assert "\x1b" not in said.out
    answers = [json.loads(line) for line in zoo("predict", "fashion-cnn", named / "val", "--json").out.splitlines()]
    assert {os.fsencode(Path(answer["image"]).name) for answer in answers} == set(NAMES)


def test_run_and_eval_list_every_bad_file(named: Path, with_pond: Registry, zoo: Zoo) -> None:
    assert zoo("run", "pond", "--data", named, "--epochs", "1").code == 0
    for name in ("a.png", "b.png"):
        (named / "val" / "blue" / name).write_bytes(b"not an image")
    for command in (
        ("run", "pond", "--data", named),
        ("eval", "runs/latest"),
        ("eval", "runs/latest", "--data", named),
    ):
        said = zoo(*command)
        assert said.code == 3
        assert all(f"val/blue/{name}: unsupported or corrupt" in said.err for name in ("a.png", "b.png"))
    assert zoo("eval", "runs/latest", "--split", "train").code == 0  # the other split is intact


def test_decoder_messages_show_no_memory_address() -> None:
    def said(content: bytes) -> str:
        try:
            return str(decode_image(content, "x"))
        except DataError as error:
            return str(error)

    damaged = [content[: len(content) // 2] for golden in GOLDEN for content in golden.files.values()]
    assert not [text for text in map(said, [b"", b"\0" * 100, *damaged]) if re.search("0x[0-9a-f]{6}|BytesIO", text)]


def test_10_000_frames_are_decoded_as_fast_as_one(tmp_path: Path) -> None:
    frames = [Image.effect_noise((32, 32), number) for number in range(2, 102)]
    gif = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    start = gif.index(b"\x21\xf9")
    many = gif[:-1] + gif[start:-1] * 100 + b";"
    began = time.perf_counter()
    read_image_of(tmp_path / "many.gif", many)
    assert time.perf_counter() - began < 1


def read_image_of(path: Path, content: bytes) -> Image.Image:
    path.write_bytes(content)
    return read_image(path)


@pytest.fixture
def lenient_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """What many training scripts set: Pillow fills truncated images with gray."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)


TRUNCATED = [
    content[: 2 * len(content) // 3]
    for content in (saved(Image.effect_noise((64, 64), 90), kind) for kind in ("JPEG", "PNG", "BMP", "GIF", "TIFF"))
]


@pytest.mark.usefixtures("lenient_pillow")
@pytest.mark.parametrize("content", TRUNCATED, ids=("JPEG", "PNG", "BMP", "GIF", "TIFF"))
def test_truncated_images_are_refused_whatever_the_caller_set(content: bytes) -> None:
    with pytest.raises(DataError):
        decode_image(content, "x")
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True  # the caller's own decoding is as before


@pytest.mark.usefixtures("lenient_pillow")
def test_truncated_images_are_refused_in_threads_and_forked_processes() -> None:
    intact = saved(Image.effect_noise((64, 64), 90), "JPEG")

    def refused(number: int) -> bool:
        try:
            decode_image(intact if number % 2 else TRUNCATED[number % len(TRUNCATED)], "x")
        except DataError:
            return True
        return False

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(refused, range(400))) == [number % 2 == 0 for number in range(400)]
    with strict_pillow(), multiprocessing.get_context("fork").Pool(2) as processes:
        assert not processes.map(_decodes, TRUNCATED, chunksize=1).count(True)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def _decodes(content: bytes) -> bool:
    try:
        decode_image(content, "x")
    except DataError:
        return False
    return True


def test_image_sets_need_no_torch() -> None:
    program = """
import sys
import zoo_core
from zoo_core import ArrayImages, FolderImages, ImageSet, ZipImages
zoo_core.FolderImages, zoo_core.ZipImages
import zoo_core.images.audit
assert not {"torch", "torchvision"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
