"""Whatever a door says, in any order, and whatever the time does, the promises hold."""

from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from devices.sessions.model import (
    FINAL,
    MOVES,
    RANK,
    TIMERS,
    Change,
    DoorSession,
    Due,
    Seen,
    State,
    after_seen,
    due_now,
    first_due,
    seen_in,
)
from devices.vendors.port import Outcome, Reason, SessionFact
from tests.devices.sessions.test_model import T0, session

REASONS = st.sampled_from([Reason.NONE, Reason.LOCK_FAILED, Reason.NOT_PULLED, Reason.OFFLINE])
STATES = st.sampled_from(["pending", "unlocked", "open", "closed", "failed", "unknown"])
TIMES = ("unlocked_at", "opened_at", "closed_at")


class Door(RuleBasedStateMachine):
    """One session. Sensor or not, shopping or not, as the first event chooses."""

    sensor: ClassVar[bool] = True
    purpose: ClassVar[Any] = "shop"

    def __init__(self) -> None:
        super().__init__()
        self.now = T0
        self.session: DoorSession = session(purpose=self.purpose, due_at=T0 + TIMERS.ack)
        self.times: dict[str, int] = {}
        self.settled = False
        self.strange = False
        self.come_to(self.session.state)

    def come_to(self, state: State, **values: Any) -> None:
        was = self.session
        moved = msgspec.structs.replace(was, state=state, **values)
        if state is not was.state:
            assert state in MOVES[was.state], f"{was.state} to {state}"
            assert RANK[state] >= RANK[was.state]
            if "due_at" not in values:
                moved = msgspec.structs.replace(moved, due_at=first_due(moved, self.now))
        self.session = moved

    def change(self, change: Change) -> None:
        if self.session.state in FINAL and change.to is not self.session.state:
            assert change.is_strange
        self.strange |= change.is_strange
        self.come_to(change.to, **change.values)

    @rule(seen=st.sampled_from(list(Seen)), reason=REASONS, pause=st.integers(0, 30_000))
    def hear(self, seen: Seen, reason: Reason, pause: int) -> None:
        self.now += pause
        self.change(
            after_seen(self.session, seen, self.now, has_door_sensor=self.sensor, reason=reason)
        )

    @rule(state=STATES, reason=REASONS, locked_at=st.sampled_from([None, 1]))
    def ask(self, state: Any, reason: Reason, locked_at: int | None) -> None:
        fact = SessionFact(outcome=Outcome.UNKNOWN, state=state, reason=reason, locked_at=locked_at)
        was_opened = self.session.opened_at is not None
        for seen, why in seen_in(fact, has_door_sensor=self.sensor, was_opened=was_opened):
            self.change(
                after_seen(self.session, seen, self.now, has_door_sensor=self.sensor, reason=why)
            )

    @rule(to=st.sampled_from([State.PAID, State.UNPAID, State.NO_PURCHASE, State.ABNORMAL]))
    def settle(self, to: State) -> None:
        """An order comes, at any time: it is settled unless the door was given up."""
        if self.session.state in {State.OPENING, State.OPEN, State.CLOSED}:
            self.come_to(State.SETTLING)
        if self.session.state is State.SETTLING:
            self.come_to(to)

    @rule()
    def wait(self) -> None:
        """Until the session is due, and do what is to be done then."""
        if self.session.due_at is None:
            return
        self.now = max(self.now, self.session.due_at)
        what, following = due_now(self.session, self.now)
        if what is not Due.NOTHING:
            assert following > self.now
        if what is Due.PULL:
            self.come_to(self.session.state, pulls=self.session.pulls + 1, due_at=following)
        elif what is Due.TIMEOUT:
            self.come_to(State.TIMEOUT, manual_at=self.now)
        elif what is Due.GIVE_UP:
            self.come_to(State.ABNORMAL, manual_at=self.now)
        elif what is Due.ASK_LAST:
            self.come_to(State.NOT_OPENED, fail_code="no_answer")
        elif what is Due.NOTHING:
            self.come_to(self.session.state, due_at=None)
        else:
            self.come_to(self.session.state, due_at=following)

    @invariant()
    def times_never_change(self) -> None:
        for name in TIMES:
            at = getattr(self.session, name)
            if name in self.times:
                assert at == self.times[name], f"{name} was overwritten"
            if at is not None:
                self.times[name] = at

    @invariant()
    def what_is_not_over_is_looked_at_again(self) -> None:
        waits = {State.OPENING, State.OPEN, State.CLOSED}
        assert self.session.state not in waits or self.session.due_at is not None

    @invariant()
    def a_session_that_is_not_paid_for_never_settles_by_its_door(self) -> None:
        assert self.session.is_shopping or self.session.state is not State.CLOSED

    @invariant()
    def a_final_session_keeps_its_place_unless_a_door_moved_that_should_not(self) -> None:
        if self.settled and self.session.state not in FINAL:
            assert self.strange
        self.settled |= self.session.state in FINAL


class DoorWithoutSensor(Door):
    sensor = False


class StaffDoor(Door):
    purpose = "restock"


class StaffDoorWithoutSensor(StaffDoor):
    sensor = False


MACHINES = [Door, DoorWithoutSensor, StaffDoor, StaffDoorWithoutSensor]


@pytest.mark.parametrize("machine", MACHINES)
def test_events_in_any_order(machine: type[Door]) -> None:
    run_state_machine_as_test(
        machine, settings=settings(max_examples=15, stateful_step_count=40, deadline=None)
    )


@pytest.mark.torture
@pytest.mark.parametrize("machine", MACHINES)
def test_a_hundred_thousand_events_in_any_order(machine: type[Door]) -> None:
    run_state_machine_as_test(
        machine, settings=settings(max_examples=1_000, stateful_step_count=100, deadline=None)
    )


def test_the_timers_are_those_of_the_contract() -> None:
    assert (TIMERS.ack, TIMERS.not_opened, TIMERS.remind, TIMERS.alarm) == (
        20_000,
        65_000,
        180_000,
        600_000,
    )
    assert TIMERS.pulls[: TIMERS.manual] == (15_000, 45_000, 105_000)
