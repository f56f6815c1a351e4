"""The inbox's rows: kept together, worked one at a time."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, bindparam, delete, func, select, update

from devices.inbox.model import (
    COALESCED,
    DEAD,
    DONE,
    JOB,
    NEW,
    NOT_NOW_MS,
    QUARANTINED,
    REPLAYS_KEPT,
    REPLAYS_WINDOW_MS,
    Arrival,
    InboxRow,
    Waiting,
    kept_ms,
    pause_after,
)
from devices.vendors.port import Replayed
from sql.alerts import clear_alert, open_alerts, raise_alert, record_incident
from sql.database import Tx, list_verb
from sql.tables.devices import callback_inbox as inbox
from sql.tables.devices import callback_nonces as nonces
from sql.tables.payments import incidents
from sql.transaction import insert_missing
from sql.types import Millis

REPLAY_ALERT = "callback.replay"
SKEW_ALERT = "callback.skew"
UNREAD_ALERT = "callback.unread"
DEAD_ALERT = "callback.dead"

_OUTCOME_MAX = 200


# ---------------------------------------------------------------- in


@list_verb
def keep(tx: Tx, arrivals: Sequence[Arrival]) -> list[str | Exception]:
    """Keep verified events: the answer each one's first delivery was given.

    An event that is there already is not kept again. An outcome is Replayed where the nonce
    belongs to another body.
    """
    answers = _answers(tx, arrivals)
    good = [one for one, answer in zip(arrivals, answers, strict=True) if isinstance(answer, str)]
    if good:
        insert_missing(tx, inbox, [_row(one, tx.now) for one in good])
        # Heartbeats are worth looking at together: a fleet of thousands sends hundreds a second.
        if any(one.event_type != COALESCED for one in good):
            tx.wake(JOB)
    return answers


def _answers(tx: Tx, arrivals: Sequence[Arrival]) -> list[str | Exception]:
    """What each is answered by its nonce, which is then taken."""
    signed = [one for one in arrivals if one.nonce]
    known = _take_nonces(tx, signed) if signed else {}
    answers: list[str | Exception] = []
    for one in arrivals:
        body_hash, answer = known.get((one.endpoint_id, one.nonce), (one.body_hash, one.answer))
        if body_hash == one.body_hash:
            answers.append(answer)
        else:
            _note_replay(tx, one)
            answers.append(Replayed(one.endpoint_id))
    return answers


def _take_nonces(tx: Tx, arrivals: Sequence[Arrival]) -> dict[tuple[str, str], tuple[str, str]]:
    """Whose each nonce is: body hash and answer. Who came first has it, here or elsewhere."""
    rows = [
        {
            "endpoint_id": one.endpoint_id,
            "nonce": one.nonce,
            "body_hash": one.body_hash,
            "answer": one.answer,
            "at": tx.now,
        }
        for one in arrivals
    ]
    # In one order in every process, lest two wait for each other.
    rows.sort(key=lambda row: (row["endpoint_id"], row["nonce"]))
    insert_missing(tx, nonces, rows)
    known = {}
    for endpoint_id, mine in _by_endpoint((one.endpoint_id, one.nonce) for one in arrivals).items():
        found = tx.execute(_TAKEN, {"endpoint": endpoint_id, "mine": mine})
        for row in found:
            known[endpoint_id, row.nonce] = (row.body_hash, row.answer)
    return known


_TAKEN: Final = select(nonces.c.nonce, nonces.c.body_hash, nonces.c.answer).where(
    nonces.c.endpoint_id == bindparam("endpoint"),
    nonces.c.nonce.in_(bindparam("mine", expanding=True)),
)


def _by_endpoint(keys: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The nonces of each endpoint, once and in order."""
    found: dict[str, list[str]] = {}
    for endpoint_id, nonce in sorted(set(keys)):
        found.setdefault(endpoint_id, []).append(nonce)
    return found


def _note_replay(tx: Tx, one: Arrival) -> None:
    text = f"{one.vendor} signed two bodies with one nonce"
    raise_alert(tx, REPLAY_ALERT, one.endpoint_id, text)
    recent = select(func.count()).where(
        incidents.c.kind == REPLAY_ALERT, incidents.c.at > tx.now - REPLAYS_WINDOW_MS
    )
    if tx.execute(recent).scalar_one() < REPLAYS_KEPT:
        record_incident(tx, REPLAY_ALERT, one.endpoint_id, f"{text}: {one.nonce}", one.body)


def _row(one: Arrival, now: Millis) -> dict[str, Any]:
    is_over = bool(one.outcome)
    return {
        "vendor": one.vendor,
        "endpoint_id": one.endpoint_id,
        "event_id": one.event_id,
        "event_type": one.event_type,
        "device_code": one.device_code,
        "body": one.body,
        "occurred_at": one.occurred_at,
        "received_at": now,
        "state": QUARANTINED if is_over else NEW,
        "tries": 0,
        "next_at": None if is_over else now,
        "ended_at": now if is_over else None,
        "outcome": one.outcome[:_OUTCOME_MAX],
    }


