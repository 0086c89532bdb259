"""Downloads from a server that fails in many ways, one by one and in random order."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from tests.reliability.fault_server import HONEST, Answer, FaultServer, serving
from tests.reliability.ledger import SEED, Ledger, size
from zoo_core import File, Source, Store, ZooError
from zoo_core.disk.atomic import hash_of
from zoo_core.disk.temporary_names import temporary_name
from zoo_core.errors import IntegrityError, NetworkError
from zoo_core.store.http import RetryPolicy

QUICK = RetryPolicy(connect=1.0, read=0.15, slowest=10_000, pause=0.001, longest_pause=0.01)
TRIES = QUICK.tries
SIZES = (1, 1_000, 65_537, 300_000)  # bytes
CONTENTS = {count: random.Random(count).randbytes(count) for count in SIZES}
PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"


@dataclass(frozen=True)
class Case:
    """A fault: what the server answers, and the expected outcome."""

    name: str
    script: tuple[Answer, ...]
    error: type[ZooError] | None = None  # None: it succeeds anyway
    why: str = ""  # in the error's text
    requests: int | None = None  # that it takes
    size: int = 1_000  # bytes of the content


def offsets(count: int) -> list[int]:
    """Return the offsets at which to cut or flip a body of this many bytes."""
    return sorted({0, count // 2, count - 1})


def interruptions() -> Iterator[Case]:
    """Yield faults that end a transfer early, once or always: the next try resumes there."""
    for count in SIZES:
        for at in offsets(count):
            for name, answer in {
                "cut": Answer(cut=at),
                "reset": Answer(cut=at, then="reset"),
                "cut between chunks": Answer(cut=at, length="chunked"),
                "cut without a length": Answer(cut=at, length="none"),
                "stall": Answer(cut=at, then="stall"),
            }.items():
                yield Case(f"{name} at {at} of {count}", (answer, HONEST), size=count, requests=2)
    many = tuple(Answer(cut=50, then="reset") for _ in range(TRIES - 1))
    yield Case("reset five times", (*many, HONEST), requests=TRIES)
    yield Case("reset always", (Answer(cut=50),), NetworkError, f"300 of 1,000 bytes after {TRIES} tries", TRIES)
    yield Case("stall always", (Answer(cut=0, then="stall"),), NetworkError, f"after {TRIES} tries", TRIES)
    yield Case("one byte at a time", (Answer(cut=10, then="drip"), HONEST), requests=2)
    yield Case("not HTTP", (Answer(raw=b"\0\1\2\r\n\r\n"), HONEST), requests=2)
    yield Case("nothing at all", (Answer(raw=b""), HONEST), requests=2)
    yield Case("a truncated head", (Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Le"), HONEST), requests=2)


def refusals() -> Iterator[Case]:
    """Yield answers without the file."""
    for status in (400, 401, 403, 404, 410, 451):
        yield Case(f"HTTP {status}", (Answer(status=status),), NetworkError, f"HTTP {status}", 1)
    for status in (204, 304):
        yield Case(f"HTTP {status}", (Answer(status=status, body=b""),), NetworkError, f"HTTP {status}", 1)
    for status in (408, 425, 429, 500, 502, 503, 504):
        yield Case(f"HTTP {status} once", (Answer(status=status, body=b"busy"), HONEST), requests=2)
        yield Case(f"HTTP {status} always", (Answer(status=status),), NetworkError, f"HTTP {status}", TRIES)
    soon, never = datetime.now(UTC), datetime.now(UTC) + timedelta(days=9)
    for value in ("0", "1000000000", "9" * 5000, "-5", "nan", "soon", format_datetime(soon), format_datetime(never)):
        answer = Answer(status=503, headers={"Retry-After": value})
        yield Case(f"Retry-After: {value[:40]}", (answer, HONEST), requests=2)


def lies() -> Iterator[Case]:
    """Yield files that are not the expected one."""
    for count in SIZES:
        for at in offsets(count):
            yield Case(f"flipped at {at} of {count}", (Answer(flip=at),), IntegrityError, "SHA-256 is", 1, count)
        content = CONTENTS[count]
        yield Case(f"longer than {count}", (Answer(body=content + b"!"),), IntegrityError, "longer than", 1, count)
        yield Case(f"endless, {count} expected", (Answer(endless=True, length="none"),), IntegrityError, "", 1, count)
        yield Case(f"endless chunks, {count}", (Answer(endless=True, length="chunked"),), IntegrityError, "", 1, count)
    for length in (None, "chunked"):
        short = Answer(body=CONTENTS[1_000][:-1], length=length)
        yield Case(f"shorter, {length}", (short,), IntegrityError, "it has 999 bytes, expected 1,000", 1)
    for length in (None, "chunked", "none"):
        for body in (PAGE, b"\n <HTML>\n", PAGE * 99, PAGE.ljust(1_000)):
            page = Answer(body=body, length=length, headers={"Content-Type": "text/html"})
            yield Case(f"a page of {len(body)} bytes, {length}", (page,), IntegrityError, "looks like an HTML page", 1)
    squeezed = Answer(body=b"\x1f\x8b" + bytes(300), headers={"Content-Encoding": "gzip"})
    yield Case("compressed", (squeezed,), IntegrityError, "", 1)


def half_lies() -> Iterator[Case]:
    """Yield wrong answers to a range request: the partial file is discarded, once."""
    cut = Answer(cut=500)
    for name, answer in {
        "from elsewhere": Answer(content_range="bytes 400-999/1000"),
        "from the beginning": Answer(content_range="bytes 0-999/1000"),
        "of another size": Answer(content_range="bytes 500-999/2000"),
        "without a Content-Range": Answer(content_range="none"),
        "with an invalid Content-Range": Answer(content_range="bytes five-nine/ten"),
        "of another ETag": Answer(status=206, etag='"two"', body=bytes(500), content_range="bytes 500-999/1000"),
        "compressed": Answer(headers={"Content-Encoding": "gzip"}),
        "of other bytes": Answer(flip=700),
        "that is too long": Answer(status=206, body=bytes(501), content_range="bytes 500-999/1000"),
        "that is a 416": Answer(status=416, content_range="bytes */1000"),
    }.items():
        yield Case(f"a rest {name}", (cut, answer, HONEST), requests=3)
        restarted = (cut, answer, cut, answer)
        yield Case(f"a rest {name}, twice", restarted, ZooError, "", 4)
    for name, answer in {
        "ignored": Answer(ranges=False),
        "ignored, ETag changed": Answer(etag='"two"'),
        "ignored, no ETag": Answer(ranges=False, etag=None),
        "answered in part": Answer(status=206, body=CONTENTS[1_000][500:700], content_range="bytes 500-699/1000"),
        "answered without a size": Answer(content_range="bytes 500-999/*"),
        "answered, ETag untold": Answer(
            status=206, etag=None, body=CONTENTS[1_000][500:], content_range="bytes 500-999/1000"
        ),
    }.items():
        yield Case(f"a Range {name}", (cut, answer, HONEST), requests=3 if name == "answered in part" else 2)
    for etag in (None, 'W/"weak"', '"' + "long" * 50 + '"', '"a/b.c\\é"', "unquoted"):
        yield Case(f"ETag {etag and etag[:20]}", (replace(cut, etag=etag), Answer(etag=etag)), requests=2)
    yield Case("206 without a Range", (Answer(status=206, content_range="bytes 0-999/1000"), HONEST), requests=2)
    yield Case(
        "206 always", (Answer(status=206, content_range="bytes 0-9/10"),), NetworkError, "206 with bytes 0-9/10", 2
    )
    yield Case("416 always", (Answer(status=416),), NetworkError, "answers 416", 2)


def redirects() -> Iterator[Case]:
    """Yield redirects."""
    here = Answer(status=302, headers={"Location": "/there"}, body=b"moved")
    for status in (301, 302, 303, 307, 308):
        yield Case(f"HTTP {status}", (replace(here, status=status), HONEST), requests=2)
    yield Case("five hops", (*[here] * 5, HONEST), requests=6)
    yield Case("six hops", (*[here] * 6, HONEST), NetworkError, "redirects more than 5 times", 6)
    yield Case("a loop", (here,), NetworkError, "redirects more than 5 times", 6)
    yield Case("a redirect with an endless body", (replace(here, endless=True, length="none"), HONEST), requests=2)
    yield Case("a redirect to nowhere", (Answer(status=302, body=b""),), NetworkError, "HTTP 302", 1)
    for target in ("file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1"):
        away = replace(here, headers={"Location": target})
        yield Case(f"a redirect to {target}", (away, HONEST), IntegrityError, "redirects from http to", 1)
    for target in ("javascript:alert(1)", "data:,x", "http://[", "http://127.0.0.1:99999/", "\u00a0"):
        away = replace(here, headers={"Location": target})
        yield Case(f"a redirect to {target!r}", (away, Answer(status=404)), NetworkError)
    yield Case("a redirect, then cut", (here, Answer(cut=500), here, HONEST), requests=4)


CASES = [*interruptions(), *refusals(), *lies(), *half_lies(), *redirects()]


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[int, FaultServer]]:
    with ExitStack() as stack:
        yield {count: stack.enter_context(serving(content)) for count, content in CONTENTS.items()}


@pytest.fixture
def server(servers: dict[int, FaultServer]) -> FaultServer:
    return servers[300_000]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", retry=QUICK)


def file_of(server: FaultServer) -> File:
    sha = hashlib.sha256(server.content).hexdigest()
    count = len(server.content)
    return File(sources=(Source(uri=f"{server.url}/x", size=count, sha256=sha),), size=count, sha256=sha)


def fetched(store: Store, file: File) -> ZooError | None:
    """Fetch, compare what is published with what was expected, and return the error, if any."""
    error = None
    try:
        store.fetch(file, "x")
    except ZooError as raised:
        error = raised
    path = store.path_of(file)
    assert path.exists() == (error is None)
    assert error is not None or hash_of(path) == file.sha256
    published = [entry.name for entry in path.parent.glob("*") if not entry.name.startswith(".")]
    assert published == [path.name] * (error is None)
    return error


def left(store: Store) -> list[Path]:
    return sorted((store.root / "scratch").iterdir())


def judge(case: Case, server: FaultServer, store: Store) -> None:
    """Compare a fault's outcome with the expected one."""
    server.plays(*case.script)
    error = fetched(store, file_of(server))
    assert isinstance(error, case.error or type(None)), error
    assert case.why in str(error)
    assert case.requests is None or server.answered == case.requests, f"{server.answered} requests"
    if error is not None:
        assert server.url in str(error)
        assert error.exit_code in (4, 5)
    if isinstance(error, IntegrityError):
        assert left(store) == []
    server.plays(HONEST)
    assert fetched(store, file_of(server)) is None
    assert left(store) == []


