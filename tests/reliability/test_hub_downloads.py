"""Files on the Hugging Face Hub: the guarantees of downloads, with a loopback server that fails or sends wrong data."""

from __future__ import annotations

import hashlib
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import huggingface_hub.constants
import pytest

from tests.conftest import Zoo
from tests.reliability.children import children
from tests.reliability.fault_server import HONEST, Answer, FaultServer, serving
from tests.reliability.ledger import SEED
from tests.reliability.test_downloads import QUICK, secure  # noqa: F401 - a fixture
from zoo_core import File, Source, Store
from zoo_core.cards.files import HubFile
from zoo_core.errors import IntegrityError, NetworkError

CONTENT = random.Random(SEED).randbytes(300_000)
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILE = HubFile(repo="owner/name")
TOKEN = "hf_secret"


@pytest.fixture
def servers() -> Iterator[list[FaultServer]]:
    """A hub, and another host."""
    with ExitStack() as stack:
        yield [stack.enter_context(serving(CONTENT)) for _ in range(2)]


@pytest.fixture
def hub(servers: list[FaultServer], monkeypatch: pytest.MonkeyPatch) -> FaultServer:
    return point_at(servers[0], monkeypatch)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", retry=QUICK)


def point_at(server: FaultServer, monkeypatch: pytest.MonkeyPatch, url: str | None = None) -> FaultServer:
    """Let the Hub's client ask this server, with a token; it reads the environment only when it is imported."""
    url = url or server.url
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    server.head = head_of(server.content)
    return server


def head_of(content: bytes, commit: str = COMMIT) -> dict[str, str]:
    sha256 = hashlib.sha256(content).hexdigest()
    return {"ETag": f'"{sha256}"', "X-Repo-Commit": commit, "X-Linked-Size": str(len(content)), "Content-Length": "0"}


def test_the_file_is_downloaded_at_its_commit_with_the_users_token(hub: FaultServer, store: Store) -> None:
    assert store.fetch(FILE, "x").read_bytes() == CONTENT
    assert [(asked.path, asked.token) for asked in hub.asked] == [
        (f"/owner/name/resolve/{COMMIT}/model.safetensors", f"Bearer {TOKEN}")
    ]


def test_an_interrupted_download_is_resumed(hub: FaultServer, store: Store) -> None:
    hub.plays(Answer(cut=200_000), HONEST)
    assert store.fetch(FILE, "x").read_bytes() == CONTENT
    assert [(asked.range, asked.sent) for asked in hub.asked] == [(None, 200_000), ("bytes=200000-", 100_000)]


def test_a_later_process_resumes_where_a_killed_one_was(hub: FaultServer, tmp_path: Path) -> None:
    store = Store(tmp_path / "store", retry=QUICK)
    hub.plays(Answer(pace=0.1))
    file = {"repo": FILE.repo, "filename": FILE.filename, "revision": FILE.revision}
    with children(tmp_path / "said") as forked:
        process = forked.start("fetch_hub", root=str(store.root), file=file, endpoint=hub.url)
        scratch = store.root / "scratch"
        end = time.monotonic() + 30
        while not any(path.stat().st_size > 100_000 for path in scratch.glob(".*.part")):
            assert time.monotonic() < end
            time.sleep(0.01)
        forked.kill(process)
        assert forked.wait(process) == -signal.SIGKILL
    hub.plays(HONEST)
    assert store.fetch(FILE, "x").read_bytes() == CONTENT
    assert hub.asked[-1].range is not None
    assert hub.asked[-1].sent <= 200_000


def test_a_body_that_is_too_long_is_cut_off(hub: FaultServer, store: Store) -> None:
    for length in ("none", "chunked"):
        hub.plays(Answer(endless=True, length=length))  # type: ignore[arg-type]
        with pytest.raises(IntegrityError, match="longer than the expected 300,000 bytes"):
            store.fetch(FILE, "x")
        assert len(hub.asked) <= 1
    assert list((store.root / "scratch").iterdir()) == []
    assert store.entries() == []


def test_a_slow_hub_is_given_up_on(hub: FaultServer, store: Store) -> None:
    hub.plays(Answer(cut=10, then="drip"))
    began = time.monotonic()
    with pytest.raises(NetworkError, match="after 6 tries"):
        store.fetch(FILE, "x")
    assert time.monotonic() - began < 10


