"""Files that mean harm, made in code: replicas of what has been published, one by one."""

from __future__ import annotations

import struct
import zlib


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *, depth: int = 8, colour: int = 0, rows: bytes = b"", before: bytes = b"") -> bytes:
    """A PNG with these rows, each behind its filter's byte, and with chunks before them."""
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
    """A TIFF of one uncompressed strip."""
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
        held = struct.pack(f"{order}{len(values)}{'H' if kind == short else 'I'}", *values)
        if len(held) > 4:
            held, used = struct.pack(f"{order}I", beyond + used), used + len(held)
        directory += struct.pack(f"{order}HHI", tag, kind, len(values)) + held.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    return head + directory + struct.pack(f"{order}I", next_page) + extra + pixels
