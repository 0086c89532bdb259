"""Many plugins, broken in as many ways, installed at once: each is reported with its cause, and the good ones work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.installation import hook, install, model

pytestmark = pytest.mark.slow

LIMIT = 6.0  # seconds for one plugin

# modules that end or block any process that imports them, and what the doctor reports
DEADLY = {
    "exits-at-once": ("import os; os._exit(3)", "it exited with code 3"),
    "exits-quietly": ("import os; os._exit(0)", "it exited with code 0"),
    "segfaults": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "signal 11, Segmentation fault"),
    "aborts": ("import os; os.abort()", "signal 6, Aborted"),
    "is-killed": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "signal 9, Killed"),
    "hangs": ("import time; time.sleep(1000)", "it did not finish within 6 s"),
    "hangs-deaf": (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: pass",
        "it did not finish within 6 s",
    ),
    "types-ctrl-c": ("raise KeyboardInterrupt", "it raised KeyboardInterrupt"),
    "eats-memory": ("eaten = bytearray(2**33)", "raised MemoryError"),
}
# modules that `zoo list` reports and skips
BROKEN = {
    "leaves": ("raise SystemExit('tired')", "importing 'zoo_leaves' raised SystemExit: tired"),
    "raises": ("raise ValueError('no')", "raised ValueError: no"),
    "raises-worst": ("raise BaseException('worst')", "raised BaseException: worst"),
    "raises-unprintable": (
        "class Odd(Exception):\n    def __str__(self): raise RuntimeError\nraise Odd",
        "importing 'zoo_raises_unprintable' raised Odd",
    ),
    "recurses": ("def f(): f()\nf()", "raised RecursionError"),
    "asserts": ("assert 1 == 2", "raised AssertionError"),
    "needs-a-module": ("import a_module_that_is_not_there", "No module named 'a_module_that_is_not_there'"),
    "needs-a-name": ("from zoo_core import Frobnicator", "cannot import name 'Frobnicator'"),
    "is-no-python": ("def broken(:", "raised SyntaxError"),
    "has-null-bytes": (b"x = 1\0", "raised SyntaxError"),
    "is-not-utf8": (b"x = '\xff\xfe'", "raised SyntaxError"),
    "is-not-there": (None, "No module named 'zoo_is_not_there'"),
    "returns-nothing": (hook("pass"), "its zoo_models hook returned None"),
    "returns-a-number": (hook("return 7"), "its zoo_models hook raised TypeError"),
    "returns-junk": (hook("return ['junk']"), "returned a str, not a ModelCard"),
    "returns-other": (hook("return [card('a')]", "zoo_datasets"), "returned a ModelCard, not a DatasetCard"),
    "returns-unchecked": (hook("return [ModelCard.model_construct(name=5)]"), "name: Input should be a valid string"),
    "raises-in-hook": (hook("raise OSError('disk')"), "its zoo_models hook raised OSError: disk"),
    "wants-arguments": (
        hook("return []").replace("models()", "models(config)"),
        "Argument(s) {'config'} are declared",
    ),
    "writes-a-bad-card": (hook("return [card('Not A Name')]"), "ValidationError: name: String should match pattern"),
    "counts-wrong": (hook("return [card('a', classes=('x',))]"), "1 classes are named, but num_classes is 2"),
    "hooks-wrong": (hook("return []", "zoo_modls"), "there is no hook named 'zoo_modls'; did you mean 'zoo_models'?"),
    "takes-a-name": (model("fashion-cnn"), "the model 'fashion-cnn', but that name belongs to zoo-fashion-cnn 0.1.0"),
    "takes-twice": (hook("return [card('b'), card('b')]"), "it provides the model 'b' twice: neither is used"),
}
# plugins that are reported without being imported: `source` would end the process
UNFIT = {
    "needs-a-newer-core": ({"requires": "zoo-core>=9"}, "it needs zoo-core>=9, and zoo-core"),
    "needs-an-exact-core": ({"requires": "zoo-core==0.0.1"}, "it needs zoo-core==0.0.1, and zoo-core"),
    "garbles-requires": ({"requires": "zoo-core >>> 1"}, "it needs zoo-core >>> 1, and zoo-core"),
    "has-no-metadata": ({"files": {"METADATA": ""}}, "its metadata has no name"),
}
GOOD = {
    "is-good": model("good-one"),
    "prints-much": "print('x' * 5_000_000)\n" + model("good-two"),
    "forks": "import subprocess\nsubprocess.Popen(['sleep', '30'])\n" + model("good-three"),
    "has-a-daemon": "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
    + model("good-four"),
}
SLOW = {"imports-torch": "import sys, types\nsys.modules['torch'] = types.ModuleType('torch')\n" + model("good-five")}


def zoo(*arguments: str, site: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "zoo_core", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    for name, (source, _) in {**DEADLY, **BROKEN}.items():
        install(folder, f"zoo-{name}", source)
    for name, (how, _) in UNFIT.items():
        install(folder, f"zoo-{name}", "import os; os._exit(3)", **how)
    for name, source in {**GOOD, **SLOW}.items():
        install(folder, f"zoo-{name}", source)
    return folder


def test_there_are_more_than_thirty() -> None:
    assert len({**DEADLY, **BROKEN, **UNFIT}) > 30


def test_the_doctor_names_the_cause_and_disabling_helps(site: Path) -> None:
    assert zoo("list", site=site).returncode != 0  # one of them ends it
    said = zoo("plugins", "doctor", "--json", "--timeout", str(LIMIT), site=site)
    assert said.returncode == 8, said.stderr
    document = {one["distribution"].removeprefix("zoo-"): one for one in json.loads(said.stdout)}

    for name, (_, cause) in {**DEADLY, **BROKEN}.items():
        assert (document[name]["state"], document[name]["brings"]) == ("broken", {}), document[name]
        assert cause in document[name]["cause"]
        assert f"zoo-{name}" in document[name]["cure"] or "rename" in document[name]["cure"]
    for name in ("needs-a-newer-core", "needs-an-exact-core", "garbles-requires"):
        assert document[name]["state"] == "incompatible"
        assert UNFIT[name][1] in document[name]["cause"]
        assert document[name]["cure"] == "pip install --upgrade zoo-core"
    for name in GOOD:
        assert document[name]["state"] == "ok", document[name]
        assert document[name]["milliseconds"] > 0
    assert document["imports-torch"]["state"] == "slow"
    assert "its entry module imports torch" in document["imports-torch"]["cause"]
    assert document["fashion-cnn"]["brings"] == {
        "models": ["fashion-cnn", "fashion-net"],
        "datasets": ["fashion-mnist"],
    }
    assert document["has-no-metadata"]["cause"] == UNFIT["has-no-metadata"][1]

    for name in DEADLY:
        assert zoo("plugins", "disable", f"zoo-{name}", site=site).returncode == 0
    listed = zoo("list", "--json", site=site)
    assert listed.returncode == 0, listed.stderr
    names = {one["name"] for one in json.loads(listed.stdout)["models"]}
    assert {"good-one", "good-two", "good-three", "good-four", "good-five", "fashion-cnn", "horses-inception"} <= names
    assert not {"a", "b"} & names
    said_line = [line for line in listed.stderr.splitlines() if line.startswith("Skipped: ")]
    for name, (_, cause) in {**BROKEN, **UNFIT}.items():
        assert any(cause in line for line in said_line), name
    for name in DEADLY:
        assert not any(f"zoo-{name} " in line for line in said_line)
    told_now = json.loads(zoo("plugins", "--json", site=site).stdout)
    assert told_now["disabled"] == [f"zoo-{name} 1.0" for name in sorted(DEADLY)]
