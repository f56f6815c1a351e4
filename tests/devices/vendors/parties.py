"""Each vendor behind the port, with its platform: the same things can be done to all of them."""

import abc
from collections.abc import Mapping
from typing import Any

from devices.vendors.port import CabinetVendor
from devices.vendors.sim import Sim
from devices.vendors.xiaomai import Xiaomai
from devices.vendors.xiaomai.signing import Key
from simulators import xiaomai as platform
from tests.clock import Clock
from tests.devices.vendors import plain, speech

STOCK = {"cola": 9, "tea": 9}
PRICES = {"cola": 350, "tea": 505}


class Party(abc.ABC):
    """path: of the callbacks at our server."""

    vendor: CabinetVendor
    path: str

    @abc.abstractmethod
    async def start(self) -> None: ...
    @abc.abstractmethod
    async def stop(self) -> None: ...
    @abc.abstractmethod
    def call_back(self, url: str) -> None:
        """From now on events are sent to this address."""

    @abc.abstractmethod
    def add_cabinet(self, code: str, *, doors: int = 1) -> None:
        """One that is bound, and full of cola and tea."""

    @abc.abstractmethod
    def disconnect(self, code: str) -> None: ...
    @abc.abstractmethod
    def never_open(self) -> None:
        """The next command is taken, and no cabinet obeys it."""

    @abc.abstractmethod
    def spoil(self, how: str, *, is_done: bool) -> None:
        """The next answer: hang_up, http_502 or nonsense; whether it was carried out before."""

    @abc.abstractmethod
    def shop(self, code: str, taken: Mapping[str, int]) -> None: ...
    @abc.abstractmethod
    def unlocks(self, code: str) -> int:
        """How often a door there was unlocked."""

    @abc.abstractmethod
    def asked(self) -> int:
        """How many requests came."""

    @abc.abstractmethod
    def refuse_good(self, sku: str) -> None: ...
    @abc.abstractmethod
    async def idle(self) -> None: ...
    @abc.abstractmethod
    def event(self, kind: str, event_id: str, **order: Any) -> bytes:
        """A body in the vendor's dialect: opened, dance (no such type), or order, of which
        order_no, session_no and total_fen are given."""

    @abc.abstractmethod
    def headers(self, body: bytes) -> dict[str, str]:
        """What shows that it is the vendor's; empty where nothing can."""


class XiaomaiParty(Party):
    path = f"/cb/xiaomai/{platform.ENDPOINT_ID}/events"

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sim = platform.Xiaomai(start_s=clock.now() / 1000)

    async def start(self) -> None:
        await self._sim.start(0)
        self.vendor = Xiaomai(
            self._sim.url,
            Key(platform.APP_ID, platform.KEY_ID, platform.SECRET),
            endpoints={platform.ENDPOINT_ID: [platform.CALLBACK_SECRET]},
            now=self._clock.now,
        )

    async def stop(self) -> None:
        await self._sim.stop()

    def call_back(self, url: str) -> None:
        self._sim.courier.url = url

    def add_cabinet(self, code: str, *, doors: int = 1) -> None:
        self._sim.add_cabinet(code, doors=doors, stock=STOCK, prices=PRICES, bound_to="S1")

    def disconnect(self, code: str) -> None:
        self._sim.cabinet(code).disconnect()

    def never_open(self) -> None:
        self._sim.dial.add(platform.Fault(at="device.open", kind="never_open"))

    def spoil(self, how: str, *, is_done: bool) -> None:
        kind: Any = {"hang_up": "drop"}.get(how, how)
        self._sim.dial.add(platform.Fault(at="*", kind=kind, is_done=is_done))

    def shop(self, code: str, taken: Mapping[str, int]) -> None:
        cabinet = self._sim.cabinet(code)
        cabinet.pull()
        for sku, quantity in taken.items():
            cabinet.take(sku, quantity)
        cabinet.close()

    def unlocks(self, code: str) -> int:
        told = self._sim.deliveries("door.unlocked")
        return sum(1 for delivery in told if delivery.device_code == code)

    def asked(self) -> int:
        return len(self._sim.calls)

    def refuse_good(self, sku: str) -> None:
        self._sim.refused_skus.add(sku)

    async def idle(self) -> None:
        await self._sim.idle()

    def event(self, kind: str, event_id: str, **order: Any) -> bytes:
        common = {"event_id": event_id, "device_code": "C1"}
        if kind == "order":
            data = speech.order(
                wheat_order_no=order["order_no"],
                total_fen=order["total_fen"],
                items=[{"sku": "cola", "qty": 1, "price_fen": order["total_fen"]}],
            )
            session_no = order["session_no"]
            return speech.event("order.pushed", data, **common, session_no=session_no)
        return speech.event(f"door.{kind}", **common)

    def headers(self, body: bytes) -> dict[str, str]:
        return speech.headers(
            body,
            now=self._clock.now(),
            secret=platform.CALLBACK_SECRET,
            app_id=platform.APP_ID,
            path=self.path,
        )


class SimParty(Party):
    path = f"/cb/sim/{plain.SECRET}/events"

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.platform = plain.Plain(clock)

    async def start(self) -> None:
        self.platform.start()
        self.vendor = Sim(
            self.platform.url,
            plain.TOKEN,
            secrets=[plain.SECRET],
            addresses=["127.0.0.0/8"],
            now=self._clock.now,
        )

    async def stop(self) -> None:
        await self.platform.stop()

    def call_back(self, url: str) -> None:
        self.platform.callback_url = url

    def add_cabinet(self, code: str, *, doors: int = 1) -> None:
        prices = {sku: f"{fen // 100}.{fen % 100:02}" for sku, fen in PRICES.items()}
        self.platform.boxes[code] = plain.Box(code, doors, prices)

    def disconnect(self, code: str) -> None:
        self.platform.boxes[code].is_alive = False

    def never_open(self) -> None:
        """Here each waits for somebody who pulls."""

    def spoil(self, how: str, *, is_done: bool) -> None:
        self.platform.spoilt.append((how, is_done))

    def shop(self, code: str, taken: Mapping[str, int]) -> None:
        self.platform.shop(code, dict(taken))

    def unlocks(self, code: str) -> int:
        return sum(1 for visit in self.platform.visits.values() if visit.cabinet == code)

    def asked(self) -> int:
        return len(self.platform.requests)

    def refuse_good(self, sku: str) -> None:
        self.platform.refused_skus.add(sku)

    async def idle(self) -> None:
        await self.platform.idle()

    def event(self, kind: str, event_id: str, **order: Any) -> bytes:
        word = {"id": event_id, "what": kind, "at": "2026-11-20T04:00:00Z", "cabinet": "C1"}
        if kind != "order":
            return _json(word)
        price = f"{order['total_fen'] // 100}.{order['total_fen'] % 100:02}"
        bill = {
            "no": order["order_no"],
            "cabinet": "C1",
            "door": 1,
            "visit": order["session_no"],
            "edition": 1,
            "sure": "yes",
            "goods": {"cola": [price, 1]},
            "sum": price,
        }
        return _json(word | {"what": "bill", "bill": bill})

    def headers(self, body: bytes) -> dict[str, str]:
        return {}


def _json(value: object) -> bytes:
    import msgspec

    return msgspec.json.encode(value)


PARTIES = {"xiaomai": XiaomaiParty, "sim": SimParty}
