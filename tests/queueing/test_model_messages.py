"""What crosses a wire, and what is kept from whom."""

from typing import Any

import msgspec
import pytest

from queueing.calendar import month_start
from queueing.messages import (
    Follow,
    Renewal,
    StallNew,
    StallPatch,
    given,
    queue_out,
    stall_for_seller,
    stall_out,
    ticket_in_queue,
    ticket_out,
)
from queueing.model import Status
from queueing.statistics import Durations, HourOut, StatisticsOut, Visit, statistics
from queueing.waiting import Wait
from tests.queueing.world import SELLER, World, stall


def wire(message: object) -> Any:
    return msgspec.json.decode(msgspec.json.encode(message))


def busy_world() -> World:
    """Eight served, one called twice, one called once, two waiting; a place takes a minute."""
    world = World()
    for _ in range(8):
        ticket = world.issue()
        world.clock.advance(minutes=1)
        world.pool.finish(world.pool.call(ticket.id, SELLER, world.now).id, SELLER, world.now)
    first, second = world.issue(), world.issue()
    world.clock.advance(minutes=1)
    world.pool.call(first.id, SELLER, world.now)
    world.clock.advance(minutes=1)
    world.pool.call(second.id, SELLER, world.now)
    world.clock.advance(seconds=1)
    world.pool.recall(first.id, SELLER, world.now)
    world.follow(second)
    world.follow(world.issue())
    world.issue()
    return world


# ---------------------------------------------------------------- tickets


def test_public_ticket_has_no_note() -> None:
    world = World()
    ticket = world.follow(world.issue())

    assert wire(ticket_out(ticket, private=False)) == {
        "id": ticket.id,
        "number": 1,
        "stall_id": 7,
        "status": "noted",
        "calls": 0,
        "issued_at": "2026-11-20T04:00:00.000Z",
        "noted": True,
        "called_at": None,
        "ended_at": None,
    }


def test_private_ticket_tells_the_note_and_whether_the_phone_was_reached() -> None:
    world = World()
    ticket = world.follow(world.issue_and_call())

    out = wire(ticket_out(ticket, private=True))

    assert (out["note"], out["reached"]) == ("牛肉面", None)
    assert out["called_at"] == "2026-11-20T04:00:00.000Z"


def test_waiting_ticket_tells_its_place_and_its_wait() -> None:
    world = busy_world()
    last = world.pool.tickets()[-1]

    out = ticket_in_queue(world.pool, last, world.now, private=True)

    assert out.ahead == 1
    assert out.wait == Wait(2, 2, 10)


def test_wait_is_absent_where_nothing_is_known() -> None:
    world = World()
    ticket = world.issue()

    out = wire(ticket_in_queue(world.pool, ticket, world.now, private=False))

    assert out["ahead"] == 0
    assert "wait" not in out


def test_called_ticket_has_no_place() -> None:
    world = busy_world()
    called = world.pool.tickets()[0]

    out = wire(ticket_in_queue(world.pool, called, world.now, private=False))

    assert called.status is Status.CALLED
    assert "ahead" not in out
    assert "wait" not in out


# ---------------------------------------------------------------- queue and stalls


def test_snapshot_shows_the_newest_call_first() -> None:
    world = busy_world()

    out = queue_out(world.pool, world.now, staff=False)

    assert [ticket.number for ticket in out.calling] == [9, 10]
    assert [ticket.number for ticket in out.tickets] == [9, 10, 11, 12]
    assert out.waiting == 2
    assert out.wait == Wait(3, 3, 10)
    assert wire(out)["stall"] == {"id": 7, "name": "兰州拉面", "open": True}


def test_public_snapshot_has_neither_notes_nor_health() -> None:
    world = busy_world()

    out = wire(queue_out(world.pool, world.now, staff=False))

    assert "health" not in out
    assert all("note" not in ticket for ticket in out["tickets"] + out["calling"])


def test_staff_sees_notes_and_health() -> None:
    world = busy_world()

    out = wire(queue_out(world.pool, world.now, staff=True))

    assert out["health"] == {"in_use": 4, "resting": 3, "free": 92, "stuck": [], "low": False}
    assert [ticket["note"] for ticket in out["tickets"]] == ["", "牛肉面", "牛肉面", ""]


def test_snapshot_of_a_new_stall_is_silent_about_waits() -> None:
    out = wire(queue_out(World().pool, 0, staff=False))

    assert out == {
        "stall": {"id": 7, "name": "兰州拉面", "open": True},
        "calling": [],
        "waiting": 0,
        "tickets": [],
    }


def test_public_stall_names_no_person() -> None:
    named = stall(menu=("牛肉面",), person="马师傅", phone="13800000001")

    assert wire(stall_out(named, image_url="/i/1.png")) == {
        "id": 7,
        "name": "兰州拉面",
        "image_url": "/i/1.png",
        "menu": ["牛肉面"],
        "open": True,
    }


