"""What the rush holds the server to, tried on streams that break it."""

import pytest

from simulators.rush.ears import Event, StallEar, TicketEar, tickets_in
from simulators.rush.ledger import Ledger

TICKET = 7 << 32 | 3


def quiet_ledger() -> Ledger:
    return Ledger(tell=lambda text: None)


def ticket_ear(ledger: Ledger) -> tuple[TicketEar, list[tuple[str, int]]]:
    acks: list[tuple[str, int]] = []
    ear = TicketEar(TICKET, ledger, lambda topic, seq: acks.append((topic, seq)))
    snapshot = {"ticket_id": TICKET, "number": 5, "status": "noted", "calls": 0}
    ear.snapshot("e1", 10, snapshot)
    return ear, acks


def call(seq: int, calls: int, name: str = "ticket.called") -> Event:
    data = {"ticket_id": TICKET, "number": 5, "status": "called", "calls": calls}
    return Event("e1", seq, name, data)


def stall_event(seq: int, number: int, status: str, ticket_id: int) -> Event:
    data = {"ticket_id": ticket_id, "number": number, "status": status}
    return Event("e1", seq, f"ticket.{status}", data)


def test_calls_in_order_are_heard_and_acknowledged() -> None:
    ledger = quiet_ledger()
    ear, acks = ticket_ear(ledger)

    ear.hear(call(14, 1))
    ear.subscribed("e1", 30, [call(20, 2, "ticket.recalled")])
    ear.acknowledge_again()

    topic = f"ticket:{TICKET}"
    assert ledger.violations == []
    assert acks == [(topic, 14), (topic, 20), (topic, 20)]
    assert (ear.seq, ear.calls) == (30, 2)
    assert ledger.counts["heard_live"] == ledger.counts["heard_after_resume"] == 1


@pytest.mark.parametrize(
    ("events", "complaint"),
    [
        ([call(14, 1), call(14, 1)], "event 14 ticket.called came again or late, after 14"),
        ([call(14, 1), call(12, 2)], "event 12 ticket.called came again or late, after 14"),
        ([call(14, 2)], "event 14 is call 2, but call 0 came before"),
        ([Event("e2", 14, "ticket.called", {})], "event 14 is of epoch e2, not e1"),
        ([Event("e1", 14, "ticket.called", {"ticket_id": 9})], "carried event 14 of ticket 9"),
    ],
)
def test_a_call_out_of_order_is_a_violation(events: list[Event], complaint: str) -> None:
    ledger = quiet_ledger()
    ear, _ = ticket_ear(ledger)

    for event in events:
        ear.hear(event)

    assert ledger.violations == [f"ticket:{TICKET} {complaint}"]


def test_a_resume_that_leads_back_is_a_violation() -> None:
    ledger = quiet_ledger()
    ear, _ = ticket_ear(ledger)

    ear.subscribed("e2", 9, [])

    assert ledger.violations == [
        f"ticket:{TICKET} was resumed across epochs e1 and e2",
        f"ticket:{TICKET} was resumed to 9 although 10 was heard",
    ]


def test_a_snapshot_tells_of_calls_and_ends_that_were_missed() -> None:
    ledger = quiet_ledger()
    ear, acks = ticket_ear(ledger)

    ear.snapshot("e2", 5, {"ticket": {"id": TICKET, "number": 5, "status": "called", "calls": 2}})
    ear.snapshot("e2", 9, {"tickets": [{"id": TICKET, "number": 5, "status": "released"}]})

    assert ledger.violations == []
    assert ledger.counts["calls_told_by_snapshot"] == 2
    assert ledger.counts["snapshots_instead_of_events"] == 2
    assert acks == [(f"ticket:{TICKET}", 5)]
    assert ear.has_ended


def test_an_undone_call_may_be_made_again() -> None:
    ledger = quiet_ledger()
    ear, _ = ticket_ear(ledger)

    ear.hear(call(14, 1))
    ear.hear(Event("e1", 15, "ticket.undone", {"status": "noted", "calls": 0}))
    ear.hear(call(16, 1))

    assert ledger.violations == []


def test_a_stall_has_no_gaps() -> None:
    ledger = quiet_ledger()
    ear = StallEar(7, ledger)
    ear.snapshot("e1", 4, {"tickets": []})

    ear.hear(Event("e1", 5, "stall.quiet", {}))
    ear.hear(Event("e1", 7, "stall.quiet", {}))
    ear.subscribed("e1", 9, [Event("e1", 8, "stall.quiet", {})])

    assert ledger.violations == [
        "stall:7 has a gap: 7 follows 5",
        "stall:7 resumed up to 8, but the stream stands at 9",
    ]
    assert ear.seq == 9


def test_a_number_is_live_once_at_a_stall() -> None:
    ledger = quiet_ledger()
    ear = StallEar(7, ledger)
    ear.snapshot("e1", 0, {"tickets": [{"id": 1, "number": 5, "status": "called"}]})

    ear.hear(stall_event(1, 5, "finished", 1))
    ear.hear(stall_event(2, 5, "issued", 2))
    ear.hear(stall_event(3, 5, "finished", 1))
    ear.hear(stall_event(4, 5, "issued", 3))

    assert ledger.violations == ["stall:7 number 5 is live twice by event 4 ticket.issued"]


def test_notes_are_for_staff_only() -> None:
    ledger = quiet_ledger()
    event = Event("e1", 1, "ticket.noted", {"number": 5, "ticket_id": 1, "note": "汤面"})

    StallEar(7, ledger, staff=True).hear(event)
    assert ledger.violations == []

    StallEar(7, ledger).hear(event)
    assert ledger.violations == ["stall:7 shows note to everyone"]


def test_staff_see_who_was_reached() -> None:
    ledger = quiet_ledger()
    ear = StallEar(7, ledger, staff=True)

    ear.hear(Event("e1", 1, "ticket.reached", {"ticket_id": 1, "number": 5, "status": "called"}))
    ear.hear(Event("e1", 2, "ticket.unreached", {"ticket_id": 1, "number": 5, "status": "called"}))

    assert (ledger.counts["seen_reached"], ledger.counts["seen_unreached"]) == (1, 1)


def test_tickets_are_found_anywhere_in_a_snapshot() -> None:
    one, two = {"id": 1, "number": 5}, {"ticket_id": 2, "number": 6}
    view = {"stall": {"id": 7, "name": "面"}, "queue": [one, {"last": two}], "calls": [one]}

    assert sorted(t["number"] for t in tickets_in(view)) == [5, 6]
    assert tickets_in(None) == []
