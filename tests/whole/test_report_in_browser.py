"""The report in a real browser, at phone and desktop width: nothing overflows, every image loads, no console errors."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import zoo_core as zoo

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed: apt-get install chromium")
PROBE = """<!doctype html><title></title><iframe id="page" width="{width}" height="900" src="{page}"></iframe><script>
onload = () => {{
  const view = page.contentWindow, body = page.contentDocument;
  const wide = [...body.querySelectorAll("body *")].filter(
    e => e.getBoundingClientRect().right > view.innerWidth + 1 && !e.closest(".wide, pre, svg"));
  document.title = JSON.stringify({{
    width: view.innerWidth, scrolls: body.documentElement.scrollWidth > view.innerWidth,
    wide: wide.map(e => e.outerHTML.slice(0, 80)),
    pictures: body.images.length, broken: [...body.images].filter(i => !i.complete || !i.naturalWidth).length,
    drawings: body.querySelectorAll("svg").length, dark: matchMedia("(prefers-color-scheme: dark)").matches,
    ink: view.getComputedStyle(body.body).color, paper: view.getComputedStyle(body.body).backgroundColor,
  }});
}};
</script>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    return zoo.run("fashion-cnn", epochs=1, out=out).directory / "report.html"


def look(page: Path, width: int, folder: Path, *flags: str) -> dict[str, Any]:
    probe = folder / "probe.html"
    probe.write_text(PROBE.format(width=width, page=page.as_uri()))
    quiet = ("--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync", "--no-sandbox")
    command = [str(BROWSER), "--headless", *quiet, *flags, "--allow-file-access-from-files", "--enable-logging=stderr"]
    browser = subprocess.run(
        [
            *command,
            f"--user-data-dir={folder / 'profile'}",
            "--virtual-time-budget=10000",
            "--dump-dom",
            probe.as_uri(),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert "CONSOLE" not in browser.stderr, browser.stderr
    title = re.search(r"<title>(.*?)</title>", browser.stdout)
    assert title, browser.stdout
    measured: dict[str, Any] = json.loads(html.unescape(title[1]))
    return measured


@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_fits_and_loads(page: Path, tmp_path: Path, width: int) -> None:
    measured = look(page, width, tmp_path)
    assert measured["width"] == width
    assert not measured["scrolls"]
    assert measured["wide"] == []
    assert measured["broken"] == 0
    assert measured["pictures"] == 16
    assert measured["drawings"] == 4


def test_the_page_follows_the_dark_theme(page: Path, tmp_path: Path) -> None:
    light = look(page, 400, tmp_path)
    dark = look(page, 400, tmp_path, "--force-dark-mode", "--blink-settings=preferredColorScheme=0")
    assert not light["dark"]
    assert dark["dark"]
    assert dark["paper"] != light["paper"]
    assert dark["ink"] != light["ink"]
