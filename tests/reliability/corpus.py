"""Malicious files, generated in code: each replicates a published attack or a known trick."""

from __future__ import annotations

import io
import json
import os
import pickle
import stat
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *, depth: int = 8, colour: int = 0, rows: bytes = b"", before: bytes = b"") -> bytes:
    """A PNG with these rows, each preceded by its filter byte, and with extra chunks before them."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + before + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def tiff(
    width: int,
    height: int,
    *,
    bits: int,
    pixels: bytes,
    samples: int = 1,
    photometric: int = 1,
    sample_format: int = 1,
    order: str = "<",
    next_page: int = 0,
) -> bytes:
    """A TIFF with one uncompressed strip."""
    short, long = 3, 4
    tags = [
        *((256, long, [width]), (257, long, [height]), (258, short, [bits] * samples), (259, short, [1])),
        *((262, short, [photometric]), (273, long, [0]), (277, short, [samples]), (278, long, [height])),
        *((279, long, [len(pixels)]), (339, short, [sample_format] * samples)),
    ]
    beyond = 8 + 2 + 12 * len(tags) + 4
    extra = b"".join(struct.pack(f"{order}{samples}H", *values) for _, _, values in tags if len(values) > 2)
    directory, used = struct.pack(f"{order}H", len(tags)), 0
    for tag, kind, values in tags:
        values = [beyond + len(extra)] if tag == 273 else values
        field = struct.pack(f"{order}{len(values)}{'H' if kind == short else 'I'}", *values)
        if len(field) > 4:
            field, used = struct.pack(f"{order}I", beyond + used), used + len(field)
        directory += struct.pack(f"{order}HHI", tag, kind, len(values)) + field.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    return head + directory + struct.pack(f"{order}I", next_page) + extra + pixels


@dataclass(frozen=True)
class Case:
    """A malicious file, the input of zoo that it is given to, and the expected outcome."""

    name: str
    door: str  # "zip" | "tensors" | "image" | "registry" | "run"
    make: Callable[[Path], bytes]  # from the path of the canary, for attacks that write it
    refused: bool | None = True  # None: either, as long as there is no other effect
    file: str = ""  # in a run directory: the file that this one replaces
    merged: bool = False  # JSON that is merged into that file instead of replacing it

    @property
    def id(self) -> str:
        return f"{self.door}: {self.name}"


def fixed(content: bytes) -> Callable[[Path], bytes]:
    return lambda canary: content


def corpus() -> list[Case]:
    """All cases, with unique names."""
    return [*zips(), *tensors(), *pickles(), *images(), *registries(), *runs()]


# zips


@dataclass(frozen=True)
class Entry:
    """One entry of a zip, with every field that can be forged."""

    name: bytes
    data: bytes = b"payload"
    mode: int = stat.S_IFREG | 0o644
    method: int = 0
    flags: int = 0x800  # names are UTF-8
    packed: bytes | None = None
    size: int | None = None
    packed_size: int | None = None
    offset: int | None = None
    extra: bytes = b""
    local_name: bytes | None = None
    crc: int | None = None


def zipped(*entries: Entry, count: int | None = None, directory_offset: int | None = None) -> bytes:
    body, directory = b"", b""
    for entry in entries:
        packed = entry.data if entry.packed is None else entry.packed
        crc = zlib.crc32(entry.data) if entry.crc is None else entry.crc
        size = len(entry.data) if entry.size is None else entry.size
        packed_size = len(packed) if entry.packed_size is None else entry.packed_size
        offset = len(body) if entry.offset is None else entry.offset
        common = struct.pack("<HHHHHIII", 20, entry.flags, entry.method, 0, 33, crc, packed_size, size)
        local_name = entry.name if entry.local_name is None else entry.local_name
        body += b"PK\3\4" + common + struct.pack("<HH", len(local_name), 0) + local_name + packed
        directory += b"PK\1\2" + struct.pack("<H", 0x0314) + common
        directory += struct.pack("<HHHHHII", len(entry.name), len(entry.extra), 0, 0, 0, entry.mode << 16, offset)
        directory += entry.name + entry.extra
    number = len(entries) if count is None else count
    start = len(body) if directory_offset is None else directory_offset
    return body + directory + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, number, number, len(directory), start, 0)


def zips() -> Iterator[Case]:
    def case(name: str, *entries: Entry, refused: bool | None = True, **lies: int) -> Case:
        return Case(name, "zip", fixed(zipped(*entries, **lies)), refused)

    good = Entry(b"a/good.txt")
    slips = {
        "zip slip": b"../canary",
        "zip slip, deep": b"a/b/../../../canary",
        "zip slip, at the end": b"a/..",
        "zip slip, backslashes (CVE-2018-1002200)": b"..\\canary",
        "zip slip, mixed slashes": b"a/..\\../canary",
        "zip slip to a sibling with the same prefix (CVE-2026-1703)": b"../target-canary/x",
        "absolute": b"/tmp/zoo-canary",
        "absolute, two slashes": b"//server/share/canary",
        "UNC": b"\\\\server\\share\\canary",
        "drive letter": b"C:\\canary",
        "drive letter, slash": b"C:/canary",
        "drive letter, relative": b"C:canary",
        "NUL in the name": b"good.txt\0/../../canary",
        "the folder itself": b".",
        "an empty name": b"",
        "> 255 bytes": b"a" * 300,
        "> 4096 bytes": b"a/" * 3000 + b"b",
        "percent-encoded, twice (CVE-2026-13346)": b"%252e%252e/canary",
        "full-width dots": "\uff0e\uff0e/canary".encode(),
        "a name of another encoding": b"\xff\xfe/canary",
        "reserved on Windows": b"CON",
        "reserved on Windows, with a suffix": b"aux.txt",
        "trailing dot and space": b"x. /y.",
        "a stream of NTFS": b"file.txt:canary",
        "a newline": b"a\nb",
        "an escape sequence": b"\x1b[2Jcanary",
        "a leading dash": b"-rf",
    }
    harmless = (
        "percent",
        "full-width",
        "a name of",
        "reserved",
        "trailing",
        "a stream",
        "a newline",
        "an escape",
        "a leading",
    )
    for name, path in slips.items():
        yield case(name, good, Entry(path), refused=None if name.startswith(harmless) else True)
    for name, kind in (
        ("symlink", stat.S_IFLNK),
        ("fifo", stat.S_IFIFO),
        ("device", stat.S_IFBLK),
        ("socket", stat.S_IFSOCK),
    ):
        yield case(name, Entry(b"link", b"../canary", mode=kind | 0o777), Entry(b"link/x"))
    yield case("symlink to /etc/passwd, alone (CVE-2026-27905)", Entry(b"x", b"/etc/passwd", mode=stat.S_IFLNK | 0o777))
    yield case("character device", Entry(b"null", b"", mode=stat.S_IFCHR | 0o666))
    yield case("setuid", Entry(b"x", mode=stat.S_IFREG | stat.S_ISUID | 0o777), refused=None)
    yield case("the same name twice", good, good)
    yield case("names that differ in case", Entry(b"A/x"), Entry(b"a/X"))
    yield case("names that differ in Unicode normalization", Entry("e\u0301".encode()), Entry("\u00e9".encode()))
    yield case("a file where a folder is needed", Entry(b"a"), Entry(b"a/b"))
    yield case("a file with the name of a folder", Entry(b"a/", b"", mode=stat.S_IFDIR | 0o755), Entry(b"a"))
    yield case("two names for one entry", Entry(b"good.txt", local_name=b"../canary"))
    zeros = b"\0" * 50_000_000
    deflated = zlib.compress(zeros, 9)[2:-4]
    yield case("a bomb by ratio (CVE-2019-9674)", Entry(b"x", zeros, method=8, packed=deflated))
    yield case("a bomb that declares a size of 1", Entry(b"x", zeros, method=8, packed=deflated, size=1))
    kernel = len(deflated)
    shared = [
        Entry(b"%d" % n, zeros, method=8, packed=b"" if n else deflated, packed_size=kernel, offset=0)
        for n in range(50)
    ]
    yield case("a bomb by overlap (CVE-2024-0450)", *shared)
    inner = zipped(Entry(b"x", zeros, method=8, packed=deflated))
    yield case("a bomb in a zip", Entry(b"inner.zip", inner), refused=False)  # the inner zip is not opened
    yield case("encrypted", Entry(b"x", flags=0x801))
    yield case("strongly encrypted", Entry(b"x", flags=0x841))
    yield case("an unknown compression method", Entry(b"x", method=99))
    yield case("bzip2 that is not bzip2", Entry(b"x", method=12))
    yield case("a wrong checksum", Entry(b"x", crc=1))
    yield case("a wrong size", Entry(b"x", size=3))
    yield case("packed bytes beyond the end", Entry(b"x", packed_size=1 << 30))
    yield case("damaged deflate", Entry(b"x", method=8, packed=b"\xff" * 40))
    yield case("an entry beyond the end", Entry(b"x", offset=1 << 30))
    yield case("an entry inside the directory", Entry(b"x", offset=45))
    yield case("a directory beyond the end", good, directory_offset=1 << 30)
    yield case("more entries than there are", good, count=7, refused=None)
    yield case("a count of no entries", good, count=0, refused=None)
    sizes = struct.pack("<HHQQQ", 1, 24, 1 << 62, 1 << 62, 1 << 62)
    big = 0xFFFFFFFF
    yield case("forged zip64 sizes", Entry(b"x", size=big, packed_size=big, offset=big, extra=sizes))
    yield case("truncated zip64 sizes", Entry(b"x", size=big, packed_size=big, extra=struct.pack("<HHQ", 1, 24, 1)))
    yield case("too many entries", *(Entry(b"%d" % n, b"") for n in range(10_001)))
    intact = zipped(good)
    yield Case("truncated", "zip", fixed(intact[:-10]))
    yield Case("empty", "zip", fixed(b""))
    yield Case("a tar", "zip", fixed(tarred("../canary")))
    yield Case("a zip after other bytes", "zip", fixed(b"#!/bin/sh\ntouch canary\n" + intact), None)
    yield Case("a zip after a zip", "zip", fixed(zipped(Entry(b"../canary")) + intact), None)


def tarred(name: str) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return content.getvalue()


# safetensors


def header_of(content: bytes | object) -> bytes:
    header = content if isinstance(content, bytes) else json.dumps(content).encode()
    return struct.pack("<Q", len(header)) + header


def tensor(start: int, end: int, *shape: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def tensors() -> Iterator[Case]:
    def case(name: str, header: object, data: bytes = b"", *, refused: bool | None = True) -> Case:
        return Case(name, "tensors", fixed(header_of(header) + data), refused)

    four = b"\0\0\x80\x3f"
    yield case("a good one", {"x": tensor(0, 4, 1)}, four, refused=False)
    yield case("weights that are NaN", {"x": tensor(0, 4, 1)}, b"\0\0\xc0\x7f", refused=False)
    yield case("weights that are infinite", {"x": tensor(0, 4, 1)}, b"\0\0\x80\x7f", refused=False)
    yield Case("empty", "tensors", fixed(b""))
    yield Case("seven bytes", "tensors", fixed(b"\0" * 7))
    yield Case("a header of no bytes", "tensors", fixed(b"\0" * 8))
    yield Case("a header longer than the file", "tensors", fixed(struct.pack("<Q", 1 << 20) + b"{}"))
    yield Case("a header of 2^64 - 1 bytes", "tensors", fixed(struct.pack("<Q", (1 << 64) - 1) + b"{}"))
    yield Case("a header of 2^63 bytes", "tensors", fixed(struct.pack("<Q", 1 << 63) + b"{}"))
    yield case("a header bomb of 30 MB", b"{" + b" " * 30_000_000 + b"}")
    yield case("overlap", {"x": tensor(0, 4, 1), "y": tensor(0, 4, 1)}, four)
    yield case("a gap", {"x": tensor(0, 4, 1), "y": tensor(8, 12, 1)}, four * 3)
    yield case("bytes that belong to no tensor", {"x": tensor(0, 4, 1)}, four * 2)
    yield case("missing data (Bleeding Llama, CVE-2026-7482)", {"x": tensor(0, 4096, 1024)}, four)
    yield case("ends before it begins", {"x": tensor(4, 0, 1)}, four)
    yield case("negative shape", {"x": tensor(0, 4, -1)}, four)
    yield case("negative offset", {"x": tensor(-4, 0, 1)}, four)
    yield case("overflowing shape", {"x": tensor(0, 4, 1 << 33, 1 << 33)}, four)
    yield case("a shape that overflows to the right size", {"x": tensor(0, 4, (1 << 62) + 1)}, four)
    yield case("a shape bomb without elements (CVE-2026-0897)", {"x": tensor(0, 0, 0, 1 << 62)}, refused=None)
    yield case("a number too large for 64 bits", {"x": tensor(0, 1 << 70, 1)}, four)
    yield case("offsets that are floats", {"x": {"dtype": "F32", "shape": [1], "data_offsets": [0.0, 4.0]}}, four)
    yield case("an unknown dtype", {"x": tensor(0, 4, 1, dtype="F99")}, four)
    yield case("a dtype of 4 bits", {"x": tensor(0, 1, 2, dtype="F4")}, b"\0", refused=None)
    yield case("no shape", {"x": {"dtype": "F32", "data_offsets": [0, 4]}}, four)
    yield case("a name twice", b'{"x":%b,"x":%b}' % ((json.dumps(tensor(0, 4, 1)).encode(),) * 2), four, refused=None)
    yield case("a name that is not UTF-8", b'{"\xff":%b}' % json.dumps(tensor(0, 4, 1)).encode(), four)
    yield case("a name that is half a character", b'{"\\ud800":%b}' % json.dumps(tensor(0, 4, 1)).encode(), four)
    yield case("metadata that is not text", {"__metadata__": {"x": {"y": 1}}, "x": tensor(0, 4, 1)}, four)
    yield case("a list", [1, 2, 3])
    yield case("nested 100,000 deep", b'{"x":' + b"[" * 100_000)
    yield case("1,000,000 tensors", {f"{n}": tensor(0, 0, 0) for n in range(1_000_000)}, refused=None)
    yield case("JSON after a byte order mark", b"\xef\xbb\xbf{}")


# pickles in every disguise; each of them touches the canary if it is loaded


@dataclass(frozen=True)
class Touch:
    """Runs a command as soon as it is unpickled."""

    canary: Path

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.canary}",)


def pickle_of(canary: Path, protocol: int = 2) -> bytes:
    return pickle.dumps({"weight": Touch(canary)}, protocol)


def torch_zip(canary: Path) -> bytes:
    """The zip that torch.save writes, with another pickle."""
    names = {b"archive/data.pkl": pickle_of(canary), b"archive/version": b"3\n", b"archive/byteorder": b"little"}
    return zipped(*(Entry(name, data) for name, data in names.items()))


def legacy(canary: Path) -> bytes:
    """The format of torch.save before 1.6: magic number, protocol, system and object, each a pickle."""
    head = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}})
    return b"".join(pickle.dumps(part, 2) for part in head) + pickle_of(canary) + pickle.dumps([], 2)


def setitem(canary: Path) -> bytes:
    """SETITEM on an object that is not a dict, and a storage larger than its bytes (CVE-2026-24747)."""
    rebuild = (
        b"ctorch._utils\n_rebuild_tensor_v2\n((Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nL9223372036854775807L\ntQ"
    )
    return zipped(
        Entry(b"archive/data.pkl", b"\x80\x02" + rebuild + b"I0\n(I4\nt(I1\nt\x89}tRI0\nI1\ns."),
        Entry(b"archive/data/0", b"\0" * 16),
        Entry(b"archive/version", b"3\n"),
    )


DISGUISES: dict[str, Callable[[Path], bytes]] = {
    "a pickle": pickle_of,
    "a pickle of protocol 0": lambda canary: pickle_of(canary, 0),
    "a pickle of protocol 5": lambda canary: pickle_of(canary, 5),
    "torch.save's zip": torch_zip,
    "torch.save's zip, truncated (nullifAI)": lambda canary: torch_zip(canary)[:-30],
    "torch.save before 1.6": legacy,
    "SETITEM (CVE-2026-24747)": setitem,
    "a pickle truncated after its payload (nullifAI)": lambda canary: pickle_of(canary)[:-1] + b"\xff",
    "a 7z": lambda canary: b"7z\xbc\xaf\x27\x1c\0\4" + pickle_of(canary),
    "a tar of pickles": lambda canary: tarred("storages") + pickle_of(canary),
    "DCP's .metadata": lambda canary: pickle.dumps({"state_dict_metadata": Touch(canary)}, 4),
    "rng_state.pth (CVE-2026-1839)": lambda canary: torch_zip(canary),
    "TorchScript": lambda canary: zipped(
        Entry(b"x/code/__torch__.py", b"import os\n"),
        *(Entry(name, pickle_of(canary)) for name in (b"x/data.pkl", b"x/constants.pkl")),
    ),
    "a pickle after a safetensors header": lambda canary: header_of({"x": tensor(0, 4, 1)}) + pickle_of(canary),
    "a numpy file of objects": lambda canary: b"\x93NUMPY\1\0" + struct.pack("<H", 70)
    + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(69) + b"\n" + pickle_of(canary),
    "joblib, compressed": lambda canary: zlib.compress(pickle_of(canary)),
    "HDF5 (Keras, CVE-2025-9905)": lambda canary: b"\x89HDF\r\n\x1a\n" + pickle_of(canary),
}  # fmt: skip


def pickles() -> Iterator[Case]:
    for name, make in DISGUISES.items():
        yield Case(f"{name} as weights", "tensors", make)


# images


def gif(frames: int, side: int = 16) -> bytes:
    pictures = [Image.effect_noise((side, side), 9 + number) for number in range(10)]
    content = io.BytesIO()
    pictures[0].save(content, "GIF", save_all=True, append_images=pictures[1:])
    first = content.getvalue()
    start = first.index(b"\x21\xf9")
    return first[:-1] + first[start:-1] * (frames // 10 - 1) + b";"


def apng(frames: int) -> bytes:
    pictures = [Image.effect_noise((8, 8), 9 + number % 40) for number in range(frames)]
    content = io.BytesIO()
    pictures[0].save(content, "PNG", save_all=True, append_images=pictures[1:])
    return content.getvalue()


def picture(kind: str, **options: object) -> bytes:
    content = io.BytesIO()
    Image.effect_noise((64, 64), 60).save(content, kind, **options)
    return content.getvalue()


def scans(count: int) -> bytes:
    """A progressive JPEG with many scans, each over all pixels."""
    content = io.BytesIO()
    Image.new("L", (7000, 7000)).save(content, "JPEG", progressive=True)
    intact = content.getvalue()
    last = intact.rindex(b"\xff\xda")
    return intact[:-2] + intact[last:-2] * count + intact[-2:]


def postscript(canary: Path) -> bytes:
    return b"%%!PS-Adobe-3.0 EPSF-3.0\n%%%%BoundingBox: 0 0 9 9\n(%%pipe%%touch %b) (w) file\n" % bytes(canary)


FOREIGN: dict[str, Callable[[Path], bytes]] = {
    "EPS": postscript,
    "EPS for DOS": lambda canary: b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 30, 200) + b"\0" * 18 + postscript(canary),
    "PDF": fixed(b"%PDF-1.7\n1 0 obj<</Type/Catalog/OpenAction<</S/Launch/F(touch canary)>>>>endobj\n%%EOF"),
    "SVG": fixed(b'<?xml version="1.0"?><!DOCTYPE s [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>'),
    "JPEG 2000": fixed(b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 99),
    "PSD": fixed(b"8BPS\0\1" + b"\0" * 6 + struct.pack(">HIIHH", 3, 9, 9, 8, 3) + b"\0" * 99),
    "ICO": fixed(b"\0\0\1\0\1\0" + struct.pack("<BBBBHHII", 9, 9, 0, 0, 1, 32, 99, 22) + b"\0" * 99),
    "ICNS": fixed(b"icns" + struct.pack(">I", 99) + b"ic07" + b"\0" * 91),
    "FITS": fixed(b"SIMPLE  =                    T".ljust(2880)),
    "WMF": fixed(b"\xd7\xcd\xc6\x9a\0\0" + b"\0" * 99),
    "AVIF": fixed(b"\0\0\0\x1cftypavif\0\0\0\0avifmif1" + b"\0" * 99),
    "FLI": fixed(struct.pack("<IHHHHHH", 200, 0xAF11, 2, 9, 9, 8, 3) + b"\0" * 200),
    "PCX": fixed(b"\x0a\5\1\x08" + struct.pack("<HHHH", 0, 0, 8, 8) + b"\0" * 120),
    "PPM": fixed(b"P6 9 9 255\n" + b"\0" * 243),
    "XBM": fixed(b"#define x_width 9\n#define x_height 9\nstatic char x_bits[] = {0};\n"),
    "TGA": fixed(struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, 9, 9, 24, 0) + b"\0" * 243),
    "MPEG": fixed(b"\0\0\1\xb3\1\0\1\0"),
    "ImageMagick script (ImageTragick)": fixed(b"push graphic-context\nfill 'url(https://x|touch canary)'\npop"),
    "HTML": fixed(b"<html><body><form>log in</form></body></html>"),
    "a shell script": fixed(b"#!/bin/sh\ntouch canary\n"),
    "a zip": fixed(zipped(Entry(b"../canary"))),
    "an ELF": fixed(b"\x7fELF\2\1\1" + b"\0" * 99),
}


def images() -> Iterator[Case]:
    def case(name: str, content: bytes, *, refused: bool | None = True) -> Case:
        return Case(name, "image", fixed(content), refused)

    for name, make in FOREIGN.items():
        yield Case(f"{name} named like a JPEG", "image", make)
    for name, make in list(DISGUISES.items())[:4]:
        yield Case(f"{name} named like a JPEG", "image", make)
    yield case("a PNG of 69 bytes and 81 million pixels", png(9000, 9000, depth=1, rows=b""))
    yield case("a PNG with sides of 2^31 pixels", png(0x7FFFFFFF, 0x7FFFFFFF, rows=b""))
    yield case("1 × 100,000,000 pixels", png(1, 100_000_000))
    yield case("100,000,000 × 1 pixels", png(100_000_000, 1))
    yield case("0 × 0 pixels", png(0, 0))
    yield case("1 × 1 pixel (CVE-2026-22773)", png(1, 1, rows=b"\0\0"), refused=False)
    yield case("a GIF with sides of 65,535 pixels", b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b",;")
    yield case(
        "a BMP of 2^31 pixels",
        b"BM" + struct.pack("<IIIIiiHHIIiiII", 99, 0, 54, 40, 1 << 16, -(1 << 15), 1, 24, 0, 0, 0, 0, 0, 0),
    )
    webp = picture("WEBP", lossless=True)
    yield case("a WebP with sides of 16,383 pixels", webp.replace(webp[21:25], b"\xff\xff\xff\x0f", 1))
    yield case("a TIFF with sides of 65,535 pixels", tiff(65535, 65535, bits=8, pixels=b""))
    yield case("a TIFF with sides of 2^32 pixels", tiff(0xFFFFFFFF, 0xFFFFFFFF, bits=8, pixels=b""))
    yield case("more than 64 MB", picture("PNG") + b"\0" * 64_000_000)
    yield case("a JPEG of 10,000 scans", scans(10_000))
    yield case("a GIF of 10,000 frames", gif(10_000), refused=False)
    yield case("an APNG of 10,000 frames", apng(10_000), refused=False)
    yield case("a TIFF whose next page is itself", tiff(2, 2, bits=8, pixels=b"abcd", next_page=8), refused=None)
    yield case(
        "a TIFF whose next page is beyond the end", tiff(2, 2, bits=8, pixels=b"abcd", next_page=1 << 31), refused=None
    )
    yield case("a TIFF with 65,535 samples", tiff(2, 2, bits=8, samples=65_535, pixels=b""))
    yield case("a TIFF with 3,000 bits", tiff(2, 2, bits=3000, pixels=b"abcd"))
    text = png_chunk(b"zTXt", b"x\0\0" + zlib.compress(b"\0" * 50_000_000))
    yield case("a bomb in a PNG's text", png(1, 1, rows=b"\0\0", before=text), refused=None)
    profile = png_chunk(b"iCCP", b"x\0\0" + zlib.compress(b"\0" * 50_000_000))
    yield case("a bomb in a PNG's profile", png(1, 1, rows=b"\0\0", before=profile), refused=None)
    yield case(
        "100,000 text chunks",
        png(1, 1, rows=b"\0\0", before=png_chunk(b"tEXt", b"k\0" + b"v" * 200) * 100_000),
        refused=None,
    )
    yield case("an 82-byte PNG of 50 million pixels", png(50_000, 1000, rows=b"\0\0"))
    yield case("a raw TIFF of 50 million missing pixels", tiff(50_000, 1000, bits=8, pixels=b"abcd"))
    yield case("rows that unpack to 500 MB", png(1, 1, rows=b"\0" * 500_000_000), refused=None)
    yield case("a missing palette", png(4, 4, colour=3, rows=b"\0\1\2\3\4" * 4), refused=None)
    yield case("a chunk of 2^31 bytes", picture("PNG")[:33] + struct.pack(">I", 1 << 31) + b"IDAT")
    yield case("a wrong checksum", picture("PNG")[:-1] + b"\0", refused=None)
    yield case(
        "an EXIF that loops",
        picture("JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\1\0\x69\x87\4\0\1\0\0\0\x08\0\0\0\0\0\0\0"),
        refused=None,
    )
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"):
        intact = picture(kind)
        yield case(f"half a {kind}", intact[: len(intact) // 2])
        yield case(f"a {kind} without pixels", intact[:12])
    yield case("empty", b"")
    yield case("one byte", b"\xff")
    yield case("a JPEG followed by a zip", picture("JPEG") + zipped(Entry(b"../canary")), refused=False)
    yield case("a PNG followed by a pickle", picture("PNG") + pickle.dumps(os.system), refused=False)


# registry files: ./zoo.toml may come with a cloned repository

HEAD = b"""schema = 1
[recipes.r]
summary = "s"
model = "fashion-cnn"
dataset = "fashion-mnist"
epochs = 1
batch_size = 8
"""


def registries() -> Iterator[Case]:
    def case(name: str, content: bytes, *, refused: bool | None = True) -> Case:
        return Case(name, "registry", fixed(content), refused)

    yield case("a good one", HEAD, refused=False)
    yield case("a byte order mark", b"\xef\xbb\xbf" + HEAD, refused=False)
    yield case("Windows line endings", HEAD.replace(b"\n", b"\r\n"), refused=False)
    for key in ("builder", "loader", "reader", "adapt", "convert", "trainer_class", "file", "path", "url", "command"):
        yield case(f"code by {key}", HEAD + f'{key} = "os:system"\n'.encode())
    yield case("code instead of a trainer", HEAD + b'trainer = "os:system"\n')
    yield case("a model that is a path", HEAD.replace(b'"fashion-cnn"', b'"../../etc/passwd"'))
    yield case("a dataset that is a path", HEAD.replace(b'"fashion-mnist"', b'"/etc/passwd"'))
    for name in (
        "../x",
        "/etc/passwd",
        "a/../b",
        "..",
        ".",
        "",
        "a" * 65,
        "a\\nb",
        "\\u202ea",
        "A",
        "a b",
        "C:x",
        "$(touch canary)",
        "-rf",
        "a;b",
        "\\u0000",
    ):
        yield case(f"a recipe named {name[:12]!r}", HEAD.replace(b"recipes.r", f'recipes."{name}"'.encode()))
    yield case("a model with weights", HEAD + b'[models.x.weights]\nuri = "https://x"\n')
    yield case("a URL", HEAD + b'weights_url = "http://x"\n')
    for number in ("nan", "inf", "-inf", "1e999", "-1", "0"):
        yield case(f"a learning rate of {number}", HEAD + f'optimizer = {{ name = "adam", lr = {number} }}\n'.encode())
    yield case("a number of 5,000 digits", HEAD + b"seed = " + b"9" * 5000 + b"\n")
    yield case("a number of 400,000 hexadecimal digits", HEAD.replace(b"epochs = 1", b"epochs = 0x" + b"f" * 400_000))
    yield case("a seed beyond 64 bits", HEAD + b"seed = 99999999999999999999\n")
    yield case("a metric that is NaN", HEAD + b'reference = { section = "x", metrics = { a = { at_least = nan } } }\n')
    yield case("10 MB", HEAD + b"# " + b"x" * 10_000_000)
    yield case("nested 100,000 deep", HEAD + b"settings = " + b"[" * 100_000)
    yield case("nested 100,000 deep, closed", HEAD + b"settings.x = " + b"[" * 100_000 + b"]" * 100_000 + b"\n")
    yield case("keys nested 50,000 deep", HEAD + b"settings." + b"a." * 50_000 + b"a = 1\n")
    yield case("90,000 unknown keys", HEAD + b"".join(b"k%d=1\n" % n for n in range(90_000)))
    yield case("a key twice", HEAD + b"epochs = 2\n")
    yield case("a table twice", HEAD + HEAD.partition(b"\n")[2])
    yield case("not UTF-8", HEAD + b"# \xff\xfe\n")
    yield case("UTF-16", HEAD.decode().encode("utf-16"))
    yield case("control characters", HEAD + b"\0\1\2")
    yield case("an escape sequence in a key", HEAD + b'"\\u001b[2J" = 1\n')
    yield case("another schema", HEAD.replace(b"schema = 1", b"schema = 2"))
    yield case("no schema", HEAD.partition(b"\n")[2])
    yield case("YAML that creates an object", b"!!python/object/apply:os.system ['touch canary']\n")
    yield case("a pickle", pickle.dumps(os.system))
    yield case("empty", b"")
    yield case("JSON", b'{"schema": 1}')
    yield Case("a pickle that touches the canary", "registry", pickle_of)


# run directories: someone sends one and asks the user to predict with it

PLAN, RESULT, METRICS = "plan.json", "result.json", "metrics.jsonl"
OTHERS = ("environment.json", "audit.json", "mistakes.json")  # read like result.json
NAN = float("nan")


def runs() -> Iterator[Case]:
    def changed(name: str, change: object, refused: bool | None = True) -> Case:
        return Case(name, "run", fixed(json.dumps(change).encode()), refused, file=PLAN, merged=True)

    def replaced(name: str, file: str, content: bytes, refused: bool | None = None) -> Case:
        return Case(name, "run", fixed(content), refused, file=file)

    yield changed("a good one", {}, refused=False)
    for key in ("builder", "adapt"):
        yield changed(f"another {key}", {"model": {key: "os:system"}}, refused=None)
    yield changed("another head", {"model": {"head": "backbone"}})
    yield changed("arguments for the builder", {"model": {"fixed": {"command": "touch canary"}}})
    yield changed("options for the builder", {"recipe": {"model_options": {"__class__": "os.system"}}})
    yield changed("an option that the builder already has", {"recipe": {"model_options": {"num_classes": 9}}})
    yield changed("another model", {"model": {"name": "alexnet"}, "recipe": {"model": "alexnet"}})
    yield changed("a missing model", {"model": {"name": "nothing"}})
    yield changed("a model that is a path", {"model": {"name": "../../etc/passwd"}})
    source = {"uri": "file:///etc/passwd", "size": 1, "sha256": "0" * 64}
    card = {"name": "w", "covers": "all", "license": "", "provenance": ""}

    def weights(source: dict[str, object], **more: object) -> object:
        return {"weights": [{**card, "file": {"sources": [source], "size": 1, "sha256": "0" * 64}, **more}]}

    yield changed("weights from a path", weights(source))
    yield changed("weights from a URL", weights(source | {"uri": "http://127.0.0.1:9/x"}))
    yield changed("weights with code to convert them", weights(source, convert="os:system"))
    yield changed("weights with code to read them", weights(source | {"reader": "os:system"}))
    yield changed("classes by code", weights(source, classes="os:getcwd"))
    yield changed("an extra class", {"classes": ["ducks", "frogs", "newts", "more"]})
    yield changed("no classes", {"classes": []})
    yield changed("100,000 classes", {"classes": [str(n) for n in range(100_000)]})
    yield changed("a class with a script", {"classes": ["<script>alert(1)</script>", "frogs", "newts"]}, refused=None)
    yield changed("an unknown key", {"loader": "os:system"})
    yield changed("another trainer", {"trainer": {"trainer": "os:system"}}, refused=None)
    yield changed("another loader", {"dataset": {"loader": "os:system"}}, refused=None)
    yield changed("settings by code", {"trainer": {"settings": "os:system"}}, refused=None)
    yield changed("a folder of images that is a device", {"data": "/dev"}, refused=None)
    yield changed("a learning rate of NaN", {"recipe": {"optimizer": {"lr": NAN}}})
    yield changed("a size beyond memory", {"model": {"input": {"size": 1 << 40}}}, refused=None)
    for name, content in {
        "empty": b"",
        "not JSON": b"{",
        "a list": b"[]",
        "null": b"null",
        "text": b'"x"',
        "not UTF-8": b'{"status": "\xff"}',
        "half a character": b'{"status": "\\ud800", "metrics": {"\\ud800": 1}}',
        "nested 100,000 deep": b"[" * 100_000,
        "a number of 5,000 digits": b'{"metrics": {"x": %s}}' % (b"9" * 5000),
        "numbers as text": b'{"metrics": {"x": "y"}, "reference": [1]}',
        "metrics of NaN and infinity": b'{"metrics": {"test_accuracy": NaN, "test_loss": Infinity}}',
        "a pickle": pickle.dumps({"status": 1}),
        "ten million zeros": b"\0" * 10_000_000,
    }.items():
        for file in (PLAN, RESULT, METRICS, "predictions.csv", *OTHERS[: len(content) % 4]):
            yield replaced(f"{file}: {name}", file, content, refused=True if file == PLAN else None)
    yield replaced(
        "a script in a report",
        RESULT,
        b'{"status": "<script>alert(1)</script>", "reason": "<script>alert(1)</script>"}',
    )
    yield replaced(
        "a script in a table",
        "predictions.csv",
        b"image,label,prediction,p(<script>alert(1)</script>)\n<script>alert(1)</script>,a,a,1\n",
    )
    yield replaced(
        "mistakes elsewhere",
        "mistakes.json",
        b'{"mistakes": [{"name": "../../x", "label": "a", "predicted": "b", "probability": 2}]}',
    )
    for name, make in list(DISGUISES.items())[:6]:
        yield Case(f"weights: {name}", "run", make, file="weights.safetensors")
    yield replaced(
        "weights of another model", "weights.safetensors", header_of({"x": tensor(0, 4, 1)}) + b"\0" * 4, refused=True
    )
    yield replaced("weights that are empty", "weights.safetensors", b"", refused=True)
