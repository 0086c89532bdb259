"""The Store against a loopback server that misbehaves in various ways."""

from __future__ import annotations

import gzip
import hashlib
import os
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import pytest
from filelock import FileLock

from tests.conftest import Zoo
from zoo_core import File, IntegrityError, NetworkError, ResourceError, Source, Store, UsageError
from zoo_core.cards.files import HubFile
from zoo_core.disk.temporary_names import NOBODY, temporary_name
from zoo_core.events import Event, Progress
from zoo_core.store.cache_folder import MARKER
from zoo_core.store.http import RetryPolicy

CONTENT = b"the promised bytes " * 5000
COMMIT = "c0ffee" + "0" * 34
SHA = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """Answers each path differently, and records the requests."""

    url: str
    asked: list[str] = field(default_factory=list)

    def file(self, *paths: str, content: bytes = CONTENT) -> File:
        sha = hashlib.sha256(content).hexdigest()
        sources = tuple(Source(uri=self.url + path, size=len(content), sha256=sha) for path in paths)
        return File(sources=sources, size=len(content), sha256=sha)


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            state.asked.append(self.path)
            self.send_response(200)
            for name, value in {
                "ETag": f'"{SHA}"',
                "X-Repo-Commit": COMMIT,
                "Content-Length": len(CONTENT),
            }.items():
                self.send_header(name, str(value))
            self.end_headers()

        def do_GET(self) -> None:
            state.asked.append(self.path)
            body, length = CONTENT, len(CONTENT)
            match self.path:
                case "/missing":
                    return self.send_error(404)
                case "/broken":
                    return self.send_error(500)
                case "/loop":
                    self.send_response(302)
                    self.send_header("Location", "/loop")
                    return self.end_headers()
                case "/moved":
                    self.send_response(302)
                    self.send_header("Location", "/good")
                    return self.end_headers()
                case "/cut":
                    body = CONTENT[:1000]
                case "/short":
                    body, length = CONTENT[:-1], len(CONTENT) - 1
                case "/long":
                    body, length = CONTENT + b"!", len(CONTENT) + 1
                case "/flipped":
                    body = CONTENT[:-1] + b"?"
                case "/page":
                    body = b"<html>please log in</html>"
                    length = len(body)
            self.send_response(200)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True
            return None

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = Server(f"http://127.0.0.1:{listening.server_port}")
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    listening.shutdown()
    thread.join()
    listening.server_close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", retry=RetryPolicy(pause=0.001))


def leftovers(store: Store) -> list[Path]:
    return [
        path for path in store.root.rglob("*") if path.is_file() and path.parent.name != "locks" and path.name != MARKER
    ]


def test_a_file_is_fetched_once(server: Server, store: Store) -> None:
    file = server.file("/good")
    assert store.fetch(file, "x").read_bytes() == CONTENT
    assert store.fetch(file, "x") == store.path_of(file)
    assert server.asked == ["/good"]
    assert leftovers(store) == [store.path_of(file)]


def test_progress_is_reported_in_bytes(server: Server, store: Store) -> None:
    seen: list[Event] = []
    store.fetch(server.file("/good"), "x", seen.append)
    assert seen[-1] == Progress("fetching", len(CONTENT), len(CONTENT), "B")


@pytest.mark.parametrize("path", ["/missing", "/broken", "/loop", "/cut", "/short", "/long", "/flipped", "/page"])
def test_the_next_source_is_tried(server: Server, store: Store, path: str) -> None:
    assert store.fetch(server.file(path, "/moved"), "x").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "kind", "why"),
    [
        ("/missing", NetworkError, "404"),
        ("/broken", NetworkError, "500"),
        ("/loop", NetworkError, "redirects"),
        ("/cut", NetworkError, "without sending complete"),
        ("/short", IntegrityError, "94,999 bytes, expected 95,000"),
        ("/long", IntegrityError, "longer than the expected 95,000"),
        ("/flipped", IntegrityError, "SHA-256 is"),
        ("/page", IntegrityError, "looks like an HTML page"),
    ],
)
def test_a_lying_server_is_named_and_nothing_is_cached(
    server: Server, store: Store, path: str, kind: type[Exception], why: str
) -> None:
    with pytest.raises(kind) as raised:
        store.fetch(server.file(path), "the-data")
    assert "the-data could not be downloaded" in str(raised.value)
    assert why in str(raised.value)
    assert "zoo pull the-data --from FILE" in str(raised.value)
    assert [left.stat().st_size for left in leftovers(store)] == ([1000] if path == "/cut" else [])


