"""A refused request changes nothing: every row of every table is as it was."""

from typing import Any, Final

import pytest

from tests.dialect.canteen import COMBINATIONS, Canteen

# Of every query the form in which it would do most, were it let.
QUERIES: Final[list[dict[str, Any]]] = [
    {"query": "seller_list"},
    {"query": "menu", "sellerId": 1},
    {"query": "fetch"},
    {"query": "note"},
    {"query": "push", "sellerId": 1, "marchSn": 2, "noteContent": "拌面"},
    {"query": "hungry", "sellerId": 1, "marchSn": 1},
    {"query": "call", "marchSn": 1},
    {"query": "done", "sellerId": 1, "marchSn": 1},
    {"query": "done", "isseller": "yes", "marchSn": 1},
    {"query": "signup", "telNum": "13800000003", "sellerName": "mine"},
    {"query": "info"},
    {"query": "admin"},
    {"query": "renew", "telNum": "13800000001", "term": 12},
    {"query": "renew", "telNum": "13812345678", "term": 1},
    {"query": "update", "sellerName": "mine", "menuList": "nothing"},
    {"query": "clear"},
    {"query": "qrcode"},
]

NO_SUCH_KEY: Final = "0123456789abcdef0123456789abcdef01234567"


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


@pytest.fixture
async def busy(canteen: Canteen) -> Canteen:
    """Two numbers out: 1 is bound by wang and called, 2 is free for the taking."""
    for who in ("chen", "wang", "zhao", "lin", await canteen.admin()):
        await canteen.sign_in(who)
    assert [await canteen.fetch(), await canteen.fetch()] == [1, 2]
    await canteen.ask("wang", "push", sellerId=1, marchSn=1, noteContent="牛肉面")
    await canteen.ask("chen", "call", marchSn=1)
    await canteen.hold_the_jobs()
    return canteen


async def test_without_a_session_nothing_is_done(busy: Canteen) -> None:
    before = await busy.rows()

    for fields in QUERIES:
        if "frames" not in busy.way:
            answer = await busy.send("", fields)
            assert answer == {"queryErr": "Illegal query"}, fields
        answer = await busy.send("wang", {**fields, "sessionKey": NO_SUCH_KEY})
        assert answer == {"queryErr": "Session Time Out"}, fields

    assert await busy.rows() == before


async def test_after_an_hour_nothing_is_done(busy: Canteen) -> None:
    busy.clock.advance(seconds=3601)
    before = await busy.rows()

    for fields in QUERIES:
        for who in ("chen", "wang", "lin", "admin-li"):
            answer = await busy.send(who, fields)
            assert answer == {"queryErr": "Session Time Out"}, fields

    assert await busy.rows() == before


async def test_a_session_of_twelve_hours_ends_though_it_was_used(busy: Canteen) -> None:
    for _ in range(11):
        busy.clock.advance(seconds=3599)
        assert "queryErr" not in await busy.ask("wang", "seller_list")

    busy.clock.advance(seconds=3599)
    assert "queryErr" not in await busy.ask("wang", "seller_list")
    busy.clock.advance(seconds=100)
    assert await busy.ask("wang", "seller_list") == {"queryErr": "Session Time Out"}


async def test_the_sweep_takes_the_rows_of_ended_sessions_only(busy: Canteen) -> None:
    busy.clock.advance(seconds=3000)
    await busy.ask("wang", "seller_list")
    busy.clock.advance(seconds=700)

    await busy.app.sessions.sweep()

    left = (await busy.rows())["sessions"]
    assert len(left) == 1
    assert "queryErr" not in await busy.ask("wang", "seller_list")
    assert await busy.ask("chen", "fetch") == {"queryErr": "Session Time Out"}


async def test_the_wrong_person_changes_nothing(busy: Canteen) -> None:
    refused = {
        "zhao": ["fetch", "call", "info", "admin", "update", "qrcode", "signup", "renew"],
        "lin": ["fetch", "call", "info", "admin", "update", "qrcode", "renew"],
        "chen": ["admin", "renew", "signup"],
        "admin-li": ["fetch", "call", "info", "update", "qrcode", "signup"],
    }
    before = await busy.rows()

    for who, queries in refused.items():
        for fields in QUERIES:
            if fields["query"] in queries:
                answer = await busy.send(who, fields)
                assert answer[f"{fields['query']}Success"] == "fail", (who, fields)
    # These have no other form than success.
    for who in ("zhao", "lin", "admin-li"):
        for fields in QUERIES:
            if fields["query"] in {"done", "clear", "note"}:
                answer = await busy.send(who, fields)
                assert answer[f"{fields['query']}Success"] == "success", (who, fields)

    assert await busy.rows() == before


async def test_values_that_cannot_be_change_nothing(busy: Canteen) -> None:
    who, now = "admin-li", {"query": "renew", "telNum": "13800000001"}
    wrong: list[tuple[str, dict[str, Any]]] = [
        *[(who, {**now, "term": term}) for term in (0, 37, -3, "1.0", "１２", "", "1e1", "0x1")],
        *[(who, {**now, "term": 1, "telNum": tel}) for tel in ("", "x", "138 0000", "1" * 40)],
        *[("chen", {"query": "call", "marchSn": number}) for number in (0, 100, -1, "", "one", 50)],
        *[
            ("zhao", {"query": "push", "sellerId": stall, "marchSn": number, "noteContent": note})
            for stall, number, note in (
                (1, 2, ""),
                (1, 2, "x" * 201),
                (1, 2, "a\u0000b"),
                (1, 2, "a\u202eb"),
                (1, 50, "拌面"),
                (1, 0, "拌面"),
                (0, 2, "拌面"),
                (2**53 - 1, 2, "拌面"),
                ("1; DROP TABLE tickets", 2, "拌面"),
            )
        ],
        ("chen", {"query": "update", "sellerName": "x" * 101, "personName": "new"}),
        ("chen", {"query": "update", "sellerName": "", "personName": "new"}),
        ("chen", {"query": "update", "personName": "a\nb", "sellerName": "new"}),
        ("chen", {"query": "update", "menuList": ",".join("菜" * 101 for _ in range(2))}),
        ("chen", {"query": "update", "menuList": ",".join(map(str, range(201)))}),
        ("lin", {"query": "signup", "telNum": "13800000003", "sellerName": "x" * 101}),
        ("lin", {"query": "signup", "telNum": "13800000005#4712"}),
        ("lin", {"query": "signup", "telNum": "13800000004"}),
    ]
    before = await busy.rows()

    for who, fields in wrong:
        answer = await busy.send(who, fields)
        assert answer[f"{fields['query']}Success"] == "fail", fields

    assert await busy.rows() == before


async def test_a_renewal_refused_for_its_session_is_made_once_when_repeated(busy: Canteen) -> None:
    busy.clock.advance(seconds=3601)
    renewal = {"query": "renew", "telNum": "13800000001", "term": 5}
    assert await busy.send("admin-li", renewal) == {"queryErr": "Session Time Out"}

    await busy.admin()
    assert await busy.send("admin-li", renewal) == {"renewSuccess": "success"}

    assert (await busy.app.stalls.get(1)).balance_months == 8
