"""Inputs that are almost valid; each case is reproducible from its number.

python -m tests.reliability.strategies KIND FIRST COUNT FILE    # try these cases and print the findings
python -m tests.reliability.strategies KIND NUMBER              # write one case's bytes to stdout
"""

from __future__ import annotations

import io
import json
import os
import re
import struct
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from tests.reliability.corpus import Entry, header_of, png, png_chunk, tensor, tiff, zipped
from tests.reliability.ledger import SEED
from zoo_core.disk.sandbox import limit_memory
from zoo_core.errors import ZooError

MEMORY = 4 * 2**30  # bytes that a batch may allocate
SLOW = 5.0  # seconds of CPU time after which a case counts as a hang
SHOWN = 20  # findings printed per batch
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
TEXTS = ("registry files", "safetensors")
WORD = re.compile(rb'"[^"\n]*"|[\w.+-]+')
HARD = (
    *(b"0", b"1", b"-1", b"1.5", b"-0", b"1e-400", b"1e999", b"9223372036854775808", b"18446744073709551616"),
    *(b"nan", b"inf", b"true", b"null", b"[]", b"{}", b'""', b'"x"', b'"../x"', b'"os:system"', b'"\\u0000"'),
    *(b'"\\ud800"', b"4294967296", b'"F64"', b'"U8"', b'"F4"', b'"C64"', b"[0,0,9]", b"1979-05-27", b"{a=1}"),
    *(b'{"a":1}', b"0x" + b"f" * 99, b"9" * 40, b"'", b'"""', b"\xff", b"\0"),
)


def mutated(content: bytes, random: Random) -> bytes:
    """Return the content with one to four changes."""
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        at = random.randrange(len(changed) + 1)
        length = random.choice((1, 1, 2, 4, 4, 8, 16, 64))
        random.choice(CHANGES)(changed, at, length, random)
    return bytes(changed)


def reworded(content: bytes, random: Random) -> bytes:
    """Return a text with one or two words replaced by another of its words, or by a difficult value."""
    words = list(WORD.finditer(content))
    for word in sorted(random.sample(words, random.choice((1, 1, 2))), key=lambda word: -word.start()):
        new = random.choice(HARD) if random.random() < 0.6 else random.choice(words).group()
        content = content[: word.start()] + new + content[word.end() :]
    return content


def _flip(content: bytearray, at: int, length: int, random: Random) -> None:
    if at < len(content):
        content[at] ^= 1 << random.randrange(8)


def _number(content: bytearray, at: int, length: int, random: Random) -> None:
    size = random.choice((1, 2, 4))
    content[at : at + size] = (random.choice(NUMBERS) & (1 << 8 * size) - 1).to_bytes(
        size, random.choice(("little", "big"))
    )


def _junk(content: bytearray, at: int, length: int, random: Random) -> None:
    content[at : at + length] = random.randbytes(length)


def _cut(content: bytearray, at: int, length: int, random: Random) -> None:
    del content[at : at + length]


def _repeat(content: bytearray, at: int, length: int, random: Random) -> None:
    content[at:at] = content[at : at + length] * random.choice((1, 1, 2, 30))


def _move(content: bytearray, at: int, length: int, random: Random) -> None:
    start = random.randrange(len(content) + 1)
    content[at : at + length] = content[start : start + length]


def _word(content: bytearray, at: int, length: int, random: Random) -> None:
    content[at : at + random.choice((0, length))] = random.choice(HARD)


def _end(content: bytearray, at: int, length: int, random: Random) -> None:
    del content[at:]


CHANGES = (_flip, _flip, _number, _number, _number, _junk, _cut, _repeat, _move, _word, _end)


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