def test_every_failed_source_is_named(server: Server, store: Store) -> None:
    with pytest.raises(IntegrityError) as raised:
        store.fetch(server.file("/missing", "/flipped"), "x")
    assert "404" in str(raised.value)
    assert "SHA-256 is" in str(raised.value)


def test_a_missing_network_is_reported(store: Store) -> None:
    source = Source(uri="http://127.0.0.1:1/x", size=1, sha256=SHA)
    with pytest.raises(NetworkError, match="could not be downloaded: ConnectError"):
        store.fetch(File(sources=(source,), size=1, sha256=SHA), "x")


def test_offline_sends_no_request_and_serves_cached_files(server: Server, store: Store) -> None:
    file, offline = server.file("/good"), Store(store.root, offline=True)
    with pytest.raises(NetworkError, match="ZOO_OFFLINE is set"):
        offline.fetch(file, "x")
    assert server.asked == []
    store.fetch(file, "x")
    assert offline.fetch(file, "x").read_bytes() == CONTENT


def test_a_truncated_file_is_fetched_again(server: Server, store: Store) -> None:
    file = server.file("/good")
    store.fetch(file, "x").write_bytes(CONTENT[:5])
    assert store.fetch(file, "x").read_bytes() == CONTENT
    assert server.asked == ["/good", "/good"]


def test_many_threads_fetch_a_file_once(server: Server, store: Store) -> None:
    file = server.file("/good")
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: store.fetch(file, "x"), range(8)))
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert server.asked == ["/good"]


def test_many_threads_get_the_right_bytes_without_locks(
    server: Server, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fcntl.flock", lambda handle, operation: None)
    file = server.file("/good")
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: store.fetch(file, "x"), range(8)))
    assert {path.read_bytes() for path in paths} == {CONTENT}


def test_a_reader_converts_the_content_that_is_cached(server: Server, store: Store, tmp_path: Path) -> None:
    packed = gzip.compress(CONTENT)
    (tmp_path / "x.gz").write_bytes(packed)
    source = Source(
        uri=(tmp_path / "x.gz").as_uri(),
        size=len(packed),
        sha256=hashlib.sha256(packed).hexdigest(),
        reader="zoo_core:gunzip",
    )
    assert store.fetch(File(sources=(source,), size=len(CONTENT), sha256=SHA), "x").read_bytes() == CONTENT


def test_a_local_file_is_imported_by_its_content_packed_or_not(store: Store, tmp_path: Path) -> None:
    source = Source(uri="https://example.org/x.gz", size=9, sha256="1" * 64, reader="zoo_core:gunzip")
    file = File(sources=(source,), size=len(CONTENT), sha256=SHA)
    (tmp_path / "wrong").write_bytes(b"wrong")
    (tmp_path / "repacked.gz").write_bytes(gzip.compress(CONTENT, compresslevel=1))
    assert store.import_file(file, [tmp_path / "wrong"]) is None
    assert leftovers(store) == []
    imported = store.import_file(file, [tmp_path / "wrong", tmp_path / "repacked.gz"])
    assert imported is not None
    assert imported.read_bytes() == CONTENT


def test_a_file_of_a_package_is_verified_in_place(store: Store) -> None:
    good = File(
        sources=(Source(uri="package:zoo_pond/pond.txt", size=5, sha256=hashlib.sha256(b"pond\n").hexdigest()),),
        size=5,
        sha256=hashlib.sha256(b"pond\n").hexdigest(),
    )
    assert store.fetch(good, "x").name == "pond.txt"
    assert leftovers(store) == []
    damaged = good.model_copy(update={"sources": (good.sources[0].model_copy(update={"sha256": "0" * 64}),)})
    with pytest.raises(IntegrityError, match="SHA-256 is"):
        store.fetch(damaged, "x")


def test_a_shipped_file_does_not_need_a_writable_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file where the cache should be")
    sha = hashlib.sha256(b"pond\n").hexdigest()
    file = File(sources=(Source(uri="package:zoo_pond/pond.txt", size=5, sha256=sha),), size=5, sha256=sha)
    assert Store(tmp_path / "file").fetch(file, "x").name == "pond.txt"


