"""What staff see of events that nobody has worked, and how they let them be worked once more."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import select

from accounts.staff.permissions import kept
from devices.inbox.kept.service import KeptEvents
from handlers import rest_callbacks
from sql.alerts import open_alerts
from sql.tables.staff import staff_audit
from sql.transaction import Tx
from tests.clock import Clock
from tests.devices.fleet.maker import Office, serving, staff
from tests.devices.inbox.post import Post

PEOPLE = {
    "boss": staff(1, "owner"),
    "operator": staff(2, "operator"),
    "finance": staff(3, "finance"),
    "support": staff(4, "support"),
    "readonly": staff(5, "readonly"),
    "kept": staff(6, kept("owner")),
}
AT = "/admin/callbacks"
WHY = {"reason": "mended"}


@pytest.fixture
async def office(post: Post, clock: Clock) -> AsyncIterator[Office]:
    routes = rest_callbacks.routes(KeptEvents(post.db))
    async with serving(routes, PEOPLE, clock.now) as opened:
        yield opened


async def get(office: Office, query: str = "", token: str = "boss") -> Any:
    answer = await office.ask("GET", AT + query, token=token)
    assert answer.status == 200, answer.body
    return answer.json


async def die(post: Post, expect_log: Callable[[str], None]) -> None:
    """One event is quarantined, one is dead, one was done."""
    expect_log("event 2 is given up")
    post.notes.strangers.add("S")
    post.notes.failures["A/1"] = RuntimeError("broken")
    for code in ("S", "A", "B"):
        note = "openid-of-somebody-0001"
        data = {"openid": note, "text": "好" * 9_000} if code == "A" else None
        await post.told("door.opened", data, device_code=code, event_id=f"{code}/1")
    for seconds in (0, 1, 5, 15, 60):
        post.clock.advance(seconds=seconds)
        await post.inbox.work_due()


def lines(tx: Tx) -> list[tuple[str, str, int, str]]:
    return [
        (row.action, row.subject, row.actor_id, row.reason)
        for row in tx.execute(select(staff_audit))
    ]


async def test_what_waits_for_a_person_is_listed(
    post: Post, office: Office, expect_log: Callable[[str], None]
) -> None:
    await die(post, expect_log)

    found = await get(office)

    assert (found["total"], [each["id"] for each in found["items"]]) == (2, [2, 1])
    dead, strange = found["items"]
    assert (dead["state"], dead["outcome"]) == ("dead", "RuntimeError: broken")
    assert (strange["state"], strange["device_code"]) == ("quarantined", "S")
    assert strange["ended_at"] == "2026-11-20T04:00:00.000Z"
    assert (strange["vendor"], strange["event_type"], strange["next_at"]) == (
        "xiaomai",
        "DoorOpened",
        None,
    )
    assert "openid-of-somebody" not in dead["body"]
    assert '"openid":"open…' in dead["body"].replace(" ", "")
    assert 2_000 < len(dead["body"]) < 9_000
    for query, ids in (
        ("?state=done", [3]),
        ("?state=dead", [2]),
        ("?device_code=S", [1]),
        ("?vendor=other", []),
        ("?event_type=DoorOpened&sort=id&page_size=1", [1]),
        ("?sort=-received_at&page=2&page_size=1", [1]),
    ):
        assert [each["id"] for each in (await get(office, query))["items"]] == ids, query
    for query in ("?state=odd", "?sort=body"):
        assert (await office.ask("GET", AT + query)).status == 400


async def test_bodies_are_for_few(
    post: Post, office: Office, expect_log: Callable[[str], None]
) -> None:
    await die(post, expect_log)

    for token in ("operator", "readonly"):
        assert {each["body"] for each in (await get(office, token=token))["items"]} == {None}
    assert None not in {each["body"] for each in (await get(office, token="finance"))["items"]}
    for token in ("support", "kept"):
        assert (await office.ask("GET", AT, token=token)).status == 403
        assert (await office.ask("POST", f"{AT}/2/put-back", WHY, token=token)).status == 403
    assert (await office.ask("POST", f"{AT}/2/put-back", WHY, token="finance")).status == 403


async def test_a_dead_event_is_put_back_once(
    post: Post, office: Office, expect_log: Callable[[str], None]
) -> None:
    await die(post, expect_log)
    assert [each.subject for each in await post.db.read(open_alerts, "callback.dead")] == ["2"]
    del post.notes.failures["A/1"]

    put = [
        await office.ask("POST", f"{AT}/2/put-back", WHY, token="operator", Idempotency_Key="k")
        for _ in range(2)
    ]
    again = await office.ask("POST", f"{AT}/2/put-back", WHY)
    missing = await office.ask("POST", f"{AT}/99/put-back", WHY)
    await post.inbox.work_due()

    assert [(each.status, each.json["state"], each.json["tries"]) for each in put] == [
        (200, "new", 0)
    ] * 2
    assert put[0].json == put[1].json
    assert put[0].json["body"] is None
    assert (again.status, again.json["code"]) == (409, "callbacks.not_ended")
    assert (missing.status, missing.json["code"]) == (404, "callbacks.not_found")
    assert (await office.ask("POST", f"{AT}/1/put-back", {"reason": " "})).status == 400
    assert await post.db.read(open_alerts, "callback.dead") == []
    assert (await post.states())["A/1"] == "done"
    assert await post.db.read(lines) == [("callback.put_back", "callback:2", 2, "mended")]