def test_a_hub_that_fails_once_is_asked_again(hub: FaultServer, store: Store) -> None:
    hub.plays(Answer(status=503), HONEST)
    assert store.fetch(FILE, "x").read_bytes() == CONTENT


@pytest.mark.parametrize(("status", "fix"), [(401, "hf auth login"), (404, "export HF_ENDPOINT=https://MIRROR")])
def test_a_refusal_says_what_to_do(hub: FaultServer, store: Store, status: int, fix: str) -> None:
    hub.plays(Answer(status=status))
    with pytest.raises(NetworkError) as raised:
        store.fetch(FILE, "x")
    assert f"HTTP {status}" in str(raised.value)
    assert raised.value.fix == fix


def test_the_token_is_not_sent_to_another_host(servers: list[FaultServer], hub: FaultServer, store: Store) -> None:
    other = servers[1]
    hub.plays(Answer(status=302, headers={"Location": other.url + "/x"}, body=b""))
    assert store.fetch(FILE, "x").read_bytes() == CONTENT
    assert [asked.token for asked in hub.asked] == [f"Bearer {TOKEN}"]
    assert [asked.token for asked in other.asked] == [None]


def test_https_is_never_downgraded(
    secure: FaultServer,  # noqa: F811 - a fixture
    servers: list[FaultServer],
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    point_at(secure, monkeypatch)
    secure.plays(Answer(status=302, headers={"Location": servers[1].url + "/x"}, body=b""))
    monkeypatch.setattr("zoo_core.store.store.ask_hub", lambda file, retry: pinned_at(secure))
    with pytest.raises(IntegrityError, match="redirects from https to http"):
        store.fetch(FILE, "x")
    assert servers[1].asked == []


def pinned_at(server: FaultServer) -> File:
    """Return what the Hub would answer; its own client does not trust the certificate."""
    size, sha256 = len(server.content), hashlib.sha256(server.content).hexdigest()
    uri = f"hub:{FILE.repo}@{COMMIT}#{FILE.filename}"
    return File(sources=(Source(uri=uri, size=size, sha256=sha256),), size=size, sha256=sha256)


@pytest.mark.parametrize(
    "head", [head_of(b"other bytes" * 27_273), head_of(CONTENT, ".."), head_of(CONTENT, "main"), {}], ids=range(4)
)
def test_one_wrong_answer_of_the_hub_is_not_remembered(hub: FaultServer, store: Store, head: dict[str, str]) -> None:
    honest, hub.head = hub.head, {"Content-Length": "0", **head}
    with pytest.raises(IntegrityError):
        store.fetch(FILE, "x")
    assert store.entries() == []
    hub.head = honest
    assert store.fetch(FILE, "x").read_bytes() == CONTENT


def test_a_pin_stays_when_the_hub_changes_its_mind(hub: FaultServer, store: Store) -> None:
    pinned = store.pinned(FILE, "x")
    hub.head = head_of(b"other bytes")
    assert store.pinned(FILE, "x") == pinned
    assert store.fetch(FILE, "x").read_bytes() == CONTENT


def test_bytes_that_do_not_match_their_pin_say_how_to_forget_it(
    hub: FaultServer, store: Store, zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.pinned(FILE, "x")
    file, _ = store.entries()
    store.remove(file)
    hub.plays(Answer(flip=7))
    with pytest.raises(IntegrityError, match="pinned when it was first downloaded") as raised:
        store.fetch(FILE, "x")
    assert raised.value.fix == "zoo cache rm owner/name"
    monkeypatch.setenv("ZOO_CACHE", str(store.root))
    assert zoo("cache", "rm", "owner/name").out.startswith("1 deleted")
    assert store.entries() == []


def test_a_damaged_pin_is_found_and_deleted(
    hub: FaultServer, store: Store, zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(store.root))
    store.pinned(FILE, "x")
    assert zoo("cache", "verify").out == "2 intact\n"
    (pin,) = (store.root / "pins").iterdir()
    pin.write_bytes(b"half a p")
    assert zoo("cache", "verify").code == 5
    assert [entry.kind for entry in store.entries()] == ["file"]
    assert store.fetch(FILE, "x").read_bytes() == CONTENT
