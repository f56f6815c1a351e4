"""A cabinet: doors with two sensors each, goods in slots, a line to the platform, and power.

People do things to it (`pull`, `take`, `close`, …), which are refused when they are physically
impossible. It says what happens; while it is offline it keeps its words until it is back.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from simulators.xiaomai import codes
from simulators.xiaomai.openings import Opening, Trace

Power = Literal["mains", "ups", "off"]


class Slot(msgspec.Struct):
    """A place with goods of one kind. stock: what is really in it."""

    door_no: int
    layer: int
    slot: int
    sku: str
    price_fen: int
    stock: int
    capacity: int
    expires_on: int | None = None


class Door(msgspec.Struct):
    """lock and door are two sensors. is_jammed: will not unlock; latch_stuck: will not lock."""

    door_no: int
    qr_token: str = ""
    lock: Literal["locked", "unlocked"] = "locked"
    door: Literal["closed", "open"] = "closed"
    is_jammed: bool = False
    latch_stuck: bool = False
    opening: Opening | None = None
    stolen: Counter[str] = msgspec.field(default_factory=Counter)

    @property
    def is_busy(self) -> bool:
        return self.opening is not None and (self.opening.is_physical or self.lock == "unlocked")


class Word(msgspec.Struct):
    """What a cabinet says once; boot_id and seq order the words of one cabinet."""

    kind: str
    device_code: str
    door_no: int
    boot_id: str
    seq: int
    occurred_at: int
    data: dict[str, Any]
    opening: Opening | None = None
    trace: Trace | None = None


class Climate(msgspec.Struct):
    temp_c10: int = 40
    target_temp_c10: int = 40
    volume: int = 50
    light: int = 80
    compressor: int = 1


class World(msgspec.Struct, frozen=True):
    """Where a cabinet stands. hear takes its words at the platform, lost is told when its line
    or its power is gone; later does something after so many seconds; weigh: a good's weight."""

    now_ms: Callable[[], int]
    later: Callable[[float, Callable[[], None]], None]
    hear: Callable[[Word], None]
    lost: Callable[[Cabinet], None]
    weigh: Callable[[str], int]


