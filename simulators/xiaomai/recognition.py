"""How what was taken becomes an order: seen at once, looked at again, or not to be made out."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from simulators.xiaomai.cabinets import Cabinet
from simulators.xiaomai.courier import Delivery
from simulators.xiaomai.messages import Good
from simulators.xiaomai.openings import Opening
from simulators.xiaomai.orders import SLICES, Certainty, Line, Order, Plan, Revision

if TYPE_CHECKING:
    from simulators.xiaomai.sim import Xiaomai


class Recognition:
    """plans wait by cabinet; usual_plan is for who has none."""

    def __init__(self, sim: Xiaomai) -> None:
        self._sim = sim
        self.plans: dict[str, deque[Plan]] = {}
        self.usual_plan = Plan()

    def plan_next(self, code: str, plan: Plan) -> None:
        """How the next shopping at this cabinet is recognised; several wait in line."""
        plan.check()
        self.plans.setdefault(self._sim.cabinet(code).code, deque()).append(plan)

    def begin(self, cabinet: Cabinet, opening: Opening) -> None:
        waiting = self.plans.get(cabinet.code)
        plan = waiting.popleft() if waiting else self.usual_plan
        self._sim.later(plan.after_s, lambda: self._decide(cabinet, opening, plan))

    def _decide(self, cabinet: Cabinet, opening: Opening, plan: Plan) -> None:
        certainty = plan.certainty
        if certainty == "none":
            return
        taken = {sku: n for sku, n in opening.taken.items() if n > 0}
        order = Order(
            wheat_order_no=opening.wheat_order_no,
            device_code=cabinet.code,
            door_no=opening.asked.door_no,
            session_no=opening.asked.session_no,
            request_id=opening.asked.request_id,
            user_ref=opening.asked.user_ref,
            opened_at=opening.known.opened_at,
            closed_at=opening.known.closed_at,
            taken=taken,
            worth_fen=opening.worth_fen,
            weight_before_g=opening.weight_before_g,
            weight_after_g=opening.weight_after_g,
        )
        self._sim.orders.add(order, self._sim.now_ms())
        seen = taken if plan.items is None else plan.items
        self.revise(
            order,
            seen,
            certainty=certainty,
            candidates=plan.candidates,
            reasons=plan.reasons,
            total_off_fen=plan.total_off_fen,
        )
        self._sim.later(plan.video_after_s, lambda: self.film(order, plan))
        if certainty == "provisional" and plan.recheck_after_s is not None:
            final = taken if plan.recheck_items is None else plan.recheck_items
            self._sim.later(plan.recheck_after_s, lambda: self._recheck(order, final))

    def _recheck(self, order: Order, items: Mapping[str, int]) -> None:
        self.revise(order, items, kind="order.rechecked")

    def wonder(self, cabinet: Cabinet, door_no: int) -> None:
        """A door was open with no session: an order of nobody, for a person to look at."""
        door = cabinet.doors[door_no]
        order = Order(
            wheat_order_no=self._sim.new_wheat_no(),
            device_code=cabinet.code,
            door_no=door_no,
            session_no="",
            request_id="",
            user_ref="",
            opened_at=None,
            closed_at=self._sim.now_ms(),
            taken=dict(door.stolen),
            worth_fen=self._worth(cabinet, door_no, door.stolen),
            weight_before_g=0,
            weight_after_g=cabinet.weight_g(door_no),
        )
        door.stolen.clear()
        self._sim.orders.add(order, self._sim.now_ms())
        self.revise(order, order.taken, certainty="uncertain", reasons=("other",))

    def revise(  # noqa: PLR0913 -- what can be said of an order
        self,
        order: Order,
        items: Mapping[str, int],
        *,
        kind: str = "",
        rev: int | None = None,
        certainty: Certainty = "certain",
        candidates: Mapping[str, int] | None = None,
        reasons: tuple[str, ...] = (),
        total_off_fen: int = 0,
    ) -> Delivery:
        """A new revision of an order, and the event that tells of it.

        rev: another number than the next; then the platform's own copy stays as it is.
        """
        cabinet = self._sim.cabinet(order.device_code)
        lines = self._lines(cabinet, order.door_no, items)
        revision = Revision(
            rev=rev if rev is not None else len(order.revisions) + 1,
            certainty=certainty,
            items=lines,
            total_fen=sum(line.qty * line.price_fen for line in lines) + total_off_fen,
            candidates=self._lines(cabinet, order.door_no, candidates or {}),
            abnormal_reasons=reasons,
        )
        if rev is None:
            order.revisions.append(revision)
            self._sim.orders.touch(order, self._sim.now_ms())
        usual = "order.abnormal" if reasons else "order.pushed"
        return self.push(order, kind=kind or usual, revision=revision)

    def push(
        self, order: Order, *, kind: str = "order.pushed", revision: Revision | None = None
    ) -> Delivery:
        """Tell of an order as it is, or of a revision of it, with an event id of its own."""
        cabinet = self._sim.cabinet(order.device_code)
        return self._sim.tell(
            kind,
            cabinet,
            door_no=order.door_no,
            session_no=order.session_no,
            request_id=order.request_id,
            data=order.data(revision),
        )

    def film(self, order: Order, plan: Plan) -> None:
        """The video is there, or will never be."""
        order.video = plan.video
        self._sim.orders.touch(order, self._sim.now_ms())
        if plan.video == "none":
            return
        data: dict[str, Any] = {"wheat_order_no": order.wheat_order_no}
        extra = {"slices": SLICES} if plan.video == "ready" else {"reason": "upload"}
        cabinet = self._sim.cabinet(order.device_code)
        kind = "video.ready" if plan.video == "ready" else "video.failed"
        self._sim.tell(
            kind,
            cabinet,
            door_no=order.door_no,
            session_no=order.session_no,
            request_id=order.request_id,
            data=data | extra,
        )

    def _lines(self, cabinet: Cabinet, door_no: int, items: Mapping[str, int]) -> tuple[Line, ...]:
        return tuple(self._line(cabinet, door_no, sku, quantity) for sku, quantity in items.items())

    def _line(self, cabinet: Cabinet, door_no: int, sku: str, quantity: int) -> Line:
        good = self._sim.goods.get(sku) or Good(sku, "", sku, 0, 0, [], 1)
        here = [s for s in cabinet.slots if s.sku == sku and s.door_no == door_no]
        price_fen = here[0].price_fen if here else good.price_fen
        return Line(sku, good.barcode, good.name, quantity, price_fen)

    def _worth(self, cabinet: Cabinet, door_no: int, items: Mapping[str, int]) -> int:
        lines = self._lines(cabinet, door_no, items)
        return sum(line.qty * line.price_fen for line in lines)