def test_every_fault_has_its_outcome_and_an_honest_server_heals_it(
    servers: dict[int, FaultServer], tmp_path: Path, ledger: Ledger
) -> None:
    wrong = {}
    for number, case in enumerate(CASES):
        try:
            judge(case, servers[case.size], Store(tmp_path / str(number), retry=QUICK))
        except (AssertionError, ZooError) as error:
            wrong[case.name] = f"{type(error).__name__}: {error}"[:400]
    ledger.record("HTTP fault cases", tried=len(CASES), wrong=len(wrong))
    assert len({case.name for case in CASES}) == len(CASES) >= 60
    assert not wrong, "\n".join(f"{name}: {why}" for name, why in wrong.items())


def test_random_sequences_of_faults_never_publish_a_wrong_byte(
    servers: dict[int, FaultServer], tmp_path: Path, ledger: Ledger
) -> None:
    draw, tried, healed, wrong = random.Random(SEED), size(25, 2_000), 0, []
    for number in range(tried):
        faults = [draw.choice(draw.choice(CASES).script) for _ in range(draw.randint(1, 8))]
        server = servers[draw.choice(SIZES)]
        server.plays(*[inside(fault, len(server.content)) for fault in faults], HONEST)
        store = Store(tmp_path / str(number), retry=QUICK)
        try:
            healed += fetched(store, file_of(server)) is None
            server.plays(HONEST)
            assert fetched(store, file_of(server)) is None
        except (AssertionError, ZooError) as error:
            wrong.append((number, faults, repr(error)[:300]))
        shutil.rmtree(store.root)
    ledger.record("sequences of HTTP faults", tried=tried, healed_at_once=healed, wrong=len(wrong))
    assert not wrong


