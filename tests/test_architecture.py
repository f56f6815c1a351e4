"""Imports go one way, and some things are done in one place only."""

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture import Rule, breaches, broad_catches

TOP = Path(__file__).resolve().parent.parent
CONTRACT = tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["importlinter"]
PACKAGES: list[str] = CONTRACT["root_packages"]

# What speaks to the outside, each module to one party.
HTTP_CLIENTS = (
    "accounts/wechat.py",
    "payments/wechat/*",
    "devices/vendors/*",
    "commerce/erp.py",
)

SHIPPED_RULES = [
    Rule(
        ("tornado",),
        ("handlers/*", "server/*"),
        "the domain must not know how it is reached",
    ),
    Rule(
        ("sqlalchemy",),
        ("sql/*", "*/store.py"),
        "queries are kept together, in the package's store.py",
    ),
    Rule(
        ("alembic", "aiomysql", "pymysql", "sqlite3"),
        ("sql/*",),
        "nobody else knows which database it is",
    ),
    Rule(
        ("redis",),
        ("handlers/*", "server/*"),
        "Redis is a doorbell between processes; the record is the database",
    ),
    Rule(
        ("httpx", "requests", "urllib.request", "http.client", "tornado.httpclient"),
        HTTP_CLIENTS,
        "each outside party has one client module",
    ),
    Rule(
        ("os.environ", "os.getenv", "tomllib"),
        ("server/config.py",),
        "configuration is read once, at the start",
    ),
    Rule(
        (
            "time.time",
            "time.time_ns",
            "time.monotonic",
            "time.monotonic_ns",
            "datetime.datetime.now",
            "datetime.datetime.utcnow",
            "datetime.datetime.today",
            "datetime.date.today",
        ),
        ("server/*",),
        "the clock is handed down as `now`, so that a test can turn it",
    ),
    Rule(
        ("run", "simulators", "tests", "bench"),
        (),
        "what is shipped does not need what surrounds it",
    ),
]

SIMULATOR_RULES = [
    Rule(
        (*PACKAGES, "run", "tests", "bench"),
        (),
        "a simulator must not share a mistake with what it is to prove",
    ),
]

# Where any exception at all is caught and not raised again, and why that is right there.
BROAD_CATCHES = {
    "devices/flow/reconcile.py: _take": "an order that cannot be taken holds up no other",
    "devices/inbox/service.py: Inbox._work_row": "a mistake with an event is its device's fate",
    "handlers/http.py: Exchange._start": "the door of HTTP: every request is answered",
    "handlers/http.py: Exchange._go_on": "the same door, for a request that had to wait",
    "handlers/request.py: Request._session": "only a 401 is taken; everything else is raised again",
    "queueing/stalls/pictures.py: opened": "whatever a decoder says of a file, it is a bad picture",
    "sql/batch.py: Batch._run_alone": "one function's failure is its own caller's, not the batch's",
    "sql/batch.py: Batch._run_group": "as above; a list that fails is taken apart",
    "handlers/channel.py: Channel._catch_up": "a stream that cannot be read is tried again later",
    "handlers/connection.py: Connection._handle": "the door of the WebSocket: answered as a frame",
    "handlers/old_socket.py: OldConnection._answer": "the same door in the old dialect",
    "server/jobs.py: Runner._outcome": "the door of jobs: a failure is recorded, the others go on",
    "server/jobs.py: Runner._guarded": "the same door, for what is looked at every few seconds",
    "server/outbox.py: Outbox._outcome": "a deliverer's mistake is its own parcel's fate",
    "sql/database.py: Database._finish": "a listener's mistake does not undo what is committed",
    "sql/mysql.py: MySQL._commit": "the writer lives on, and all who wait get an answer",
    "sql/sqlite.py: SQLite._commit": "the writer lives on, and all who wait get an answer",
}


def shipped() -> Iterator[Path]:
    yield from (TOP / "run.py",) if (TOP / "run.py").exists() else ()
    for package in PACKAGES:
        yield from sorted((TOP / package).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(TOP).as_posix()


# ---------------------------------------------------------------- imports go one way


def layers_kept(top: Path, config: Path) -> subprocess.CompletedProcess[str]:
    """Hold the contract of pyproject.toml against the packages that exist under top."""
    existing = [package for package in PACKAGES if (top / package / "__init__.py").exists()]
    (contract,) = CONTRACT["contracts"]
    layers = []
    for layer in contract["layers"]:
        siblings = [name for name in layer.split(" | ") if name in existing]
        layers += [" | ".join(siblings)] if siblings else []
    config.write_text(
        "[tool.importlinter]\n"
        f"root_packages = {json.dumps(existing)}\n"
        "[[tool.importlinter.contracts]]\n"
        f"name = {json.dumps(contract['name'])}\n"
        f"type = {json.dumps(contract['type'])}\n"
        f"layers = {json.dumps(layers)}\n"
    )
    linter = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [linter, "--config", config, "--no-cache"],
        cwd=top,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_imports_go_one_way(tmp_path: Path) -> None:
    done = layers_kept(TOP, tmp_path / "contract.toml")

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("importer", "imported"),
    [("sql", "server"), ("queueing", "devices"), ("devices", "queueing"), ("accounts", "payments")],
)
def test_an_import_to_the_left_or_beside_is_found(
    tmp_path: Path, importer: str, imported: str
) -> None:
    for package in PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / importer / "model.py").write_text(f"import {imported}\n")

    done = layers_kept(tmp_path, tmp_path / "contract.toml")

    assert done.returncode == 1
    assert f"{importer}.model -> {imported}" in done.stdout


