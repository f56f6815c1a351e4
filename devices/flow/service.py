"""Cabinets: doors are opened, looked after until their end, and compared with the vendors' books.

A command is committed before it is sent, so whatever happens to a process in between, there is a
row to ask about; and there is one request id for it for ever, so nothing is unlocked twice.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import msgspec

from accounts.audit.model import By
from accounts.messages import Dead, Delivered, Retry
from devices.fleet import store as fleet
from devices.fleet.model import Device, QrInvalid, VendorNotSet
from devices.fleet.qr import DoorCode, QrCodes, StoreCode
from devices.flow import events, gates, reconcile, steps, timers
from devices.flow import store as books
from devices.flow.links import Links
from devices.flow.messages import DoorsOut, door_out
from devices.flow.model import (
    BIZ,
    WAKE,
    Command,
    DoorRefused,
    Opened,
    Rules,
    Wish,
)
from devices.flow.reconcile import Compared
from devices.flow.timers import Look
from devices.inbox.model import InboxRow, Quarantine
from devices.model import DeviceOffline
from devices.presence import store as presence
from devices.presence.model import Gate
from devices.sessions import store
from devices.sessions.model import (
    TIMERS,
    DoorBusy,
    DoorSession,
    Due,
    PayWith,
    SessionNotFound,
    SessionOpen,
    State,
)
from devices.sessions.store import Wanted
from devices.vendors.port import (
    CabinetVendor,
    CanOpen,
    Event,
    OpenCommand,
    OrderFact,
    OrderResult,
    Purpose,
    Reason,
    SessionFact,
    VendorError,
    VendorRefused,
    VendorUnknown,
)
from payments.model import PaymentsStopped, PaymentUnknown
from payments.scores.model import (
    OverAction,
    ScoreOver,
    ScorePhase,
    ScoreRefused,
    ScoreUnavailable,
)
from payments.scores.service import Scores
from sql.database import Database, Tx
from sql.idempotency import KeyReused, key_id

log = logging.getLogger("callme.cabinets")

# Sessions looked at side by side: a vendor that hangs holds up these, not the others for long.
LOOKS: Final = 50


def _nothing(*_: object) -> None:
    """Nothing else follows."""


class Cabinets:
    """vendors: by code. score_over: what else follows when a Payscore order of ours has ended."""

    def __init__(
        self,
        db: Database,
        vendors: Mapping[str, CabinetVendor],
        codes: QrCodes,
        *,
        scores: Scores,
        rules: Rules,
        score_over: OverAction = _nothing,
    ) -> None:
        self._db = db
        self._vendors = dict(vendors)
        self._codes = codes
        self._scores = scores
        self._rules = rules
        self._score_over = score_over
        self._links = Links(db)
        scores.when_confirmed(BIZ, steps.confirmed)
        scores.when_over(BIZ, self._over)

    # ------------------------------------------------------------ opening

    async def open(
        self,
        account_id: int,
        qr: str,
        pay_with: PayWith,
        *,
        key: str = "",
        openid: str = "",
    ) -> Opened:
        """Open the door of a code for a shopper; the same key, or a second tap, the same session.

        What the vendor's clear no made of it is in the session. Raises QrInvalid, KeyReused, the
        refusals of flow/model.py, DoorBusy, SessionOpen, ScoreUnavailable, ScoreRefused.
        """
        code = self._codes.read(qr)
        if not isinstance(code, DoorCode):
            raise QrInvalid
        wish = Wish(
            once_key=_once_key(account_id, key),
            account_id=account_id,
            device_id=code.device_id,
            door_no=code.door_no,
            pay_with=pay_with,
            openid=openid,
        )
        known = await self._db.read(_known, wish)
        if known is not None:
            return await self._go_on(known)
        await self._db.read(fleet.scanned, code)
        return await self._or_known(wish, self._open_for_shopper(wish))

    async def _open_for_shopper(self, wish: Wish) -> Opened:
        has_scores = self._scores.is_available
        device, gate = await self._db.read(
            gates.pass_shopper, wish, self._rules, has_scores=has_scores
        )
        if gate is Gate.ASK:
            await self._ask_whether(device, wish.door_no, wish.purpose)
        session = await self._db.write(_once, wish, steps.begin, self._rules, has_scores=has_scores)
        return await self._begun(session, wish)

    async def open_for_staff(
        self, device_id: int, door_no: int, purpose: Purpose, *, by: By, key: str, reason: str = ""
    ) -> Opened:
        """Open a door to restock or to look at it: no money. Raises as `open`, DeviceNotFound."""
        wish = Wish(
            once_key=_once_key(by.account_id, key),
            account_id=by.account_id,
            device_id=device_id,
            door_no=door_no,
            purpose=purpose,
        )
        known = await self._db.read(_known, wish)
        if known is not None:
            return await self._go_on(known)
        return await self._or_known(wish, self._open_for_staff(wish, by, reason))

    async def _open_for_staff(self, wish: Wish, by: By, reason: str) -> Opened:
        device, gate = await self._db.read(gates.pass_staff, wish, self._rules, by)
        if gate is Gate.ASK:
            await self._ask_whether(device, wish.door_no, wish.purpose)
        session = await self._db.write(_once, wish, steps.begin_staff, self._rules, by, reason)
        return await self._begun(session, wish)

    async def _or_known(self, wish: Wish, opening: Awaitable[Opened]) -> Opened:
        """Who taps twice at once, in two processes, stands in one's own way: that is one wish."""
        try:
            return await opening
        except (DoorBusy, SessionOpen):
            known = await self._db.read(_known, wish)
            if known is None:
                raise
            return await self._go_on(known)

    async def _begun(self, session: DoorSession, wish: Wish) -> Opened:
        """Send the command of a session this call has written, or have it confirmed first."""
        if session.once_key != wish.once_key or session.state is not State.OPENING:
            return await self._go_on(session)
        device = await self._db.read(fleet.load_device, session.device_id)
        return Opened(await self._send(Command(session, device.code)))

    async def _go_on(self, session: DoorSession) -> Opened:
        """A session that is there already: asked about, never opened a second time."""
        if session.state is State.REQUESTED and session.score_no:
            return await self._confirm(session)
        if session.state is State.OPENING:
            await self._ask(Look(Due.ASK, session, ""))
        return Opened(await self._db.read(store.load, session.id))

    async def _ask_whether(self, device: Device, door_no: int, purpose: Purpose) -> None:
        """Of a device that was not heard of lately. Raises DeviceOffline, DoorRefused."""
        vendor = self._vendor(device.vendor)
        if not vendor.caps.can_open:
            raise DeviceOffline
        try:
            async with asyncio.timeout(self._rules.can_open_s):
                answer = await vendor.can_open(device.code, door_no, purpose)
        except VendorRefused as refusal:
            answer = CanOpen(can_open=False, reason=refusal.reason)
        except (TimeoutError, VendorError) as error:
            raise DeviceOffline from error
        if not answer.can_open:
            await self._db.write(presence.refused_to_open, device.id, answer.reason)
            raise _refused(answer.reason)

    async def _confirm(self, session: DoorSession) -> Opened:
        """Have the Payscore order made and confirmed; then go through the door.

        Whoever comes again may have confirmed it meanwhile, before WeChat has told us.
        """
        try:
            opening = await self._scores.open(session.score_no)
            if not opening.is_confirmed:
                await self._scores.refresh(session.score_no)
        except (ScoreRefused, ScoreUnavailable, ScoreOver, PaymentsStopped):
            await self._db.write(_reject, session.id, "score_refused")
            raise
        except PaymentUnknown:
            # The person may tap again, or WeChat tells us yet; else the time ends it.
            return Opened(await self._db.read(store.load, session.id))
        if opening.is_confirmed:
            # As it was before: nothing has run that would have taken the session on.
            await self._db.write(steps.confirmed, session.id)
        session = await self._send_if_confirmed(session.id)
        return Opened(session, opening.view if session.state is State.REQUESTED else None)

    async def _send_if_confirmed(self, session_id: int) -> DoorSession:
        command = await self._db.write(steps.to_send, session_id)
        if command is None:
            return await self._db.read(store.load, session_id)
        return await self._send(command)

    def _over(self, tx: Tx, session_id: int, phase: ScorePhase) -> None:
        steps.score_over(tx, session_id)
        self._score_over(tx, session_id, phase)

    async def _send(self, command: Command) -> DoorSession:
        """The one call that unlocks; what it leads to is kept, known or not."""
        session = command.session
        vendor = self._vendors.get(session.vendor)
        if vendor is None:
            await self._db.write(_reject, session.id, "vendor_not_set")
            raise VendorNotSet
        ack = await vendor.open_door(
            OpenCommand(
                request_id=session.request_id,
                session_no=session.no,
                device_code=command.device_code,
                door_no=session.door_no,
                purpose=session.purpose,
                user_ref=self._user_ref(session.account_id),
                pull_ttl_s=TIMERS.pull // 1000,
                max_open_s=TIMERS.alarm // 1000,
                amount_limit_fen=session.limit_fen,
                expires_at=session.expires_at,
            )
        )
        return await self._db.write(steps.acknowledged, session.id, ack)

    def _user_ref(self, account_id: int) -> str:
        """What a vendor may know of a person: the same each time, and nothing else."""
        said = f"cabinet-user:{account_id}".encode()
        return hmac.new(self._rules.salt.encode(), said, sha256).hexdigest()[:32]

    def _vendor(self, code: str) -> CabinetVendor:
        """Raises VendorNotSet."""
        vendor = self._vendors.get(code)
        if vendor is None:
            raise VendorNotSet
        return vendor

    # ------------------------------------------------------------ looking

    async def session(self, session_id: int, *, account_id: int) -> DoorSession:
        """One's own session. Raises SessionNotFound."""
        session = await self._db.read(store.load, session_id)
        if session.account_id != account_id:
            raise SessionNotFound
        return session

    async def current(self, account_id: int) -> DoorSession | None:
        """The session in which one has a door now, else the newest."""
        return await self._db.read(_current, account_id)

    async def doors(self, text: str) -> DoorsOut:
        """The doors of a store's code to choose from, each with its own code; of a door's code
        those of its cabinet. Raises QrInvalid, StoreNotFound.
        """
        name, devices = await self._db.read(_to_pick, self._codes.read(text))
        return DoorsOut(
            name,
            [
                door_out(
                    device,
                    door_no,
                    self._codes.door(device.id, door_no, device.qr_version),
                    is_busy=is_busy,
                )
                for device, door_no, is_busy in devices
            ],
        )

    async def page(
        self, wanted: Wanted, *, by: By, offset: int, most: int
    ) -> tuple[int, list[DoorSession]]:
        """Sessions of the stores somebody sees, newest first."""
        return await self._db.read(_page, wanted, by, offset, most)

    # ------------------------------------------------------------ events and time

    def handle(self, tx: Tx, row: InboxRow, event: Event) -> None:
        """What the inbox hands over. Raises Quarantine, NotNow."""
        vendor = self._vendors.get(row.vendor)
        if vendor is None:
            raise Quarantine(f"there is no vendor {row.vendor}")
        events.handle(tx, row, event, caps=vendor.caps, rules=self._rules.orders)

    async def run_due(self) -> int:
        """Look at the sessions whose time has come; how many. May run in several processes."""
        looked: set[int] = set()
        while ids := set(await self._db.read(store.due, most=LOOKS)) - looked:
            outcomes = await asyncio.gather(
                *(self._look(session_id) for session_id in ids), return_exceptions=True
            )
            for session_id, outcome in zip(ids, outcomes, strict=True):
                if isinstance(outcome, BaseException):
                    # One session's trouble holds up no other; it is due again the next time.
                    log.error("looking at session %d failed", session_id, exc_info=outcome)
            looked |= ids
        await self._links.look()
        return len(looked)

    async def resume(self) -> int:
        """After a start: whatever was being opened when a process died is asked about now."""
        return await self._db.write(_hurry)

    async def _look(self, session_id: int) -> None:
        look = await self._db.write(timers.claim, session_id)
        if look is None:
            return
        if look.what is Due.SEND:
            await self._send_if_confirmed(session_id)
        elif look.what is Due.PULL:
            await self._pull(look.session)
        else:
            await self._ask(look)

    async def _ask(self, look: Look) -> None:
        """Ask the vendor what became of a command, and take the session there."""
        session = look.session
        vendor = self._vendors.get(session.vendor)
        if vendor is None:
            return
        fact = await _answer(vendor, session)
        follows = await self._db.write(timers.answered, session.id, look.what, fact, vendor.caps)
        if follows is Due.CANCEL:
            await self._take_back(vendor, look, fact)
        elif follows is not None:
            command = await self._db.write(steps.to_send_again, session.id)
            if command is not None:
                await self._send(command)

    async def _take_back(self, vendor: CabinetVendor, look: Look, fact: SessionFact | None) -> None:
        """Before a command is given up: a door that opens for it later would be nobody's."""
        is_off = await _cancelled(vendor, look.session)
        if is_off is False:
            fact = await _answer(vendor, look.session)
        await self._db.write(timers.taken_back, look, fact, vendor.caps, is_off=is_off)

    async def _pull(self, session: DoorSession) -> None:
        vendor = self._vendors.get(session.vendor)
        if vendor is None or not vendor.caps.order_query:
            await self._db.write(timers.no_order, session.id)
            return
        try:
            fact = await vendor.query_order(
                vendor_order_no=session.vendor_order_no, session_no=session.no
            )
        except VendorError as error:
            log.info("no order of session %s: %s", session.no, error)
            fact = None
        try:
            if fact is not None:
                await self._take(vendor, fact, "pull")
        except PaymentsStopped as stopped:
            log.info("the order of session %s waits: %s", session.no, stopped)
        finally:
            # An order that cannot be taken is as good as none: a person learns of it in time.
            await self._db.write(timers.no_order, session.id)

    async def _take(self, vendor: CabinetVendor, fact: OrderFact, source: str) -> Any:
        return await self._db.write(
            events.take, vendor.code, fact, source=source, rules=self._rules.orders
        )

    # ------------------------------------------------------------ the vendors' books

    async def sweep(self, code: str) -> int:
        """Take every order a vendor has changed since the last time; how many were listed."""
        vendor = self._vendor(code)
        if not vendor.caps.order_list:
            return 0
        return await reconcile.sweep(self._db, vendor, self._rules.orders)

    async def compare_day(self, code: str, day: int) -> Compared:
        """Hold a day's orders (YYYYMMDD) against the vendor's; differences go to the desk."""
        vendor = self._vendor(code)
        if not vendor.caps.order_list:
            return Compared()
        return await reconcile.compare(self._db, vendor, day, self._rules.orders)

    async def deliver_confirmation(self, payload: dict[str, Any]) -> object:
        """A parcel of the outbox: tell a vendor what became of its order."""
        vendor = self._vendors.get(payload["vendor"])
        if vendor is None:
            return Retry(f"there is no vendor {payload['vendor']}")
        result = msgspec.convert(payload["result"], OrderResult)
        if not vendor.caps.wants_confirm or not await self._db.read(books.is_newest, payload):
            return Delivered()
        try:
            await vendor.confirm_order(result)
        except VendorRefused as refusal:
            return _REFUSED.get(refusal.reason, Retry)(str(refusal))
        except VendorUnknown as error:
            return Retry(str(error) or "no clear answer")
        return Delivered()


