"""Looking at what was filmed of an order, and having it uploaded once more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from accounts.audit.model import By
from devices.fleet.model import VendorNotSet
from devices.orders.films import store
from devices.orders.films.model import PENDING, READY, Film, VideoMissing
from devices.presence.model import CommandRefused, CommandUnclear
from devices.vendors.port import (
    CabinetVendor,
    Event,
    Reason,
    VendorError,
    VendorRefused,
)
from sql.database import Database, Tx
from sql.idempotency import Asked, fingerprint, known, once_as

_NONE = frozenset({Reason.VIDEO_MISSING, Reason.ORDER_UNKNOWN})


class Films:
    def __init__(self, db: Database, vendors: Mapping[str, CabinetVendor]) -> None:
        self._db = db
        self._vendors = vendors

    async def film(self, order_id: int, *, by: By) -> Film:
        """Where it is to be seen, as the vendor says now; one that is not there yet has no slices.

        Raises OrderNotFound, VideoMissing, VendorNotSet, CommandRefused, CommandUnclear.
        """
        order = await self._db.read(store.to_ask, order_id, by)
        try:
            slices = await self._vendor(order.vendor).video_urls(order.vendor_order_no or "")
        except VendorError as error:
            if isinstance(error, VendorRefused) and error.reason is Reason.VIDEO_PENDING:
                return Film(PENDING)
            raise _refusal(error) from error
        await self._db.write(store.note_seen, order, by=by)
        return Film(READY, tuple(slices))

    async def upload_again(self, order_id: int, *, by: By, reason: str, key: str = "") -> Film:
        """Once per key. Raises what `film` does, and KeyReused."""
        mark = fingerprint("video", order_id, reason)
        asked = Asked(f"cabinet_orders.video:{by.account_id}", key, mark)
        answered = await self._db.read(known, str, asked)
        if answered is not None:
            return Film(answered)
        order = await self._db.read(store.to_ask, order_id, by)
        try:
            await self._vendor(order.vendor).request_video(order.vendor_order_no or "")
        except VendorError as error:
            raise _refusal(error) from error
        state = await self._db.write(
            once_as, str, asked, store.note_asked, order, PENDING, by=by, reason=reason
        )
        return Film(state)

    def beside(self, handle: Callable[[Tx, Any, Event], None]) -> Callable[[Tx, Any, Event], None]:
        """An inbox's handler that also heeds what events say of films."""

        def both(tx: Tx, row: Any, event: Event) -> None:
            handle(tx, row, event)
            store.heed(tx, row.vendor, event, is_again=row.is_again)

        return both

    def _vendor(self, code: str) -> CabinetVendor:
        vendor = self._vendors.get(code)
        if vendor is None:
            raise VendorNotSet(code)
        return vendor


def _refusal(error: VendorError) -> Exception:
    if not isinstance(error, VendorRefused):
        return CommandUnclear()
    return VideoMissing() if error.reason in _NONE else CommandRefused(error.reason)
