"""Sessions: two faces, one hour after the last use, twelve in all."""

import asyncio
import hashlib
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from accounts import store
from accounts.model import AccountBlocked, Opened, Session, SessionExpired
from accounts.service import Sessions
from accounts.uses import Uses
from sql.database import Database, Tx
from sql.tables.accounts import sessions as rows
from tests.accounts.conftest import MakeSessions
from tests.clock import Clock

HOUR_S = 3600


@pytest.fixture
async def account_id(db: Database) -> int:
    return (await db.write(store.find_or_make_account, "diner", "o-diner")).id


@pytest.fixture
async def opened(sessions: Sessions, account_id: int) -> Opened:
    return await sessions.open(account_id, "diner")


async def stored(db: Database) -> list[dict[str, object]]:
    def read(tx: Tx) -> list[dict[str, object]]:
        return [dict(row._mapping) for row in tx.execute(select(rows).order_by(rows.c.id))]

    return await db.read(read)


async def is_valid(sessions: Sessions, token: str) -> bool:
    try:
        await sessions.get(token)
    except SessionExpired:
        return False
    return True


# ---------------------------------------------------------------- faces


async def test_both_faces_show_the_same_session(sessions: Sessions, opened: Opened) -> None:
    by_key = await sessions.get(opened.key_hex)
    by_jwt = await sessions.get(opened.jwt)

    assert by_key == by_jwt == opened.session
    assert by_key.roles == {"diner"}
    assert by_key.expires_at == opened.expires_at


async def test_both_faces_are_known_after_a_restart(
    make_sessions: MakeSessions, opened: Opened
) -> None:
    for face in (opened.key_hex, opened.jwt):
        restarted = make_sessions()
        assert restarted.peek(face) is None

        assert await restarted.get(face) == opened.session

        assert restarted.peek(face) == opened.session


async def test_keys_are_forty_hex_characters_and_random(
    sessions: Sessions, account_id: int
) -> None:
    opened = await asyncio.gather(*(sessions.open(account_id, "diner") for _ in range(500)))
    keys = [one.key_hex for one in opened]

    assert all(re.fullmatch("[0-9a-f]{40}", key) for key in keys)
    assert len(set(keys)) == 500
    # 20,000 fair hex digits: each of the sixteen 1,250 times, give or take six deviations.
    counts = Counter("".join(keys))
    assert all(abs(counts[digit] - 1250) < 6 * 34.3 for digit in "0123456789abcdef")
    # And each bit of the 160 set in about half of the keys.
    bits = [sum(int(key, 16) >> bit & 1 for key in keys) for bit in range(160)]
    assert all(abs(count - 250) < 6 * 11.2 for count in bits)


async def test_the_key_is_nowhere_in_the_database(db: Database, opened: Opened) -> None:
    (row,) = await stored(db)

    assert row["key_hash"] == hashlib.sha256(opened.key_hex.encode()).hexdigest()
    assert opened.key_hex not in str(row)


async def test_every_single_changed_bit_of_a_key_is_seen(
    sessions: Sessions, opened: Opened
) -> None:
    key = opened.key_hex

    for place in range(40):
        for bit in range(8):
            changed = key[:place] + chr(ord(key[place]) ^ 1 << bit) + key[place + 1 :]
            assert not await is_valid(sessions, changed)


async def test_what_was_never_a_token_is_refused(sessions: Sessions) -> None:
    wrong = ["", "0" * 40, "x" * 40, "0" * 5000, "é" * 40, "\ud800" * 40, "a.b.c", "null", "\0"]

    for token in wrong:
        assert sessions.peek(token) is None
        assert not await is_valid(sessions, token)


async def test_the_hash_of_a_key_opens_nothing(sessions: Sessions, opened: Opened) -> None:
    key_hash = hashlib.sha256(opened.key_hex.encode()).hexdigest()

    assert not await is_valid(sessions, key_hash)
    assert not await is_valid(sessions, key_hash[:40])


async def test_a_token_that_names_another_account_is_refused(
    sessions: Sessions, account_id: int, opened: Opened, clock: Clock
) -> None:
    """It takes our secret to make one; even then the row decides."""
    forged = sessions._tokens.issue(
        key_hash=hashlib.sha256(opened.key_hex.encode()).hexdigest(),
        account_id=account_id + 1,
        created_at=clock.now(),
        ends_at=opened.expires_at,
    )

    assert not await is_valid(sessions, forged)
    assert await is_valid(sessions, opened.jwt)


