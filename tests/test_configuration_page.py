"""docs/configuration.md names every setting, with its default, and no other."""

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from server.config import Config

PAGE = Path(__file__).parent.parent / "docs" / "configuration.md"
ROW = re.compile(r"^\| `([a-z0-9_]+)` \| `([^`]+)` \| \S.* \|$", re.MULTILINE)


def on_the_page() -> dict[str, dict[str, Any]]:
    """section → key → default."""
    _, *parts = re.split(r"^## ", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    return {part.partition("\n")[0]: dict(map(row, ROW.findall(part))) for part in parts}


def row(cells: tuple[str, str]) -> tuple[str, Any]:
    key, default = cells
    return key, tomllib.loads(f"value = {default}")["value"]


def test_the_page_names_every_setting_with_its_default_and_no_other() -> None:
    defaults: dict[str, dict[str, Any]] = msgspec.to_builtins(Config())

    assert on_the_page() == defaults


def test_every_row_of_the_page_is_read() -> None:
    rows = re.findall(r"^\| `.*$", PAGE.read_text("utf-8"), re.MULTILINE)

    assert len(rows) == sum(map(len, on_the_page().values()))
