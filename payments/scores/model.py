"""A service order of Payscore on our side: what it is for, what we want of it, where it stands.

A *score* is begun for something of a domain (a door session), is confirmed by the user at
WeChat or by a permission given before, runs, and ends: with a fee that WeChat deducts, without
one, or cancelled. What is wanted is written in the transaction that decides it; the service
does it afterwards, as often as it takes. Amounts are fen, times milliseconds UTC.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec

from payments.model import MINUTE_MS, SECOND_MS, PaymentError, PaymentRefused, PaymentsUnavailable
from payments.wechat.payscore import CLOCK_MARGIN_MS
from sql.database import Tx
from sql.types import Millis

LINES_MAX: Final = 100
WORDS_MAX: Final = 30

# A score that WeChat has not heard of for so long is nobody's any more: the user has gone.
UNHEARD_MS: Final = 5 * MINUTE_MS
# A call to create one that is under way is answered within so long, or never.
IN_FLIGHT_MS: Final = 1 * MINUTE_MS
# No service is shorter, and none may end after the call that says so: a door of which we are told
# all at once, after its cabinet was cut off, would end a second later than its beginning, by a
# clock that may be five seconds ahead of WeChat's.
SERVICE_LEAST_MS: Final = 1 * SECOND_MS + CLOCK_MARGIN_MS
# WeChat asks for this pause while it is deducting.
DEDUCTING_MS: Final = 3 * MINUTE_MS
# The pauses after calls without a clear answer, and after a clear no.
PAUSES_MS: Final = (
    15 * SECOND_MS,
    30 * SECOND_MS,
    60 * SECOND_MS,
    3 * MINUTE_MS,
    10 * MINUTE_MS,
    30 * MINUTE_MS,
)
REFUSED_PAUSE_MS: Final = 60 * MINUTE_MS


class ScorePhase(StrEnum):
    """NEW → CREATED → RUNNING → COLLECTING → PAID, and the ends without money."""

    NEW = "new"
    """Written; whether WeChat has heard of it is not known."""
    CREATED = "created"
    """Waits for the user's confirmation; EXPIRED after 30 days."""
    RUNNING = "running"
    COLLECTING = "collecting"
    """The fee was asked for; WeChat deducts until it is paid, without a limit of time."""
    PAID = "paid"
    """Deducted, or paid otherwise and WeChat told so."""
    FREE = "free"
    """Ended at no charge."""
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REFUSED = "refused"
    """WeChat does not trust this user now, or refused the order for good."""


RANKS: Final = {
    ScorePhase.NEW: 0,
    ScorePhase.CREATED: 1,
    ScorePhase.RUNNING: 2,
    ScorePhase.COLLECTING: 3,
    ScorePhase.PAID: 4,
    ScorePhase.FREE: 4,
    ScorePhase.CANCELLED: 4,
    ScorePhase.EXPIRED: 4,
    ScorePhase.REFUSED: 4,
}
"""A score goes forward only: what is told late changes nothing."""

OVER: Final = frozenset(phase for phase, rank in RANKS.items() if rank == 4)


class Wanted(StrEnum):
    NOTHING = ""
    COMPLETE = "complete"
    LESS = "less"
    SYNC = "sync"
    CANCEL = "cancel"


class ScoreLine(msgspec.Struct, frozen=True):
    """What was taken. amount_fen: of all pieces together."""

    description: str
    amount_fen: int
    quantity: int = 1


class ScoreRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What an order is created with, so that a repeat says the very same."""

    openid: str
    risk_fen: int
    introduction: str
    device_id: str
    needs_confirming: bool


class Fee(msgspec.Struct, frozen=True, kw_only=True):
    """What is, or was, asked of a score, so that a repeat says the very same.

    asked_fen, lines, started_at, ended_at: of its completion. less_fen, less_lines: what it was
    lowered to. paid_at: when it was paid otherwise. reason: of the lowering or cancelling.
    """

    asked_at: Millis = 0
    asked_fen: int = 0
    lines: tuple[ScoreLine, ...] = ()
    started_at: Millis = 0
    ended_at: Millis = 0
    less_fen: int | None = None
    less_lines: tuple[ScoreLine, ...] = ()
    reason: str = ""
    paid_at: Millis | None = None


class Score(msgspec.Struct, kw_only=True):
    id: int
    out_order_no: str
    biz: str
    biz_id: int
    account_id: int
    openid: str
    request: ScoreRequest
    phase: ScorePhase
    wanted: Wanted
    risk_fen: int
    fee_fen: int | None
    """What is asked for now; None before anything was."""
    fee: Fee
    order_id: str
    package: str
    debt_id: int | None
    created_at: Millis
    started_at: Millis | None
    ended_at: Millis | None
    next_at: Millis | None
    """When WeChat is asked about it next; None when it is over."""
    tries: int
    """How often what is wanted was tried without an end."""
    failure: str
    version: int

    @property
    def is_over(self) -> bool:
        return self.phase in OVER


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """view: the arguments of wx.openBusinessView; None when nothing is to be confirmed."""

    out_order_no: str
    is_confirmed: bool
    view: dict[str, Any] | None


class PermissionAsked(msgspec.Struct, frozen=True, kw_only=True):
    """view: the arguments of wx.openBusinessView with which the user grants the permission."""

    authorization_code: str
    view: dict[str, Any]


ConfirmedAction = Callable[[Tx, int], None]
OverAction = Callable[[Tx, int, ScorePhase], None]


class Watchers:
    """What a domain does about its scores, in the transaction that changes them, by biz."""

    def __init__(self) -> None:
        self.confirmed: dict[str, ConfirmedAction] = {}
        self.over: dict[str, OverAction] = {}


def folded(lines: Sequence[ScoreLine]) -> tuple[ScoreLine, ...]:
    """As WeChat takes them: at most 100, each described in at most 30 characters.

    The count goes into the words, because WeChat's own field leaves open what it multiplies.
    """
    shown = [_shortened(line) for line in lines]
    if len(shown) > LINES_MAX:
        rest = shown[LINES_MAX - 1 :]
        others = ScoreLine(f"其他 {len(rest)} 种", sum(line.amount_fen for line in rest))
        shown = [*shown[: LINES_MAX - 1], others]
    return tuple(shown)


def _shortened(line: ScoreLine) -> ScoreLine:
    mark = f" ×{line.quantity}" if line.quantity > 1 else ""
    return ScoreLine(line.description[: WORDS_MAX - len(mark)] + mark, line.amount_fen)


def pause_after(tries: int) -> Millis:
    """How long to wait after so many calls without a clear answer."""
    return PAUSES_MS[min(tries, len(PAUSES_MS)) - 1]


# ---------------------------------------------------------------- refusals


class ScoreUnavailable(PaymentsUnavailable):
    """Payscore is not set up, or not granted to us: other ways of paying work on."""

    code = "payments.score_unavailable"
    title = "Paying afterwards is not set up"


class ScoreRefused(PaymentRefused):
    """WeChat will not let this user pay afterwards now."""

    code = "payments.score_refused"
    title = "WeChat does not let this person pay afterwards"


class ScoreNotFound(PaymentError):
    code = "payments.score_not_found"
    title = "No such service order"


class ScoreOver(PaymentError):
    """It is over, or about to be cancelled: no fee can be asked for by it."""

    code = "payments.score_over"
    title = "The service order is over"


class ScoreConflict(PaymentError):
    """What is wanted does not fit what was wanted before, or where the order stands."""

    code = "payments.score_conflict"
    title = "The service order does not allow it"


class ScoreTooMuch(PaymentError):
    """More than was agreed to at the opening, or more than was asked for before."""

    code = "payments.score_too_much"
    title = "More than was agreed to"