async def test_no_session_for_an_account_that_does_not_exist(
    db: Database, sessions: Sessions, account_id: int
) -> None:
    with pytest.raises(AccountBlocked):
        await sessions.open(account_id + 1, "diner")

    assert await stored(db) == []


# ---------------------------------------------------------------- how long


@pytest.mark.parametrize("face", ["key_hex", "jwt"])
@pytest.mark.parametrize("is_restarted", [False, True])
async def test_a_session_ends_an_hour_after_its_last_use(
    make_sessions: MakeSessions,
    sessions: Sessions,
    opened: Opened,
    clock: Clock,
    face: str,
    is_restarted: bool,
) -> None:
    token = getattr(opened, face)
    clock.advance(seconds=3599)
    assert await is_valid(sessions, token)
    clock.advance(seconds=3600)
    assert await is_valid(sessions, token)
    await sessions.close()

    asked = make_sessions() if is_restarted else sessions
    clock.advance(seconds=3601)

    assert asked.peek(token) is None
    assert not await is_valid(asked, token)


async def test_a_session_in_use_ends_twelve_hours_after_it_began(
    sessions: Sessions, opened: Opened, clock: Clock
) -> None:
    for _ in range(12):
        clock.advance(seconds=HOUR_S)
        assert await is_valid(sessions, opened.key_hex)
        assert await is_valid(sessions, opened.jwt)

    clock.advance(seconds=1)

    assert not await is_valid(sessions, opened.key_hex)
    assert not await is_valid(sessions, opened.jwt)


AGES_S = (0, 1, 3599, 3600, 3601, 3602, 4200)


@pytest.mark.torture
async def test_the_sweep_changes_nothing_about_what_is_valid(
    db: Database, sessions: Sessions, account_id: int, clock: Clock, torture_rounds: int
) -> None:
    """Asked once at some age by key, by token and by a socket, the sweep at any second."""
    wrong = []

    # Every seventh second; every single one with seven rounds and more.
    for phase_s in range(0, 600, 1 if torture_rounds >= 7 else 7):
        opened = await asyncio.gather(
            *(sessions.open(account_id, "diner") for _ in range(3 * len(AGES_S)))
        )
        second_s = 0
        for age_s in AGES_S:
            for sweep_s in range(second_s, age_s):
                if sweep_s % 600 == phase_s:
                    clock.advance(seconds=sweep_s - second_s)
                    second_s = sweep_s
                    await sessions.sweep()
            clock.advance(seconds=age_s - second_s)
            second_s = age_s
            by_key, by_jwt, by_socket = (opened.pop() for _ in range(3))
            answers = [
                await is_valid(sessions, by_key.key_hex),
                await is_valid(sessions, by_jwt.jwt),
                await goes_on(sessions, by_socket.session),
            ]
            if answers != [age_s <= 3600] * 3:
                wrong.append((phase_s, age_s, answers))
        clock.advance(seconds=4201)
        await sessions.sweep()

    assert wrong == []
    assert await stored(db) == []


async def test_the_sweep_removes_thousands_in_batches(
    db: Database, sessions: Sessions, account_id: int, clock: Clock
) -> None:
    await asyncio.gather(*(sessions.open(account_id, "diner") for _ in range(1100)))
    clock.advance(seconds=HOUR_S + 1)
    young = await sessions.open(account_id, "diner")

    assert await sessions.sweep() == 1100
    assert await sessions.sweep() == 0

    assert [row["id"] for row in await stored(db)] == [young.session.id]
    assert await is_valid(sessions, young.key_hex)


async def test_the_sweep_removes_sessions_in_use_whose_time_is_over(
    db: Database, make_sessions: MakeSessions, account_id: int, clock: Clock
) -> None:
    sessions = make_sessions(max_s=600)
    await sessions.open(account_id, "diner")
    clock.advance(seconds=601)

    assert await sessions.sweep() == 1

    assert await stored(db) == []


async def test_a_clock_that_goes_back_signs_nobody_out(
    sessions: Sessions, make_sessions: MakeSessions, opened: Opened, clock: Clock
) -> None:
    clock.advance(hours=-5)

    assert await is_valid(sessions, opened.key_hex)
    assert await is_valid(make_sessions(), opened.jwt)
    await sessions.sweep()
    assert await is_valid(make_sessions(), opened.key_hex)


