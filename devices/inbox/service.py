"""The inbox: takes a vendor's callback, keeps it, answers; and works off what it has kept."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import msgspec

from devices.inbox import store
from devices.inbox.model import (
    NONCES_KEPT_MS,
    QUARANTINED,
    RETRY_AFTER_S,
    SKEWED_WINDOW_MS,
    TELEMETRY_WAITING_MAX,
    Arrival,
    Arrived,
    Handle,
    Hear,
    InboxRow,
    NotNow,
    Quarantine,
    Skews,
    Waiting,
    by_device,
    is_shed,
    superseded,
)
from devices.inbox.refusals import store as refusals
from devices.vendors.port import (
    ORDER_EVENTS,
    Answer,
    BadCallback,
    CabinetVendor,
    Event,
    OrderAbnormal,
    OrderPushed,
    OrderRecheck,
    Skewed,
    Telemetry,
    Unread,
    Verified,
)
from sql.database import Database, Tx, list_verb
from sql.errors import DatabaseError

log = logging.getLogger("callme.inbox")

# Rows looked at together: enough to share commits, few enough to look again soon.
BATCH = 500
# A run ends after so many batches, so that other watches have their turn.
BATCHES_MAX = 20

# Classes of the port by name, which is what a row keeps.
_ORDERS = frozenset(kind.__name__ for kind in ORDER_EVENTS)


class Chosen(msgspec.Struct, frozen=True):
    """A row to be worked. really: what its event is to be taken for."""

    row_id: int
    really: Callable[[Event], Event]


class Inbox:
    """vendors: by code. handle: what an event means. pull: the job that asks for orders.

    hear: what the telemetry of many devices means, where that costs less than of one by one.
    """

    def __init__(
        self,
        db: Database,
        vendors: Mapping[str, CabinetVendor],
        handle: Handle,
        *,
        hear: Hear | None = None,
        pull: str = "cabinet-orders",
    ) -> None:
        self._db = db
        self._vendors = dict(vendors)
        self._handle = handle
        self._heed = _one_by_one(handle)
        self._hear = hear or self._heed
        self._pull = pull
        self._take = list_verb(self._take_all)
        self._skews = Skews()
        self._writing = 0
        # How many events wait; how long the oldest of them had waited at the last look.
        self.waiting = 0
        self.lag_ms = 0
        # (vendor, what became of a callback) → how often.
        self.counts: Counter[tuple[str, str]] = Counter()
        # Those that were forged or replayed, until they are written down.
        self._forged: Counter[tuple[str, str]] = Counter()

    # ------------------------------------------------------------ in

    async def receive(self, vendor_code: str, arrived: Arrived) -> Answer:
        """Take a callback; its answer in the vendor's dialect, never an exception of ours.

        A good answer means that the event is stored. Raises KeyError for a vendor there is not.
        """
        vendor = self._vendors[vendor_code]
        now = self._db.now()
        try:
            verified = vendor.verify(
                endpoint_id=arrived.endpoint_id,
                headers=arrived.headers,
                path=arrived.path,
                query=arrived.query,
                raw=arrived.raw,
                now=now,
                address=arrived.address,
            )
            return await self._keep(vendor, verified)
        except BadCallback as refusal:
            self.counts[vendor.code, refusal.code] += 1
            if refusal.code in refusals.FORGED:
                self._forged[vendor.code, refusal.code] += 1
            if isinstance(refusal, Skewed) and self._skews.note(arrived.endpoint_id, now):
                await self._note_skew(vendor.code, arrived.endpoint_id)
            return vendor.refuse(refusal, now=now)

    async def _keep(self, vendor: CabinetVendor, verified: Verified) -> Answer:
        """Raises Replayed."""
        arrival, (status, headers, _) = _arrival(vendor, verified)
        if is_shed(arrival.event_type, waiting=self.waiting, writing=self._writing):
            return self._overloaded(vendor, "shed")
        self._writing += 1
        try:
            answer = await self._db.write(store.keep, arrival)
        except DatabaseError as error:
            log.info("a callback was not taken: %s", error)
            return self._overloaded(vendor, "unavailable")
        finally:
            self._writing -= 1
        self.waiting += 1
        self.counts[vendor.code, "kept"] += 1
        return status, headers, answer.encode()

    def _overloaded(self, vendor: CabinetVendor, why: str) -> Answer:
        self.counts[vendor.code, why] += 1
        return vendor.overloaded(retry_after_s=RETRY_AFTER_S)

    async def _note_skew(self, vendor_code: str, endpoint_id: str) -> None:
        log.warning("the clock of %s is wrong, or ours", vendor_code)
        try:
            await self._db.write(store.note_skew, vendor_code, endpoint_id, self._pull)
        except DatabaseError as error:
            log.info("a wrong clock was not noted: %s", error)

    async def note_forged(self) -> None:
        """A watch: write down how many were forged since the last time, however many they are."""
        counted, self._forged = self._forged, Counter()
        if not counted:
            return
        try:
            await self._db.write(refusals.add, counted)
        except DatabaseError:
            self._forged += counted
            raise

    # ------------------------------------------------------------ out

    async def work_due(self) -> int:
        """Work off what is due; how many events came to an end.

        The events of a device one after another, those of different devices side by side.
        """
        ended = 0
        for number in range(BATCHES_MAX):
            rows = await self._db.read(store.due, BATCH)
            if number == 0:
                self.lag_ms = max((self._db.now() - row.received_at for row in rows), default=0)
            count = await self._work(rows) if rows else 0
            if not count:
                break
            ended += count
        # As exact as it has to be: beyond this bound all is one.
        self.waiting = await self._db.read(store.count_waiting, 2 * TELEMETRY_WAITING_MAX)
        return ended

    async def _work(self, rows: list[Waiting]) -> int:
        old = superseded(rows)
        count = await self._db.write(store.coalesce, old) if old else 0
        left = set(old)
        devices = by_device(row for row in rows if row.id not in left)
        counts = await asyncio.gather(*(self._work_device(each) for each in devices))
        return count + sum(counts)

    async def _work_device(self, rows: list[Waiting]) -> int:
        """Work its rows until one cannot be ended."""
        for place, row in enumerate(rows):
            if not await self._work_row(row):
                return place
        return len(rows)

    async def _work_row(self, row: Waiting) -> bool:
        """Whether it came to an end, whichever."""
        try:
            try:
                return await self._worked(row.id, row.vendor, row.event_type)
            except DatabaseError:
                raise
            except NotNow as reason:
                log.info("event %d waits: %s", row.id, reason)
                await self._db.write(store.let_wait, row.id, str(reason))
                return False
            except Exception as error:
                # A mistake with one event is its own device's; a person learns when it is dead.
                log.info("event %d is tried again", row.id, exc_info=error)
                # Not the lines after it, which may hold what was to be written.
                text = str(error).partition("\n")[0]
                return await self._failed(row.id, f"{type(error).__name__}: {text}")
        except DatabaseError as error:
            log.info("event %d waits for the database: %s", row.id, error)
            return False

    async def _failed(self, row_id: int, problem: str) -> bool:
        if await self._db.write(store.note_failure, row_id, problem):
            return False
        log.error("event %d is given up: %s", row_id, problem)
        return True

    async def _worked(self, row_id: int, vendor_code: str, event_type: str) -> bool:
        vendor = self._vendors.get(vendor_code)
        if vendor is None or vendor.caps.signed or event_type not in _ORDERS:
            return await self._db.write(self._take, Chosen(row_id, _as_told))
        # Who cannot prove who he is, only gives a hint.
        row = await self._db.read(store.find, row_id)
        asked = await _asked(vendor, row) if row is not None else _as_told
        return await self._db.write(self._take, Chosen(row_id, asked))

    def _take_all(self, tx: Tx, chosen: Sequence[Chosen]) -> list[bool | Exception]:
        """A list verb: whether each came to an end. When one fails, each is taken alone."""
        really = {one.row_id: one.really for one in chosen}
        rows = store.take(tx, list(really))
        read = [(row, self._understood(tx, row, really[row.id])) for row in rows.values()]
        store.end_done(tx, self._handled(tx, [(row, said) for row, said in read if said]))
        # Of two that chose the same row, only one goes on with its device.
        first = {one.row_id: number for number, one in reversed(list(enumerate(chosen)))}
        return [
            one.row_id in rows and first[one.row_id] == number for number, one in enumerate(chosen)
        ]

    def _understood(self, tx: Tx, row: InboxRow, really: Callable[[Event], Event]) -> Event | None:
        """What a row says; None where nobody can tell, and the row is at an end."""
        try:
            event = really(self._read(row))
        except (Quarantine, BadCallback) as reason:
            store.end(tx, row, QUARANTINED, str(reason))
            return None
        if isinstance(event, Unread):
            store.note_unread(tx, row, event.event_type, event.why)
            return None
        return event

    def _handled(self, tx: Tx, read: Sequence[tuple[InboxRow, Event]]) -> list[InboxRow]:
        """Handle rows, each of another device; those that belong to somebody."""
        beats = [one for one in read if isinstance(one[1], Telemetry)]
        others = [one for one in read if not isinstance(one[1], Telemetry)]
        nobodys = {**self._heed(tx, others), **self._hear(tx, beats)}
        for row, _ in read:
            if row.id in nobodys:
                store.end(tx, row, QUARANTINED, nobodys[row.id])
        return [row for row, _ in read if row.id not in nobodys]

    def _read(self, row: InboxRow) -> Event:
        """Raises Quarantine, BadCallback."""
        vendor = self._vendors.get(row.vendor)
        if vendor is None:
            raise Quarantine(f"there is no vendor {row.vendor}")
        return vendor.parse(row.body)

    # ------------------------------------------------------------ again

    async def replay(self, after: int = 0) -> int:
        """Hand everything that was worked to `handle` once more, in order; how many.

        It changes nothing where nothing was lost: the rows stay as they are, and `handle` has
        seen them all.
        """
        count = 0
        while ids := await self._db.read(store.worked, after, BATCH):
            for row_id in ids:
                await self._replay(row_id)
            after = ids[-1]
            count += len(ids)
        return count

    async def _replay(self, row_id: int) -> None:
        row = await self._db.read(store.find, row_id)
        if row is None:
            return
        vendor = self._vendors.get(row.vendor)
        is_hint = vendor is not None and not vendor.caps.signed and row.event_type in _ORDERS
        really = await _asked(vendor, row) if vendor is not None and is_hint else _as_told
        await self._db.write(self._handle_again, row, really)

    def _handle_again(self, tx: Tx, row: InboxRow, really: Callable[[Event], Event]) -> None:
        try:
            event = really(self._read(row))
            if not isinstance(event, Unread):
                self._handle(tx, row, event)
        except (Quarantine, BadCallback):
            return

    # ------------------------------------------------------------ brooms

    async def sweep(self) -> str:
        """Forget old nonces and old events that were done; clear the alerts of clocks that are
        right again."""
        now = self._db.now()
        nonces = events = 0
        while count := await self._db.write(store.sweep_nonces, older_than=now - NONCES_KEPT_MS):
            nonces += count
        while count := await self._db.write(store.sweep_done):
            events += count
        for endpoint_id in await self._db.read(store.skewed_endpoints, now - SKEWED_WINDOW_MS):
            if not self._skews.is_recent(endpoint_id, now):
                await self._db.write(store.clear_skew, endpoint_id)
        return f"{nonces} nonces, {events} events"


def _arrival(vendor: CabinetVendor, verified: Verified) -> tuple[Arrival, Answer]:
    """What is kept of a verified callback, and what it is answered."""
    try:
        event = vendor.parse(verified.raw)
    except BadCallback as problem:
        # It is the vendor's, so it is never thrown away; its body is all that tells it apart.
        answer = vendor.acknowledge("")
        return _kept(vendor, verified, _NoEvent(verified.body_hash), answer, str(problem)), answer
    answer = vendor.acknowledge(event.event_id)
    return _kept(vendor, verified, event, answer, ""), answer


class _NoEvent(msgspec.Struct, frozen=True):
    event_id: str
    device_code: str = ""
    occurred_at: int = 0


def _kept(
    vendor: CabinetVendor,
    verified: Verified,
    event: Event | _NoEvent,
    answer: Answer,
    outcome: str,
) -> Arrival:
    return Arrival(
        vendor=vendor.code,
        endpoint_id=verified.endpoint_id,
        nonce=verified.nonce,
        body_hash=verified.body_hash,
        event_id=event.event_id,
        event_type=type(event).__name__.lstrip("_"),
        device_code=event.device_code,
        occurred_at=event.occurred_at,
        body=verified.raw,
        answer=answer[2].decode(),
        outcome=outcome,
    )


def _one_by_one(handle: Handle) -> Hear:
    def heed(tx: Tx, read: Sequence[tuple[InboxRow, Event]]) -> dict[int, str]:
        nobodys = {}
        for row, event in read:
            try:
                handle(tx, row, event)
            except (Quarantine, BadCallback) as reason:
                nobodys[row.id] = str(reason)
        return nobodys

    return heed


def _as_told(event: Event) -> Event:
    return event


async def _asked(vendor: CabinetVendor, row: InboxRow) -> Callable[[Event], Event]:
    """Puts the vendor's own copy of the order in the place of the one in a callback that
    anybody may have written. Raises VendorError."""
    told = vendor.parse(row.body)
    assert isinstance(told, OrderPushed | OrderAbnormal | OrderRecheck)
    fact = await vendor.query_order(
        vendor_order_no=told.order.vendor_order_no, session_no=told.order.session_no
    )

    def really(event: Event) -> Event:
        if fact is None:
            raise Quarantine("the vendor knows no such order")
        return msgspec.structs.replace(event, order=fact)

    return really
