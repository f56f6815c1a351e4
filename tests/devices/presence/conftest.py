"""A device that stands in a store, its vendor, and the watches over it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from devices.fleet import store as fleet
from devices.fleet.model import Device
from devices.presence import store
from devices.presence.model import Said, Times
from devices.presence.service import Presence
from devices.vendors.port import (
    Caps,
    DeviceFact,
    DeviceOffline,
    DeviceOnline,
    DoorFact,
    Telemetry,
    VendorError,
)
from sql.alerts import open_alerts
from sql.database import Database, open_database
from tests.clock import Clock
from tests.conftest import Told
from tests.devices.fleet.conftest import BOSS
from tests.devices.fleet.conftest import World as FleetWorld
from tests.devices.fleet.maker import Maker

BEAT_S = 60


class Grid(Maker):
    """facts: what it says of each device when asked; none: it does not say anything of it."""

    caps = Caps(params=frozenset({"target_temp_c10", "volume", "light"}))

    def __init__(self, now: Any) -> None:
        super().__init__(now)
        self.facts: dict[str, DeviceFact] = {}
        self.trouble: VendorError | None = None

    async def status(self, device_codes: Sequence[str]) -> list[DeviceFact]:
        await self._hear("status", "", {"codes": list(device_codes)})
        if self.trouble is not None:
            raise self.trouble
        return [self.facts[code] for code in device_codes if code in self.facts]

    async def put_params(
        self, device_code: str, *, desired: Mapping[str, int], version: int
    ) -> None:
        await self._hear("params", device_code, {"desired": dict(desired), "version": version})

    async def reboot(self, device_code: str, *, reason: str) -> None:
        await self._hear("reboot", device_code, {"reason": reason})


class World(FleetWorld):
    """seq counts what the devices say, whichever of them."""

    def __init__(self, db: Database, clock: Clock, told: Told, times: Times | None = None) -> None:
        super().__init__(db, clock)
        self.clock = clock
        self.told = told
        self.grid = Grid(clock.now)
        self.fleet._vendors = {"maker": self.grid.as_vendor}
        self.presence = Presence(db, {"maker": self.grid.as_vendor}, times=times)
        self.seq = 0

    async def say(self, device: Device, said: Said) -> None:
        await self.db.write(store.heard, device.id, said)

    async def beat(self, device: Device, **fact: Any) -> None:
        await self.say(device, self.telemetry(device, **fact))

    def telemetry(self, device: Device, **fact: Any) -> Telemetry:
        told = DeviceFact(device_code=device.code, online=True, **({"temp_c10": 40} | fact))
        return Telemetry(**self.place(device), fact=told)

    def offline(self, device: Device) -> DeviceOffline:
        return DeviceOffline(**self.place(device))

    def online(self, device: Device) -> DeviceOnline:
        return DeviceOnline(**self.place(device))

    def place(self, device: Device, **more: Any) -> dict[str, Any]:
        self.seq += 1
        return {
            "event_id": f"ev_{self.seq}",
            "device_code": device.code,
            "occurred_at": self.clock.now(),
            "boot_id": "boot-1",
            "seq": self.seq,
            **more,
        }

    async def now(self, device: Device) -> Device:
        return await self.db.read(fleet.load_device, device.id)

    async def link(self, device: Device) -> str:
        return (await self.now(device)).link

    async def look(self) -> None:
        """Both watches, as the runners have them."""
        await self.presence.look()
        await self.presence.ask_due()

    async def pass_time(self, *, minutes: float, beats: Sequence[Device] = ()) -> None:
        """Let time pass as it does, looked at every ten seconds; these devices report."""
        for step in range(1, round(minutes * 6) + 1):
            self.clock.advance(seconds=10)
            if step % 6 == 0:
                for device in beats:
                    await self.beat(device)
            await self.look()

    async def alerts(self) -> set[tuple[str, str]]:
        found = await self.db.read(open_alerts)
        return {(alert.kind, alert.subject) for alert in found}

    def says_nothing(self, device: Device) -> None:
        self.grid.facts.pop(device.code, None)

    def says(self, device: Device, *, online: bool, **fact: Any) -> None:
        self.grid.facts[device.code] = DeviceFact(device_code=device.code, online=online, **fact)

    def names(self, device: Device) -> list[str]:
        """Of the events about a device, as its own stream has them."""
        stream = f"cabinet:{device.id}"
        return [event.name for event in self.told.events if event.stream == stream]


def door(door_no: int = 1, **said: Any) -> DoorFact:
    return DoorFact(door_no=door_no, **said)


@pytest.fixture
def times() -> Times:
    """A test file may override these."""
    return Times(BEAT_S)


@pytest.fixture
async def world(db: Database, clock: Clock, told: Told, times: Times) -> World:
    return World(db, clock, told, times)


@pytest.fixture
async def one_world(tmp_path: Path, clock: Clock, told: Told, times: Times) -> AsyncIterator[World]:
    """On SQLite alone, where the kind of database does not matter."""
    db = await open_database(f"sqlite:///{tmp_path}/one.db", now=clock.now, told=told)
    await db.migrate()
    yield World(db, clock, told, times)
    await db.close()


async def standing(world: World, code: str = "D-1", store_code: str = "S-1") -> Device:
    """A device in a store that has just reported."""
    device = await world.bound(code, store_code)
    await world.presence.look()
    await world.beat(device)
    await world.presence.look()
    world.told.events.clear()
    return await world.now(device)


__all__ = ["BOSS", "World", "door", "standing"]
