"""The inbox worked off: each device's events in order, each once, each to an end."""

import asyncio
from collections.abc import Callable

import pytest

from devices.inbox import model, store
from devices.inbox.model import NotNow, Waiting, by_device, pause_after, superseded
from devices.inbox.service import BATCHES_MAX
from devices.inbox.store import put_back
from sql.alerts import open_alerts
from sql.database import open_database
from sql.errors import DatabaseUnavailable
from tests.clock import Clock
from tests.conftest import Told
from tests.devices.inbox.post import Post, posting
from tests.devices.vendors import speech


async def alerts(post: Post) -> list[tuple[str, str]]:
    return [(alert.kind, alert.subject) for alert in await post.db.read(open_alerts)]


async def opened(post: Post, device_code: str, *seqs: int) -> None:
    for seq in seqs:
        event_id = f"{device_code}/{seq}"
        await post.told("door.opened", device_code=device_code, seq=seq, event_id=event_id)


# ---------------------------------------------------------------- in order, once


async def test_each_devices_events_are_handled_in_the_order_they_came(post: Post) -> None:
    for seq in range(4):
        for device_code in ("A", "B", ""):
            await opened(post, device_code, seq)

    ended = await post.inbox.work_due()

    assert ended == 12
    assert [await post.noted(code) for code in ("A", "B", "")] == [[0, 1, 2, 3]] * 3
    assert set((await post.states()).values()) == {"done"}
    assert post.inbox.waiting == 0
    assert await post.inbox.work_due() == 0


async def test_how_long_the_oldest_had_waited_is_known(quick_post: Post) -> None:
    await opened(quick_post, "A", 1)
    quick_post.clock.advance(seconds=7)
    await opened(quick_post, "A", 2)

    await quick_post.inbox.work_due()
    busy = quick_post.inbox.lag_ms
    await quick_post.inbox.work_due()

    assert (busy, quick_post.inbox.lag_ms) == (7_000, 0)


async def test_several_at_work_in_one_process_do_no_harm(post: Post) -> None:
    for seq in range(6):
        await opened(post, "A", seq)
        await opened(post, "B", seq)

    counts = await asyncio.gather(*(post.inbox.work_due() for _ in range(4)))

    assert sum(counts) == 12
    assert await post.noted("A") == await post.noted("B") == [0, 1, 2, 3, 4, 5]


@pytest.mark.mariadb
async def test_several_processes_share_the_work_and_keep_the_order(
    mariadb_url: str, clock: Clock, told: Told
) -> None:
    dbs = [await open_database(mariadb_url, now=clock.now, told=told) for _ in range(2)]
    await dbs[0].migrate()
    async with posting(dbs[0], clock) as post:
        for seq in range(8):
            for device in range(12):
                await opened(post, f"D{device}", seq)
        inboxes = [post.inbox, post.open_inbox(dbs[1])]

        # Whoever is left with a device that the other works on, comes back for it.
        for _ in range(20):
            await asyncio.gather(*(inbox.work_due() for inbox in inboxes))

        for device in range(12):
            assert await post.noted(f"D{device}") == list(range(8))
        assert set((await post.states()).values()) == {"done"}
    for db in dbs:
        await db.close()


@pytest.mark.mariadb
async def test_a_row_another_process_works_on_is_left_to_it(
    mariadb_url: str, clock: Clock, told: Told
) -> None:
    from sqlalchemy import create_engine, text

    db = await open_database(mariadb_url, now=clock.now, told=told)
    await db.migrate()
    engine = create_engine(mariadb_url.replace("mysql://", "mysql+pymysql://"))
    async with posting(db, clock) as post:
        await opened(post, "A", 1, 2)
        await opened(post, "B", 1)

        with engine.connect() as other:
            other.execute(text("SELECT id FROM callback_inbox WHERE id = 1 FOR UPDATE"))
            meanwhile = await post.inbox.work_due()
            other.rollback()
        afterwards = await post.inbox.work_due()

        assert (meanwhile, afterwards) == (1, 2)
        assert await post.noted("A") == [1, 2]
    engine.dispose()
    await db.close()


