"""The pure rules: which event makes what of a session, and what the time does."""

from typing import Any

import msgspec
import pytest

from devices.sessions.model import (
    ENDED,
    FINAL,
    MOVES,
    NEEDS_A_PERSON,
    PHYSICAL,
    RANK,
    DoorSession,
    Due,
    Seen,
    State,
    after,
    after_seen,
    due_now,
    first_due,
    seen_in,
)
from devices.vendors.port import (
    DoorClosed,
    DoorOpened,
    Locked,
    NotPulled,
    OpenFailed,
    Outcome,
    Reason,
    SessionFact,
    Unlocked,
)

T0 = 1_795_000_000_000
HOUR = 3_600_000


def session(state: State = State.OPENING, **values: Any) -> DoorSession:
    row: dict[str, Any] = {
        "id": 1,
        "no": "DS1",
        "request_id": "rq_1",
        "once_key": "k",
        "vendor": "xiaomai",
        "device_id": 3,
        "door_no": 1,
        "store_id": 2,
        "account_id": 9,
        "purpose": "shop",
        "pay_with": "ticket",
        "state": state,
        "hold_tickets": 500,
        "score_no": "",
        "limit_fen": 20_000,
        "planogram_version": 1,
        "prices": {"cola": 350},
        "vendor_order_no": "",
        "fail_code": "",
        "requested_at": T0,
        "sent_at": T0,
        "expires_at": T0 + 60_000,
        "unlocked_at": None,
        "opened_at": None,
        "closed_at": None,
        "ended_at": None,
        "due_at": None,
        "pulls": 0,
        "manual_at": None,
        "version": 1,
    }
    return DoorSession(**{**row, **values})


def event(kind: Any, **values: Any) -> Any:
    return kind(event_id="ev", device_code="D1", occurred_at=T0 - HOUR, door_no=1, **values)


def told(first: DoorSession, *kinds: Any, now: int = T0 + 1_000, sensor: bool = True) -> Any:
    """The session after these events, a second between two, and the last change."""
    change = None
    for kind in kinds:
        change = after(first, kind, now, has_door_sensor=sensor)
        first = msgspec.structs.replace(first, state=change.to, **change.values)
        now += 1_000
    return first, change


UNLOCKED, OPENED, CLOSED, LOCKED = map(event, (Unlocked, DoorOpened, DoorClosed, Locked))
NOT_PULLED, FAILED = event(NotPulled), event(OpenFailed, reason=Reason.LOCK_FAILED)


def test_a_door_is_unlocked_opened_closed_and_locked() -> None:
    after_all, change = told(session(), UNLOCKED, OPENED, CLOSED, LOCKED)

    assert after_all.state is State.CLOSED
    assert (after_all.unlocked_at, after_all.opened_at, after_all.closed_at) == (
        T0 + 1_000,
        T0 + 2_000,
        T0 + 3_000,
    )
    assert change.values == {}


def test_an_unlocked_door_that_has_a_sensor_is_not_open_yet() -> None:
    unlocked, _ = told(session(), UNLOCKED)

    assert unlocked.state is State.OPENING
    assert unlocked.unlocked_at == T0 + 1_000
    assert unlocked.due_at == T0 + 46_000


def test_without_a_sensor_the_lock_speaks_for_the_door() -> None:
    opened, _ = told(session(), UNLOCKED, sensor=False)
    closed, _ = told(opened, LOCKED, sensor=False)

    assert (opened.state, closed.state) == (State.OPEN, State.CLOSED)
    assert closed.opened_at is None


def test_events_that_come_in_the_wrong_order_only_fill_in_times() -> None:
    late, _ = told(session(), CLOSED, OPENED, UNLOCKED)

    assert late.state is State.CLOSED
    assert (late.closed_at, late.opened_at, late.unlocked_at) == (
        T0 + 1_000,
        T0 + 2_000,
        T0 + 3_000,
    )


def test_an_event_that_comes_twice_keeps_the_first_time() -> None:
    twice, change = told(session(), OPENED, OPENED)

    assert twice.opened_at == T0 + 1_000
    assert change.values == {}


