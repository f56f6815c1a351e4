"""The vendor's own account of the merchant's money, against which the merchant's books are held."""

from typing import Literal

import msgspec

from simulators.clock import VirtualClock, utc_text


class Entry(msgspec.Struct, frozen=True):
    """Money that moved: in from a payer, out by a refund that arrived."""

    at: str
    direction: Literal["in", "out"]
    amount_fen: int
    out_trade_no: str
    transaction_id: str
    out_refund_no: str = ""


class Sum(msgspec.Struct):
    """Of one out_trade_no."""

    paid_fen: int = 0
    refunded_fen: int = 0
    left_fen: int = 0


class Ledger:
    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.entries: list[Entry] = []

    def money_in(self, out_trade_no: str, transaction_id: str, amount_fen: int) -> None:
        now = utc_text(self._clock.now_s())
        self.entries.append(Entry(now, "in", amount_fen, out_trade_no, transaction_id))

    def money_out(
        self, out_trade_no: str, transaction_id: str, amount_fen: int, out_refund_no: str
    ) -> None:
        now = utc_text(self._clock.now_s())
        self.entries.append(
            Entry(now, "out", amount_fen, out_trade_no, transaction_id, out_refund_no)
        )

    def sums(self) -> dict[str, Sum]:
        sums: dict[str, Sum] = {}
        for entry in self.entries:
            one = sums.setdefault(entry.out_trade_no, Sum())
            if entry.direction == "in":
                one.paid_fen += entry.amount_fen
            else:
                one.refunded_fen += entry.amount_fen
            one.left_fen = one.paid_fen - one.refunded_fen
        return sums