# What will never be otherwise, however often it is said.
_REFUSED: Final = {
    Reason.ORDER_UNKNOWN: Dead,
    Reason.ORDER_CONFLICT: Dead,
    Reason.AMOUNT_MISMATCH: Dead,
}


async def _answer(vendor: CabinetVendor, session: DoorSession) -> SessionFact | None:
    if not vendor.caps.session_query:
        return None
    try:
        return await vendor.query_session(session.request_id)
    except VendorError as error:
        log.info("nothing is known of session %s: %s", session.no, error)
        return None


async def _cancelled(vendor: CabinetVendor, session: DoorSession) -> bool | None:
    """Whether the command will never be obeyed; None: nobody knows."""
    try:
        return await vendor.cancel_open(session.request_id)
    except VendorError as error:
        log.info("session %s is not taken back: %s", session.no, error)
        return None


def _refused(reason: Reason) -> Exception:
    return DeviceOffline() if reason is Reason.OFFLINE else DoorRefused(reason)


def _once_key(account_id: int, key: str) -> str:
    """A wish without a key is a wish of its own; a second tap is found by who is at the door."""
    return key_id(f"door:{account_id}", key) if key else store.new_key()


# ---------------------------------------------------------------- transactions


def _known(tx: Tx, wish: Wish) -> DoorSession | None:
    """The session of the same key, else this person's at this very door. Raises KeyReused."""
    session = store.by_once_key(tx, wish.once_key)
    if session is not None:
        if _what(session) != _what(wish):
            raise KeyReused(wish.once_key)
        return session
    session = store.physical_of(tx, wish.account_id)
    return session if session is not None and _what(session) == _what(wish) else None


