"""Looking after the links of all devices, telling them what to be like, and what people do.

Two watches: `look` works on the database alone and runs each second; `ask_due` speaks to the
vendors, and belongs to a runner of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from accounts.audit.model import By
from devices.fleet.model import Device, VendorNotSet
from devices.fleet.store import DevicesWanted, devices_page, load_device, scope_of
from devices.presence import store
from devices.presence.away import store as away
from devices.presence.model import CommandRefused, CommandUnclear, ParamUnknown, Times
from devices.vendors.port import CabinetVendor, DeviceFact, VendorRefused, VendorUnknown
from sql.database import Database, Tx
from sql.idempotency import Asked, fingerprint, forget, known, once_as
from sql.types import Millis

log = logging.getLogger("callme.presence")

FLUSH_MS: Final = 5000
MARK_MS: Final = 10_000
"""How often it is noted that somebody looks, at most; a third of a beat where that is shorter."""
STATUS_MAX: Final = 100
"""Devices in one question, as the vendors' contract has it."""
CALLS_MAX: Final = 4
"""Questions under way at once: a vendor that hangs must not hold all its connections."""
# Ten thousand devices leave three million rows a day.
KEEP_TELEMETRY_MS: Final = 30 * 86_400_000


class Presence:
    """vendors: by code. times: how often devices report, and what follows from it."""

    def __init__(
        self, db: Database, vendors: Mapping[str, CabinetVendor], *, times: Times | None = None
    ) -> None:
        self._db = db
        self._vendors = vendors
        self.times = times or Times()
        # Before that nothing is offline: we have not listened for a full beat yet.
        self._blind_until: Millis | None = None
        self._flushed_at: Millis = 0
        self._marked_at: Millis = 0
        # The devices to be asked about, by id, as they were judged.
        self._to_ask: dict[int, Device] = {}

    # Deadlines

    async def look(self) -> None:
        """Judge what is due, tell what has waited, write beats behind."""
        now = self._db.now()
        if not 0 <= now - self._marked_at < min(MARK_MS, self.times.beat_ms // 3):
            await self._see_whether_blind(now)
            await self._db.write(store.note_look)
            self._marked_at = now
        if not 0 <= now - self._flushed_at < FLUSH_MS:
            await self._db.write(store.flush)
            self._flushed_at = now
        count = 1
        while count:
            # Each gets a deadline that is still to come, so this ends.
            count, asked = await self._db.write(store.judge_due, times=self.times)
            self._to_ask |= {device.id: device for device in asked}
        await self._until_none(store.tell_due)

    async def _see_whether_blind(self, now: Millis) -> None:
        """After our own start, and when no process has looked for a beat, nothing is concluded."""
        last = await self._db.read(store.last_look)
        is_blind = last is not None and now - last >= self.times.beat_ms
        if is_blind or self._blind_until is None:
            self._blind_until = now + self.times.beat_ms
        if is_blind:
            assert last is not None
            log.info("nobody looked after cabinets for %d s", (now - last) // 1000)
            await self._until_none(store.become_blind, since=last, times=self.times)

    async def _until_none(self, verb: Callable[..., int], **values: Any) -> None:
        while await self._db.write(verb, **values):
            pass

    async def close(self) -> None:
        """Write the beats that were kept, at a stop."""
        await self._db.write(store.flush)

    # At the vendors

    async def ask_due(self) -> None:
        """Ask about the devices in doubt, and send the settings that are wanted."""
        asked, self._to_ask = self._to_ask, {}
        for vendor in await self._db.read(away.unasked, times=self.times):
            # That it is there again would be seen by nobody, were none of its devices in doubt.
            device = await self._db.write(away.claim, vendor, times=self.times)
            asked |= {} if device is None else {device.id: device}
        questions = [
            (code, part)
            for code in sorted({device.vendor for device in asked.values()})
            for part in _parts([each for each in asked.values() if each.vendor == code])
        ]
        await _some_at_once([self._ask(code, part) for code, part in questions])
        pushes = await self._db.write(store.claim_pushes, times=self.times)
        await _some_at_once([self._push(device) for device in pushes])

    async def _ask(self, code: str, devices: Sequence[Device]) -> None:
        asked = store.ids_of(devices)
        try:
            facts = await self._status(code, [device.code for device in devices])
        except VendorNotSet:
            await self._db.write(store.not_set, code, asked, times=self.times)
            return
        except VendorUnknown as unclear:
            log.info("%s does not say how its cabinets are: %s", code, unclear)
            await self._db.write(
                store.not_answered, code, asked, times=self.times, blind_until=self._blind()
            )
            return
        found = {device.id: facts.get(device.code) for device in devices}
        await self._db.write(
            store.answered, code, found, asked=asked, times=self.times, blind_until=self._blind()
        )

    def _blind(self) -> Millis:
        """Who asks before the first look has only just begun to listen."""
        just_begun = self._db.now() + self.times.beat_ms
        return just_begun if self._blind_until is None else self._blind_until

    async def _status(self, code: str, device_codes: list[str]) -> dict[str, DeviceFact]:
        """Raises VendorUnknown, VendorNotSet; a no is an answer without any device."""
        try:
            facts = await self._vendor(code).status(device_codes)
        except VendorRefused as refused:
            log.info("%s refuses to say how its cabinets are: %s", code, refused)
            return {}
        return {fact.device_code: fact for fact in facts}

    async def _push(self, device: Device) -> None:
        """An answer proves nothing: it is done when the device reports so."""
        try:
            await self._vendor(device.vendor).put_params(
                device.code, desired=device.desired, version=device.desired_version
            )
        except (VendorUnknown, VendorRefused, VendorNotSet) as error:
            log.info("settings of %s %s: %s", device.vendor, device.code, error)

    # What people do

    async def set_params(
        self,
        device_id: int,
        values: Mapping[str, int],
        *,
        by: By,
        reason: str = "",
        version: int | None = None,
        key: str = "",
    ) -> Device:
        """Let a device be like this; sent until it reports so, three times at most. Once per key.

        version: of the settings this was decided by.
        Raises DeviceNotFound, NotBound, VendorNotSet, ParamUnknown, ParamsChanged, KeyReused.
        """
        device = await self.device(device_id, by=by)
        unknown = values.keys() - self._vendor(device.vendor).caps.params
        if unknown:
            raise ParamUnknown(", ".join(sorted(unknown)))
        mark = fingerprint("params", device_id, sorted(values.items()), reason, version)
        return await self._db.write(
            once_as,
            Device,
            Asked(f"devices.params:{by.account_id}", key, mark),
            store.want_params,
            device_id,
            values,
            by=by,
            reason=reason,
            version=version,
        )

    async def lock(self, device_id: int, *, by: By, reason: str = "") -> Device:
        """Let nothing be sold. Raises DeviceNotFound, NotBound."""
        return await self._db.write(store.lock_sale, device_id, by=by, reason=reason)

    async def unlock(self, device_id: int, *, by: By, reason: str = "") -> Device:
        """Let it sell again. Raises DeviceNotFound, NotBound."""
        return await self._db.write(store.unlock_sale, device_id, by=by, reason=reason)

    async def reboot(self, device_id: int, *, by: By, reason: str = "", key: str = "") -> Device:
        """Start it anew, once per key; that it was asked for is written down first.

        Raises DeviceNotFound, NotBound, VendorNotSet, CommandRefused, CommandUnclear, KeyReused.
        """
        mark = fingerprint("reboot", device_id, reason)
        asked = Asked(f"devices.reboot:{by.account_id}", key, mark)
        answered = await self._db.read(known, Device, asked)
        if answered is not None:
            return answered
        vendor = self._vendor((await self.device(device_id, by=by)).vendor)
        device, is_first = await self._db.write(
            _first_reboot, asked, device_id, by=by, reason=reason
        )
        if not is_first:
            return device
        try:
            await vendor.reboot(device.code, reason=reason)
        except (VendorRefused, VendorUnknown) as error:
            # It was not started, as far as anybody knows: the same key may try again.
            await self._db.write(forget, asked)
            if isinstance(error, VendorRefused):
                raise CommandRefused(error.reason) from error
            raise CommandUnclear from error
        return device

    # Looking

    async def device(self, device_id: int, *, by: By) -> Device:
        """Raises DeviceNotFound."""
        return await self._db.read(_device, device_id, by)

    async def page(
        self, wanted: DevicesWanted, *, by: By, offset: int, most: int
    ) -> tuple[int, list[Device]]:
        """How many devices there are of those wanted, and some of them."""
        return await self._db.read(_page, wanted, by, offset, most)

    async def state(self) -> str:
        """A text that changes when anything shown of any device does."""
        return await self._db.read(store.state_of_all)

    async def history(
        self, device_id: int, *, by: By, since: Millis, until: Millis, most: int
    ) -> list[tuple[Millis, dict[str, Any]]]:
        """What a device reported, oldest first. Raises DeviceNotFound."""
        return await self._db.read(_history, device_id, by, since, until, most)

    async def count_links(self) -> dict[str, int]:
        """How many devices that stand in a store have each link."""
        return await self._db.read(store.count_links)

    async def sweep(self) -> int:
        """Forget what was reported a month ago; how many rows."""
        older_than = self._db.now() - KEEP_TELEMETRY_MS
        after: int | None = 0
        swept = 0
        while after is not None:
            after, count = await self._db.write(
                store.sweep_telemetry, after=after, older_than=older_than
            )
            swept += count
        return swept

    def _vendor(self, code: str) -> CabinetVendor:
        vendor = self._vendors.get(code)
        if vendor is None:
            raise VendorNotSet(code)
        return vendor


def _parts(devices: Sequence[Device]) -> list[Sequence[Device]]:
    return [devices[at : at + STATUS_MAX] for at in range(0, len(devices), STATUS_MAX)]


async def _some_at_once(calls: Sequence[Awaitable[None]]) -> None:
    for at in range(0, len(calls), CALLS_MAX):
        await asyncio.gather(*calls[at : at + CALLS_MAX])


def _first_reboot(
    tx: Tx, asked: Asked, device_id: int, *, by: By, reason: str
) -> tuple[Device, bool]:
    """Whether it is for this request to speak with the vendor: another may have the same key."""
    noted: list[Device] = []

    def note(tx: Tx) -> Device:
        noted.append(store.note_reboot(tx, device_id, by=by, reason=reason))
        return noted[0]

    return once_as(tx, Device, asked, note), bool(noted)


def _device(tx: Tx, device_id: int, by: By) -> Device:
    return load_device(tx, device_id, scope=scope_of(tx, by.account_id))


def _page(
    tx: Tx, wanted: DevicesWanted, by: By, offset: int, most: int
) -> tuple[int, list[Device]]:
    scope = scope_of(tx, by.account_id)
    return devices_page(tx, wanted, scope=scope, offset=offset, most=most)


def _history(
    tx: Tx, device_id: int, by: By, since: Millis, until: Millis, most: int
) -> list[tuple[Millis, dict[str, Any]]]:
    scope = scope_of(tx, by.account_id)
    return store.history(tx, device_id, scope=scope, since=since, until=until, most=most)
