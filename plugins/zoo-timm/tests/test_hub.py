"""Weights of timm's models, from a loopback server that answers like the Hugging Face Hub."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import pytest
import timm
import timm.data
import torch
from PIL import Image
from safetensors.torch import load_file, save
from torch import Tensor
from zoo_timm import labels

import zoo_core as zoo
from zoo_core import IntegrityError, NetworkError, PluginError, Store, UsageError
from zoo_core.events import Event, Progress

REGISTRY = zoo.load_registry()
TINY, NAME = "test_resnet.r160_in1k", "timm/test_resnet.r160_in1k"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """The server's files by repository, its requests, and whether it sends wrong bytes."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    lies: bool = False
    large: bool = True  # a large file's ETag is its SHA-256; a small one has git's hash

    def holds(self, name: str, tensors: dict[str, Tensor]) -> None:
        self.files[f"timm/{name}"] = save({key: tensor.contiguous() for key, tensor in tensors.items()})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            state.asked.append(f"{self.command} {self.path}")
            repository, _, rest = self.path.strip("/").partition("/resolve/")
            content = state.files.get(repository) if rest.endswith("/model.safetensors") else None
            if content is None:
                return self.missing()
            etag = hashlib.sha256(content).hexdigest() if state.large else COMMIT
            self.send_response(200)
            for key, value in {"ETag": f'"{etag}"', "X-Linked-Etag": f'"{etag}"', "X-Repo-Commit": COMMIT}.items():
                self.send_header(key, value)
            self.send_header("X-Linked-Size", str(len(content)))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(bytes(len(content)) if state.lies else content)

        def missing(self) -> None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = Hub(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    point_at(state.url, monkeypatch)
    yield state
    server.shutdown()
    server.server_close()


def point_at(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do what HF_ENDPOINT and HF_HUB_DISABLE_TELEMETRY do; the Hub's client reads them only at import."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.effect_noise((300, 200), 90).convert("RGB").save(path)
    return path


def random_model(name: str) -> torch.nn.Module:
    torch.manual_seed(7)
    return timm.create_model(name, pretrained=False).eval()


def test_a_prediction_matches_timm_and_is_offline_the_second_time(hub: Hub, store: Store, photo: Path) -> None:
    model = random_model(TINY)
    hub.holds(TINY, model.state_dict())
    (prediction,) = zoo.predict(NAME, photo, store=store, precision="float32")
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    with torch.inference_mode():
        theirs = model(transform(Image.open(photo)).unsqueeze(0)).softmax(1)[0]
    names = labels.imagenet_1k()
    assert prediction.label == names[int(theirs.argmax())]
    for label, probability in prediction.ranking[:5]:
        assert probability == pytest.approx(theirs[names.index(label)].item(), rel=1e-4)
    assert {asked.partition(" ")[2].partition("/resolve/")[0] for asked in hub.asked} == {f"/{NAME}"}  # nothing else
    hub.asked.clear()
    assert zoo.predict(NAME, photo, store=store, precision="float32") == [prediction]
    assert zoo.predict(NAME, photo, store=Store(store.root, offline=True), precision="float32") == [prediction]
    assert hub.asked == []


def test_the_command_line_downloads_ahead_and_lists_the_cache(hub: Hub, tmp_path: Path) -> None:
    hub.holds(TINY, random_model(TINY).state_dict())
    variables = {**os.environ, "HF_ENDPOINT": hub.url, "ZOO_CACHE": str(tmp_path / "cache"), "HF_HOME": str(tmp_path)}
    variables["HF_HUB_DISABLE_TELEMETRY"] = "1"

    def zoo_says(*arguments: str, **more: str) -> str:
        command = [sys.executable, "-m", "zoo_core", *arguments]
        return subprocess.run(command, env=variables | more, capture_output=True, text=True, check=True).stdout

    label, path = zoo_says("pull", NAME).split()
    assert label == f"{NAME}.hub"
    assert Path(path).read_bytes() == hub.files[NAME]
    listed = [(entry["name"], entry["kind"]) for entry in json.loads(zoo_says("cache", "ls", "--json"))]
    assert listed == [(NAME, "file"), (NAME, "pin")]
    assert zoo_says("pull", NAME, ZOO_OFFLINE="1").split() == [label, path]
    assert zoo_says("cache", "verify") == "2 intact\n"
    assert zoo_says("cache", "rm", NAME).startswith("2 deleted")


def test_progress_is_reported(hub: Hub, store: Store) -> None:
    hub.holds(TINY, random_model(TINY).state_dict())
    seen: list[Event] = []
    store.fetch(REGISTRY.model(NAME).weights[0].file, "x", seen.append)
    assert seen[-1] == Progress("fetching", len(hub.files[NAME]), len(hub.files[NAME]), "B")


def test_bytes_that_do_not_match_the_hash_are_refused(hub: Hub, store: Store) -> None:
    hub.holds(TINY, random_model(TINY).state_dict())
    hub.lies = True
    with pytest.raises(IntegrityError, match="SHA-256"):
        zoo.create_model(NAME, weights="pretrained", store=store)
    assert store.entries() == []
    hub.lies = False
    zoo.create_model(NAME, weights="pretrained", store=store)


def test_a_file_without_a_sha256_is_refused(hub: Hub, store: Store) -> None:
    hub.holds(TINY, random_model(TINY).state_dict())
    hub.large = False
    with pytest.raises(IntegrityError, match="the Hub gives no commit, size and SHA-256"):
        zoo.create_model(NAME, weights="pretrained", store=store)


def test_a_file_missing_on_the_hub_says_what_to_do(hub: Hub, store: Store) -> None:
    with pytest.raises(NetworkError, match=r"(?s)timm/test_resnet.*could not be downloaded.*404.*HF_ENDPOINT"):
        zoo.create_model(NAME, weights="pretrained", store=store)


def test_without_a_network_it_fails_soon(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    point_at("http://127.0.0.1:9", monkeypatch)
    started = time.monotonic()
    with pytest.raises(NetworkError, match="Connect"):
        zoo.create_model(NAME, weights="pretrained", store=store)
    assert time.monotonic() - started < 10


def test_offline_sends_no_request(hub: Hub, store: Store) -> None:
    with pytest.raises(NetworkError, match=rf"ZOO_OFFLINE is set\nTry: ZOO_OFFLINE=0 zoo pull {NAME}"):
        zoo.create_model(NAME, weights="pretrained", store=Store(store.root, offline=True))
    assert hub.asked == []


def test_weights_under_older_names_go_through_timm(hub: Hub, store: Store) -> None:
    """Older files have the patch embedding as a matrix; timm converts it to a convolution."""
    name = "test_vit.r160_in1k"
    state = random_model(name).state_dict()
    matrix = {"patch_embed.proj.weight": state["patch_embed.proj.weight"].flatten(1)}
    hub.holds(name, state | matrix)
    model = zoo.create_model(f"timm/{name}", weights="pretrained", store=store)
    assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())


def test_weights_of_another_model_are_refused(hub: Hub, store: Store) -> None:
    hub.holds(TINY, random_model("test_vit.r160_in1k").state_dict())
    with pytest.raises(PluginError, match=f"the weights of {NAME} do not fit"):
        zoo.create_model(NAME, weights="pretrained", store=store)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Class folders with bright and dark images."""
    for kind, shade in (("bright", 220), ("dark", 30)):
        for number in range(10):
            path = tmp_path / "pictures" / kind / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (60, 60), (shade + number, shade, shade)).save(path)
    return tmp_path / "pictures"


@pytest.mark.filterwarnings("default")
def test_a_new_head_is_trained_and_the_run_predicts(hub: Hub, store: Store, pictures: Path, tmp_path: Path) -> None:
    state = random_model(TINY).state_dict()
    hub.holds(TINY, state)
    fields = {"model": NAME, "weights": "pretrained", "precision": "float32"}
    result = zoo.run("horses-inception", overrides=fields, data=pictures, out=tmp_path, store=store, device="cpu")
    (prediction,) = zoo.predict(result.directory, pictures / "dark" / "0.png", store=store)
    assert {label for label, _ in prediction.ranking} == {"bright", "dark"}
    assert set(load_file(result.directory / "weights.safetensors")) == {"fc.weight", "fc.bias"}
    later = Store(tmp_path / "elsewhere")
    hub.holds(TINY, {key: tensor + 1 for key, tensor in state.items()})
    with pytest.raises(IntegrityError, match="they differ in: hub"):  # the file on the Hub has changed
        zoo.predict(result.directory, pictures / "dark" / "0.png", store=later)
    plan = result.directory / "plan.json"
    plan.write_text(plan.read_text().replace(f'"model": "{TINY}"', '"model": "test_vit.r160_in1k"'))
    with pytest.raises(IntegrityError, match="they differ in: fixed"):
        zoo.predict(result.directory, pictures / "dark" / "0.png", store=store)


def test_a_backbone_without_classes_says_what_to_do(store: Store, photo: Path) -> None:
    fix = "zoo run RECIPE --set model=timm/vit_small_patch14_dinov2.lvd142m"
    with pytest.raises(UsageError, match=fix):
        zoo.predict("timm/vit_small_patch14_dinov2.lvd142m", photo, store=store)


def test_a_backbones_own_head_is_ignored(hub: Hub, store: Store) -> None:
    """An image tower's last layer gives an embedding, not classes."""
    name = "vit_xsmall_patch16_clip_224.tinyclip_yfcc15m"
    state = random_model(name).state_dict()
    hub.holds(name, state)
    model = zoo.create_model(f"timm/{name}", weights="hub", num_classes=2, store=store)
    assert (model.head.weight.shape[0], state["head.weight"].shape[0]) == (2, 512)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items() if not k.startswith("head."))