def test_a_lock_that_latches_before_the_pull_has_the_vendor_asked() -> None:
    locked, change = told(session(), UNLOCKED, LOCKED)

    assert locked.state is State.OPENING
    assert change.values == {"due_at": T0 + 2_000}


def test_a_lock_that_latches_after_the_door_was_open_means_closed() -> None:
    locked, _ = told(session(), OPENED, LOCKED)

    assert locked.state is State.CLOSED
    assert locked.closed_at == T0 + 2_000


def test_a_door_nobody_pulled_was_not_opened() -> None:
    ended, _ = told(session(), UNLOCKED, NOT_PULLED)
    without_sensor, _ = told(session(), UNLOCKED, NOT_PULLED, sensor=False)

    assert (ended.state, ended.fail_code) == (State.NOT_OPENED, "not_pulled")
    assert without_sensor.state is State.NOT_OPENED


def test_not_pulled_says_nothing_about_a_door_that_was_seen_open() -> None:
    opened, change = told(session(), OPENED, NOT_PULLED)

    assert opened.state is State.OPEN
    assert change.values == {}


def test_a_failed_opening_is_rejected_with_its_reason() -> None:
    failed, _ = told(session(), FAILED)

    assert (failed.state, failed.fail_code) == (State.REJECTED, "lock_failed")


@pytest.mark.parametrize("first", [UNLOCKED, OPENED])
def test_a_failure_after_the_lock_was_open_is_not_believed(first: Any) -> None:
    unlocked, change = told(session(), first, FAILED)

    assert unlocked.state in {State.OPENING, State.OPEN}
    assert change.values == {}


@pytest.mark.parametrize("state", [State.REJECTED, State.NOT_OPENED])
def test_a_door_that_opens_after_it_was_given_up_waits_for_a_person(state: State) -> None:
    opened, change = told(session(state), OPENED)
    unlocked, other = told(session(state), UNLOCKED)

    assert (opened.state, opened.fail_code, opened.opened_at) == (
        State.ABNORMAL,
        "opened_late",
        T0 + 1_000,
    )
    assert change.is_strange
    assert (unlocked.state, other.is_strange) == (state, False)


@pytest.mark.parametrize("state", [State.REJECTED, State.NOT_OPENED])
def test_what_was_known_before_it_was_given_up_is_no_late_opening(state: State) -> None:
    """As when the events are told, or worked, once more."""
    over = session(state, unlocked_at=T0, opened_at=T0)

    for said in (OPENED, UNLOCKED):
        for has_sensor in (True, False):
            change = after(over, said, T0 + 1_000, has_door_sensor=has_sensor)
            assert (change.to, change.values, change.is_strange) == (state, {}, False)


def test_a_door_that_moves_before_it_was_asked_to_is_strange() -> None:
    opened, change = told(session(State.REQUESTED), OPENED)
    closed, other = told(session(State.REQUESTED), CLOSED)

    assert (opened.state, change.values, change.is_strange) == (State.REQUESTED, {}, True)
    assert (closed.state, other.values, other.is_strange) == (State.REQUESTED, {}, False)


@pytest.mark.parametrize("purpose", ["restock", "inspect"])
def test_what_staff_open_ends_with_the_door_and_costs_nothing(purpose: Any) -> None:
    ended, _ = told(session(purpose=purpose), OPENED, CLOSED)

    assert ended.state is State.NO_PURCHASE


@pytest.mark.parametrize(
    ("state", "reason", "expected"),
    [
        ("pending", Reason.PENDING, []),
        ("unknown", Reason.SESSION_UNKNOWN, []),
        ("unlocked", Reason.NONE, [Seen.UNLOCKED]),
        ("open", Reason.NONE, [Seen.UNLOCKED, Seen.OPENED]),
        ("closed", Reason.NONE, [Seen.UNLOCKED, Seen.OPENED, Seen.CLOSED]),
        ("failed", Reason.NOT_PULLED, [Seen.NOT_PULLED]),
        ("failed", Reason.LOCK_FAILED, [Seen.NOT_PULLED]),
    ],
)
def test_an_answer_tells_what_must_have_happened(
    state: Any, reason: Reason, expected: list[Seen]
) -> None:
    fact = SessionFact(outcome=Outcome.EXECUTED, state=state, reason=reason)

    assert [seen for seen, _ in seen_in(fact)] == expected


