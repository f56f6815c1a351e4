"""Callbacks on their way in: stored before they are answered, once, and in the vendor's dialect."""

import asyncio
from collections.abc import Callable

import pytest

from devices.inbox import model
from devices.inbox.model import Arrived, Skews, is_shed
from devices.inbox.refusals.store import forged
from handlers.callbacks import BODY_MAX
from handlers.limits import Limit, Limits
from sql.alerts import last_incidents, open_alerts
from sql.database import Database, Tx, open_database
from sql.errors import DatabaseUnavailable
from tests.clock import Clock
from tests.conftest import Told
from tests.devices.inbox.post import Post, posting
from tests.devices.vendors import speech


async def alerts(post: Post) -> list[tuple[str, str]]:
    return [(alert.kind, alert.subject) for alert in await post.db.read(open_alerts)]


# ---------------------------------------------------------------- kept, then answered


async def test_a_callback_is_stored_and_then_acknowledged(post: Post, told: Told) -> None:
    body = speech.event("door.opened", event_id="ev_1", seq=5)

    answer = await post.send(body)

    assert (answer.status, answer.json) == (200, {"code": 0, "event_id": "ev_1"})
    (row,) = await post.rows()
    assert (row.vendor, row.endpoint_id, row.event_id) == ("xiaomai", speech.ENDPOINT, "ev_1")
    assert (row.event_type, row.device_code, row.body) == ("DoorOpened", "XM-1", body)
    assert (row.state, row.tries, row.received_at) == ("new", 0, post.clock.now())
    assert row.occurred_at == 1_795_147_200_000
    assert told.wakes == {model.JOB}
    assert post.inbox.counts["xiaomai", "kept"] == 1
    assert post.notes.handled == 0


async def test_the_name_of_the_key_is_told_once(post: Post) -> None:
    body = speech.event("door.opened")
    headers = speech.headers(body, now=post.clock.now())

    twice = await post.send(body, headers | {"X-Xm-Key-Id": "cb1"})
    none = await post.send(body, {k: v for k, v in headers.items() if k != "x-xm-key-id"})
    once = await post.send(body, headers)

    assert [each.status for each in (twice, none, once)] == [401, 401, 200]
    assert twice.json["code"] == none.json["code"] == 1001
    assert len(await post.rows()) == 1


async def test_heartbeats_wait_for_the_next_look_and_are_worked_with_what_wakes(
    post: Post, told: Told
) -> None:
    await post.told("device.telemetry", {"temp_c10": 40}, device_code="A")
    assert told.wakes == set()

    await post.told("door.opened", device_code="B")
    assert told.wakes == {model.JOB}
    await post.inbox.work_due()

    assert set((await post.states()).values()) == {"done"}


async def test_a_lost_answer_is_given_again_to_the_very_same_request(post: Post) -> None:
    body = speech.event("order.pushed", speech.order(), event_id="ev_1")
    headers = speech.headers(body, now=post.clock.now())
    first = await post.send(body, headers)
    post.clock.advance(seconds=200)

    again = await post.send(body, headers)

    assert (again.status, again.body) == (200, first.body)
    assert len(await post.rows()) == 1
    assert await post.nonces() == 1


async def test_the_stored_answer_is_what_is_given(post: Post) -> None:
    body = speech.event("door.opened", event_id="ev_1")
    headers = speech.headers(body, now=post.clock.now())
    await post.send(body, headers)
    await post.db.write(_change_answers, '{"code":0,"event_id":"as stored"}')

    again = await post.send(body, headers)

    assert again.json == {"code": 0, "event_id": "as stored"}


def _change_answers(tx: Tx, answer: str) -> None:
    from sqlalchemy import update

    from sql.tables.devices import callback_nonces

    tx.execute(update(callback_nonces).values(answer=answer))


async def test_one_byte_changed_under_the_same_nonce_is_a_replay(post: Post) -> None:
    body = speech.event("order.pushed", speech.order(), event_id="ev_1")
    other = body.replace(b'"total_fen": 700', b'"total_fen": 701')
    await post.send(body, speech.headers(body, now=post.clock.now(), nonce="n" * 20))

    answer = await post.send(other, speech.headers(other, now=post.clock.now(), nonce="n" * 20))

    assert other != body
    assert answer.status == 401
    assert answer.json == {"code": 1003, "message": "REPLAY", "server_time": post.clock.now()}
    (row,) = await post.rows()
    assert row.body == body
    assert await alerts(post) == [("callback.replay", speech.ENDPOINT)]
    (incident,) = await post.db.read(last_incidents, kind="callback.replay")
    assert incident.raw == other.decode()
    assert post.inbox.counts["xiaomai", "callback.replay"] == 1