# ---------------------------------------------------------------- out


def due(tx: Tx, most: int) -> list[Waiting]:
    """What is to be worked now, longest due first."""
    query = (
        select(
            inbox.c.id,
            inbox.c.vendor,
            inbox.c.device_code,
            inbox.c.event_type,
            inbox.c.received_at,
        )
        .where(inbox.c.state == NEW, inbox.c.next_at <= tx.now)
        .order_by(inbox.c.next_at, inbox.c.id)
        .limit(most)
    )
    return [
        Waiting(row.id, row.vendor, row.device_code, row.event_type, row.received_at)
        for row in tx.execute(query)
    ]


def count_waiting(tx: Tx, most: int) -> int:
    """How many are not worked yet, counted up to `most`."""
    waiting = select(inbox.c.id).where(inbox.c.state == NEW).limit(most).subquery()
    return int(tx.execute(select(func.count()).select_from(waiting)).scalar_one())


def coalesce(tx: Tx, ids: Sequence[int]) -> int:
    """End telemetry after which there was later telemetry; how many."""
    ended = update(inbox).where(inbox.c.id.in_(ids), _is_new(), inbox.c.event_type == COALESCED)
    next_at = tx.now + kept_ms(COALESCED)
    values = {"state": DONE, "ended_at": tx.now, "next_at": next_at, "outcome": "superseded"}
    return tx.execute(ended.values(values)).rowcount


def take(tx: Tx, row_ids: Sequence[int]) -> dict[int, InboxRow]:
    """Those rows that are their device's next, locked until the transaction ends.

    One that waits behind a failed one waits as long as that.
    """
    # A row that another process works on is left to it, and so is its device's next.
    query = _rows(inbox.c.id.in_(sorted(row_ids)), _is_new()).order_by(inbox.c.id)
    locked = tx.execute(query.with_for_update(skip_locked=True))
    rows = {row.id: InboxRow(**row._mapping) for row in locked}
    heads = _heads(tx, rows.values())
    behind = {
        row.id: head
        for row in rows.values()
        if (head := heads.get((row.vendor, row.device_code), row.id)) < row.id
    }
    _let_wait(tx, behind)
    return {row_id: row for row_id, row in rows.items() if row_id not in behind}


def _heads(tx: Tx, rows: Iterable[InboxRow]) -> dict[tuple[str, str], int]:
    """The id of the first waiting event of each device."""
    devices: dict[str, set[str]] = {}
    for row in rows:
        devices.setdefault(row.vendor, set()).add(row.device_code)
    heads = {}
    for vendor, codes in devices.items():
        first = (
            select(inbox.c.device_code, func.min(inbox.c.id).label("head"))
            .where(_is_new(), inbox.c.vendor == vendor, inbox.c.device_code.in_(sorted(codes)))
            .group_by(inbox.c.device_code)
        )
        heads.update({(vendor, row.device_code): row.head for row in tx.execute(first)})
    return heads


def _let_wait(tx: Tx, behind: Mapping[int, int]) -> None:
    """behind: rows by id, with the id of the one that has to go first."""
    for row_id, head in behind.items():
        waits = tx.execute(select(inbox.c.next_at).where(inbox.c.id == head)).scalar()
        if waits is not None and waits > tx.now:
            tx.execute(update(inbox).where(inbox.c.id == row_id).values(next_at=waits))


def find(tx: Tx, row_id: int) -> InboxRow | None:
    row = tx.execute(_rows(inbox.c.id == row_id)).first()
    return None if row is None else InboxRow(**row._mapping)


def _rows(*where: ColumnElement[bool]) -> Select[Any]:
    return select(*(inbox.c[name] for name in InboxRow.__struct_fields__)).where(*where)


def end(tx: Tx, row: InboxRow, state: str, outcome: str) -> None:
    """Mark a row that was taken, and not done: it stays until a person has looked."""
    values = {"state": state, "ended_at": tx.now, "next_at": None}
    ended = update(inbox).where(inbox.c.id == row.id)
    tx.execute(ended.values(**values, outcome=outcome[:_OUTCOME_MAX]))


def end_done(tx: Tx, rows: Iterable[InboxRow]) -> None:
    """Mark rows that were taken, and handled as they should be."""
    lives: dict[Millis, list[int]] = {}
    for row in rows:
        lives.setdefault(kept_ms(row.event_type), []).append(row.id)
    for life, row_ids in lives.items():
        values = {"state": DONE, "ended_at": tx.now, "next_at": tx.now + life, "outcome": ""}
        tx.execute(update(inbox).where(inbox.c.id.in_(sorted(row_ids))).values(values))