RELOCKED = {"unlocked_at": 1, "locked_at": 7}
WAS_OPEN = [Seen.UNLOCKED, Seen.OPENED, Seen.CLOSED]


@pytest.mark.parametrize(
    ("times", "known", "expected"),
    [
        (RELOCKED, {}, [Seen.UNLOCKED, Seen.NOT_PULLED]),
        (RELOCKED, {"was_opened": True}, WAS_OPEN),
        # A lock is all that such a vendor knows of.
        (RELOCKED, {"has_door_sensor": False}, WAS_OPEN),
        ({**RELOCKED, "opened_at": 3}, {}, WAS_OPEN),
        ({**RELOCKED, "closed_at": 5}, {}, WAS_OPEN),
        ({"unlocked_at": 1}, {}, WAS_OPEN),
    ],
)
def test_a_lock_that_has_latched_again_is_no_door_that_was_opened(
    times: dict[str, Any], known: dict[str, bool], expected: list[Seen]
) -> None:
    fact = SessionFact(outcome=Outcome.EXECUTED, state="closed", **times)

    assert [seen for seen, _ in seen_in(fact, **known)] == expected


# ---------------------------------------------------------------- the time


def test_each_state_has_its_first_look() -> None:
    expected = {
        State.REQUESTED: 5_000,
        State.OPENING: 20_000,
        State.OPEN: 180_000,
        State.CLOSED: 15_000,
        State.SETTLING: 600_000,
        State.UNPAID: HOUR,
        State.ABNORMAL: 2 * HOUR,
        State.TIMEOUT: 24 * HOUR,
    }

    found = {state: first_due(session(state), T0) for state in State}

    assert {state: due - T0 for state, due in found.items() if due} == expected


def test_a_request_that_is_not_sent_in_time_is_rejected() -> None:
    assert due_now(session(State.REQUESTED), T0 + 5_000)[0] is Due.REJECT


def test_a_command_nobody_hears_of_is_asked_about_twice_then_ever_again() -> None:
    opening = session()

    assert due_now(opening, T0 + 20_000) == (Due.ASK, T0 + 65_000)
    assert due_now(opening, T0 + 65_000) == (Due.ASK_LAST, T0 + 80_000)
    assert due_now(opening, T0 + 300_000)[0] is Due.GIVE_UP