async def test_many_replays_leave_a_few_rows(quick_post: Post) -> None:
    for number in range(model.REPLAYS_KEPT + 5):
        body = speech.event("door.opened", seq=number)
        headers = speech.headers(body, now=quick_post.clock.now(), nonce="n" * 20)
        await quick_post.send(body, headers)

    kept = await quick_post.db.read(last_incidents, kind="callback.replay")
    assert len(kept) == model.REPLAYS_KEPT
    assert len(await quick_post.rows()) == 1


async def test_a_vendor_that_signs_its_retries_anew_gets_through_by_the_event_id(
    post: Post,
) -> None:
    first = speech.event("door.opened", event_id="ev_1", attempt=1)
    second = speech.event("door.opened", event_id="ev_1", attempt=2)

    answers = [await post.send(first), await post.send(second)]

    assert [answer.json for answer in answers] == [{"code": 0, "event_id": "ev_1"}] * 2
    (row,) = await post.rows()
    assert row.body == first


async def test_repeats_that_come_at_once_are_kept_once(post: Post) -> None:
    body = speech.event("door.opened", event_id="ev_1")
    same = speech.headers(body, now=post.clock.now())
    other = speech.event("door.closed", event_id="ev_2")

    answers = await asyncio.gather(
        *(post.send(body, same) for _ in range(5)),
        *(post.send(body) for _ in range(5)),
        post.send(other, speech.headers(other, now=post.clock.now(), nonce=same["x-xm-nonce"])),
        post.send(other),
    )

    assert [answer.status for answer in answers[:10]] == [200] * 10
    assert answers[11].status == 200
    # Whoever of the two came first has the nonce.
    assert answers[10].status in (200, 401)
    assert sorted(await post.states()) == ["ev_1", "ev_2"]


@pytest.mark.mariadb
async def test_two_processes_keep_an_event_once(mariadb_url: str, clock: Clock, told: Told) -> None:
    body = speech.event("door.opened", event_id="ev_1")
    other = speech.event("door.closed", event_id="ev_2")
    headers = speech.headers(body, now=clock.now(), nonce="n" * 20)
    stolen = speech.headers(other, now=clock.now(), nonce="n" * 20)
    dbs = [await open_database(mariadb_url, now=clock.now, told=told) for _ in range(2)]
    await dbs[0].migrate()

    async with posting(dbs[0], clock) as one, posting(dbs[1], clock) as two:
        answers = await asyncio.gather(
            *(post.send(body, headers) for post in (one, two) for _ in range(10)),
            *(post.send(other, stolen) for post in (one, two) for _ in range(10)),
        )
        statuses = [answer.status for answer in answers]
        kept = await one.states()

    # One of the two bodies has the nonce, in both processes.
    assert statuses in ([200] * 20 + [401] * 20, [401] * 20 + [200] * 20)
    assert len(kept) == 1
    for db in dbs:
        await db.close()


async def test_what_cannot_be_told_apart_is_kept_by_its_body(post: Post) -> None:
    body = b'{"no": "id"}'

    answers = [await post.send(body), await post.send(body), await post.send(b"\xff\x00")]

    assert [answer.json for answer in answers] == [{"code": 0, "event_id": ""}] * 3
    rows = await post.rows()
    assert [(row.body, row.state, row.outcome) for row in rows] == [
        (body, "quarantined", "no event id"),
        (b"\xff\x00", "quarantined", "no event id"),
    ]
    assert {row.event_type for row in rows} == {"NoEvent"}


async def test_what_is_unknown_is_acknowledged_too(post: Post) -> None:
    answer = await post.told("cabinet.dance", event_id="ev_1")

    assert (answer.status, answer.json["code"]) == (200, 0)
    assert await post.states() == {"ev_1": "new"}


# ---------------------------------------------------------------- refused


async def test_what_is_not_the_vendors_leaves_nothing(quick_post: Post) -> None:
    body = speech.event("door.opened")

    answer = await quick_post.send(
        body, speech.headers(body, now=quick_post.clock.now(), secret="a guess")
    )

    assert answer.status == 401
    assert answer.json["message"] == "SIGNATURE"
    assert await quick_post.rows() == []
    assert await quick_post.nonces() == 0
    assert quick_post.inbox.counts["xiaomai", "callback.signature"] == 1