async def test_a_clock_that_goes_back_lengthens_a_session_by_the_jump_only(
    sessions: Sessions, opened: Opened, clock: Clock
) -> None:
    clock.advance(hours=-5)
    await sessions.get(opened.key_hex)
    clock.advance(hours=5)
    clock.advance(seconds=3600)
    assert sessions._is_live(*sessions_times(sessions, opened), clock.now())

    clock.advance(seconds=1)

    assert not await is_valid(sessions, opened.key_hex)


def sessions_times(sessions: Sessions, opened: Opened) -> tuple[int, int]:
    held = sessions._cache.get(opened.session.id)
    assert held is not None
    return held.used_at, held.session.expires_at


# ---------------------------------------------------------------- memory and uses


async def test_a_session_in_memory_asks_no_database(
    db: Database, sessions: Sessions, opened: Opened
) -> None:
    before = db.written

    for _ in range(1000):
        assert sessions.peek(opened.key_hex) == sessions.peek(opened.jwt) == opened.session

    assert (db.written, db.outstanding) == (before, 0)


async def test_uses_are_written_once_in_five_seconds(
    db: Database, sessions: Sessions, opened: Opened, clock: Clock
) -> None:
    began_at, before = clock.now(), db.written

    for _ in range(200):
        clock.advance(seconds=0.1)
        sessions.peek(opened.key_hex)
        await asyncio.sleep(0)
    await sessions.flush()

    assert 1 <= db.written - before <= 4
    (row,) = await stored(db)
    assert row["used_at"] == began_at + 20_000


async def test_uses_of_many_sessions_are_written_together(
    db: Database, sessions: Sessions, account_id: int, clock: Clock
) -> None:
    opened = await asyncio.gather(*(sessions.open(account_id, "diner") for _ in range(700)))
    before = db.written
    clock.advance(seconds=30)

    for one in opened:
        sessions.peek(one.key_hex)
    assert await sessions.flush()

    assert db.written - before == 1
    assert {row["used_at"] for row in await stored(db)} == {clock.now()}


async def test_the_last_uses_are_written_at_the_end(
    db: Database, sessions: Sessions, opened: Opened, clock: Clock
) -> None:
    clock.advance(seconds=4)
    sessions.peek(opened.key_hex)
    (row,) = await stored(db)
    assert row["used_at"] == clock.now() - 4000

    await sessions.close()

    (row,) = await stored(db)
    assert row["used_at"] == clock.now()


async def test_a_session_pushed_out_of_memory_keeps_its_uses(
    db: Database, sessions: Sessions, account_id: int, opened: Opened, clock: Clock
) -> None:
    clock.advance(seconds=4)
    sessions.peek(opened.key_hex)
    used_at = clock.now()
    sessions._cache.most = 1

    await sessions.open(account_id, "diner")
    await sessions.flush()

    assert sessions.peek(opened.key_hex) is None
    assert (await stored(db))[0]["used_at"] == used_at
    assert await is_valid(sessions, opened.key_hex)
    assert len(sessions._cache) == 1


async def test_uses_wait_while_the_database_is_out(
    db: Database,
    sessions: Sessions,
    opened: Opened,
    clock: Clock,
    expect_log: Callable[[str], None],
) -> None:
    expect_log("uses of 1 sessions are not written yet")
    clock.advance(seconds=3000)
    sessions.peek(opened.key_hex)
    bound, db.waiting_max = db.waiting_max, 0
    assert not await sessions.flush()
    clock.advance(seconds=1000)

    assert await sessions.sweep() == 0
    db.waiting_max = bound
    assert await sessions.sweep() == 0

    (row,) = await stored(db)
    assert row["used_at"] == clock.now() - 1_000_000
    assert await is_valid(sessions, opened.key_hex)


async def test_uses_that_wait_are_not_more_than_memory_holds(
    db: Database, expect_log: Callable[[str], None]
) -> None:
    expect_log("uses of 4 sessions are not written yet")
    uses = Uses(db, most=3)
    bound, db.waiting_max = db.waiting_max, 0
    for session_id in range(1, 5):
        uses.note(session_id, 1000)

    assert not await uses.flush()

    assert list(uses._unwritten) == [2, 3, 4]
    db.waiting_max = bound
    assert await uses.flush()


# ---------------------------------------------------------------- ending


