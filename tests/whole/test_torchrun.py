"""Two processes under PyTorch's own launcher do what one does: gloo, on the CPU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load, load_file

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FEATURES = """
import json, os
import zoo_NAME
import zoo_core as zoo
from zoo_core.registry.discovery import new_manager

manager = new_manager()
manager.register(zoo_NAME)
registry = zoo.load_registry(manager=manager)
result = zoo.run("NAME-features", registry=registry, epochs=3, overrides={"precision": "float32"})
with open(f"result-{os.environ.get('RANK', 'alone')}.json", "w") as file:
    json.dump({"run": str(result.directory), "history": [dict(one) for one in result.history]}, file)
"""

POND = FEATURES.replace("NAME", "pond")
BEST = POND.replace("overrides={", 'overrides={"keep": "best", "patience": 1, ').replace("pond-features", "pond")
BEST = BEST.replace("epochs=3", "epochs=9").replace("json.dump({", 'json.dump({"kept": result.kept.epoch, ')


FOLDS = """
import os, sys
from pathlib import Path
import zoo_pond
import zoo_core as zoo
from zoo_core.registry.discovery import new_manager

manager = new_manager()
manager.register(zoo_pond)
fields = {"model": "pond-net", "weights": None, "settings": {"allow_random": True}, "precision": "float32"}
zoo.run(
    "transfer", registry=zoo.load_registry(manager=manager), data="photos", overrides={**fields, "split.folds": 4},
    out=Path("runs", os.environ.get("WORLD_SIZE", "1")),
)
"""

FINETUNE = """
import os, sys
from pathlib import Path
import zoo_pond
import zoo_core as zoo
from zoo_core.registry.discovery import new_manager

manager = new_manager()
manager.register(zoo_pond)
fields = {
    "trainer": "finetune", "settings": {"allow_random": True}, "precision": "float32",
    "accumulate": 2, "ema": 0.5, "clip_norm": 1.0, "layer_decay": 0.5, "warmup": 0.2, "batch_size": 9,
}
registry, out = zoo.load_registry(manager=manager), Path(sys.argv[1])


def die(event):
    if sys.argv[2] == "die" and isinstance(event, zoo.Checkpoint) and event.state.epoch == 3:
        os._exit(3)


if sys.argv[2] == "resume":
    zoo.run(resume=next(out.glob("*/2*")), registry=registry)
else:
    zoo.run("pond", registry=registry, epochs=3, overrides=fields, out=out, on_event=die, checkpoint_every=0)
"""


def torchrun(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments]


def zoo(*arguments: str, world: bool = False) -> subprocess.CompletedProcess[str]:
    command = torchrun("-m", "zoo_core") if world else [sys.executable, "-m", "zoo_core"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)


def losses(output: str) -> list[dict[str, float]]:
    lines = Path(json.loads(output)["run"], "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The same run by one process and by two: what each printed."""
    out = str(tmp_path_factory.mktemp("pair"))
    common = ("run", "fashion-cnn", "--epochs", "1", "--precision", "float32", "--json", "--out", out)
    done = [zoo(*common, world=world) for world in (False, True)]
    assert [one.returncode for one in done] == [0, 0], done[1].stderr
    return done[0].stdout, done[1].stdout


def test_the_same_batch_gives_the_same_loss_curve(pair: tuple[str, str]) -> None:
    alone, shared = (losses(output)[0] for output in pair)
    assert shared["loss"] == pytest.approx(alone["loss"], abs=2e-3)
    assert shared["train_accuracy"] == pytest.approx(alone["train_accuracy"], abs=0.01)


def test_only_the_first_rank_writes_and_prints(pair: tuple[str, str]) -> None:
    output = json.loads(pair[1])  # one document: the second rank printed nothing
    assert output["metrics"]["test_accuracy"] > 0.7
    environment = json.loads(Path(output["run"], "environment.json").read_text())
    assert environment["world_size"] == 2
    assert Path(output["run"]).parent.joinpath("latest").resolve() == Path(output["run"]).resolve()


