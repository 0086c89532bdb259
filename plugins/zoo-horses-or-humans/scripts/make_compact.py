"""Makes the compact edition from the original archives: every image as WebP, in two uncompressed zips.

    python make_compact.py FOLDER-WITH-THE-TWO-ARCHIVES

The same archives and the same libwebp give the same bytes; the last lines printed are what the card declares.
"""

from __future__ import annotations

import hashlib
import io
import sys
import zipfile
from pathlib import Path

from PIL import Image, features

ARCHIVES = {"train": "horse-or-human.zip", "validation": "validation-horse-or-human.zip"}
QUALITY = 80  # of WebP: 11 MB for all 1,283 images of 300 × 300 pixels
TARGET = Path(__file__).parents[1] / "zoo_horses_or_humans" / "data"


def compact(archive: Path, target: Path) -> None:
    """Write every image of `archive` to `target`, in the order of names, without dates."""
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(target, "w") as new:
        for name in sorted(name for name in old.namelist() if name.endswith(".png")):
            webp = io.BytesIO()
            Image.open(io.BytesIO(old.read(name))).convert("RGB").save(webp, "WEBP", quality=QUALITY, method=6)
            new.writestr(zipfile.ZipInfo(name.removesuffix(".png") + ".webp"), webp.getvalue())


def main(folder: Path) -> None:
    """Make both splits, and print their sizes and hashes."""
    TARGET.mkdir(exist_ok=True)
    print("libwebp", features.version("webp"))
    for split, archive in ARCHIVES.items():
        target = TARGET / f"{split}.zip"
        compact(folder / archive, target)
        print(split, target.stat().st_size, hashlib.sha256(target.read_bytes()).hexdigest())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
