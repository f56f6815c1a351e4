"""An open command's life, as the cabinet lived it and as the platform has heard of it."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

import msgspec

from simulators.xiaomai import codes
from simulators.xiaomai.messages import Open

ACK_MS = 20_000
NO_RESULT_MS = 300_000

State = Literal["pending", "unlocked", "open", "closed", "failed", "cancelled"]


class Trace(msgspec.Struct, frozen=True):
    """Where a session stands; the cabinet's own, or what the platform knows of it."""

    state: State = "pending"
    unlocked_at: int | None = None
    opened_at: int | None = None
    closed_at: int | None = None
    locked_at: int | None = None
    fail_code: int = 0

    def then(self, **changes: Any) -> Trace:
        return msgspec.structs.replace(self, **changes)


class Opening(msgspec.Struct):
    """lived: at the cabinet; known: at the platform. taken: what is out, by sku; minus: put in.

    worth_fen: of what was taken, at the prices on the slots. fate_code: of a command that
    silently comes to nothing, known once the device's time to answer is over.
    """

    asked: Open
    wheat_order_no: str
    accepted_at: int
    lived: Trace = Trace()
    known: Trace = Trace()
    taken: Counter[str] = msgspec.field(default_factory=Counter)
    worth_fen: int = 0
    weight_before_g: int = 0
    weight_after_g: int = 0
    fate_code: int = 0

    @property
    def ack_deadline(self) -> int:
        return self.accepted_at + ACK_MS

    def answer(self) -> dict[str, Any]:
        """What door/open says, the first time and every other time."""
        return {
            "accepted": True,
            "wheat_order_no": self.wheat_order_no,
            "device_ack_deadline": self.ack_deadline,
        }

    def query(self, now: int) -> tuple[int, dict[str, Any]]:
        """What door/query says: the code of the envelope, and its data."""
        known = self.known
        if known.state == "pending" and self.fate_code == codes.LOCK_FAILED:
            known = self._once_over(now)
        data = msgspec.to_builtins(known)
        data["wheat_order_no"] = self.wheat_order_no
        data["state"] = "failed" if known.state == "cancelled" else known.state
        return self._code_of(known, now), data

    def _once_over(self, now: int) -> Trace:
        if now < self.ack_deadline:
            return self.known
        return self.known.then(state="failed", fail_code=self.fate_code)

    def _code_of(self, known: Trace, now: int) -> int:
        if known.state != "pending" or known.fail_code:
            return 0
        if now < self.ack_deadline:
            return codes.PENDING
        return codes.NO_ANSWER if now < self.accepted_at + NO_RESULT_MS else codes.NO_RESULT

    @property
    def is_physical(self) -> bool:
        """Whether the door is not free for another."""
        return self.lived.state in ("pending", "unlocked", "open") and not self.fate_code