def test_seller_sees_months_and_settings() -> None:
    out = wire(stall_for_seller(stall(person="马师傅", disabled=True), image_url=""))

    assert out["person"] == "马师傅"
    assert out["balance_months"] == 3
    assert (out["open"], out["disabled"], out["signed_up"]) == (False, True, True)
    assert out["settings"] == {
        "pick": "cyclic",
        "rest_s": 300,
        "double_tap_s": 1.5,
        "remind_after_s": 20,
        "release_after_min": 120,
    }


# ---------------------------------------------------------------- requests


def test_requests_in_range_are_read() -> None:
    follow = msgspec.json.decode(b'{"number":39,"note":"\\u9762","more":1}', type=Follow)
    new = msgspec.convert({"name": "面", "phone": "13800000001"}, StallNew)
    patch = msgspec.convert({"disabled": True, "rest_s": 0, "menu": ["面"]}, StallPatch)

    assert follow == Follow(39, "面", "")
    assert given(patch) == {"disabled": True, "rest_s": 0, "menu": ("面",)}
    assert given(new) == {
        "name": "面",
        "phone": "13800000001",
        "person": "",
        "menu": (),
        "months": 0,
        "claim_code": "",
    }


@pytest.mark.parametrize(
    ("kind", "request_"),
    [
        (Follow, {"number": 0, "note": "面"}),
        (Follow, {"number": 100, "note": "面"}),
        (Follow, {"number": "39", "note": "面"}),
        (Follow, {"number": 39, "note": "面" * 201}),
        (Follow, {"number": 39, "note": "面", "grant": "a b"}),
        (Follow, {"number": 39, "note": "面", "grant": "a" * 65}),
        (StallNew, {"name": "", "phone": "13800000001"}),
        (StallNew, {"name": " ", "phone": "13800000001"}),
        (StallNew, {"name": "a\n", "phone": "13800000001"}),
        (StallNew, {"name": "面", "phone": "1380x"}),
        (StallNew, {"name": "面", "phone": "13800000001\n"}),
        (StallNew, {"name": "面", "phone": "13800000001", "months": 37}),
        (StallPatch, {"pick": "random"}),
        (StallPatch, {"rest_s": -1}),
        (StallPatch, {"double_tap_s": 61}),
        (StallPatch, {"release_after_min": 0}),
        (StallPatch, {"menu": ["\x00"]}),
        (StallPatch, {"name": None}),
        (Renewal, {"months": 0, "reason": "x"}),
        (Renewal, {"months": 37, "reason": "x"}),
        (Renewal, {"months": 1.5, "reason": "x"}),
        (Renewal, {"months": 1, "reason": ""}),
    ],
)
def test_requests_out_of_range_are_refused(kind: type, request_: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(request_), type=kind)


# ---------------------------------------------------------------- statistics


def visit(
    status: Status, issued_s: int, *, called_s: int | None = None, ended_s: int | None = None
) -> Visit:
    """Seconds after the 1st of November 2026, 00:00 in Beijing."""
    start = month_start(202611)

    def at(second: int | None) -> int | None:
        return None if second is None else start + second * 1000

    return Visit(status, start + issued_s * 1000, at(called_s), at(ended_s))


def test_statistics_count_and_measure_the_past() -> None:
    noon, hour = 12 * 3600, 3600
    visits = [
        visit(Status.FINISHED, noon, called_s=noon + 300, ended_s=noon + 360),
        visit(Status.FINISHED, noon, called_s=noon + 500, ended_s=noon + 600),
        visit(Status.RELEASED, noon, called_s=noon + 100, ended_s=noon + 7300),
        visit(Status.CALLED, noon + 2 * hour, called_s=noon + 2 * hour),
        visit(Status.CANCELLED, noon, ended_s=noon + 5),
        visit(Status.ISSUED, noon + 2 * hour),
    ]

    result = statistics(visits, from_date=20261101, to_date=20261130, stall_id=7)

    assert result == StatisticsOut(
        from_="2026-11-01",
        to="2026-11-30",
        stall_id=7,
        issued=6,
        called=4,
        finished=2,
        cancelled=1,
        released=1,
        hours=[HourOut(12, 4, 3), HourOut(13, 0, 0), HourOut(14, 2, 1)],
        wait=Durations(4, 100, 500),
        service=Durations(2, 60, 100),
        abandonment=1 / 3,
    )
    assert wire(result)["from"] == "2026-11-01"


def test_statistics_of_nothing_are_silent() -> None:
    result = statistics(iter(()), from_date=20261101, to_date=20261101)

    assert (result.issued, result.hours, result.abandonment) == (0, [], None)
    assert result.wait == result.service == Durations(0, None, None)


def test_number_released_without_a_call_was_not_abandoned() -> None:
    visits = [
        visit(Status.RELEASED, 0, ended_s=90_000),
        visit(Status.FINISHED, 0, called_s=5, ended_s=9),
    ]

    assert statistics(visits, from_date=20261101, to_date=20261101).abandonment == 0