async def test_the_query_is_signed_as_well(quick_post: Post) -> None:
    body = speech.event("door.opened")
    now = quick_post.clock.now()
    timestamp, nonce = str(now // 1000), "q" * 20
    headers = speech.headers(body, now=now, nonce=nonce) | {
        "x-xm-sign": speech.signature(
            speech.SECRET,
            body,
            path=speech.PATH,
            timestamp=timestamp,
            nonce=nonce,
            query="a=1&b=2",
        )
    }

    good = await quick_post.send(body, headers, query="b=2&a=1")
    bad = await quick_post.send(body, headers, query="b=2&a=2")

    assert (good.status, bad.status) == (200, 401)


async def test_a_body_may_be_so_long_and_no_longer(quick_post: Post) -> None:
    def padded(length: int) -> bytes:
        body = speech.event("door.opened", event_id="ev_long", pad="")
        return body.replace(b'"pad": ""', b'"pad": "' + b"x" * (length - len(body)) + b'"')

    good = await quick_post.send(padded(BODY_MAX))
    bad = await quick_post.send(padded(BODY_MAX + 1))

    assert good.status == 200
    assert (bad.status, bad.json["message"]) == (413, "TOO_LARGE")


async def test_nothing_is_at_another_vendors_address(quick_post: Post) -> None:
    answer = await quick_post.send(speech.event("door.opened"), path="/cb/nobody/ep/events")

    assert answer.status == 404


async def test_a_crowd_from_one_address_is_let_in(sqlite_db: Database, clock: Clock) -> None:
    limits = Limits()
    limits.address = Limit(per_s=1, burst=2)

    async with posting(sqlite_db, clock, limits=limits) as post:
        answers = [await post.told("door.opened") for _ in range(10)]
        elsewhere = [await post.send(b"", path="/cb/nobody/ep/events") for _ in range(3)]

    assert [answer.status for answer in answers] == [200] * 10
    assert [answer.status for answer in elsewhere] == [404, 404, 429]


async def test_what_the_edge_refuses_is_told_in_the_dialect(
    sqlite_db: Database, clock: Clock
) -> None:
    from handlers.callbacks import routes
    from handlers.errors import Problem, TooManyRequests

    async with posting(sqlite_db, clock) as post:
        (route,) = routes(post.inbox.receive, post.vendors, now=clock.now)
        assert route.refuse is not None
        busy = route.refuse(TooManyRequests(3))
        broken = route.refuse(Problem(500, "internal"))
        odd = route.refuse(Problem(408, "body.late"))

    assert (busy.status, dict(busy.headers)) == (503, {"Content-Type": "application/json"})
    assert (broken.status, dict(broken.headers)["Retry-After"]) == (503, "5")
    assert odd.status == 400


# ---------------------------------------------------------------- clocks


async def test_a_callback_of_another_time_is_told_ours(quick_post: Post) -> None:
    body = speech.event("door.opened")
    now = quick_post.clock.now()

    answer = await quick_post.send(body, speech.headers(body, now=now + 1_200_000))

    assert answer.status == 401
    assert answer.json == {"code": 1002, "message": "SKEW", "server_time": now}
    assert await quick_post.rows() == []
    assert await alerts(quick_post) == []


async def test_a_clock_that_is_wrong_is_told_of_and_the_orders_are_asked_for(
    post: Post, told: Told, expect_log: Callable[[str], None]
) -> None:
    expect_log("the clock of xiaomai is wrong")

    for _ in range(model.SKEWED_MAX):
        await _skewed(post)
    before = await alerts(post), "orders" in told.wakes
    await _skewed(post)

    assert before == ([], False)
    assert await alerts(post) == [("callback.skew", speech.ENDPOINT)]
    assert "orders" in told.wakes


async def _skewed(post: Post) -> None:
    body = speech.event("door.opened")
    answer = await post.send(body, speech.headers(body, now=post.clock.now() + 1_200_000))
    assert answer.status == 401


async def test_the_alert_goes_when_the_clock_is_right_again(
    quick_post: Post, expect_log: Callable[[str], None]
) -> None:
    expect_log("the clock of xiaomai is wrong")
    for _ in range(model.SKEWED_MAX + 1):
        await _skewed(quick_post)

    for seconds, is_open in [(1, True), (240, True)]:
        quick_post.clock.advance(seconds=seconds)
        await quick_post.inbox.sweep()
        assert bool(await alerts(quick_post)) is is_open
    await _skewed(quick_post)
    quick_post.clock.advance(seconds=120)
    await quick_post.inbox.sweep()
    still = await alerts(quick_post)
    quick_post.clock.advance(seconds=200)
    await quick_post.inbox.sweep()

    assert still == [("callback.skew", speech.ENDPOINT)]
    assert await alerts(quick_post) == []


def test_orders_are_asked_for_once_a_minute_while_the_clock_is_wrong() -> None:
    skews = Skews()

    said = [now for now in range(0, 200_000, 1_000) if skews.note("ep", now)]

    assert said == [5_000, 65_000, 125_000, 185_000]


def test_a_few_that_were_long_on_their_way_are_no_wrong_clock() -> None:
    skews = Skews()

    assert not any(skews.note("ep", now) for now in range(0, 10_000_000, 61_000))
    assert not any(skews.note(f"ep{number}", 0) for number in range(100))


# ---------------------------------------------------------------- too much


def test_telemetry_is_sent_back_first_and_doors_and_orders_last() -> None:
    assert is_shed("Telemetry", waiting=model.TELEMETRY_WAITING_MAX, writing=0)
    assert is_shed("Telemetry", waiting=0, writing=model.TELEMETRY_WRITING_MAX)
    assert not is_shed("Telemetry", waiting=4_999, writing=999)
    for kind in ("OrderPushed", "DoorClosed", "Unread"):
        assert not is_shed(kind, waiting=10**9, writing=model.WRITING_MAX - 1)
        assert is_shed(kind, waiting=0, writing=model.WRITING_MAX)


async def test_when_too_much_waits_telemetry_is_to_come_again(quick_post: Post) -> None:
    quick_post.inbox.waiting = model.TELEMETRY_WAITING_MAX

    telemetry = await quick_post.told("device.telemetry", {}, event_id="ev_1")
    door = await quick_post.told("door.closed", event_id="ev_2")
    await quick_post.inbox.work_due()
    again = await quick_post.told("device.telemetry", {}, event_id="ev_1")

    assert (telemetry.status, telemetry.headers["Retry-After"]) == (503, "5")
    assert telemetry.json["message"] == "OVERLOADED"
    assert door.status == 200
    assert again.status == 200
    assert await quick_post.states() == {"ev_2": "done", "ev_1": "new"}
    assert quick_post.inbox.counts["xiaomai", "shed"] == 1


async def test_when_the_database_cannot_follow_everything_is_to_come_again(
    quick_post: Post,
) -> None:
    quick_post.db.waiting_max = 0

    answer = await quick_post.told("order.pushed", speech.order(), event_id="ev_1")
    quick_post.db.waiting_max = 100
    again = await quick_post.told("order.pushed", speech.order(), event_id="ev_1")

    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert again.status == 200
    assert await quick_post.states() == {"ev_1": "new"}
    assert quick_post.inbox.counts["xiaomai", "unavailable"] == 1


async def test_what_is_being_written_is_bounded(
    quick_post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "WRITING_MAX", 3)

    answers = await asyncio.gather(
        *(quick_post.inbox.receive("xiaomai", _arrived(quick_post, number)) for number in range(5))
    )

    assert sorted(status for status, _, _ in answers) == [200, 200, 200, 503, 503]


def _arrived(post: Post, number: int) -> Arrived:
    body = speech.event("door.opened", event_id=f"ev_{number}")
    return Arrived(
        endpoint_id=speech.ENDPOINT,
        headers=speech.headers(body, now=post.clock.now()),
        path=speech.PATH,
        query="",
        raw=body,
        address="127.0.0.1",
    )


async def test_a_wrong_clock_that_cannot_be_noted_is_refused_all_the_same(
    quick_post: Post, expect_log: Callable[[str], None]
) -> None:
    expect_log("the clock of xiaomai is wrong")
    quick_post.db.waiting_max = 0

    for _ in range(model.SKEWED_MAX + 1):
        await _skewed(quick_post)

    assert await alerts(quick_post) == []


# ---------------------------------------------------------------- forged


async def test_forged_ones_are_counted_without_a_word_to_the_database(post: Post) -> None:
    body = speech.event("door.opened")
    nonce = "n" * 20
    await post.send(body, speech.headers(body, now=post.clock.now(), nonce=nonce))
    other = speech.event("door.closed")
    replayed = speech.headers(other, now=post.clock.now(), nonce=nonce)
    skewed = speech.headers(other, now=post.clock.now() - 900_000)
    for headers in (*[{}] * 5, replayed, skewed):
        assert (await post.send(other, headers)).status == 401
    since = post.clock.now() - 3_600_000

    before = await post.db.read(forged, since)
    await post.inbox.note_forged()
    await post.inbox.note_forged()

    assert before == {}
    counted = {"callback.signature": 5, "callback.replay": 1}
    assert await post.db.read(forged, since) == {"xiaomai": counted}


async def test_what_could_not_be_written_is_written_the_next_time(
    quick_post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    await quick_post.send(b"{}", {})

    async def away(*_: object, **__: object) -> None:
        raise DatabaseUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(quick_post.db, "write", away)
        with pytest.raises(DatabaseUnavailable):
            await quick_post.inbox.note_forged()
    await quick_post.send(b"{}", {})
    await quick_post.inbox.note_forged()

    assert await quick_post.db.read(forged, 0) == {"xiaomai": {"callback.signature": 2}}