def inside(fault: Answer, count: int) -> Answer:
    """Move a fault inside a content of another size."""
    return fault if fault.flip is None else replace(fault, flip=fault.flip % count)


def test_only_the_rest_is_transferred_if_the_etag_still_matches(server: FaultServer, store: Store) -> None:
    server.plays(Answer(cut=200_000), HONEST)
    assert fetched(store, file_of(server)) is None
    first, second = server.asked
    assert (first.range, first.if_range, first.sent) == (None, None, 200_000)
    assert (second.range, second.if_range, second.sent) == ("bytes=200000-", '"one"', 100_000)


def test_a_later_process_resumes_where_an_earlier_one_gave_up(server: FaultServer, store: Store) -> None:
    impatient = Store(store.root, retry=replace(QUICK, tries=1))
    server.plays(Answer(cut=200_000))
    assert isinstance(fetched(impatient, file_of(server)), NetworkError)
    assert [path.stat().st_size for path in left(store)] == [200_000]
    server.plays(HONEST)
    assert fetched(store, file_of(server)) is None
    assert [(request.range, request.if_range, request.sent) for request in server.asked] == [
        ("bytes=200000-", '"one"', 100_000)
    ]
    assert left(store) == []


def test_a_complete_partial_file_is_verified_without_a_request(server: FaultServer, store: Store) -> None:
    orphan(store, server, server.content)
    server.plays(Answer(status=404))
    assert fetched(store, file_of(server)) is None
    assert server.asked == []