def test_eval_and_predict_give_the_same_output(tmp_path: Path) -> None:
    from zoo_core import load_dataset

    images = load_dataset("fashion-mnist", "test")
    for index in range(5):
        images[index][0].save(tmp_path / f"{index}.png")
    (tmp_path / "3.png").write_bytes(b"not an image")
    options = ("--precision", "float32", "--json")
    evaluated = [zoo("eval", "fashion-cnn", *options, world=world) for world in (False, True)]
    assert [one.returncode for one in evaluated] == [0, 0], evaluated[1].stderr
    first, second = (json.loads(one.stdout) for one in evaluated)
    assert (second["n"], second["confusion"]) == (first["n"], first["confusion"])
    predicted = [zoo("predict", "fashion-cnn", str(tmp_path), *options, world=world) for world in (False, True)]
    assert [[json.loads(line)["image"] for line in one.stdout.splitlines()] for one in predicted] == [
        [str(tmp_path / f"{index}.png") for index in (0, 1, 2, 4)]
    ] * 2
    assert predicted[1].stderr.count("3.png") == 1


@pytest.mark.parametrize("name", ["pond", "meadow"])  # one label per image, and any number
def test_features_are_shared_too(tmp_path: Path, name: str) -> None:
    script = tmp_path / "features.py"
    script.write_text(FEATURES.replace("NAME", name))
    path = os.pathsep.join([str(ROOT / "tests" / "fakes" / f"zoo-{name}"), os.environ.get("PYTHONPATH", "")])
    output: dict[str, Any] = {}
    for how, command in (("alone", [sys.executable]), ("0", torchrun())):
        environment = {**os.environ, "PYTHONPATH": path, "ZOO_CACHE": str(tmp_path / f"cache-{how}")}
        subprocess.run([*command, str(script)], cwd=tmp_path, env=environment, check=True, capture_output=True)
        output[how] = json.loads((tmp_path / f"result-{how}.json").read_text())
        assert len(list((tmp_path / f"cache-{how}" / "features").glob("*.safetensors"))) == 2
    output["1"] = json.loads((tmp_path / "result-1.json").read_text())
    assert output["1"] == output["0"]
    for one, two in zip(output["alone"]["history"], output["0"]["history"], strict=True):
        assert two == pytest.approx(one, abs=1e-5)


