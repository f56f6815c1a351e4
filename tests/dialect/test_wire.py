"""The tables of tests/wire/old_dialect: each request, and the whole of its answer."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simulators.faults import Fault
from tests.dialect.canteen import COMBINATIONS, Canteen

FOLDER = Path(__file__).parent.parent / "wire" / "old_dialect"
TABLES = sorted(path.stem for path in FOLDER.glob("*.json"))


@pytest.fixture(params=COMBINATIONS)
def combination(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A database, and how the people of the canteen ask."""
    kind, way = request.param
    return kind, way


@pytest.fixture
def database_url(request: pytest.FixtureRequest, combination: tuple[str, str]) -> str:
    return str(request.getfixturevalue(f"{combination[0]}_url"))


@pytest.fixture
def way(combination: tuple[str, str]) -> str:
    return combination[1]


@pytest.mark.parametrize("table", TABLES)
async def test_every_request_of_the_table_gets_its_answer(
    canteen: Canteen, table: str, expect_log: Callable[[str], None]
) -> None:
    story = json.loads((FOLDER / f"{table}.json").read_text("utf-8"))
    if "log" in story:
        expect_log(story["log"])

    for step in story["steps"]:
        await _do(canteen, step)


async def _do(canteen: Canteen, step: dict[str, Any]) -> None:
    if "pass" in step:
        canteen.clock.advance(seconds=step["pass"])
    elif "wechat" in step:
        canteen.wechat.faults.add(Fault(**step["wechat"]))
    elif "ask" in step and not _is_left_out(canteen, step):
        await _ask(canteen, step)


def _is_left_out(canteen: Canteen, step: dict[str, Any]) -> bool:
    """A socket knows who asks, and says `wrong query` of its own: test_frames has those."""
    is_stranger = not step.get("who") and not step["ask"].get("sessionKey")
    return "frames" in canteen.way and (step.get("over") == "http" or is_stranger)


async def _ask(canteen: Canteen, step: dict[str, Any]) -> None:
    who, fields = step.get("who", ""), dict(step["ask"])
    if fields.get("code") == "<fresh>":
        fields["code"] = canteen.code(who)
    if "frames" in canteen.way and not who and "usher" not in canteen.keys:
        # Somebody has to be signed in for a frame with another's key to be looked at.
        canteen.keys["usher"] = "yes"
        await canteen.send("", {"query": "login", "code": canteen.code("usher")})

    answer = await canteen.send(who, fields)

    if isinstance(answer.get("sessionKey"), str) and step["answer"].get("sessionKey") == "<key>":
        assert re.fullmatch("[0-9a-f]{40}", answer["sessionKey"])
        answer["sessionKey"] = "<key>"
    # As text: to Python 0 and false are the same, to an old client they are not.
    assert _text(answer) == _text(step["answer"]), step["ask"]


def _text(answer: dict[str, Any]) -> str:
    return json.dumps(answer, ensure_ascii=False, sort_keys=True)


def test_the_tables_hold_enough_to_be_called_the_dialect() -> None:
    tables = [json.loads((FOLDER / f"{name}.json").read_text("utf-8")) for name in TABLES]

    asked = [step["ask"] for table in tables for step in table["steps"] if "ask" in step]

    assert len(asked) >= 120
    assert {"fetch", "note", "push", "hungry", "call", "done", "clear", "qrcode"} <= {
        fields.get("query") for fields in asked
    }