@pytest.mark.parametrize("face", ["key_hex", "jwt"])
async def test_after_signing_out_neither_face_is_valid(
    sessions: Sessions, make_sessions: MakeSessions, opened: Opened, face: str
) -> None:
    session = await sessions.get(getattr(opened, face))

    await sessions.end(session)
    await sessions.end(session)

    for asked in (sessions, make_sessions()):
        assert not await is_valid(asked, opened.key_hex)
        assert not await is_valid(asked, opened.jwt)


async def test_those_who_asked_are_told_of_an_end(
    sessions: Sessions, account_id: int, clock: Clock
) -> None:
    ended: list[int] = []
    sessions.on_end(ended.append)
    signed_out, idle, unused = [await sessions.open(account_id, "diner") for _ in range(3)]

    await sessions.end(signed_out.session)
    assert ended == [signed_out.session.id]
    clock.advance(seconds=3601)
    assert not await is_valid(sessions, idle.key_hex)
    assert ended == [signed_out.session.id, idle.session.id]
    await sessions.sweep()

    assert set(ended) == {one.session.id for one in (signed_out, idle, unused)}


async def test_a_read_under_way_does_not_bring_an_ended_session_back(
    db: Database, make_sessions: MakeSessions, opened: Opened
) -> None:
    sessions = make_sessions()
    read = db.read
    has_read, may_go_on = asyncio.Event(), asyncio.Event()

    async def slow_read(*args: Any) -> Any:
        row: Any = await read(*args)
        has_read.set()
        await may_go_on.wait()
        return row

    db.read = slow_read  # type: ignore[assignment, method-assign]
    asking = asyncio.create_task(sessions.get(opened.key_hex))
    await has_read.wait()
    db.read = read  # type: ignore[method-assign]
    await sessions.end(opened.session)
    may_go_on.set()

    assert await asking == opened.session
    assert not await is_valid(sessions, opened.key_hex)


async def test_a_session_opened_while_another_ends_is_good(
    sessions: Sessions, account_id: int, opened: Opened
) -> None:
    _, new = await asyncio.gather(sessions.end(opened.session), sessions.open(account_id, "diner"))

    assert await is_valid(sessions, new.key_hex)
    assert not await is_valid(sessions, opened.key_hex)


async def test_review_tells_which_sessions_are_over(
    db: Database, sessions: Sessions, account_id: int, opened: Opened, clock: Clock
) -> None:
    ended: list[int] = []
    sessions.on_end(ended.append)
    gone = await sessions.open(account_id, "diner")
    await db.write(store.end_session, gone.session.id)

    over = await sessions.review([opened.session.id, gone.session.id, 999])

    assert over == set(ended) == {gone.session.id, 999}
    clock.advance(seconds=3601)
    assert await sessions.review([opened.session.id]) == {opened.session.id}


async def test_sessions_asked_for_at_once_are_read_together(
    db: Database, make_sessions: MakeSessions, sessions: Sessions, account_id: int
) -> None:
    opened = await asyncio.gather(*(sessions.open(account_id, "diner") for _ in range(600)))
    restarted, reads, read = make_sessions(), 0, db.read

    async def counting_read(*args: Any) -> Any:
        nonlocal reads
        reads += 1
        return await read(*args)

    db.read = counting_read  # type: ignore[assignment, method-assign]
    found = await asyncio.gather(*(restarted.get(one.key_hex) for one in opened))

    assert found == [one.session for one in opened]
    assert reads == 1


async def test_one_who_may_not_does_not_keep_others_from_opening(
    db: Database, sessions: Sessions, account_id: int
) -> None:
    asked = [sessions.open(who, "diner") for who in (account_id, 999, account_id)]

    first, refused, last = await asyncio.gather(*asked, return_exceptions=True)

    assert isinstance(refused, AccountBlocked)
    assert isinstance(first, Opened)
    assert isinstance(last, Opened)
    assert [row["id"] for row in await stored(db)] == [first.session.id, last.session.id]


# ---------------------------------------------------------------- sockets


async def goes_on(sessions: Sessions, session: Session) -> bool:
    answer = sessions.still(session)
    return answer if isinstance(answer, bool) else await answer


async def test_a_socket_in_use_keeps_its_session(
    db: Database, sessions: Sessions, opened: Opened, clock: Clock
) -> None:
    for _ in range(3):
        clock.advance(seconds=3600)
        assert sessions.still(opened.session) is True
    await sessions.flush()

    assert (await stored(db))[0]["used_at"] == clock.now()
    clock.advance(seconds=3601)
    assert not await goes_on(sessions, opened.session)


