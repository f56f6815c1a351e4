"""What was recognised behind a closed door, in revisions, and the platform's own books."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any, Literal

import msgspec

from simulators.xiaomai import codes
from simulators.xiaomai.codes import XmError
from simulators.xiaomai.messages import Confirm, OrderList

Certainty = Literal["certain", "provisional", "uncertain"]
VideoState = Literal["pending", "ready", "none", "failed"]
REASONS = frozenset(
    {"camera", "gravity", "foreign_item", "unknown_item", "unfriendly", "video", "hardware"}
    | {"timeout", "other"}
)
SLICES = 2
CAMERAS = (1, 2)


class Plan(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How the next shopping is recognised.

    certainty none: no order at all. items: what is seen, by sku; null is what was taken.
    after_s: how long it takes. A provisional order is rechecked after recheck_after_s (null:
    never) and then certain, with recheck_items (null: what was taken). total_off_fen: the
    total does not fit the items by so much.
    """

    certainty: Literal["certain", "provisional", "uncertain", "none"] = "certain"
    items: dict[str, int] | None = None
    candidates: dict[str, int] = {}
    reasons: tuple[str, ...] = ()
    after_s: float = 0.0
    recheck_after_s: float | None = 60.0
    recheck_items: dict[str, int] | None = None
    total_off_fen: int = 0
    video: Literal["ready", "none", "failed"] = "ready"
    video_after_s: float = 0.0

    def check(self) -> None:
        """Raises ValueError."""
        if unknown := set(self.reasons) - REASONS:
            raise ValueError(f"no reasons {sorted(unknown)}; there are {sorted(REASONS)}")


class Line(msgspec.Struct, frozen=True):
    sku: str
    barcode: str
    name: str
    qty: int
    price_fen: int
    confidence: float = 0.98


class Revision(msgspec.Struct, frozen=True):
    rev: int
    certainty: Certainty
    items: tuple[Line, ...]
    total_fen: int
    candidates: tuple[Line, ...] = ()
    abnormal_reasons: tuple[str, ...] = ()


class Order(msgspec.Struct):
    """taken, worth_fen: the truth, which no platform knows. seq: of its last change."""

    wheat_order_no: str
    device_code: str
    door_no: int
    session_no: str
    request_id: str
    user_ref: str
    opened_at: int | None
    closed_at: int | None
    taken: dict[str, int]
    worth_fen: int
    weight_before_g: int
    weight_after_g: int
    revisions: list[Revision] = []
    video: VideoState = "pending"
    updated_at: int = 0
    seq: int = 0
    confirms: list[Confirm] = []

    @property
    def latest(self) -> Revision:
        return self.revisions[-1]

    def data(self, revision: Revision | None = None) -> dict[str, Any]:
        """The data of an order event (3.3)."""
        said = revision or self.latest
        shown: dict[str, Any] = msgspec.to_builtins(said)
        return {
            "wheat_order_no": self.wheat_order_no,
            **shown,
            "opened_at": self.opened_at,
            "closed_at": self.closed_at,
            "weight_before_g": self.weight_before_g,
            "weight_after_g": self.weight_after_g,
            "video": {"state": self.video, "slices": SLICES if self.video == "ready" else 0},
        }

    def whole(self) -> dict[str, Any]:
        """What order/query and order/list say: the event's data, and whose it is."""
        return {
            **self.data(),
            "device_code": self.device_code,
            "door_no": self.door_no,
            "session_no": self.session_no,
            "request_id": self.request_id,
            "updated_at": self.updated_at,
        }

    def booked(self) -> dict[str, Any]:
        """One line of the books: what was taken, what was said, what is confirmed."""
        last = self.confirms[-1] if self.confirms else None
        return {
            "wheat_order_no": self.wheat_order_no,
            "session_no": self.session_no,
            "device_code": self.device_code,
            "user_ref": self.user_ref,
            "taken": {sku: n for sku, n in self.taken.items() if n},
            "worth_fen": self.worth_fen,
            "rev": self.latest.rev,
            "certainty": self.latest.certainty,
            "said": {line.sku: line.qty for line in self.latest.items},
            "said_fen": self.latest.total_fen,
            "result": last.result if last else None,
            "order_no": last.order_no if last else "",
            "confirmed": {item.sku: item.qty for item in last.items} if last else {},
            "due_fen": last.due_fen if last else 0,
            "net_paid_fen": last.net_paid_fen if last else 0,
        }


class Orders:
    """All orders, by their number; changed in the order of seq."""

    def __init__(self) -> None:
        self.all: dict[str, Order] = {}
        self._seq = 0

    def add(self, order: Order, now: int) -> None:
        self.all[order.wheat_order_no] = order
        self.touch(order, now)

    def touch(self, order: Order, now: int) -> None:
        self._seq += 1
        order.seq, order.updated_at = self._seq, now

    def find(self, wheat_order_no: str = "", session_no: str = "") -> Order:
        """Raises XmError 4001."""
        found = self.all.get(wheat_order_no)
        if found is None and session_no:
            found = next((o for o in self.all.values() if o.session_no == session_no), None)
        if found is None:
            raise XmError(codes.ORDER_UNKNOWN)
        return found

    def page(self, asked: OrderList) -> tuple[list[Order], str]:
        """Oldest change first. One that changes while pages are turned comes once more, later."""
        ordered = sorted(self.all.values(), key=_place)
        after = _read_cursor(asked.cursor) if asked.cursor else (asked.since, -1)
        start = bisect_right(ordered, after, key=_place)
        chosen = [o for o in ordered[start : start + asked.limit] if o.updated_at <= asked.until]
        is_last = start + len(chosen) >= len(ordered) or len(chosen) < asked.limit
        cursor = "" if is_last else "{}.{}".format(*_place(chosen[-1]))
        return chosen, cursor

    def confirm(self, said: Confirm, known_skus: frozenset[str]) -> None:
        """Keep what the customer settled. Raises XmError 4001, 4002, 4003, 4005."""
        order = self.find(said.wheat_order_no)
        if said.rev > order.latest.rev:
            raise XmError(codes.ORDER_CONFLICT, f"the latest revision is {order.latest.rev}")
        unknown = {item.sku for item in said.items} - known_skus
        if unknown:
            raise XmError(codes.SKU_UNKNOWN, ", ".join(sorted(unknown)))
        _add_up(said)
        if said not in order.confirms:
            order.confirms.append(said)
            order.confirms.sort(key=lambda confirm: confirm.at)


def _add_up(said: Confirm) -> None:
    """Raises XmError 4003."""
    if said.result == "paid" and said.net_paid_fen != said.due_fen:
        raise XmError(codes.AMOUNT_MISMATCH, "paid, but not what is due")
    total_fen = sum(item.qty * item.price_fen for item in said.items)
    if said.result in ("paid", "corrected") and total_fen != said.due_fen:
        raise XmError(codes.AMOUNT_MISMATCH, f"the items make {total_fen}")


def _place(order: Order) -> tuple[int, int]:
    return order.updated_at, order.seq


def _read_cursor(cursor: str) -> tuple[int, int]:
    """Raises XmError 1000."""
    try:
        at, seq = cursor.split(".")
        return int(at), int(seq)
    except ValueError as error:
        raise XmError(codes.MALFORMED, f"no cursor of ours: {cursor!r}") from error