@pytest.mark.parametrize("wrong", [bytes(200_000), bytes(300_000), bytes(400_000)], ids=len)
def test_a_partial_file_with_other_bytes_costs_one_transfer(server: FaultServer, store: Store, wrong: bytes) -> None:
    orphan(store, server, wrong)
    server.plays(HONEST)
    assert fetched(store, file_of(server)) is None
    assert server.asked[-1].sent == 300_000


def test_a_late_write_to_a_partial_file_does_not_reach_the_cache(server: FaultServer, store: Store) -> None:
    path = orphan(store, server, server.content[:200_000])
    with path.open("ab") as slow:
        server.plays(HONEST)
        assert fetched(store, file_of(server)) is None
        slow.write(b"late bytes")
    assert hash_of(store.path_of(file_of(server))) == file_of(server).sha256
    assert server.sent == 100_000


def test_the_partial_file_of_a_running_process_is_copied_and_stays(server: FaultServer, store: Store) -> None:
    path = orphan(store, server, server.content[:200_000], process=os.getpid())
    server.plays(HONEST)
    assert fetched(store, file_of(server)) is None
    assert server.sent == 100_000
    assert left(store) == [path]


def orphan(store: Store, server: FaultServer, content: bytes, process: int = 0) -> Path:
    """Leave a partial file, as a process does that is killed while it downloads."""
    scratch = store.root / "scratch"
    scratch.mkdir(parents=True)
    path = scratch / temporary_name(f"{file_of(server).sha256}-%22one%22", process)
    path.write_bytes(content)
    return path


def test_a_server_cannot_ask_for_more_than_the_longest_pause(server: FaultServer, store: Store) -> None:
    server.plays(Answer(status=429, headers={"Retry-After": "3600"}), HONEST)
    began = time.monotonic()
    assert fetched(store, file_of(server)) is None
    assert time.monotonic() - began < 5


def test_a_pause_that_a_server_asks_for_is_respected(server: FaultServer, tmp_path: Path) -> None:
    server.plays(Answer(status=503, headers={"Retry-After": "1"}), HONEST)
    began = time.monotonic()
    assert fetched(Store(tmp_path / "s", retry=replace(QUICK, longest_pause=60)), file_of(server)) is None
    assert time.monotonic() - began >= 1


def test_a_refused_connection_is_reported_at_once(store: Store) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    source = Source(uri=f"http://127.0.0.1:{port}/x", size=1, sha256="0" * 64)
    error = fetched(store, File(sources=(source,), size=1, sha256="0" * 64))
    assert isinstance(error, NetworkError)
    assert "ConnectError" in str(error)
    assert "after 1 try" in str(error)


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    """A server that speaks https, with a certificate that this process trusts."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate, is not installed")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    made = ["-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", *made, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving(CONTENTS[1_000], lambda raw: context.wrap_socket(raw, server_side=True)) as server:
        yield server


def test_https_works_and_is_never_downgraded_to_http(
    secure: FaultServer, servers: dict[int, FaultServer], store: Store
) -> None:
    insecure = servers[1_000]
    secure.plays(Answer(status=302, headers={"Location": insecure.url + "/x"}, body=b""))
    insecure.plays(HONEST)
    error = fetched(store, file_of(secure))
    assert isinstance(error, IntegrityError)
    assert "redirects from https to http" in str(error)
    assert insecure.asked == []
    secure.plays(HONEST)
    assert fetched(store, file_of(secure)) is None


def test_http_may_redirect_to_https(secure: FaultServer, servers: dict[int, FaultServer], store: Store) -> None:
    servers[1_000].plays(Answer(status=302, headers={"Location": secure.url + "/x"}, body=b""))
    secure.plays(HONEST)
    assert fetched(store, file_of(servers[1_000])) is None


def test_an_untrusted_certificate_is_not_accepted(
    secure: FaultServer, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    error = fetched(store, file_of(secure))
    assert isinstance(error, NetworkError)
    assert "CERTIFICATE_VERIFY_FAILED" in str(error)
    assert secure.asked == []