async def test_a_socket_is_known_though_its_session_is_not_in_memory(
    make_sessions: MakeSessions, opened: Opened, clock: Clock
) -> None:
    restarted = make_sessions()
    clock.advance(seconds=3600)

    answer = restarted.still(opened.session)
    assert not isinstance(answer, bool)
    assert await answer
    assert restarted.still(opened.session) is True

    clock.advance(seconds=3600)
    assert await is_valid(restarted, opened.key_hex)


async def test_a_socket_whose_session_ended_is_told_so(
    db: Database, sessions: Sessions, make_sessions: MakeSessions, opened: Opened
) -> None:
    restarted = make_sessions()
    ended: list[int] = []
    restarted.on_end(ended.append)

    await sessions.end(opened.session)

    assert not await goes_on(sessions, opened.session)
    assert not await goes_on(restarted, opened.session)
    assert ended == [opened.session.id]


async def test_a_socket_does_not_keep_roles_that_were_taken(
    db: Database, sessions: Sessions, account_id: int
) -> None:
    await db.write(store.give_role, account_id, "admin")
    admin = (await sessions.open(account_id, "diner")).session
    assert sessions.still(admin) is True

    await db.write(store.take_role, account_id, "admin")
    await sessions.forget(account_id)

    assert not await goes_on(sessions, admin)
    assert not await goes_on(sessions, admin)


async def test_a_use_counts_though_another_session_ends_while_it_is_read(
    db: Database, make_sessions: MakeSessions, account_id: int, opened: Opened, clock: Clock
) -> None:
    other = await make_sessions().open(account_id, "diner")
    restarted = make_sessions()
    clock.advance(seconds=3600)

    for _ in range(2):
        going_on, _ = await asyncio.gather(
            goes_on(restarted, opened.session), restarted.end(other.session)
        )
        assert going_on
    await restarted.close()

    assert (await stored(db))[0]["used_at"] == clock.now()


# ---------------------------------------------------------------- several processes


async def test_another_process_sees_an_end_within_two_seconds(
    make_sessions: MakeSessions, account_id: int, clock: Clock
) -> None:
    here, there = make_sessions(shared=True), make_sessions(shared=True)
    opened = await here.open(account_id, "diner")
    await there.get(opened.key_hex)
    ended: list[int] = []
    there.on_end(ended.append)

    await here.end(opened.session)
    clock.advance(seconds=2)
    assert there.peek(opened.key_hex) == opened.session
    clock.advance(seconds=0.001)

    assert there.peek(opened.key_hex) is None
    assert not await is_valid(there, opened.key_hex)
    assert ended == [opened.session.id]


async def test_uses_in_one_process_count_in_the_other(
    make_sessions: MakeSessions, account_id: int, clock: Clock
) -> None:
    here, there = make_sessions(shared=True), make_sessions(shared=True)
    opened = await here.open(account_id, "diner")
    await there.get(opened.jwt)

    for _ in range(4):
        clock.advance(seconds=1801)
        assert await is_valid(here, opened.key_hex)
        await here.flush()

    assert await is_valid(there, opened.jwt)
    assert there.peek(opened.jwt) == opened.session


async def test_the_sweep_leaves_time_for_uses_seen_elsewhere(
    db: Database, make_sessions: MakeSessions, account_id: int, clock: Clock
) -> None:
    here, there = make_sessions(shared=True), make_sessions(shared=True)
    opened = await here.open(account_id, "diner")
    clock.advance(seconds=4)
    assert await is_valid(here, opened.key_hex)
    clock.advance(seconds=3600)

    assert await there.sweep() == 0
    assert await is_valid(here, opened.key_hex)

    clock.advance(seconds=3611)
    assert await there.sweep() == 1
    assert await stored(db) == []


async def test_a_clock_that_goes_back_does_not_hide_an_end_elsewhere(
    make_sessions: MakeSessions, account_id: int, clock: Clock
) -> None:
    here, there = make_sessions(shared=True), make_sessions(shared=True)
    opened = await here.open(account_id, "diner")
    await there.get(opened.key_hex)
    await here.end(opened.session)

    clock.advance(hours=-1)

    assert not await is_valid(there, opened.key_hex)