def _what(wanted: DoorSession | Wish) -> Sequence[object]:
    return (
        wanted.account_id,
        wanted.device_id,
        wanted.door_no,
        wanted.purpose,
        wanted.pay_with,
    )


def _once(tx: Tx, wish: Wish, begin: Any, *args: Any, **kwargs: Any) -> DoorSession:
    """Begin, unless the same wish has come at the same moment and was first."""
    known = _known(tx, wish)
    session: DoorSession = begin(tx, wish, *args, **kwargs) if known is None else known
    return session


def _reject(tx: Tx, session_id: int, why: str) -> DoorSession:
    session = store.load(tx, session_id, lock=True)
    if session.state not in {State.REQUESTED, State.OPENING}:
        return session
    return steps.end(tx, session, State.REJECTED, why)


def _hurry(tx: Tx) -> int:
    opening = store.in_state(tx, [State.OPENING])
    for session in opening:
        store.note(tx, store.load(tx, session.id, lock=True), due_at=tx.now)
    tx.wake(WAKE)
    return len(opening)


def _current(tx: Tx, account_id: int) -> DoorSession | None:
    return store.physical_of(tx, account_id) or store.last_of(tx, account_id)


def _to_pick(tx: Tx, code: DoorCode | StoreCode) -> tuple[str, list[tuple[Device, int, bool]]]:
    """A name, and doors with whether somebody is at them."""
    if isinstance(code, StoreCode):
        name, devices = (
            fleet.load_store(tx, code.store_id).name,
            fleet.devices_to_pick(tx, code.store_id),
        )
    else:
        device = fleet.scanned(tx, code)
        name, devices = device.name, [device]
    return name, [
        (device, door_no, store.at_door(tx, device.id, door_no) is not None)
        for device in devices
        for door_no in device.door_numbers
    ]


def _page(tx: Tx, wanted: Wanted, by: By, offset: int, most: int) -> tuple[int, list[DoorSession]]:
    scope = fleet.scope_of(tx, by.account_id)
    return store.page(tx, msgspec.structs.replace(wanted, stores=scope), offset=offset, most=most)
