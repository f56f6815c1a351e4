"""What is in the cabinets: laid out, counted, blocked when it is past, told to the vendors."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import msgspec

from accounts.audit.model import By
from accounts.messages import Dead, Delivered, Retry
from devices.fleet.model import Device, DeviceNotFound, OutOfScope
from devices.fleet.store import device_by_code, scope_of
from devices.stock import store
from devices.stock.model import (
    Count,
    Expiring,
    Move,
    Place,
    Planogram,
    PlanogramNotFound,
    Shelf,
    VendorGood,
)
from devices.stock.offers import store as offers
from devices.stock.planograms import store as planograms
from devices.vendors.port import (
    CabinetVendor,
    Event,
    Good,
    GoodsAck,
    PlanogramChanged,
    Reason,
    VendorError,
    VendorRefused,
    VendorUnknown,
)
from sql.database import Database, Tx
from sql.idempotency import fingerprint, once

log = logging.getLogger("callme.devices")

# It will say the same the next time.
_NEVER: Final = frozenset({Reason.DEVICE_UNKNOWN, Reason.DEVICE_NOT_BOUND, Reason.APP_DISABLED})


class Stock:
    """Who may call what is the routes' business; which stores somebody sees is looked at here.

    vendors: by their code.
    """

    def __init__(self, db: Database, vendors: Mapping[str, CabinetVendor]) -> None:
        self._db = db
        self._vendors = vendors

    async def check_sees_all(self, *, by: By) -> None:
        """For what concerns all stores. Raises OutOfScope for who is kept to some."""
        if await self._db.read(scope_of, by.account_id) is not None:
            raise OutOfScope

    # ------------------------------------------------------------ layouts

    async def want_planogram(
        self, device_id: int, places: Sequence[Place], *, by: By, key: str = "", reason: str = ""
    ) -> Planogram:
        """A new layout, on its way to the vendor. Once per key.

        Raises DeviceNotFound, NotBound, PlanogramInvalid, GoodsUnknown, KeyReused.
        """
        mark = fingerprint("planogram", device_id, places)
        scope = f"planogram:{by.account_id}"

        def want(tx: Tx) -> str:
            made = planograms.want_planogram(tx, device_id, places, by=by, reason=reason)
            return msgspec.json.encode(made).decode()

        made = await self._db.write(once, scope, key, mark, want)
        return msgspec.json.decode(made, type=Planogram)

    async def planograms(
        self, device_id: int, *, by: By
    ) -> tuple[Planogram | None, Planogram | None]:
        """The layout by which is charged, and the one on its way. Raises DeviceNotFound."""
        return await self._db.read(planograms.planograms_of, device_id, by=by)

    async def put(self, payload: dict[str, Any]) -> Delivered | Retry | Dead:
        """Deliver the parcel of a layout, unless another has taken its place."""
        device_id, version = int(payload["device_id"]), int(payload["version"])
        try:
            device, layout = await self._db.read(planograms.to_put, device_id, version)
        except (DeviceNotFound, PlanogramNotFound):
            return Dead(f"no layout {version} of device {device_id}")
        if layout.state != "waiting":
            return Delivered()
        vendor = self._vendors.get(device.vendor)
        if vendor is None:
            return Retry(f"no vendor {device.vendor} is set up")
        return await self._put(vendor, device, layout)

    async def _put(
        self, vendor: CabinetVendor, device: Device, layout: Planogram
    ) -> Delivered | Retry | Dead:
        try:
            await vendor.put_planogram(
                device.code,
                version=layout.version,
                base_version=layout.base_version,
                slots=layout.slots,
            )
        except VendorUnknown as unknown:
            return Retry(str(unknown))
        except VendorRefused as refused:
            return await self._refused(vendor, device, layout, refused)
        await self._db.write(planograms.mark_put, device.id, layout.version)
        return Delivered()

    async def _refused(
        self, vendor: CabinetVendor, device: Device, layout: Planogram, refused: VendorRefused
    ) -> Delivered | Retry | Dead:
        if refused.reason is Reason.VERSION_CONFLICT:
            version = await self._version_there(vendor, device, refused)
            if version is None:
                return Retry("the vendor has another version, and does not say which")
            await self._db.write(planograms.rebase, device.id, layout.version, version)
            return Delivered()
        if refused.reason in _NEVER:
            await self._db.write(
                planograms.refuse_planogram, device.id, layout.version, str(refused)
            )
            return Dead(str(refused))
        # Among others goods it has not heard of yet: they are on their way as well.
        return Retry(str(refused))

    async def _version_there(
        self, vendor: CabinetVendor, device: Device, refused: VendorRefused
    ) -> int | None:
        """The version the vendor has, as it says with its refusal or when it is asked."""
        if refused.detail.isascii() and refused.detail.isdigit():
            return int(refused.detail)
        try:
            facts = await vendor.status([device.code])
        except VendorError:
            return None
        return next((fact.planogram_version for fact in facts), None)

    # ------------------------------------------------------------ what vendors say

    def heed(self, tx: Tx, vendor: str, event: Event) -> None:
        """What an event means for layouts and goods; for others nothing."""
        if isinstance(event, PlanogramChanged):
            device = device_by_code(tx, vendor, event.device_code)
            if device is not None:
                planograms.planogram_changed(tx, device, event.version)
        elif isinstance(event, GoodsAck):
            offers.goods_refused(tx, vendor, event.results)

    # ------------------------------------------------------------ goods

    async def push_goods(self) -> int:
        """Tell each vendor of the goods that it does not have as they are. How many were told.

        A vendor that gives no clear answer is told the next time; the others are not held up.
        """
        told = 0
        for code, vendor in self._vendors.items():
            await self._db.write(offers.mark_goods, code)
            try:
                told += await self._push_to(code, vendor)
            except VendorError as error:
                log.info("goods for %s wait: %s", code, error)
        return told

    async def _push_to(self, code: str, vendor: CabinetVendor) -> int:
        told, after = 0, ""
        while batch := await self._db.read(offers.goods_to_push, code, after=after):
            results = await vendor.put_goods([_offered(good) for good, _ in batch])
            marks = {good.sku: mark for good, mark in batch}
            await self._db.write(offers.note_results, code, marks, results)
            told += len(batch)
            after = batch[-1][0].sku
        return told

    async def goods_states(self, skus: Collection[str]) -> dict[str, list[VendorGood]]:
        """What the vendors have of some goods, by SKU."""
        return await self._db.read(offers.goods_states, skus)

    async def push_again(self, sku: str, *, by: By) -> int:
        """Tell of a refused good once more; to how many vendors."""
        return await self._db.write(offers.push_again, sku, by=by)

    # ------------------------------------------------------------ counts

    async def stock(self, device_id: int, *, by: By) -> list[Shelf]:
        """What is counted of a device. Raises DeviceNotFound."""
        return await self._db.read(store.stock_of, device_id, by=by)

    async def moves(
        self, device_id: int, *, by: By, sku: str = "", sort: str = "-id", offset: int, most: int
    ) -> tuple[int, list[Move]]:
        """Why the counts are what they are. Raises DeviceNotFound."""
        return await self._db.read(
            store.moves_page, device_id, by=by, sku=sku, sort=sort, offset=offset, most=most
        )

    async def count(self, device_id: int, said: Count, *, by: By, key: str = "") -> list[Shelf]:
        """Take a person's count for right. Once per key.

        Raises DeviceNotFound, DoorNotFound, CountInvalid, NotRestocking, KeyReused.
        """
        mark = fingerprint("count", device_id, said)
        once_key = f"count:{secrets.token_hex(12)}"

        def count(tx: Tx) -> str:
            counted = store.count(tx, device_id, said, by=by, once_key=once_key)
            return msgspec.json.encode(counted).decode()

        counted = await self._db.write(once, f"count:{by.account_id}", key, mark, count)
        return msgspec.json.decode(counted, type=list[Shelf])

    # ------------------------------------------------------------ until when they keep

    async def block_expired(self) -> int:
        """Stop the sale of what is past its day. How many shelves changed."""
        return await self._db.write(store.block_expired)

    async def expiring(
        self,
        until: int,
        *,
        by: By,
        device_id: int = 0,
        sort: str = "expires_on",
        offset: int,
        most: int,
    ) -> tuple[int, list[Expiring]]:
        """What is there and keeps until a day (YYYYMMDD) at the latest."""
        return await self._db.read(
            store.expiring_page,
            until,
            by=by,
            device_id=device_id,
            sort=sort,
            offset=offset,
            most=most,
        )


def beside(
    handle: Callable[[Tx, Any, Event], None], stock: Stock
) -> Callable[[Tx, Any, Event], None]:
    """An inbox's handler that also lets the stock heed each event, once.

    What a vendor thinks of goods or a layout is so when it is said; a repeat may be of long ago.
    """

    def both(tx: Tx, row: Any, event: Event) -> None:
        if not row.is_again:
            stock.heed(tx, row.vendor, event)
        handle(tx, row, event)

    return both


def _offered(good: Any) -> Good:
    return Good(
        sku=good.sku,
        barcode=good.barcode,
        name=good.name,
        price_fen=good.price_fen,
        weight_g=good.weight_g,
        image_urls=(good.image_url,) if good.image_url else (),
        status=good.status,
    )