async def test_a_run_ends_so_that_others_have_their_turn(
    quick_post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devices.inbox.service.BATCH", 2)
    monkeypatch.setattr("devices.inbox.service.BATCHES_MAX", 3)
    await opened(quick_post, "A", *range(10))

    ended = [await quick_post.inbox.work_due() for _ in range(3)]

    assert ended == [6, 4, 0]
    assert BATCHES_MAX > 3


# ---------------------------------------------------------------- telemetry


async def test_of_telemetry_only_the_last_of_a_device_is_handled(post: Post) -> None:
    for seq in range(5):
        await post.told("device.telemetry", {"temp_c10": seq}, device_code="A", seq=seq)
        await post.told("device.telemetry", {"temp_c10": seq}, device_code="B", seq=seq)
    await opened(post, "A", 5)
    await post.told("device.telemetry", {}, device_code="A", seq=6)

    ended = await post.inbox.work_due()

    assert ended == 12
    assert await post.noted("A") == [5, 6]
    assert await post.noted("B") == [4]
    outcomes = [row.outcome for row in await post.rows() if row.outcome]
    assert outcomes == ["superseded"] * 9


def waiting(number: int, kind: str = "Telemetry", device: str = "A", vendor: str = "v") -> Waiting:
    return Waiting(number, vendor, device, kind, 0)


def test_only_later_telemetry_of_the_same_device_supersedes() -> None:
    rows = [
        waiting(3),
        waiting(1),
        waiting(2, device="B"),
        waiting(4, "DoorOpened"),
        waiting(5, vendor="w"),
        waiting(6),
    ]

    assert superseded(rows) == [1, 3]
    assert [[row.id for row in each] for each in by_device(rows)] == [[1, 3, 4, 6], [2], [5]]


# ---------------------------------------------------------------- quarantined


async def test_what_belongs_to_nobody_is_quarantined_with_what_was_written(post: Post) -> None:
    post.notes.strangers = {"A"}
    await opened(post, "A", 1, 2)

    await post.inbox.work_due()

    rows = await post.rows()
    assert [(row.state, row.outcome) for row in rows] == [
        ("quarantined", "nobody knows this device")
    ] * 2
    assert await post.noted("A") == [1, 2]


async def test_what_is_not_understood_is_quarantined_and_told_of_once_a_type(post: Post) -> None:
    await post.told("cabinet.dance", event_id="ev_1")
    await post.told("cabinet.dance", event_id="ev_2")
    await post.told("order.pushed", speech.order(rev=0), event_id="ev_3")
    await opened(post, "XM-1", 4)

    await post.inbox.work_due()

    states = await post.states()
    assert states == {
        "ev_1": "quarantined",
        "ev_2": "quarantined",
        "ev_3": "quarantined",
        "XM-1/4": "done",
    }
    assert await post.noted() == [4]
    assert await alerts(post) == [
        ("callback.unread", "xiaomai:cabinet.dance"),
        ("callback.unread", "xiaomai:order.pushed"),
    ]


async def test_an_event_of_a_vendor_that_is_gone_is_quarantined(quick_post: Post) -> None:
    await opened(quick_post, "A", 1)
    quick_post.vendors.clear()
    inbox = quick_post.open_inbox(quick_post.db)

    await inbox.work_due()

    (row,) = await quick_post.rows()
    assert (row.state, row.outcome) == ("quarantined", "there is no vendor xiaomai")
    quick_post.vendors["xiaomai"] = quick_post.xiaomai


async def test_a_quarantined_event_can_be_put_back(post: Post, told: Told) -> None:
    post.notes.strangers = {"A"}
    await opened(post, "A", 1)
    await post.inbox.work_due()
    post.notes.strangers = set()
    told.wakes.clear()

    (row,) = await post.rows()
    assert await post.db.write(put_back, row.id)
    assert told.wakes == {model.JOB}
    await post.inbox.work_due()

    (row,) = await post.rows()
    assert (row.state, row.outcome) == ("done", "")
    assert not await post.db.write(put_back, row.id)
    assert not await post.db.write(put_back, 99)


# ---------------------------------------------------------------- failed


async def test_what_fails_is_undone_and_tried_again_while_its_device_waits(post: Post) -> None:
    post.notes.failures["A/1"] = RuntimeError("no\nbody")
    await opened(post, "A", 1, 2)
    await opened(post, "B", 1)

    await post.inbox.work_due()
    first = (await post.rows())[0]
    assert (first.state, first.tries, first.outcome) == ("new", 1, "RuntimeError: no")
    assert first.next_at == post.clock.now() + 1_000
    assert (await post.noted("A"), await post.noted("B")) == ([], [1])

    # What comes meanwhile waits its turn, and does not make the others wait for it.
    await opened(post, "A", 3)
    assert await post.inbox.work_due() == 0
    assert {row.next_at for row in await post.rows() if row.state == "new"} == {first.next_at}

    del post.notes.failures["A/1"]
    post.clock.advance(seconds=1)
    await post.inbox.work_due()
    assert await post.noted("A") == [1, 2, 3]
    assert post.inbox.waiting == 0


async def test_what_fails_again_and_again_is_dead_and_its_device_goes_on(
    post: Post, expect_log: Callable[[str], None]
) -> None:
    expect_log("event 1 is given up: RuntimeError: broken")
    post.notes.failures["A/1"] = RuntimeError("broken")
    await opened(post, "A", 1, 2)

    waits = []
    while (row := (await post.rows())[0]).state == "new":
        await post.inbox.work_due()
        row = (await post.rows())[0]
        waits.append((row.next_at - post.clock.now()) if row.next_at else None)
        post.clock.advance(seconds=60)

    assert waits == [1_000, 5_000, 15_000, 60_000, None]
    assert (row.state, row.tries, row.outcome) == ("dead", 4, "RuntimeError: broken")
    assert await post.noted("A") == [2]
    assert await alerts(post) == [("callback.dead", "1")]

    del post.notes.failures["A/1"]
    assert await post.db.write(put_back, 1)
    await post.inbox.work_due()
    assert await post.noted("A") == [2, 1]
    assert await alerts(post) == []


def test_a_pause_for_each_failure_and_then_no_more() -> None:
    assert [pause_after(tries) for tries in range(1, 6)] == [1_000, 5_000, 15_000, 60_000, None]


async def test_when_the_database_is_away_nothing_is_held_against_the_event(
    quick_post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    await opened(quick_post, "A", 1)
    quick_post.notes.failures["A/1"] = DatabaseUnavailable("away")

    assert await quick_post.inbox.work_due() == 0

    (row,) = await quick_post.rows()
    assert (row.state, row.tries) == ("new", 0)


async def test_what_cannot_be_worked_yet_waits_as_long_as_that_is_so(post: Post) -> None:
    await opened(post, "A", 1, 2)
    await opened(post, "B", 1)
    post.notes.failures["A/1"] = NotNow("the till is closed")

    for _ in range(20):
        await post.inbox.work_due()
        post.clock.advance(seconds=60)

    row, behind, _ = await post.rows()
    assert (row.state, row.tries, row.outcome) == ("new", 0, "the till is closed")
    assert behind.state == "new"
    assert (await post.noted(), await post.noted("A"), await post.noted("B")) == ([], [], [1])
    assert await alerts(post) == []

    post.notes.failures.clear()
    assert await post.inbox.work_due() == 2
    assert await post.noted("A") == [1, 2]


async def test_what_has_ended_meanwhile_waits_no_more(quick_post: Post) -> None:
    await opened(quick_post, "A", 1)
    await quick_post.inbox.work_due()

    await quick_post.db.write(store.let_wait, 1, "late")

    assert await quick_post.states() == {"A/1": "done"}


async def test_one_that_fails_spoils_nothing_of_the_others(post: Post) -> None:
    post.notes.failures["C/1"] = RuntimeError("broken")
    for device_code in "ABCDE":
        await opened(post, device_code, 1)

    assert await post.inbox.work_due() == 4

    assert [await post.noted(code) for code in "ABCDE"] == [[1], [1], [], [1], [1]]
    assert sorted((await post.states()).values()) == ["done"] * 4 + ["new"]


async def test_a_failure_of_what_has_ended_meanwhile_changes_nothing(quick_post: Post) -> None:
    await opened(quick_post, "A", 1)
    await quick_post.inbox.work_due()

    assert await quick_post.db.write(store.note_failure, 1, "late")
    assert await quick_post.db.write(store.note_failure, 99, "nothing there")

    assert await quick_post.states() == {"A/1": "done"}


async def test_an_event_without_a_device_is_named_so(
    quick_post: Post, expect_log: Callable[[str], None]
) -> None:
    expect_log("event 1 is given up")
    await opened(quick_post, "", 1)
    quick_post.notes.failures["/1"] = RuntimeError("broken")
    for _ in range(5):
        await quick_post.inbox.work_due()
        quick_post.clock.advance(seconds=60)

    (alert,) = await quick_post.db.read(open_alerts)
    assert alert.text == "DoorOpened of no device could not be worked: RuntimeError: broken"


async def test_one_that_is_not_its_devices_next_is_left(quick_post: Post) -> None:
    await opened(quick_post, "A", 1, 2)

    assert await quick_post.db.write(store.take, [2]) == {}
    assert await quick_post.db.write(store.take, [99]) == {}
    rows = await quick_post.db.write(store.take, [1, 2])
    assert [row.event_id for row in rows.values()] == ["A/1"]
    assert await quick_post.inbox.work_due() == 2
    assert await quick_post.db.write(store.take, [1]) == {}


# ---------------------------------------------------------------- again


async def test_a_replay_hands_over_everything_and_changes_no_row(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devices.inbox.service.BATCH", 2)
    post.notes.strangers = {"B"}
    await opened(post, "A", 1, 2)
    await opened(post, "B", 1)
    await post.told("cabinet.dance", event_id="ev_1")
    await post.send(b"no event")
    await post.inbox.work_due()
    await opened(post, "A", 3)
    before = await post.rows()
    handled = post.notes.handled

    assert await post.inbox.replay() == 5

    assert await post.rows() == before
    assert post.notes.handled - handled == 3
    assert await post.inbox.replay(after=before[1].id) == 3


async def test_a_replay_raises_what_handle_raises(quick_post: Post) -> None:
    await opened(quick_post, "A", 1)
    await quick_post.inbox.work_due()
    quick_post.notes.failures["A/1"] = RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        await quick_post.inbox.replay()


async def test_a_replay_of_a_row_that_is_gone_is_nothing(quick_post: Post) -> None:
    await quick_post.inbox._replay(99)

    assert quick_post.notes.handled == 0


# ---------------------------------------------------------------- brooms


async def test_nonces_go_after_ten_minutes_and_done_events_after_a_month(post: Post) -> None:
    await opened(post, "A", 1)
    post.notes.strangers = {"B"}
    await opened(post, "B", 1)
    await post.inbox.work_due()
    post.clock.advance(seconds=600)
    await opened(post, "A", 2)

    counts = [await post.nonces()]
    assert await post.inbox.sweep() == "0 nonces, 0 events"
    post.clock.advance(seconds=1)
    assert await post.inbox.sweep() == "2 nonces, 0 events"
    counts.append(await post.nonces())
    post.clock.advance(days=31)
    assert await post.inbox.sweep() == "1 nonces, 1 events"
    counts.append(await post.nonces())

    assert counts == [3, 1, 0]
    assert await post.states() == {"B/1": "quarantined", "A/2": "new"}


async def test_the_brooms_take_a_few_hundred_rows_at_a_time(quick_post: Post) -> None:
    line = await quick_post.line()
    for number in range(7):
        body = speech.event("door.opened", event_id=f"ev_{number}")
        headers = speech.headers(body, now=quick_post.clock.now())
        await line.send(speech.PATH, body, headers)
    await quick_post.inbox.work_due()
    later = quick_post.clock.now() + 1

    swept = [
        await quick_post.db.write(store.sweep_nonces, older_than=later, most=4) for _ in range(3)
    ]
    quick_post.clock.advance(days=31)
    swept += [await quick_post.db.write(store.sweep_done, most=4) for _ in range(3)]

    assert swept == [4, 3, 0, 4, 3, 0]


async def test_telemetry_goes_after_a_day(quick_post: Post) -> None:
    for seq in range(2):
        await quick_post.told("device.telemetry", {}, device_code="A", event_id=f"t{seq}")
    await opened(quick_post, "A", 1)
    await quick_post.inbox.work_due()
    quick_post.clock.advance(hours=23)
    early = await quick_post.inbox.sweep()
    quick_post.clock.advance(hours=1)

    assert early == "3 nonces, 0 events"
    assert await quick_post.inbox.sweep() == "0 nonces, 2 events"
    assert await quick_post.states() == {"A/1": "done"}
