"""What goes wrong on a day: at the cabinets, their platform, WeChat and the ERP."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from simulators.erp.sim import ErpFault
from simulators.wechat.pay.faults import PayFault
from simulators.xiaomai import Fault, Plan
from tests.cabinets.world import GOODS
from tests.logs import LogWatch

if TYPE_CHECKING:
    from tests.cabinets.day import Day

# What a server rightly says in a day of trouble, when chance will have it so.
MAY_BE_SAID = (
    "the clock of xiaomai is wrong",
    r"cabinet\.confirm .* is given up",
    # Who they ask is away, and they are tried again.
    r"job (goods-in|order-pull|order-compare|bill) failed",
)
ERP_FAULTS_MAX = 2


def in_trouble(log_watch: LogWatch) -> None:
    for line in MAY_BE_SAID:
        log_watch.allow(line)


class Trouble:
    """One thing that goes wrong, at a place that dice choose."""

    def __init__(self, day: Day) -> None:
        self.day = day
        self._rng = day.rng
        self._kinds: list[Callable[[], None]] = [
            *(self._event,) * 8,
            *(self._answer,) * 5,
            *(self._recognition,) * 4,
            *(self._opening,) * 3,
            *(self._line,) * 3,
            *(self._wechat,) * 4,
            self._erp,
            self._clock,
            self._burglar,
        ]

    def strike(self) -> None:
        self._rng.choice(self._kinds)()

    def calm_down(self) -> None:
        """Lines and clocks are right again; what was set to go wrong once still may."""
        self.day.world.xiaomai.courier.skew_s = 0.0
        for code in self.day.town.cabinets:
            cabinet = self.day.cabinet(code)
            cabinet.connect()
            if cabinet.power == "off":
                cabinet.plug_in()
            for number, door in cabinet.doors.items():
                if door.door == "open" and door.opening is None:
                    cabinet.close(number)

    def _somewhere(self) -> str:
        return self._rng.choice(sorted(self.day.town.cabinets))

    def _event(self) -> None:
        kinds = ("drop", "lose", "delay", "reorder", "duplicate", "repeat", "skew", "wrong_rev",
                 "conflict", "wrong_total", "forged_sign", "replay", "unknown_type")  # fmt: skip
        kind: Any = self._rng.choice(kinds)
        at = self._rng.choice(("event.*", "event.door.*", "event.order.*", "event.order.*"))
        seconds = {"delay": self._rng.choice((20, 120, 4000, 86_400)), "skew": -1200}.get(kind, 30)
        rev, fen = self._rng.choice((0, 3)), self._rng.choice((-50, 1, 700))
        fault = Fault(at=at, kind=kind, seconds=seconds, rev=rev, fen=fen,
                      device_code=self._somewhere())  # fmt: skip
        self.day.world.xiaomai.dial.add(fault)

    def _answer(self) -> None:
        places = ("door/open", "door/open", "door/query", "order/query", "order/list",
                  "order/confirm", "device/status", "*")  # fmt: skip
        kind: Any = self._rng.choice(("http_502", "drop", "drop", "hang", "nonsense", "code"))
        fault = Fault(at=self._rng.choice(places), kind=kind, seconds=0.05,
                      is_done=self._rng.random() < 0.5, code=self._rng.choice((3002, 9001, 9002)),
                      times=self._rng.choice((1, 1, 3)))  # fmt: skip
        self.day.world.xiaomai.dial.add(fault)

    def _recognition(self) -> None:
        some = self._rng.choice(GOODS).sku
        plans = (
            Plan(certainty="uncertain", candidates={some: 1}, reasons=("camera",)),
            Plan(certainty="provisional", recheck_after_s=90),
            Plan(certainty="provisional", items={some: 1}, recheck_after_s=None),
            Plan(certainty="none"),
            Plan(items={some: 1}),
            Plan(total_off_fen=300),
            Plan(after_s=200, video="none"),
            Plan(items={"SKU-0000": 1}, reasons=("unknown_item",)),
        )
        plan = self._rng.choice(plans)
        self.day.world.xiaomai.recognition.plan_next(self._somewhere(), plan)

    def _opening(self) -> None:
        kind: Any = self._rng.choice(("never_open", "lock_failed", "slow"))
        fault = Fault(at="device.open", kind=kind, seconds=self._rng.choice((10, 25)),
                      code=self._rng.choice((3004, 3005)))  # fmt: skip
        self.day.world.xiaomai.dial.add(fault)

    def _line(self) -> None:
        cabinet = self.day.cabinet(self._somewhere())
        if not cabinet.is_connected:
            cabinet.connect()
        elif cabinet.power == "off":
            cabinet.plug_in()
        else:
            self._rng.choice((cabinet.disconnect, cabinet.unplug, cabinet.reboot))()

    def _wechat(self) -> None:
        pay = self.day.world.wechat.pay
        if self._rng.random() < 0.2:
            pay.score.failures_planned = 1
            return
        notice = self._rng.random() < 0.5
        kinds = ("drop", "duplicate", "delay", "reorder") if notice else (
            "http_502", "drop", "nonsense", "system_error", "forged_sign")  # fmt: skip
        at = "notify.*" if notice else self._rng.choice(("v3.score.*", "v3.*", "*"))
        kind: Any = self._rng.choice(kinds)
        pay.faults.add(PayFault(at, kind, seconds=30.0, is_done=self._rng.random() < 0.5))

    def _erp(self) -> None:
        if len(self.day.world.erp.faults.waiting) >= ERP_FAULTS_MAX:
            # It is asked seldom, and would be away for weeks.
            return
        at = self._rng.choice(("goods", "sales"))
        kind: Any = self._rng.choice(("http_502", "drop", "nonsense", "busy"))
        fault = ErpFault(at, kind, times=self._rng.choice((1, 3)),
                         is_done=self._rng.random() < 0.5)  # fmt: skip
        self.day.world.erp.faults.add(fault)

    def _clock(self) -> None:
        courier = self.day.world.xiaomai.courier
        courier.skew_s = 0.0 if courier.skew_s else self._rng.choice((1200.0, -3600.0))

    def _burglar(self) -> None:
        cabinet = self.day.cabinet(self._somewhere())
        for number, door in cabinet.doors.items():
            is_free = door.lock == "locked" and door.door == "closed" and not door.is_busy
            if is_free and cabinet.power != "off":
                door.opening = None
                cabinet.force(number)
                cabinet.close(number)
                cabinet.clear_alarm("forced")
                return