def note_unread(tx: Tx, row: InboxRow, event_type: str, why: str) -> None:
    """Quarantine what cannot be understood; a person learns of the first of each type."""
    raise_alert(tx, UNREAD_ALERT, f"{row.vendor}:{event_type}", why)
    end(tx, row, QUARANTINED, why)


def note_failure(tx: Tx, row_id: int, error: str) -> bool:
    """Let an event be tried again later, and its device wait; False: it is dead."""
    taken = tx.execute(_rows(inbox.c.id == row_id, _is_new()).with_for_update()).first()
    if taken is None:
        return True
    row = InboxRow(**taken._mapping)
    tries = row.tries + 1
    pause = pause_after(tries)
    if pause is None:
        end(tx, row, DEAD, error)
        text = f"{row.event_type} of {row.device_code or 'no device'} could not be worked: {error}"
        raise_alert(tx, DEAD_ALERT, str(row.id), text)
        return False
    failed = update(inbox).where(inbox.c.id == row.id)
    tx.execute(failed.values(tries=tries, outcome=error[:_OUTCOME_MAX]))
    _hold_up(tx, row, tx.now + pause)
    return True


def let_wait(tx: Tx, row_id: int, why: str) -> None:
    """Let an event and its device wait for a better time; nothing is held against it."""
    taken = tx.execute(_rows(inbox.c.id == row_id, _is_new()).with_for_update()).first()
    if taken is None:
        return
    waiting = update(inbox).where(inbox.c.id == row_id)
    tx.execute(waiting.values(outcome=why[:_OUTCOME_MAX]))
    _hold_up(tx, InboxRow(**taken._mapping), tx.now + NOT_NOW_MS)


def _hold_up(tx: Tx, row: InboxRow, until: Millis) -> None:
    """No event of its device is worked before then."""
    behind = update(inbox).where(
        _is_new(), inbox.c.device_code == row.device_code, inbox.c.vendor == row.vendor
    )
    tx.execute(behind.values(next_at=until))


def put_back(tx: Tx, row_id: int) -> bool:
    """Let a quarantined or dead event be worked again; whether it was one."""
    again = update(inbox).where(inbox.c.id == row_id, inbox.c.state.in_((QUARANTINED, DEAD)))
    values = {"state": NEW, "tries": 0, "next_at": tx.now, "ended_at": None, "outcome": ""}
    if tx.execute(again.values(values)).rowcount == 0:
        return False
    clear_alert(tx, DEAD_ALERT, str(row_id))
    tx.wake(JOB)
    return True


def worked(tx: Tx, after: int, most: int) -> list[int]:
    """Ids above `after` of events that were done or quarantined, in order."""
    query = (
        select(inbox.c.id)
        .where(inbox.c.id > after, inbox.c.state.in_((DONE, QUARANTINED)))
        .order_by(inbox.c.id)
        .limit(most)
    )
    return list(tx.execute(query).scalars())


def _is_new() -> ColumnElement[bool]:
    return inbox.c.state == NEW


# ---------------------------------------------------------------- clocks and brooms


def note_skew(tx: Tx, vendor: str, endpoint_id: str, pull: str) -> None:
    """Say that a vendor's clock is wrong, and let its orders be asked for."""
    text = f"{vendor} signs at a time too far from ours; its events are refused"
    raise_alert(tx, SKEW_ALERT, endpoint_id, text)
    tx.wake(pull)


def skewed_endpoints(tx: Tx, older_than: Millis) -> list[str]:
    """Whose clocks were said to be wrong before older_than."""
    alerts = open_alerts(tx, SKEW_ALERT)
    return [alert.subject for alert in alerts if alert.raised_at < older_than]


def clear_skew(tx: Tx, endpoint_id: str) -> None:
    clear_alert(tx, SKEW_ALERT, endpoint_id)


def sweep_nonces(tx: Tx, *, older_than: Millis, most: int = 500) -> int:
    query = select(nonces.c.endpoint_id, nonces.c.nonce).where(nonces.c.at < older_than)
    old = [(row.endpoint_id, row.nonce) for row in tx.execute(query.limit(most))]
    for endpoint_id, mine in _by_endpoint(old).items():
        gone = delete(nonces).where(nonces.c.endpoint_id == endpoint_id, nonces.c.nonce.in_(mine))
        tx.execute(gone)
    return len(old)


def sweep_done(tx: Tx, most: int = 500) -> int:
    """What is quarantined or dead stays: it was never worked."""
    old = select(inbox.c.id).where(inbox.c.state == DONE, inbox.c.next_at <= tx.now)
    ids = list(tx.execute(old.limit(most)).scalars())
    if ids:
        tx.execute(delete(inbox).where(inbox.c.id.in_(ids)))
    return len(ids)