def test_a_missing_local_source_falls_back_to_the_next(server: Server, store: Store, tmp_path: Path) -> None:
    good = server.file("/good")
    gone = good.sources[0].model_copy(update={"uri": (tmp_path / "gone").as_uri()})
    assert store.fetch(good.model_copy(update={"sources": (gone, *good.sources)}), "x").read_bytes() == CONTENT


def test_an_archive_that_cannot_be_opened_is_skipped(store: Store, tmp_path: Path) -> None:
    source = Source(uri="https://example.org/x.zip", size=9, sha256="1" * 64, reader="zoo_core:rezip")
    (tmp_path / "no.zip").write_bytes(b"PK\x03\x04 no zip at all")
    assert store.import_file(File(sources=(source,), size=9, sha256=SHA), [tmp_path / "no.zip", tmp_path]) is None


@pytest.mark.parametrize("requirement", ["git+https://x/y", "--index-url=x", "name", "name==1 --pre"])
def test_an_index_source_names_one_version_and_nothing_else(requirement: str) -> None:
    with pytest.raises(ValueError, match="uri"):
        Source(uri=f"index:{requirement}#a/b", size=1, sha256=SHA)


def test_a_read_only_cache_is_explained(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file where the cache should be")
    with pytest.raises(ResourceError, match="ZOO_CACHE"):
        Store(tmp_path / "file").fetch(server.file("/good"), "x")


def test_features_are_cached_by_key_and_damaged_ones_are_deleted(store: Store) -> None:
    assert store.get_cached("c" * 64) is None
    path = store.put_cached("c" * 64, b"features")
    assert store.get_cached("c" * 64) == b"features"
    assert store.get_cached("d" * 64) is None
    path.write_bytes(b"featureS")
    assert store.get_cached("c" * 64) is None
    assert not path.exists()


def test_entries_are_listed_verified_and_removed(server: Server, store: Store) -> None:
    file = server.file("/good")
    store.fetch(file, "x")
    store.put_cached("c" * 64, b"features")
    cached, features = store.entries()
    assert (cached.kind, cached.key, cached.size) == ("file", SHA, len(CONTENT))
    assert (features.kind, features.key) == ("features", "c" * 64)
    assert store.verify(cached)
    assert store.verify(features)
    cached.path.write_bytes(b"x" * len(CONTENT))
    assert not store.verify(cached)
    store.remove(cached)
    assert store.entries() == [features]


def test_a_home_that_does_not_exist_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_CACHE", "~no-such-user-here/cache")
    with pytest.raises(UsageError, match="export ZOO_CACHE=FOLDER"):
        Store.default()


def test_a_new_cache_is_private_and_an_existing_one_keeps_its_mode(server: Server, tmp_path: Path) -> None:
    Store(tmp_path / "deep" / "new").fetch(server.file("/good"), "x")
    assert stat.S_IMODE((tmp_path / "deep" / "new").stat().st_mode) == 0o700
    (tmp_path / "shared").mkdir(mode=0o755)
    Store(tmp_path / "shared").fetch(server.file("/good"), "x")
    assert stat.S_IMODE((tmp_path / "shared").stat().st_mode) == 0o755


def test_waiting_for_a_lock_is_reported_and_limited(
    server: Server, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store = replace(store, retry=RetryPolicy(silence=0.01, lock=0.05))
    (store.root / "locks").mkdir(parents=True)
    with FileLock(store.root / "locks" / SHA):
        assert store.fetch(server.file("/good"), "the-data").read_bytes() == CONTENT
    assert caplog.messages == ["the-data is being fetched by another process; waiting for it"]


def test_a_file_is_fetched_even_if_it_cannot_be_locked(server: Server, store: Store) -> None:
    (store.root / "locks" / SHA).mkdir(parents=True)
    assert store.fetch(server.file("/good"), "x").read_bytes() == CONTENT


def test_a_fetch_sweeps_what_killed_processes_left(server: Server, store: Store) -> None:
    left = [store.root / name / temporary_name("x", NOBODY) for name in ("files", "features", "pins", "scratch")]
    for path in left:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"half")
        os.utime(path, (0, 0))
    store.fetch(server.file("/good"), "x")
    assert leftovers(store) == [store.path_of(server.file("/good"))]


def test_a_file_that_its_reader_cannot_read_names_the_source(server: Server, store: Store) -> None:
    file = server.file("/good")
    source = file.sources[0].model_copy(update={"reader": "zoo_core:rezip"})
    with pytest.raises(IntegrityError, match="/good cannot be read: BadZipFile"):
        store.fetch(file.model_copy(update={"sources": (source,)}), "x")
    assert leftovers(store) == []


@pytest.fixture
def hub(server: Server, monkeypatch: pytest.MonkeyPatch) -> HubFile:
    """A file on a hub, which is the loopback server."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    return HubFile(repo="owner/name")


def test_a_file_on_the_hub_is_pinned_when_it_is_first_downloaded(server: Server, store: Store, hub: HubFile) -> None:
    offline = Store(store.root, offline=True)
    assert not store.has(hub)
    with pytest.raises(NetworkError, match="x was never downloaded"):
        offline.pinned(hub, "x")
    pinned = store.pinned(hub, "x")
    assert (pinned.sha256, pinned.size) == (SHA, len(CONTENT))
    assert offline.pinned(hub, "x") == pinned
    assert offline.fetch(hub, "x").read_bytes() == CONTENT
    assert list(store.pins().values()) == [pinned]
    assert server.asked == [f"/owner/name/resolve/{revision}/model.safetensors" for revision in ("main", COMMIT)]


def test_a_local_file_is_imported_for_a_file_on_the_hub(
    server: Server, store: Store, hub: HubFile, tmp_path: Path
) -> None:
    assert store.import_file(hub, [file_with(b"wrong", tmp_path / "wrong")]) is None
    assert store.pins() == {}
    assert store.import_file(hub, [file_with(CONTENT, tmp_path / "right")]) == store.root / "files" / SHA
    assert store.has(hub)
    assert set(server.asked) == {"/owner/name/resolve/main/model.safetensors"}  # no bytes were downloaded


def test_the_hub_is_asked_again_if_a_pin_cannot_be_read(server: Server, store: Store, hub: HubFile) -> None:
    pinned = store.pinned(hub, "x")
    (path,) = (store.root / "pins").iterdir()
    path.write_bytes(b"half a p")
    assert store.pins() == {}
    assert store.pinned(hub, "x") == pinned
    assert len(server.asked) == 3  # the bytes are cached


def file_with(content: bytes, path: Path) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("value", "offline"), [("1", True), ("true", True), ("0", False), ("", False), ("no", False)])
def test_the_environment_sets_the_folder_and_offline_mode(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str, offline: bool
) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "here"))
    monkeypatch.setenv("ZOO_OFFLINE", value)
    assert Store.default() == Store(tmp_path / "here", offline)


def test_zoo_cache_verify_reports_what_killed_processes_left(
    zoo: Zoo, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(store.root))
    path = store.root / "scratch" / temporary_name("x", NOBODY)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half")
    os.utime(path, (0, 0))
    assert zoo("cache", "verify").out == "0 intact; 1 unfinished, over a day old, deleted\n"
    assert zoo("cache", "verify").out == "0 intact\n"


def test_a_file_that_another_process_has_just_finished_is_used(
    server: Server, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where locks do nothing, another container may take our partial file for one of a dead process, and delete it."""
    file = server.file("/good")
    publish = Store._publish

    def deleted(self: Store, file: File, path: Path, *options: str | None) -> Path:
        path.unlink()
        monkeypatch.setattr(Store, "_publish", publish)
        store.import_file(file, [file_with(CONTENT, tmp_path / "theirs")])
        return publish(self, file, path, *options)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "_publish", deleted)
    assert store.fetch(file, "x").read_bytes() == CONTENT


def test_a_partial_file_that_is_gone_does_not_accuse_the_server(
    server: Server, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = Store._publish

    def deleted(self: Store, file: File, path: Path, *options: str | None) -> Path:
        path.unlink()
        return publish(self, file, path, *options)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "_publish", deleted)
    with pytest.raises(ResourceError, match=r"\.part has disappeared"):
        store.fetch(server.file("/good"), "x")


def test_a_suggested_command_can_be_typed(server: Server, store: Store) -> None:
    with pytest.raises(NetworkError) as raised:
        store.fetch(server.file("/missing"), "fashion-mnist.full (train-images)")
    assert raised.value.fix == "zoo pull fashion-mnist.full --from FILE"


def test_a_local_file_that_is_far_too_large_is_not_read(store: Store, tmp_path: Path) -> None:
    source = Source(uri="https://example.org/x", size=9, sha256="1" * 64, reader="zoo_core.no_such_module:reader")
    with (tmp_path / "large").open("wb") as large:
        large.truncate(5_000_000_000)
    assert store.import_file(File(sources=(source,), size=9, sha256=SHA), [tmp_path / "large"]) is None
