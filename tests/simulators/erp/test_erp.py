"""The ERP's two interfaces, as whoever keeps to the contract sees them."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from simulators.erp import TOKEN, Erp, ErpFault
from simulators.groceries import GROCERIES
from simulators.reach import trusted
from tests.simulators.conftest import NOON_S

Json = dict[str, Any]


@pytest.fixture
async def erp() -> AsyncIterator[Erp]:
    erp = Erp(start_s=NOON_S)
    await erp.start(port=0)
    yield erp
    await erp.stop()


@pytest.fixture
async def http(erp: Erp) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(
        base_url=erp.url, headers=headers, timeout=5, trust_env=False, verify=trusted()
    ) as client:
        yield client


async def pages(
    http: httpx.AsyncClient, cursor: str = "", limit: int = 5
) -> tuple[list[Json], str]:
    """All that was changed since, and where to go on the next time."""
    found: list[Json] = []
    while True:
        answer = (await http.get(f"/api/v1/goods?cursor={cursor}&limit={limit}")).json()
        found += answer["goods"]
        cursor = answer["next_cursor"]
        if not answer["has_more"]:
            return found, cursor


def line(number: int = 1, **changes: Any) -> Json:
    return {
        "biz_no": f"CO-{number}",
        "step": "pay",
        "line": 0,
        "store_code": "S1",
        "device_code": "D1",
        "sku": "SKU-1001",
        "name": "矿泉水 550ml",
        "quantity": 1,
        "amount_fen": 200,
        "tickets": 0,
        "paid_by": "wechat",
        "at": 1_795_147_200_000,
    } | changes


def batch(*lines: Json, **changes: Any) -> Json:
    return {
        "day": "2026-11-20",
        "lines": list(lines),
        "line_count": len(lines),
        "amount_fen": sum(each["amount_fen"] for each in lines),
        "tickets": sum(each["tickets"] for each in lines),
    } | changes


async def send(http: httpx.AsyncClient, number: str, body: Json) -> httpx.Response:
    return await http.put(f"/api/v1/sales-batches/{number}", json=body)


# ---------------------------------------------------------------- goods


async def test_all_goods_come_in_pages_and_then_only_what_was_changed(
    http: httpx.AsyncClient, erp: Erp
) -> None:
    all_goods, cursor = await pages(http)
    nothing, same = await pages(http, cursor)
    erp.put_good("SKU-1003", price_fen=480)
    erp.discontinue("SKU-1012")
    erp.put_good("NEW-1", name="新品", price_fen=990)
    changed, later = await pages(http, cursor, limit=2)

    assert [good["sku"] for good in all_goods] == [grocery.sku for grocery in GROCERIES]
    assert set(all_goods[0]) == {
        *("sku", "barcode", "name", "price_fen", "weight_g", "image_url", "status", "version")
    }
    assert (nothing, same) == ([], cursor)
    assert [(g["sku"], g["price_fen"], g["status"]) for g in changed] == [
        ("SKU-1003", 480, 1),
        ("SKU-1012", 350, 0),
        ("NEW-1", 990, 1),
    ]
    versions = [good["version"] for good in changed]
    assert versions == sorted(versions)
    assert (await pages(http, later))[0] == []
    with pytest.raises(KeyError):
        erp.discontinue("SKU-9")


@pytest.mark.parametrize("query", ["cursor=z1", "cursor=g", "cursor=g999", "limit=0", "limit=201"])
async def test_a_question_that_is_not_as_agreed(http: httpx.AsyncClient, query: str) -> None:
    answer = await http.get(f"/api/v1/goods?{query}")

    assert answer.status_code == 400
    wrong = "cursor.unknown" if query.startswith("cursor") else "request.malformed"
    assert answer.json()["code"] == wrong


@pytest.mark.parametrize("header", ["", "Bearer another", TOKEN])
async def test_without_the_token_nothing_is_answered(http: httpx.AsyncClient, header: str) -> None:
    headers = {"Authorization": header}
    answers = [
        await http.get("/api/v1/goods", headers=headers),
        await http.put("/api/v1/sales-batches/B1", headers=headers, json=batch(line())),
    ]

    assert [(a.status_code, a.json()["code"]) for a in answers] == [(401, "token.wrong")] * 2


# ---------------------------------------------------------------- sales


async def test_a_batch_is_received_once_however_often_it_is_sent(
    http: httpx.AsyncClient, erp: Erp
) -> None:
    body = batch(line(1), line(2, paid_by="ticket", tickets=1000, sku="OLD-1"))
    first = await send(http, "20261120-1", body)
    erp.clock.advance(60)
    again = await send(http, "20261120-1", body)
    known = await http.get("/api/v1/sales-batches/20261120-1")
    unknown = await http.get("/api/v1/sales-batches/20261120-2")

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert first.json()["unknown_skus"] == ["OLD-1"]
    assert known.json() == first.json() | {
        "day": "2026-11-20",
        "line_count": 2,
        "amount_fen": 400,
        "tickets": 1000,
    }
    assert unknown.status_code == 404
    assert erp.books.totals() == {
        "2026-11-20": {
            "lines": 2,
            "amount_fen": 400,
            "tickets": 1000,
            "wechat_fen": 200,
            "ticket_fen": 200,
        }
    }


@pytest.mark.parametrize(
    ("number", "body", "status", "code"),
    [
        ("B1", batch(line(1, amount_fen=201)), 409, "batch.conflict"),
        ("B2", batch(line(2), line_count=2), 422, "batch.sums"),
        ("B2", batch(line(2), amount_fen=1), 422, "batch.sums"),
        ("B2", batch(line(2), tickets=1), 422, "batch.sums"),
        ("B2", batch(line(2, tickets=1)), 422, "batch.line"),
        ("B2", batch(line(2, paid_by="ticket")), 422, "batch.line"),
        ("B2", batch(line(2), line(1)), 422, "batch.line"),
        ("B2", batch(line(2), line(2)), 422, "batch.line"),
        ("B2", batch(line(2, paid_by="cash")), 400, "request.malformed"),
        ("B2", batch(line(2, colour="red")), 400, "request.malformed"),
        ("B2", batch(line(2), day="20.11.2026"), 400, "request.malformed"),
        ("B2", batch(), 400, "request.malformed"),
        ("B 2", batch(line(2)), 400, "request.malformed"),
        ("B" * 41, batch(line(2)), 400, "request.malformed"),
    ],
)
async def test_a_batch_that_does_not_add_up_is_refused(
    http: httpx.AsyncClient, erp: Erp, number: str, body: Json, status: int, code: str
) -> None:
    await send(http, "B1", batch(line(1)))

    answer = await send(http, number, body)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert list(erp.batches) == ["B1"]
    # What was refused took nothing with it: its lines may come in a good batch.
    assert (await send(http, "B3", batch(line(2)))).status_code == 201


async def test_a_refund_is_a_line_with_minus_signs(http: httpx.AsyncClient, erp: Erp) -> None:
    paid = line(1, paid_by="ticket", tickets=1000)
    back = paid | {"step": "refund-1", "quantity": -1, "amount_fen": -200, "tickets": -1000}

    answer = await send(http, "B1", batch(paid, back))

    assert answer.status_code == 201
    assert erp.books.totals()["2026-11-20"]["amount_fen"] == 0


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize(("is_done", "status"), [(True, 200), (False, 201)])
async def test_a_lost_answer_may_have_been_carried_out(
    http: httpx.AsyncClient, erp: Erp, is_done: bool, status: int
) -> None:
    erp.faults.add(ErpFault("sales", "drop", is_done=is_done))
    with pytest.raises(httpx.RemoteProtocolError):
        await send(http, "B1", batch(line()))

    assert (await send(http, "B1", batch(line()))).status_code == status
    assert [(call.status, call.fault) for call in erp.calls] == [
        (201 if is_done else None, "drop"),
        (status, None),
    ]


async def test_answers_can_be_spoilt(http: httpx.AsyncClient, erp: Erp) -> None:
    for kind in ("http_502", "nonsense", "busy", "unauthorised"):
        erp.faults.add(ErpFault("*", kind))
    erp.faults.add(ErpFault("goods", "hang", seconds=0))

    answers = [await http.get("/api/v1/goods") for _ in range(4)]
    with pytest.raises(httpx.RemoteProtocolError):
        await http.get("/api/v1/goods")

    assert [answer.status_code for answer in answers] == [502, 200, 503, 401]
    assert answers[2].headers["Retry-After"] == "30"
    with pytest.raises(UnicodeDecodeError):
        answers[1].json()


async def test_a_page_can_hold_what_cannot_be_and_what_is_old(
    http: httpx.AsyncClient, erp: Erp
) -> None:
    erp.faults.add(ErpFault("goods", "bad_items"))
    erp.faults.add(ErpFault("goods", "stale"))

    bad = (await http.get("/api/v1/goods")).json()["goods"]
    stale = (await http.get("/api/v1/goods")).json()["goods"]

    assert (bad[0]["price_fen"], bad[1]["name"], bad[3]["status"], bad[4]) == (
        -1,
        "",
        "sold",
        "nothing",
    )
    assert len(bad) == len(GROCERIES) + 1
    assert [good["version"] for good in stale[-2:]] == [0, 0]
    with pytest.raises(ValueError, match="no endpoint"):
        erp.faults.add(ErpFault("orders", "drop"))
    with pytest.raises(ValueError, match="is of goods"):
        erp.faults.add(ErpFault("sales", "stale"))


# ---------------------------------------------------------------- the hand behind it


async def test_by_hand_only_with_its_token(http: httpx.AsyncClient, erp: Erp) -> None:
    assert (await http.get("/__sim/state")).status_code == 403
    http.headers["X-Sim-Token"] = erp.token
    made = (await http.post("/__sim/goods", json={"sku": "NEW-1", "price_fen": 77})).json()
    wrong = await http.post("/__sim/goods", json={"sku": "NEW-1", "price": 77})
    await http.post("/__sim/faults", json={"endpoint": "sales", "kind": "busy"})
    faults = (await http.get("/__sim/faults")).json()
    await http.delete("/__sim/faults")
    await send(http, "B1", batch(line()))
    batches = (await http.get("/__sim/batches?lines=1")).json()
    bare = (await http.get("/__sim/batches")).json()
    calls = (await http.get("/__sim/calls")).json()["calls"]
    clock = (await http.post("/__sim/clock", json={"advance_s": 60, "running": True})).json()
    stopped = await http.post("/__sim/clock", json={"now_s": 5, "running": False})
    goods = (await http.get("/__sim/goods")).json()["goods"]
    state = (await http.get("/__sim/state")).json()
    await http.post("/__sim/reset", json={})

    assert (made["price_fen"], made["name"]) == (77, "NEW-1")
    assert (wrong.status_code, "price" in wrong.json()["error"]) == (400, True)
    assert faults["faults"][0]["kind"] == "busy"
    assert batches["batches"][0]["lines"][0]["biz_no"] == "CO-1"
    assert "lines" not in bare["batches"][0]
    assert batches["days"]["2026-11-20"]["amount_fen"] == 200
    assert [call["subject"] for call in calls] == ["B1"]
    assert clock["now_s"] >= NOON_S + 60
    assert 5 <= stopped.json()["now_s"] < 65
    assert goods[-1]["sku"] == "NEW-1"
    assert (state["goods"], state["batches"], state["token"]) == (len(GROCERIES) + 1, 1, TOKEN)
    assert erp.batches == {}
