"""web/ is what clients/ says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILT = ("board", "home", "h5")


def files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def build(into: Path) -> None:
    command = [sys.executable, str(ROOT / "clients" / "build.py"), "--into", str(into)]
    subprocess.run(command, check=True, cwd=into)


@pytest.mark.parametrize("name", BUILT)
def test_what_is_committed_equals_a_fresh_build(tmp_path: Path, name: str) -> None:
    build(tmp_path)

    assert files(ROOT / "web" / name) == files(tmp_path / name)


def test_a_build_leaves_nothing_of_an_older_one(tmp_path: Path) -> None:
    (tmp_path / "board").mkdir()
    (tmp_path / "board" / "left_over.js").write_text("old")

    build(tmp_path)

    assert "left_over.js" not in files(tmp_path / "board")


@pytest.mark.parametrize("name", [*BUILT, "h5/renew", "h5/cabinet"])
def test_the_pages_keep_to_the_content_security_policy(name: str) -> None:
    page = (ROOT / "web" / name / "index.html").read_text(encoding="utf-8")

    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|data:", page)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", page))
    assert not re.search(r"https?://", page)


def test_the_recorded_words_are_small() -> None:
    clips = list((ROOT / "web" / "board" / "voice").rglob("*.ogg"))

    assert len(clips) == 25
    assert sum(clip.stat().st_size for clip in clips) < 400_000
