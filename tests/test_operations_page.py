"""docs/operations.md names every alert that may be raised, and which of them end by themselves."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from devices.reports.rules.store import KINDS
from server.app import WATCHED

TOP = Path(__file__).parent.parent
PAGE = (TOP / "docs" / "operations.md").read_text("utf-8")
PACKAGES = ("accounts", "payments", "queueing", "commerce", "devices", "server")
ROW = re.compile(r"^\| (`[a-z_.]+`(?:, `[a-z_.]+`)*)( \*)? \|", re.MULTILINE)


def raised_in(path: Path) -> Iterator[str]:
    """The kinds that are given to `raise_alert` there, whatever they are called."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Call) or len(node.args) < 2:
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        called = node.func.id if isinstance(node.func, ast.Name) else called
        if called != "raise_alert" or isinstance(node.args[1], ast.Starred):
            continue
        yield from kinds(node.args[1], path)


def kinds(given: ast.expr, path: Path) -> Iterator[str]:
    if isinstance(given, ast.Subscript):
        yield from found(given.value, path).values()
    elif not isinstance(given, ast.Name) or given.id.isupper():
        yield found(given, path)


def found(given: ast.expr, path: Path) -> Any:
    """What an expression of names says in that module."""
    if isinstance(given, ast.Constant):
        return given.value
    if isinstance(given, ast.Attribute):
        return getattr(found(given.value, path), given.attr)
    assert isinstance(given, ast.Name), ast.dump(given)
    name = path.relative_to(TOP).with_suffix("").as_posix().replace("/", ".")
    return getattr(importlib.import_module(name), given.id)


def test_every_alert_is_on_the_page() -> None:
    raised = {
        kind
        for package in PACKAGES
        for path in (TOP / package).rglob("*.py")
        for kind in raised_in(path)
    } | KINDS

    assert {"cabinet.offline", "callback.dead", "payment.late", "sales.refused"} <= raised
    assert {kind for kind in raised if f"`{kind}`" not in PAGE} == set()


def test_the_page_says_which_alerts_end_by_themselves() -> None:
    _, _, of_cabinets = PAGE.partition("### Alerts of cabinets")
    rows = ROW.findall(of_cabinets.partition("### Phones")[0])

    starred = {name for names, star in rows if star for name in re.findall(r"`(.+?)`", names)}
    others = {name for names, star in rows if not star for name in re.findall(r"`(.+?)`", names)}

    assert len(starred) > 8 < len(others)
    assert starred <= WATCHED
    assert not others & WATCHED