class Cabinet:
    """shadow: what it last reported, for as long as it is not heard."""

    def __init__(self, code: str, doors: int, world: World) -> None:
        self.code = code
        self.model, self.firmware = "XM-C2", "2.4.1"
        self.doors = {number: Door(number) for number in range(1, doors + 1)}
        self.slots: list[Slot] = []
        self.climate = Climate()
        self.params_version = 0
        self.planogram_version = 0
        self.power: Power = "mains"
        self.is_connected = True
        self.in_maintenance = False
        self.is_too_warm = False
        self.alarms: set[str] = set()
        self.heartbeat_at = world.now_ms()
        self.store_code = ""
        self.bound_at = 0
        self.shadow: dict[str, Any] = {}
        self._world = world
        self._unsaid: list[Word] = []
        self._boot()

    # ------------------------------------------------------------ what it is

    @property
    def is_online(self) -> bool:
        return self.is_connected and self.power != "off"

    @property
    def is_bound(self) -> bool:
        return bool(self.store_code)

    def door(self, door_no: int) -> Door:
        """Raises ValueError."""
        if door_no not in self.doors:
            raise ValueError(f"{self.code} has no door {door_no}")
        return self.doors[door_no]

    def stock(self, sku: str, door_no: int = 1) -> int:
        return sum(slot.stock for slot in self._slots_of(sku, door_no))

    def why_not(self, door_no: int, purpose: str) -> int:
        """The code that refuses an opening, or 0."""
        if not self.is_online:
            return codes.OFFLINE
        if door_no not in self.doors:
            return codes.DEVICE_UNKNOWN
        door = self.doors[door_no]
        if door.is_busy and door.opening is not None:
            is_shopping = door.opening.asked.purpose == "shop"
            return codes.BUSY_SHOPPING if is_shopping else codes.BUSY_RESTOCKING
        if door.door == "open" or door.latch_stuck or "hardware" in self.alarms:
            return codes.HARDWARE
        if purpose != "shop":
            return 0
        return self._why_no_shopping()

    def report(self) -> dict[str, Any]:
        """What telemetry and device/status say of it."""
        climate: dict[str, Any] = msgspec.to_builtins(self.climate)
        return {
            "device_code": self.code,
            "online": self.is_online,
            "last_heartbeat_at": self.heartbeat_at,
            "power": "mains" if self.power == "off" else self.power,
            **climate,
            "params_version": self.params_version,
            "doors": [self._seen(door) for door in self.doors.values()],
            "faults": sorted(self.alarms),
            "planogram_version": self.planogram_version,
        }

    def _seen(self, door: Door) -> dict[str, Any]:
        busy = door.is_busy and door.opening is not None
        session_no = door.opening.asked.session_no if busy and door.opening else ""
        return {
            "door_no": door.door_no,
            "lock": door.lock,
            "door": door.door,
            "busy": busy,
            "session_no": session_no,
        }

    # ------------------------------------------------------------ what the platform makes it do

    def unlock(self, opening: Opening) -> None:
        """Obey an open command; the door is now to be pulled."""
        if opening.lived.state != "pending" or self.power == "off":
            return
        door = self.doors[opening.asked.door_no]
        if door.is_jammed or opening.asked.expires_at <= self._world.now_ms():
            self.refuse(opening)
            return
        opening.weight_before_g = self.weight_g(door.door_no)
        door.lock = "unlocked"
        self._world.later(opening.asked.pull_ttl_s, lambda: self.give_up_waiting(opening))
        self._live(opening, "door.unlocked", state="unlocked", unlocked_at=self._world.now_ms())

    def refuse(self, opening: Opening) -> None:
        """The lock did not open."""
        fail = codes.LOCK_FAILED
        self._live(opening, "door.open_failed", {"fail_code": fail}, state="failed", fail_code=fail)

    def give_up_waiting(self, opening: Opening) -> None:
        """Nobody pulled in time: lock again. Nothing when it was pulled, or has no power."""
        if opening.lived.state != "unlocked" or self.power == "off":
            return
        fail = codes.NOT_PULLED
        self._live(opening, "door.not_pulled", {"fail_code": fail}, state="failed", fail_code=fail)
        self._lock(self.doors[opening.asked.door_no], opening)

    def mind_open_door(self, opening: Opening) -> None:
        """It has been open for longer than allowed."""
        if opening.lived.state == "open":
            self.raise_alarm("door_open", door_no=opening.asked.door_no)

    def set_params(self, version: int, values: dict[str, int]) -> None:
        if version > self.params_version:
            self.climate = msgspec.structs.replace(self.climate, **values)
            self.params_version = version
            self.tell_all()

    def tell_all(self) -> None:
        """A heartbeat with everything measured."""
        if self.is_online:
            self.heartbeat_at = self._world.now_ms()
            self.say("device.telemetry", data=self.report())

    # ------------------------------------------------------------ what people do

    def pull(self, door_no: int = 1) -> None:
        """Open the unlocked door. Raises ValueError when it is locked or open."""
        door = self.door(door_no)
        if door.lock == "locked" or door.door == "open":
            raise ValueError(f"{self.code} door {door_no} is {door.lock} and {door.door}")
        door.door = "open"
        if self.power != "off":
            self._notice_open(door)

    def force(self, door_no: int = 1) -> None:
        """Open it with a crowbar: nobody's session."""
        door = self.door(door_no)
        door.lock, door.door = "unlocked", "open"
        self.raise_alarm("forced", door_no=door_no)
        self.say("door.opened", door_no=door_no)

    def take(self, sku: str, quantity: int = 1, door_no: int = 1) -> None:
        """Raises ValueError when the door is closed or there are not so many."""
        door = self._open_door(door_no)
        if self.stock(sku, door_no) < quantity:
            raise ValueError(f"{self.code} door {door_no} holds fewer than {quantity} of {sku!r}")
        opening = self._opening(door)
        for _ in range(quantity):
            slot = next(slot for slot in self._slots_of(sku, door_no) if slot.stock)
            slot.stock -= 1
            if opening is not None:
                opening.worth_fen += slot.price_fen
        (opening.taken if opening is not None else door.stolen)[sku] += quantity

    def put(self, sku: str, quantity: int = 1, door_no: int = 1) -> None:
        """Put back, or restock. Raises ValueError: closed, or no slot for it."""
        door = self._open_door(door_no)
        slot = next(iter(self._slots_of(sku, door_no)), None)
        if slot is None:
            raise ValueError(f"{self.code} door {door_no} has no slot for {sku!r}")
        slot.stock += quantity
        opening = self._opening(door)
        if opening is not None:
            opening.taken[sku] -= quantity
            opening.worth_fen -= slot.price_fen * quantity

    def close(self, door_no: int = 1) -> None:
        """Push it to; it locks by itself. Raises ValueError when it is closed."""
        door = self._open_door(door_no)
        door.door = "closed"
        if self.power != "off":
            self._notice_closed(door)

    def shop(self, *skus: str, door_no: int = 1) -> None:
        """Pull, take each, close."""
        self.pull(door_no)
        for sku in skus:
            self.take(sku, door_no=door_no)
        self.close(door_no)

    # ------------------------------------------------------------ line and power

    def disconnect(self) -> None:
        """The line is gone; the cabinet works on and keeps what it has to say."""
        self.shadow, was_online = self.report(), self.is_online
        self.is_connected = False
        if was_online:
            self._world.lost(self)

    def connect(self) -> None:
        if self.is_connected:
            return
        self.is_connected = True
        self._speak_up()

    def unplug(self) -> None:
        """The power is gone, and no UPS: locks stay as they are, nothing is noticed."""
        self.shadow, was_online = self.report(), self.is_online
        self.power = "off"
        if was_online:
            self._world.lost(self)

    def run_on_ups(self) -> None:
        self.power = "ups"
        self.raise_alarm("power")

    def plug_in(self) -> None:
        """Mains again; after a power cut it boots, and looks what became of its doors."""
        was_off, self.power = self.power == "off", "mains"
        if was_off:
            self._boot()
            self._speak_up()
            self._look_at_doors()
        self.clear_alarm("power")

    def reboot(self) -> None:
        """It comes back as after a power cut."""
        self.power = "mains"
        self._boot()
        self._speak_up()
        self._look_at_doors()

    def warm(self) -> None:
        """Too warm to sell from."""
        self.is_too_warm = True
        self.climate = msgspec.structs.replace(self.climate, temp_c10=180)
        self.raise_alarm("temperature")

    def cool(self) -> None:
        self.is_too_warm = False
        self.climate = msgspec.structs.replace(self.climate, temp_c10=self.climate.target_temp_c10)
        self.clear_alarm("temperature")

    def raise_alarm(self, kind: str, text: str = "", door_no: int = 0) -> None:
        if kind not in self.alarms:
            self.alarms.add(kind)
            self.say("device.alarm", {"kind": kind, "text": text}, door_no=door_no)

    def clear_alarm(self, kind: str) -> None:
        if kind in self.alarms:
            self.alarms.discard(kind)
            self.say("device.alarm_cleared", {"kind": kind})

    # ------------------------------------------------------------ inside

    def weight_g(self, door_no: int) -> int:
        slots = (slot for slot in self.slots if slot.door_no == door_no)
        return sum(self._world.weigh(slot.sku) * slot.stock for slot in slots)

    def say(self, kind: str, data: dict[str, Any] | None = None, *, door_no: int = 0) -> None:
        self._say(kind, data or {}, door_no, None)

    def next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def _say(self, kind: str, data: dict[str, Any], door_no: int, opening: Opening | None) -> None:
        if self.power == "off":
            return
        word = Word(
            kind=kind,
            device_code=self.code,
            door_no=door_no,
            boot_id=self.boot_id,
            seq=self.next_seq(),
            occurred_at=self._world.now_ms(),
            data=data,
            opening=opening,
            trace=opening.lived if opening else None,
        )
        if self.is_connected:
            self._world.hear(word)
        else:
            self._unsaid.append(word)

    def _live(
        self, opening: Opening, kind: str, data: dict[str, Any] | None = None, **changes: Any
    ) -> None:
        opening.lived = opening.lived.then(**changes)
        self._say(kind, data or {}, opening.asked.door_no, opening)

    def _speak_up(self) -> None:
        """In the order of seq: first what was kept, then that it is here."""
        if self.is_connected:
            unsaid, self._unsaid = self._unsaid, []
            for word in unsaid:
                self._world.hear(word)
        self.say("device.online")
        self.tell_all()

    def _boot(self) -> None:
        self.boot_id = f"bt_{secrets.token_hex(8)}"
        self._seq = 0

    def _look_at_doors(self) -> None:
        """After a start: what people did meanwhile is found by the sensors."""
        for door in self.doors.values():
            opening = self._opening(door)
            if opening is None:
                continue
            was_used = opening.lived.state == "open" or any(opening.taken.values())
            if door.door == "closed" and was_used:
                self._notice_closed(door)
            elif door.door == "closed":
                self.give_up_waiting(opening)
            elif opening.lived.state == "unlocked":
                self._notice_open(door)

    def _notice_open(self, door: Door) -> None:
        opening = self._opening(door)
        if opening is None:
            self.say("door.opened", door_no=door.door_no)
        else:
            self._world.later(opening.asked.max_open_s, lambda: self.mind_open_door(opening))
            self._live(opening, "door.opened", state="open", opened_at=self._world.now_ms())

    def _notice_closed(self, door: Door) -> None:
        opening = self._opening(door)
        if opening is None:
            self.say("door.closed", door_no=door.door_no)
        else:
            if opening.lived.opened_at is None:
                # Pulled and pushed to in one power cut: the sensor never saw it open.
                opening.lived = opening.lived.then(opened_at=self._world.now_ms())
            opening.weight_after_g = self.weight_g(door.door_no)
            self._live(opening, "door.closed", state="closed", closed_at=self._world.now_ms())
        self.clear_alarm("door_open")
        self._lock(door, opening)

    def _lock(self, door: Door, opening: Opening | None) -> None:
        if door.latch_stuck:
            self.raise_alarm("latch", door_no=door.door_no)
            return
        door.lock = "locked"
        if opening is None:
            self.say("door.locked", door_no=door.door_no)
        else:
            self._live(opening, "door.locked", locked_at=self._world.now_ms())

    def free_latch(self, door_no: int = 1) -> None:
        """Somebody repaired it: it locks now if it can."""
        door = self.door(door_no)
        door.latch_stuck = False
        self.clear_alarm("latch")
        if door.lock == "unlocked" and door.door == "closed":
            self._lock(door, door.opening)

    def _opening(self, door: Door) -> Opening | None:
        """The session that the door is in the middle of."""
        opening = door.opening
        if opening is None or opening.lived.state not in ("unlocked", "open"):
            return None
        return opening

    def _open_door(self, door_no: int) -> Door:
        door = self.door(door_no)
        if door.door != "open":
            raise ValueError(f"{self.code} door {door_no} is closed")
        return door

    def _slots_of(self, sku: str, door_no: int) -> list[Slot]:
        return [slot for slot in self.slots if slot.sku == sku and slot.door_no == door_no]

    def _why_no_shopping(self) -> int:
        if self.in_maintenance:
            return codes.MAINTENANCE
        if self.power == "ups":
            return codes.ON_UPS
        return codes.TEMPERATURE if self.is_too_warm else 0
