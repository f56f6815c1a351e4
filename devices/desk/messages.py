"""What crosses a wire about the desk. Amounts are fen, times RFC 3339."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from devices.desk.model import (
    PICTURES_MAX,
    CabinetException,
    Complaint,
    ComplaintState,
    ExceptionState,
    Ruling,
)
from sql.types import Millis

# No control characters but the ends of lines, and not only spaces.
_SAYING = r"^(?=[\s\S]*\S)[^\x00-\x09\x0b-\x1f\x7f]*(?!\n)$"
_LINE = r"^(?=.*\S)[^\x00-\x1f\x7f]*(?!\n)$"

# As long as what the audit and a refund keep of it.
Reason = Annotated[str, Meta(min_length=1, max_length=80, pattern=_LINE)]
Sku = Annotated[str, Meta(min_length=1, max_length=50)]
Words = Annotated[str, Meta(min_length=1, max_length=1000, pattern=_SAYING)]
# Half a megabyte each, as base64.
Picture = Annotated[bytes, Meta(max_length=512 * 1024)]
Fen = Annotated[int, Meta(ge=1, le=10_000_000_000)]

# ---------------------------------------------------------------- requests


class Taken(msgspec.Struct, frozen=True):
    sku: Sku
    quantity: Annotated[int, Meta(ge=0, le=1000)]


class Approval(msgspec.Struct, frozen=True):
    """items: what was taken, where that is in doubt. session_id: whose an order is that was
    nobody's."""

    reason: Reason
    items: Annotated[list[Taken], Meta(max_length=200)] | UnsetType = UNSET
    session_id: Annotated[int, Meta(ge=0)] = 0


class Decision(msgspec.Struct, frozen=True):
    """To reject or close an exception."""

    reason: Reason


class ComplaintNew(msgspec.Struct, frozen=True):
    """pictures: each the file as base64, PNG, JPEG, WebP or GIF."""

    text: Words
    pictures: Annotated[list[Picture], Meta(max_length=PICTURES_MAX)] = []


class Resolution(msgspec.Struct, frozen=True):
    """refund_fen: without it, nothing goes back and the complaint is refused."""

    reason: Reason
    refund_fen: Fen | UnsetType = UNSET


def ruling_of(approval: Approval) -> Ruling:
    details: dict[str, Any] = {"session_id": approval.session_id}
    if approval.items is not UNSET:
        details["items"] = msgspec.to_builtins(approval.items)
    return Ruling(approval.reason, details)


# ---------------------------------------------------------------- answers


class ExceptionOut(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    kind: str
    subject: str
    severity: str
    state: ExceptionState
    text: str
    store_id: int | None
    device_id: int | None
    order_id: int | None
    session_id: int | None
    raised_at: str
    taken_by: int
    taken_at: str | None
    ended_by: int
    ended_at: str | None
    decision: str
    version: int


class ComplaintOut(msgspec.Struct, frozen=True, kw_only=True):
    """pictures: how many; they are got one by one, counted from 1."""

    id: int
    order_id: int
    text: str
    pictures: int
    state: ComplaintState
    created_at: str
    resolved_at: str | None
    resolution: str
    refund_fen: int


class StaffComplaintOut(ComplaintOut, frozen=True, kw_only=True):
    store_id: int
    account_id: int
    resolved_by: int
    version: int


Severity = Literal["low", "normal", "medium", "high"]


def exception_out(found: CabinetException) -> ExceptionOut:
    values = msgspec.structs.asdict(found)
    for name in ("raised_at", "taken_at", "ended_at"):
        values[name] = None if values[name] is None else _time(values[name])
    return ExceptionOut(**values)


def complaint_out(found: Complaint) -> ComplaintOut:
    return ComplaintOut(
        id=found.id,
        order_id=found.order_id,
        text=found.text,
        pictures=len(found.pictures),
        state=found.state,
        created_at=_time(found.created_at),
        resolved_at=None if found.resolved_at is None else _time(found.resolved_at),
        resolution=found.resolution,
        refund_fen=found.refund_fen,
    )


def staff_complaint_out(found: Complaint) -> StaffComplaintOut:
    return StaffComplaintOut(
        **msgspec.structs.asdict(complaint_out(found)),
        store_id=found.store_id,
        account_id=found.account_id,
        resolved_by=found.resolved_by,
        version=found.version,
    )


def _time(at: Millis) -> str:
    second, rest = divmod(at, 1000)
    return f"{datetime.fromtimestamp(second, UTC).isoformat()[:19]}.{rest:03d}Z"
