"""The .pt2 files that zoo writes: an archive of torch.export with a description and a checksum as extra files.

torch.export.load can unpickle, execute guards and evaluate expressions, so it never sees a file as it is. The records
are checked first: no pickles, no code, ATen operations alone. PyTorch gets an archive that is put together from them.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from zoo_core.engine.export.parity import run_torch
from zoo_core.engine.export.silence import silent
from zoo_core.errors import IntegrityError, printable
from zoo_core.exported.description import Description
from zoo_core.exported.model import ExportedModel
from zoo_core.exported.reading import checksums, first_line, read_limited

SUFFIX = ".pt2"
PREFIX, PROGRAM, INPUTS = "archive/", "models/model.json", "data/sample_inputs/model.pt"
WEIGHTS, CONSTANTS = "data/weights/model_weights_config.json", "data/constants/model_constants_config.json"
DESCRIPTION, CHECKSUM = "extra/zoo.json", "extra/zoo_sha256"
TENSOR = re.compile(r"data/(weights/weight_\d+|constants/tensor_\d+)")
FIXED = {PROGRAM, INPUTS, WEIGHTS, CONSTANTS, DESCRIPTION, CHECKSUM, "archive_format", "archive_version"}
FIXED |= {".data/version", "byteorder", ".data/serialization_id"}
OPERATION = re.compile(r"torch\.ops\.(aten|torchvision)\.\w+\.\w+|_operator\.(getitem|add|mul|sub|floordiv|ge|le|eq)")
NAME = re.compile(r"[\w.+-]*")
EXPRESSION = re.compile(r"(Symbol\('s\d+'(, (positive|integer)=True)*\)|Integer\(-?\d{1,9}\)|Mul|Add|FloorDiv|[(), ])+")
INDIRECT = {"as_graph", "as_operator", "as_custom_obj"}  # arguments that hold operations or objects
MAX_BYTES, MAX_RECORDS, MAX_NODES = 1 << 32, 20_000, 50_000

Records = Mapping[str, bytes]  # by name, without the archive's own prefix


def records_of(content: bytes) -> Records:
    """Return what an archive contains.

    Raises:
        ValueError: zoo would not have written such an archive.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            if len(entries) > MAX_RECORDS or any(one.compress_type != zipfile.ZIP_STORED for one in entries):
                raise ValueError("it is compressed, or has too many records")
            if len({one.filename for one in entries}) != len(entries) or sum(e.file_size for e in entries) > MAX_BYTES:
                raise ValueError("it has two records of one name, or too large ones")
            return {one.filename.removeprefix(PREFIX): archive.read(one) for one in entries}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise ValueError(f"its archive cannot be read: {printable(str(error)[:200])}") from error


def sealed(records: Records, description: Description) -> bytes:
    """Return the bytes of a file: an archive with the description and a checksum of all records."""
    complete = {**records, DESCRIPTION: description.document().encode()}
    return _archive({**complete, CHECKSUM: _checksum(complete)})


def open_pt2(path: Path) -> ExportedModel:
    """Open a file that zoo exported; it runs on the CPU.

    Raises:
        IntegrityError: zoo did not write the file, it is damaged, or it contains what zoo does not write.
    """
    name = printable(str(path))
    return model_of(read_limited(path, MAX_BYTES, name), name)


def model_of(content: bytes, name: str) -> ExportedModel:
    """Open the bytes of a file; see `open_pt2`. Errors call it `name`."""
    try:
        records = dict(records_of(content))
        if records.get(CHECKSUM) != _checksum({one: text for one, text in records.items() if one != CHECKSUM}):
            raise ValueError("it was not exported by zoo, or its bytes have changed since")
        _require_harmless(records)
        description = Description.read(records[DESCRIPTION])
        with silent():
            program = torch.export.load(io.BytesIO(_archive(records)))
    except IntegrityError:
        raise
    except Exception as error:  # torch.export raises all kinds
        raise IntegrityError(
            f"{name} cannot be used", why=first_line(error), fix=f"zoo export RUN {name} --force"
        ) from error
    return ExportedModel(description, run_torch(program.module()), name)


def _require_harmless(records: Records) -> None:
    """Refuse what zoo never writes, above all what torch.export.load would unpickle, execute or evaluate."""
    if others := [name for name in records if name not in FIXED and not TENSOR.fullmatch(name)]:
        raise ValueError(f"it contains {printable(others[0][:80])}")
    if missing := FIXED - set(records):
        raise ValueError(f"it has no {min(missing)}")
    if records[INPUTS]:
        raise ValueError("it contains pickled inputs")
    for config, folder in ((WEIGHTS, "data/weights/"), (CONSTANTS, "data/constants/")):
        for entry in json.loads(records[config])["config"].values():
            if entry["use_pickle"] is not False or not TENSOR.fullmatch(folder + entry["path_name"]):
                raise ValueError("it contains a pickled tensor")
    program = json.loads(records[PROGRAM])
    nodes = program["graph_module"]["graph"]["nodes"]
    if program["guards_code"] != [] or len(nodes) > MAX_NODES or any(node["metadata"] for node in nodes):
        raise ValueError("it contains code or traces, or its graph is too large")
    for node in nodes:
        if not OPERATION.fullmatch(node["target"]):
            raise ValueError(f"it uses the operation {printable(str(node['target'])[:80])}")
    for text in _texts(program):
        if text in INDIRECT or not (NAME.fullmatch(text) or EXPRESSION.fullmatch(text)):
            raise ValueError(f"its graph contains {printable(text[:80])!r}")


def _texts(value: object) -> Iterator[str]:
    """Yield all strings in a JSON document, keys included, and those in the JSON of its strings."""
    if isinstance(value, str) and value.startswith("["):  # how the inputs and outputs are nested
        yield from _texts(json.loads(value))
    elif isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)


def _archive(records: Records) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(records):
            archive.writestr(zipfile.ZipInfo(PREFIX + name), records[name])
    return buffer.getvalue()


def _checksum(records: Records) -> bytes:
    return hashlib.sha256(checksums(records)).hexdigest().encode()