def test_the_contract_names_each_package_once() -> None:
    (contract,) = CONTRACT["contracts"]

    named = [name for layer in contract["layers"] for name in layer.split(" | ")]

    assert named == PACKAGES


def test_each_package_can_be_seen_by_the_linter() -> None:
    # Alembic loads its revisions from a plain folder; they are no package.
    folders = {path.parent for path in shipped() if path.parent != TOP} - {
        folder for folder in TOP.glob("sql/migrations/**") if folder.is_dir()
    }

    assert {name_of(f) for f in folders if not (f / "__init__.py").exists()} == set()


# ---------------------------------------------------------------- in one place only


@pytest.mark.parametrize("path", list(shipped()), ids=name_of)
def test_what_is_shipped_does_each_thing_in_its_place(path: Path) -> None:
    assert breaches(name_of(path), path.read_text(), SHIPPED_RULES) == []


@pytest.mark.parametrize("path", sorted((TOP / "simulators").rglob("*.py")), ids=name_of)
def test_a_simulator_imports_nothing_of_ours(path: Path) -> None:
    assert breaches(name_of(path), path.read_text(), SIMULATOR_RULES) == []


@pytest.mark.parametrize(
    ("path", "source", "mention"),
    [
        ("queueing/service.py", "import tornado.web", "tornado.web"),
        ("queueing/service.py", "from tornado import websocket as w", "tornado.websocket"),
        ("queueing/service.py", "import sqlalchemy as sa", "sqlalchemy"),
        ("handlers/rest.py", "from sqlalchemy import select", "sqlalchemy.select"),
        ("handlers/rest.py", "def f():\n    import sqlite3", "sqlite3"),
        ("accounts/service.py", "import redis.asyncio", "redis.asyncio"),
        ("handlers/rest.py", "from httpx import AsyncClient", "httpx.AsyncClient"),
        ("commerce/service.py", "import urllib.request as r\nr.urlopen", "urllib.request.urlopen"),
        ("server/jobs.py", "import os\nos.environ['A']", "os.environ"),
        ("run.py", "from os import getenv", "os.getenv"),
        ("sql/events.py", "import time\ntime.time()", "time.time"),
        ("sql/events.py", "from time import monotonic as m\nm()", "time.monotonic"),
        (
            "accounts/model.py",
            "import datetime as d\nd.datetime.now(d.UTC)",
            "datetime.datetime.now",
        ),
        ("accounts/model.py", "from datetime import date\ndate.today()", "datetime.date.today"),
        ("server/demo.py", "from simulators.wechat import app", "simulators.wechat.app"),
    ],
)
def test_a_thing_done_in_the_wrong_place_is_found(path: str, source: str, mention: str) -> None:
    found = breaches(path, source, SHIPPED_RULES)

    assert any(f": {mention}: " in breach for breach in found), found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("handlers/rest.py", "import tornado.web"),
        ("queueing/store.py", "from sqlalchemy import select"),
        ("sql/tables/base.py", "import sqlalchemy"),
        ("payments/wechat/v2.py", "import httpx"),
        ("server/config.py", "import os, tomllib\nos.environ"),
        ("server/clock.py", "import time\ntime.time()"),
        ("queueing/model.py", "from datetime import datetime\ndatetime.fromtimestamp(0)"),
        ("queueing/model.py", "time = 7\nclass P:\n    time: int\nprint(P().time, time)"),
        ("queueing/model.py", "import timeit, running"),
    ],
)
def test_a_thing_done_in_its_place_is_not_found(path: str, source: str) -> None:
    assert breaches(path, source, SHIPPED_RULES) == []


def test_a_simulator_that_borrows_from_us_is_found() -> None:
    source = "from payments.wechat.signing import sign\n"

    (breach,) = breaches("simulators/wechat/pay.py", source, SIMULATOR_RULES)

    assert breach.startswith("simulators/wechat/pay.py:1: payments.wechat.signing.sign: ")


# ---------------------------------------------------------------- broad catches


def test_every_broad_catch_has_its_reason_and_every_reason_its_catch() -> None:
    found = set[str]()
    for path in shipped():
        found |= broad_catches(name_of(path), path.read_text())

    assert found - BROAD_CATCHES.keys() == set(), "catch what can be answered, or say why here"
    assert BROAD_CATCHES.keys() - found == set(), "no longer there"


@pytest.mark.parametrize(
    "handler",
    [
        "except Exception:",
        "except (ValueError, Exception) as error:",
        "except BaseException:",
        "except:",
    ],
)
def test_a_broad_catch_is_found_with_its_function(handler: str) -> None:
    source = (
        f"class Jobs:\n    def run(self):\n        try:\n            go()\n        {handler}\n"
        "            pass\n"
    )

    assert broad_catches("server/jobs.py", source) == {"server/jobs.py: Jobs.run"}
    assert broad_catches("server/jobs.py", source.replace("pass", "raise")) == set()
    assert broad_catches("server/jobs.py", source.replace("pass", "raise Other from None")) != set()


def test_a_broad_suppress_is_found() -> None:
    source = "with contextlib.suppress(Exception):\n    go()\n"

    assert broad_catches("run.py", source) == {"run.py: <module>"}
    assert broad_catches("run.py", source.replace("Exception", "OSError")) == set()


def test_a_narrow_catch_is_fine() -> None:
    source = "try:\n    go()\nexcept (KeyError, OSError):\n    pass\n"

    assert broad_catches("run.py", source) == set()