@cache
def images() -> tuple[bytes, ...]:
    """Small images in every format and with every kind of pixel."""
    noise = np.random.default_rng(SEED).integers(0, 255, (13, 17, 4), np.uint8)
    colour, grey, clear = Image.fromarray(noise[..., :3]), Image.fromarray(noise[..., 0]), Image.fromarray(noise)
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = {"save_all": True, "append_images": [colour.rotate(90), colour.rotate(180)]}
    one_clear = grey.convert("P")
    return (
        *(_saved(colour, kind) for kind in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")),
        *(_saved(colour, kind, exif=exif) for kind in ("JPEG", "PNG", "WEBP", "TIFF")),
        *(_saved(colour, kind, **frames) for kind in ("PNG", "WEBP", "GIF", "TIFF", "MPO")),
        *(_saved(clear, kind) for kind in ("PNG", "WEBP", "TIFF", "GIF")),
        *(_saved(grey.convert(mode), "TIFF") for mode in ("1", "L", "LA", "CMYK", "YCbCr", "I")),
        *(_saved(colour, "TIFF", compression=how) for how in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")),
        *(_saved(one_clear, kind, transparency=3) for kind in ("PNG", "GIF")),
        _saved(colour, "JPEG", progressive=True),
        _saved(colour.convert("CMYK"), "JPEG"),
        _saved(colour, "WEBP", lossless=True),
        _saved(Image.fromarray(noise[..., 0].astype(np.float32) / 255), "TIFF"),
        png(3, 1, depth=16, rows=b"\0" + bytes(range(6)), before=png_chunk(b"tRNS", b"\0\1")),
        png(2, 1, depth=16, colour=6, rows=b"\0" + bytes(range(16))),
        tiff(2, 1, bits=16, pixels=bytes(range(4)), order=">"),
        tiff(2, 1, bits=32, sample_format=3, pixels=struct.pack("<2f", 0, 1)),
    )  # fmt: skip


@cache
def registries() -> tuple[bytes, ...]:
    head = b'schema = 1\n[recipes.x]\nsummary = "s"\nmodel = "m"\ndataset = "d"\nepochs = 3\nbatch_size = 8\n'
    document = b'[recipes.x.reference]\nsection = "p"\nmetrics.a = { value = 0.5, within = 0.1 }\nlog = { a = [1.0] }\n'
    flips = b'augment = [{ name = "rotation", degrees = 20 }, { name = "affine", scale = [0.8, 1.2] }]\n'
    return (
        head,
        head + b'optimizer = { name = "sgd", lr = 1e-3, momentum = 0.9 }\nschedule = "cosine"\n',
        head + flips,
        head + b'settings = { a = [1, 2.5, "x", 1979-05-27T07:32:00Z], b.c = true }\nseed = 7\n',
        head + document,
        b"schema = 1\n[models.m.derived]\nparameters = 1_000\nlayers = { a = 1 }\nshapes = { a = [[1, 2]] }\n",
    )


@cache
def zips() -> tuple[bytes, ...]:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b.txt", b"some text " * 9)
        archive.writestr("c.txt", b"more")
    folder = Entry(b"a/", b"", mode=0o040755)
    return (
        content.getvalue(),
        zipped(folder, Entry(b"a/x"), Entry(b"../x")),
        zipped(Entry(b"link", b"/etc/passwd", mode=0o120777), Entry(b"link/x")),
        zipped(Entry("\u00e9".encode()), Entry(b"C:\\x"), Entry(b"b" * 200)),
        zipped(Entry(b"x", b"\0" * 500, method=8, packed=zlib.compress(b"\0" * 500)[2:-4])),
    )


@cache
def tensors() -> tuple[bytes, ...]:
    return (
        header_of({"x": tensor(0, 16, 2, 2), "y": tensor(16, 24, 4, dtype="F16")}) + bytes(24),
        header_of({"__metadata__": {"format": "pt"}, "a": tensor(0, 8, 1, dtype="I64")}) + bytes(8),
        header_of({f"layer{n}.weight": tensor(4 * n, 4 * n + 4, 1) for n in range(9)}) + bytes(36),
        header_of({"q": tensor(0, 2, 2, dtype="F8_E4M3"), "b": tensor(2, 3, dtype="BOOL")}) + bytes(3),
    )  # fmt: skip


SEEDS: dict[str, Callable[[], tuple[bytes, ...]]] = {
    "images": images,
    "registry files": registries,
    "zips": zips,
    "safetensors": tensors,
}


def case(kind: str, number: int) -> bytes:
    """Return one case. Half of the PNGs get valid checksums, so that the mutations behind them are reached."""
    random = Random((SEED << 32) + number)
    seed = random.choice(SEEDS[kind]())
    by_words = kind in TEXTS and random.random() < 0.6  # most changed bytes fail in the parser
    change = reworded if by_words else mutated
    content = change(seed, random)
    if content.startswith(b"\x89PNG") and random.random() < 0.5:
        content = _with_checksums(content)
    if kind == "safetensors" and random.random() < 0.8:  # a header with the length it declares
        content = struct.pack("<Q", max(0, content.rfind(b"}") - 7)) + content[8:]
    return content


def _with_checksums(content: bytes) -> bytes:
    fixed, at = bytearray(content[:8]), 8
    while at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        if at + 12 + length > len(content):
            break
        fixed += png_chunk(content[at + 4 : at + 8], content[at + 8 : at + 8 + length])
        at += 12 + length
    return bytes(fixed + content[at:])


def target_of(kind: str, folder: Path) -> Callable[[bytes], object]:
    """Return the function under test; it may return or raise ZooError, nothing else."""
    if kind == "images":
        return _decode
    if kind == "safetensors":
        from zoo_core.engine.models.weights import load_tensors  # imports torch

        return lambda content: load_tensors(content, "x")
    if kind == "registry files":
        return lambda content: _read(folder / "zoo.toml", content)
    return lambda content: _unpack(folder, content)


def _decode(content: bytes) -> None:
    from zoo_core.images.decode import MAX_PIXELS, decode_image

    image = decode_image(content, "x")
    assert image.mode in ("L", "RGB")
    assert 0 < image.width * image.height <= MAX_PIXELS


def _read(path: Path, content: bytes) -> None:
    from zoo_core.registry.registry_file import read_registry

    path.write_bytes(content)
    read_registry(path)


def _unpack(folder: Path, content: bytes) -> None:
    from zoo_core.cards.files import File, Source
    from zoo_core.store.archives import extract
    from zoo_core.store.store import Store

    archive = folder / "x.zip"
    archive.write_bytes(content)
    source = Source(uri="https://x/x", size=1, sha256="0" * 64, reader="zoo_core:rezip")
    assert Store(folder / "store").import_file(File(sources=(source,), size=10_000, sha256="0" * 64), [archive]) is None
    extract(archive, folder / "target", max_bytes=10_000, max_entries=100)


def attempt(kind: str, first: int, count: int, progress: Path) -> dict[str, object]:
    """Try `count` cases, write the number of the current one to a file, and return the findings."""
    findings, hangs, refused = [], [], 0
    with TemporaryDirectory(dir=progress.parent) as parent, progress.open("wb") as file:
        folder = Path(parent, "inside")
        folder.mkdir()
        attempt_case = target_of(kind, folder)
        for number in range(first, first + count):
            content = case(kind, number)
            os.pwrite(file.fileno(), struct.pack("<Q", number), 0)
            began = time.process_time()  # CPU time: other processes may be running
            try:
                attempt_case(content)
            except ZooError:
                refused += 1
            except Exception as error:
                findings.append(f"case {number}: {type(error).__name__}: {error}")
            if (seconds := time.process_time() - began) > SLOW:
                hangs.append(f"case {number} took {seconds:.1f} s")
        outside = [path.name for path in Path(parent).iterdir() if path != folder]
        findings += [f"something was written outside: {name}" for name in outside]
    shown = [*findings, *hangs][:SHOWN]
    return {"tried": count, "refused": refused, "findings": shown, "found": len(findings), "hangs": len(hangs)}


def main() -> None:
    kind, first, *more = sys.argv[1:]
    if not more:
        sys.stdout.buffer.write(case(kind, int(first)))
        return
    limit_memory(MEMORY)
    print(json.dumps(attempt(kind, int(first), int(more[0]), Path(more[1]))))


if __name__ == "__main__":
    main()
