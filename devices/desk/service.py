"""What people do at the desk: take, approve, reject and close exceptions; complaints."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from accounts.audit.model import By
from devices.desk import store
from devices.desk.complaints import store as complaint_store
from devices.desk.complaints.store import New
from devices.desk.model import (
    PICTURES_MAX,
    Action,
    CabinetException,
    Complaint,
    ComplaintNotFound,
    ExceptionDecided,
    ExceptionState,
    NothingToApprove,
    Refund,
    Ruling,
    TooManyPictures,
)
from devices.model import CabinetError
from payments.model import PaymentError
from sql.database import Database, Tx
from sql.idempotency import Asked, fingerprint, once_as


class Desk:
    """actions: by kind, what approving and rejecting mean; for_orders: of those about an order."""

    def __init__(
        self, db: Database, *, actions: Mapping[str, Action], for_orders: Action | None = None
    ) -> None:
        self._db = db
        self._actions = dict(actions)
        self._for_orders = for_orders

    async def page(
        self, wanted: store.Wanted, *, by: By, offset: int, most: int
    ) -> tuple[int, list[CabinetException]]:
        """Exceptions of the stores one sees, newest first, and how many there are."""
        return await self._db.read(store.exceptions_page, wanted, by=by, offset=offset, most=most)

    async def exception(self, exception_id: int, *, by: By) -> CabinetException:
        """Raises ExceptionNotFound."""
        return await self._db.read(store.seen_exception, exception_id, by)

    async def take(self, exception_id: int, *, by: By, key: str = "") -> CabinetException:
        """Once per key. Raises ExceptionNotFound, ExceptionDecided, ExceptionTaken, KeyReused."""
        asked = _asked(by, key, "take", exception_id)
        return await self._db.write(once_as, CabinetException, asked, store.take, exception_id, by)

    async def release(
        self, exception_id: int, *, by: By, anyones: bool, key: str = ""
    ) -> CabinetException:
        """Once per key. Raises what store.release does, KeyReused."""
        asked = _asked(by, key, "release", exception_id)
        return await self._db.write(
            once_as, CabinetException, asked, store.release, exception_id, by, anyones=anyones
        )

    async def approve(
        self, exception_id: int, ruling: Ruling, *, by: By, key: str = ""
    ) -> CabinetException:
        """Once, whoever asks; who asks again with the same key gets the first answer again.

        Raises ExceptionNotFound, ExceptionDecided, ExceptionTaken, NothingToApprove, KeyReused,
        and what its action refuses with.
        """
        asked = _asked(by, key, "approve", exception_id, ruling)
        return await self._db.write(
            once_as,
            CabinetException,
            asked,
            self._decide,
            exception_id,
            ruling,
            by,
            is_approval=True,
        )

    async def reject(
        self, exception_id: int, ruling: Ruling, *, by: By, key: str = ""
    ) -> CabinetException:
        """As approve."""
        asked = _asked(by, key, "reject", exception_id, ruling)
        return await self._db.write(
            once_as,
            CabinetException,
            asked,
            self._decide,
            exception_id,
            ruling,
            by,
            is_approval=False,
        )

    def _decide(
        self, tx: Tx, exception_id: int, ruling: Ruling, by: By, *, is_approval: bool
    ) -> CabinetException:
        exception = store.seen_exception(tx, exception_id, by)
        store.see_undecided(tx, exception, by)
        action = self._action(exception)
        decide = action.approve if is_approval else action.reject
        try:
            decide(tx, exception, by, ruling)
        except (CabinetError, PaymentError):
            # Perhaps only because somebody else was faster, or it has just solved itself.
            if store.load_exception(tx, exception_id, lock=True).is_decided:
                raise ExceptionDecided from None
            raise
        to = ExceptionState.APPROVED if is_approval else ExceptionState.REJECTED
        return store.end(tx, exception, to, by, ruling.reason)

    def _action(self, exception: CabinetException) -> Action:
        """Raises NothingToApprove."""
        action = self._actions.get(exception.kind)
        if exception.order_id is not None and self._for_orders is not None:
            action = self._for_orders
        if action is None:
            raise NothingToApprove
        return action

    async def close(
        self, exception_id: int, *, by: By, reason: str, key: str = ""
    ) -> CabinetException:
        """There is nothing to decide about it. Once.

        Raises ExceptionNotFound, ExceptionDecided, ExceptionTaken, OrderUndecided, KeyReused.
        """
        asked = _asked(by, key, "close", exception_id, reason)
        return await self._db.write(
            once_as, CabinetException, asked, _close, exception_id, by, reason
        )


def _asked(by: By, key: str, *what: object) -> Asked:
    return Asked(f"exceptions:{by.account_id}", key, fingerprint(*what))


def _close(tx: Tx, exception_id: int, by: By, reason: str) -> CabinetException:
    exception = store.seen_exception(tx, exception_id, by)
    store.see_undecided(tx, exception, by)
    store.see_closable(tx, exception)
    return store.end(tx, exception, ExceptionState.CLOSED, by, reason)


class Album(Protocol):
    """Where pictures are kept, each drawn anew (queueing/stalls/pictures.py is one)."""

    @property
    def folder(self) -> Path: ...
    async def keep(self, data: bytes, *, name: str) -> str: ...


class Complaints:
    """album: a folder of its own, which is not served; refund: how money goes back."""

    def __init__(self, db: Database, album: Album, refund: Refund) -> None:
        self._db = db
        self._album = album
        self._refund = refund

    # A buyer's own

    async def complain(
        self, order_id: int, account_id: int, *, text: str, pictures: Sequence[bytes], key: str
    ) -> Complaint:
        """Once per key, and one open per order.

        Raises OrderNotYours, ComplaintOpen, TooManyPictures, KeyReused, and what the album
        refuses pictures with.
        """
        if len(pictures) > PICTURES_MAX:
            raise TooManyPictures
        new = New(order_id=order_id, account_id=account_id, text=text, pictures=(), key=key)
        known = await self._db.read(complaint_store.known_answer, new) if key else 0
        if known:
            return await self._db.read(complaint_store.load, known)
        await self._db.read(complaint_store.see_none_open, order_id, account_id)
        names = [
            await self._album.keep(data, name=f"complaint-{order_id}-{n}")
            for n, data in enumerate(pictures)
        ]
        kept = msgspec.structs.replace(new, pictures=names)
        return await self._db.write(complaint_store.complain, kept)

    async def of_order(self, order_id: int, account_id: int) -> list[Complaint]:
        """One's own about an order, newest first. Raises OrderNotYours."""
        return await self._db.read(complaint_store.of_order, order_id, account_id)

    async def own_picture(self, complaint_id: int, account_id: int, n: int) -> tuple[str, bytes]:
        """Its name and content. Raises ComplaintNotFound."""
        found = await self._db.read(complaint_store.own, complaint_id, account_id)
        return await self._picture(found, n)

    # Staff

    async def page(
        self, wanted: complaint_store.Wanted, *, by: By, offset: int, most: int
    ) -> tuple[int, list[Complaint]]:
        """Complaints of the stores one sees, newest first, and how many there are."""
        return await self._db.read(complaint_store.page, wanted, by=by, offset=offset, most=most)

    async def complaint(self, complaint_id: int, *, by: By) -> Complaint:
        """Raises ComplaintNotFound."""
        return await self._db.read(complaint_store.seen, complaint_id, by)

    async def picture(self, complaint_id: int, n: int, *, by: By) -> tuple[str, bytes]:
        """Its name and content. Raises ComplaintNotFound."""
        return await self._picture(await self.complaint(complaint_id, by=by), n)

    async def resolve(
        self, complaint_id: int, *, refund_fen: int, reason: str, by: By, key: str = ""
    ) -> Complaint:
        """See store.resolve; once per key."""
        mark = fingerprint("resolve", complaint_id, refund_fen, reason)
        return await self._db.write(
            once_as,
            Complaint,
            Asked(f"complaints.resolve:{by.account_id}", key, mark),
            complaint_store.resolve,
            complaint_id,
            refund_fen=refund_fen,
            reason=reason,
            by=by,
            refund=self._refund,
        )

    async def _picture(self, complaint: Complaint, n: int) -> tuple[str, bytes]:
        """n: counted from 1."""
        if n > len(complaint.pictures):
            raise ComplaintNotFound
        name = complaint.pictures[n - 1]
        try:
            return name, await asyncio.to_thread((self._album.folder / name).read_bytes)
        except FileNotFoundError as error:
            # A database without its files, as after a restore.
            raise ComplaintNotFound from error