def test_a_command_of_which_nobody_knows_is_asked_about_at_1_2_4_and_8_seconds() -> None:
    opening, now, at = session(pulls=1), T0 + 1_000, []
    while now < T0 + 65_000:
        what, following = due_now(opening, now)
        assert what is Due.ASK
        at.append((now - T0) // 1_000)
        opening = msgspec.structs.replace(opening, pulls=opening.pulls + 1)
        now = following

    assert at == [1, 3, 7, 15, 20]


def test_an_unlocked_door_is_asked_about_when_the_time_to_pull_is_over() -> None:
    unlocked = session(unlocked_at=T0 + 4_000)

    assert due_now(unlocked, T0 + 49_000)[0] is Due.ASK_LAST


def test_an_open_door_is_reminded_then_alarmed_then_asked_for_a_day() -> None:
    opened = session(State.OPEN, opened_at=T0)

    assert due_now(opened, T0 + 180_000) == (Due.REMIND, T0 + 600_000)
    assert due_now(opened, T0 + 600_000) == (Due.ALARM, T0 + 1_200_000)
    assert due_now(opened, T0 + 24 * HOUR)[0] is Due.TIMEOUT


def test_a_closed_door_is_pulled_for_a_day_then_given_to_a_person() -> None:
    closed, now, at = session(State.CLOSED, closed_at=T0), T0 + 15_000, []
    while True:
        what, following = due_now(closed, now)
        if what is not Due.PULL:
            break
        at.append((now - T0) // 1_000)
        closed = msgspec.structs.replace(closed, pulls=closed.pulls + 1)
        now = following

    assert at == [15, 45, 105, 300, 600, 1800, *(hour * 3600 for hour in range(1, 25))]
    assert what is Due.TIMEOUT


def test_a_pull_that_comes_late_does_not_bring_all_others_at_once() -> None:
    closed = session(State.CLOSED, closed_at=T0)

    assert due_now(closed, T0 + HOUR) == (Due.PULL, T0 + HOUR + 1_000)


def test_what_does_not_settle_is_pulled_hourly_then_told_to_a_person() -> None:
    settling = session(State.SETTLING, closed_at=T0)

    assert due_now(settling, T0 + 600_000) == (Due.PULL, T0 + 600_000 + HOUR)
    assert due_now(settling, T0 + 24 * HOUR)[0] is Due.STUCK


def test_what_waits_for_a_person_is_told_at_two_ages_then_day_by_day() -> None:
    abnormal = session(State.ABNORMAL, manual_at=T0)
    given_up = session(State.TIMEOUT, manual_at=T0)

    assert due_now(abnormal, T0 + 2 * HOUR) == (Due.AGE, T0 + 24 * HOUR)
    assert due_now(abnormal, T0 + 24 * HOUR) == (Due.AGE, T0 + 48 * HOUR)
    assert first_due(given_up, T0) == T0 + 24 * HOUR
    assert due_now(given_up, T0 + 24 * HOUR) == (Due.AGE, T0 + 48 * HOUR)


def test_what_is_not_paid_is_reminded_of_three_times() -> None:
    unpaid, at = session(State.UNPAID, ended_at=T0, due_at=T0 + HOUR), []
    while True:
        assert unpaid.due_at is not None
        what, following = due_now(unpaid, unpaid.due_at)
        if what is Due.NOTHING:
            break
        assert what is Due.DUN
        at.append((unpaid.due_at - T0) // HOUR)
        unpaid = msgspec.structs.replace(unpaid, due_at=following)

    assert at == [1, 24, 72]


def test_reminders_that_were_missed_are_made_up_by_one() -> None:
    unpaid = session(State.UNPAID, ended_at=T0, due_at=T0 + HOUR)

    assert due_now(unpaid, T0 + 30 * HOUR) == (Due.DUN, T0 + 72 * HOUR)
    assert due_now(unpaid, T0 + 80 * HOUR) == (Due.DUN, T0 + 104 * HOUR)


def test_nothing_is_due_of_what_is_over() -> None:
    assert {due_now(session(state), T0)[0] for state in FINAL} == {Due.NOTHING}


# ---------------------------------------------------------------- the tables


def test_the_states_are_divided_up() -> None:
    assert not PHYSICAL & (ENDED | NEEDS_A_PERSON)
    assert FINAL < ENDED
    assert MOVES.keys() == RANK.keys() == set(State)


def test_a_move_leads_back_only_from_the_end_and_only_into_review_or_settling() -> None:
    back = {(was, to) for was, ways in MOVES.items() for to in ways if RANK[to] < RANK[was]}
    from_the_end = {(was, to) for was in FINAL for to in MOVES[was]}

    assert back == set()
    assert {to for _, to in from_the_end} == {State.SETTLING, State.ABNORMAL, State.UNPAID}


def test_a_physical_session_is_that_of_a_door_in_use() -> None:
    physical = {state for state in State if session(state).is_physical}

    assert physical == PHYSICAL


def test_physical_things_are_never_begun_again() -> None:
    into = {to for was, ways in MOVES.items() if was not in PHYSICAL for to in ways}

    assert not into & (PHYSICAL | {State.CLOSED})


def test_after_seen_is_what_after_asks() -> None:
    seen = after_seen(session(), Seen.FAILED, T0, reason=Reason.HARDWARE)

    assert (seen.to, seen.values) == (State.REJECTED, {"fail_code": "hardware"})