def test_two_ranks_write_one_named_run_and_refuse_its_name_afterwards(tmp_path: Path) -> None:
    script = tmp_path / "pond.py"
    script.write_text(POND.replace("epochs=3", "epochs=1, name='pair', tags=['two'], resume=os.environ['RESUME']"))
    path = os.pathsep.join([str(ROOT / "tests" / "fakes" / "zoo-pond"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "ZOO_CACHE": str(tmp_path / "cache"), "RESUME": "auto"}
    for code in (0, 1):
        done = subprocess.run([*torchrun(), str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
    assert "runs/pond-features/pair exists" in done.stderr
    assert [path.name for path in (tmp_path / "runs" / "pond-features").iterdir() if not path.is_symlink()] == ["pair"]
    assert json.loads((tmp_path / "runs/pond-features/pair/run.json").read_text())["tags"] == ["two"]


def test_fine_tuning_is_shared_and_resumes(tmp_path: Path) -> None:
    """With accumulated parts, averaged weights and frozen statistics: as alone, and bit for bit after a kill."""
    script = tmp_path / "finetune.py"
    script.write_text(FINETUNE)
    path = os.pathsep.join([str(ROOT / "tests" / "fakes" / "zoo-pond"), os.environ.get("PYTHONPATH", "")])

    def train(out: str, how: str, command: list[str]) -> int:
        environment = {**os.environ, "PYTHONPATH": path, "ZOO_CACHE": str(tmp_path / "cache")}
        done = subprocess.run([*command, str(script), out, how], cwd=tmp_path, env=environment, capture_output=True)
        return done.returncode

    assert [train("alone", "go", [sys.executable]), train("pair", "go", torchrun())] == [0, 0]
    assert train("killed", "die", torchrun()) != 0
    assert train("killed", "resume", torchrun()) == 0
    files = [next((tmp_path / out).glob("*/2*/weights.safetensors")) for out in ("alone", "pair", "killed")]
    assert files[1].read_bytes() == files[2].read_bytes()
    alone, pair = (load(file.read_bytes()) for file in files[:2])
    assert alone.keys() == pair.keys()
    for name, tensor in alone.items():
        torch.testing.assert_close(pair[name], tensor, atol=1e-4, rtol=1e-3)


def test_killed_ranks_resume_bit_for_bit(tmp_path: Path) -> None:
    """Both are killed inside the first epoch; resumed, they give the result of an uninterrupted pair."""
    common = ("-m", "zoo_core", "run", "fashion-cnn", "--epochs", "1", "--checkpoint-every", "0", "--resume", "auto")
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    subprocess.run(torchrun(*common, "--out", str(straight)), check=True, capture_output=True)
    launcher = subprocess.Popen(torchrun(*common, "--out", str(killed)), stderr=subprocess.DEVNULL)
    try:
        _wait_until(lambda: list(killed.glob("*/2*/checkpoints/0*-*48")))
        for process in [_process_of(rank, launcher.pid) for rank in (0, 1)]:
            with suppress(ProcessLookupError):  # the launcher ends the second when it misses the first
                os.kill(process, signal.SIGKILL)
        assert launcher.wait(timeout=60) != 0
    finally:
        launcher.kill()
        launcher.wait()
    done = subprocess.run(torchrun(*common, "--out", str(killed)), check=True, capture_output=True, text=True)
    assert "Resuming from epoch 1" in done.stderr
    weights = [next(out.glob("*/2*/weights.safetensors")).read_bytes() for out in (straight, killed)]
    assert weights[0] == weights[1]
    assert len(list(killed.glob("*/2*/plan.json"))) == 1


@pytest.mark.parametrize("rank", [0, 1])
def test_a_dead_rank_ends_the_run_with_one_message(tmp_path: Path, rank: int) -> None:
    output = tmp_path / "log.txt"
    with output.open("w") as file:
        command = torchrun("-m", "zoo_core", "run", "fashion-cnn", "--epochs", "200")
        launcher = subprocess.Popen(command, stderr=file, stdout=subprocess.DEVNULL)
    try:
        _wait_until(lambda: "epoch 1/200" in output.read_text())
        os.kill(_process_of(rank, launcher.pid), signal.SIGKILL)
        assert launcher.wait(timeout=60) != 0
    finally:
        launcher.kill()
    text = output.read_text()
    assert text.count("Error (on rank") == 1, text
    assert f"Error (on rank {1 - rank} of 2): a process of this run died" in text


def _wait_until(met: Any, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.2)


def _process_of(rank: int, launcher: int) -> int:
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    return next(int(pid) for pid in children if f"\0RANK={rank}\0" in f"\0{Path(f'/proc/{pid}/environ').read_text()}")


def test_both_ranks_end_with_the_best_epoch_and_stop_at_the_same_one(tmp_path: Path) -> None:
    script = tmp_path / "pond.py"
    script.write_text(BEST)
    path = os.pathsep.join([str(ROOT / "tests" / "fakes" / "zoo-pond"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "ZOO_CACHE": str(tmp_path / "cache")}
    subprocess.run([*torchrun(), str(script)], cwd=tmp_path, env=environment, check=True, capture_output=True)
    first, second = (json.loads((tmp_path / f"result-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert len(first["history"]) == first["kept"] + 1 < 9
    document = json.loads(Path(tmp_path, first["run"], "result.json").read_text())
    assert document["metrics"]["validation_accuracy"] == first["history"][first["kept"] - 1]["validation_accuracy"]
    saved = load_file(Path(tmp_path, first["run"], "weights.safetensors"))
    assert saved.keys() >= {"fc.weight", "bn.running_mean"}


def test_a_head_for_each_fold_is_fitted_once_for_both_ranks(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name in ("left", "right"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(8):
            pixels = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{index}.png")
    script = tmp_path / "folds.py"
    script.write_text(FOLDS)
    path = os.pathsep.join([str(ROOT / "tests" / "fakes" / "zoo-pond"), os.environ.get("PYTHONPATH", "")])
    for launched in ([sys.executable], torchrun()):
        cache = tmp_path / f"cache-{len(launched)}"
        environment = {**os.environ, "PYTHONPATH": path, "ZOO_CACHE": str(cache)}
        subprocess.run([*launched, str(script)], cwd=tmp_path, env=environment, check=True, capture_output=True)
    alone, both = (next((tmp_path / "runs" / count).glob("photos/2*")) for count in ("1", "2"))
    for name in ("weights.safetensors", "predictions.csv"):
        assert (alone / name).read_bytes() == (both / name).read_bytes()
    results = [json.loads((run / "result.json").read_text()) for run in (alone, both)]
    assert results[0]["metrics"] == pytest.approx(results[1]["metrics"], abs=1e-6)
