"""What a refused request is answered: problem+json (RFC 9457) with a code that never changes.

A rule refuses with a domain exception; this is the one place that says which status that is.
What the edge itself refuses (a body that is no JSON, a route that is not there) is a Problem.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from http import HTTPStatus
from typing import Final

import msgspec

from accounts import model as accounts
from accounts.alerts import model as alerts
from accounts.staff import model as staff
from commerce.goods import model as goods
from commerce.members import model as members
from commerce.sales import model as sales
from devices import model as devices
from devices.desk import model as desk
from devices.fleet import model as fleet
from devices.flow import model as flow
from devices.inbox.kept import model as kept
from devices.orders import model as cabinet_orders
from devices.orders.films import model as films
from devices.presence import model as presence
from devices.reports import model as reports
from devices.sessions import model as door_sessions
from devices.stock import model as stock
from payments import model as payments
from payments.scans import model as scans
from payments.scores import model as scores
from queueing import model as queueing
from queueing.stalls import model as stalls
from sql.errors import (
    CommitUnknown,
    DatabaseError,
    DatabaseInUse,
    DatabaseUnavailable,
    NotMigrated,
)
from sql.idempotency import KeyReused

# A code starts this URI and needs no page of its own: it names the problem, the detail explains it.
TYPE_PREFIX: Final = "urn:callme:problem:"

# How long a client should wait before it asks again for what is away.
UNAVAILABLE_RETRY_S: Final = 1.0

# What msgspec says may repeat a value that was sent; a long one is not sent back.
MESSAGE_MAX: Final = 200


class FieldError(msgspec.Struct, frozen=True):
    """One field that was refused: where it is in the message, and why."""

    path: str
    message: str


class ProblemBody(msgspec.Struct, frozen=True, rename={"problem_type": "type"}):
    """The body of every refusal, as it goes over the wire."""

    problem_type: str
    title: str
    status: int
    detail: str
    code: str
    errors: Sequence[FieldError]
    request_id: str


class Problem(Exception):
    """A request refused at the edge, or a domain's refusal translated."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str = "",
        *,
        title: str = "",
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail = detail
        self.title = title or HTTPStatus(status).phrase
        self.errors = errors
        self.headers = headers or {}

    def body(self, request_id: str) -> ProblemBody:
        return ProblemBody(
            problem_type=TYPE_PREFIX + self.code,
            title=self.title,
            status=self.status,
            detail=self.detail,
            code=self.code,
            errors=self.errors,
            request_id=request_id,
        )


class TooManyRequests(Problem):
    """A limit was reached; Retry-After says when the next request will be let in."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(
            429,
            "rate.limited",
            "Too many requests in a short time.",
            headers={"Retry-After": whole_seconds(retry_after_s)},
        )


class Refusals:
    """Which status each domain exception is answered with.

    Code and title are the exception's own (class attributes `code` and `title`), the detail is
    its text. A subclass that is not listed is answered like its nearest listed base.
    """

    def __init__(self, statuses: Mapping[type[Exception], int]) -> None:
        self._statuses = dict(statuses)

    def also(self, statuses: Mapping[type[Exception], int]) -> "Refusals":
        return Refusals({**self._statuses, **statuses})

    @property
    def kinds(self) -> Collection[type[Exception]]:
        """All that is listed."""
        return self._statuses.keys()

    def status_of(self, code: str) -> int | None:
        """The status a code is answered with, None for one that is the edge's own."""
        for kind, status in self._statuses.items():
            if getattr(kind, "code", "") == code:
                return status
        return None

    def problem(self, error: Exception) -> Problem | None:
        """What to answer, or None for an exception nobody listed (our own mistake: a 500)."""
        if isinstance(error, Problem):
            return error
        if isinstance(error, queueing.NotYourStall):
            # A stranger's stall is answered in the very words of one that is not there.
            error = queueing.StallNotFound()
        for kind in type(error).__mro__:
            status = self._statuses.get(kind)
            if status is not None:
                return _translated(error, status)
        return None


def _translated(error: Exception, status: int) -> Problem:
    headers = {}
    wait_s = getattr(error, "retry_after_s", UNAVAILABLE_RETRY_S if status == 503 else None)
    if wait_s is not None:
        headers["Retry-After"] = whole_seconds(wait_s)
    return Problem(
        status,
        getattr(error, "code", None) or _code_from_name(type(error).__name__),
        _detail(error),
        title=getattr(error, "title", ""),
        headers=headers,
    )


def _detail(error: Exception) -> str:
    # What a database driver says names hosts and tables: for the log, not for the client.
    if isinstance(error, CommitUnknown):
        return "It may or may not have been done. Ask again with the same Idempotency-Key."
    if isinstance(error, DatabaseError):
        return "Nothing was changed. Try again in a moment."
    return str(error)


def _code_from_name(name: str) -> str:
    """QueueClosed → queue_closed."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def whole_seconds(wait_s: float) -> str:
    """Retry-After as HTTP wants it: whole seconds, at least one, never too early."""
    return str(max(1, -int(-wait_s // 1)))


def field_errors(message: str) -> tuple[FieldError, ...]:
    """Msgspec's sentence («Expected `int`, got `str` - at `$.months`») as field and reason."""
    reason, _, place = message.partition(" - at `")
    return (FieldError(path=(place.rstrip("`") or "$"), message=reason[:MESSAGE_MAX]),)


# One exception, one status; a domain's new exception gets its line here. 404 also stands for what
# is another's: that it exists is nobody else's business. 409: not in this state, or not any more.
REFUSALS: Final = Refusals(
    {
        DatabaseUnavailable: 503,
        CommitUnknown: 503,
        DatabaseInUse: 503,
        NotMigrated: 503,
        KeyReused: 422,
        accounts.SessionExpired: 401,
        accounts.AccountBlocked: 403,
        accounts.CodeRefused: 400,
        accounts.WeChatRefused: 502,
        accounts.WeChatUnavailable: 503,
        staff.SignInRefused: 401,
        staff.TotpRequired: 401,
        staff.TotpRefused: 401,
        staff.TotpWrong: 422,
        staff.PasswordWrong: 422,
        staff.WeakPassword: 422,
        staff.UnfitLoginName: 422,
        staff.LoginNameTaken: 409,
        staff.StaffNotFound: 404,
        staff.NotOneself: 409,
        staff.LastOwner: 409,
        staff.OwnerSeesAll: 422,
        staff.StoreUnknown: 422,
        staff.TotpIsOn: 409,
        staff.TotpNotBegun: 409,
        alerts.AlertNotFound: 404,
        alerts.AlertIsWatched: 409,
        queueing.StallNotFound: 404,
        queueing.StallClosed: 409,
        queueing.StallDue: 409,
        queueing.PoolExhausted: 409,
        queueing.QueueEmpty: 409,
        queueing.TicketNotFound: 404,
        queueing.TicketNotLive: 409,
        queueing.TicketNotCalled: 409,
        queueing.InvalidNumber: 422,
        queueing.InvalidNote: 422,
        queueing.NumberTaken: 409,
        queueing.UndoTooLate: 409,
        stalls.PhoneTaken: 409,
        stalls.BadPicture: 422,
        stalls.PictureTooLarge: 413,
        devices.NotBound: 409,
        devices.DeviceOffline: 409,
        devices.DeviceLocked: 409,
        devices.DeviceInMaintenance: 409,
        cabinet_orders.OrderNotFound: 404,
        cabinet_orders.OrderChanged: 409,
        cabinet_orders.OrderInReview: 409,
        cabinet_orders.NothingToPay: 409,
        cabinet_orders.NotPaidYet: 409,
        cabinet_orders.TicketsShort: 409,
        cabinet_orders.PaymentOpen: 409,
        cabinet_orders.TooMuchBack: 422,
        cabinet_orders.NothingWaived: 409,
        cabinet_orders.ItemUnknown: 422,
        cabinet_orders.ItemsMissing: 422,
        cabinet_orders.SessionMissing: 422,
        fleet.StoreNotFound: 404,
        fleet.StoreCodeTaken: 409,
        fleet.StoreInUse: 409,
        fleet.StoreDeleted: 409,
        fleet.DeviceNotFound: 404,
        fleet.DoorNotFound: 404,
        fleet.DeviceCodeTaken: 409,
        fleet.DeviceRetired: 409,
        fleet.DeviceBound: 409,
        fleet.DeviceBusy: 409,
        fleet.BindingUnderway: 409,
        fleet.BindingRefused: 502,
        fleet.BindingUnclear: 503,
        fleet.VendorNotSet: 422,
        fleet.OutOfScope: 403,
        fleet.QrInvalid: 422,
        presence.ParamUnknown: 422,
        presence.ParamsChanged: 409,
        presence.CommandRefused: 502,
        presence.CommandUnclear: 503,
        door_sessions.SessionNotFound: 404,
        door_sessions.DoorBusy: 409,
        door_sessions.SessionOpen: 409,
        flow.UnpaidOrder: 409,
        flow.MemberBarred: 403,
        flow.NoTickets: 409,
        flow.LastSettling: 409,
        flow.NothingForSale: 409,
        flow.DoorRefused: 409,
        flow.DoorInUse: 409,
        flow.OrderThere: 409,
        stock.PlanogramInvalid: 422,
        stock.GoodsUnknown: 422,
        stock.PlanogramNotFound: 404,
        stock.CountInvalid: 422,
        stock.NotRestocking: 422,
        goods.GoodNotFound: 404,
        goods.SyncFailed: 502,
        sales.BatchNotFound: 404,
        members.MemberNotFound: 404,
        members.MembersOfAll: 403,
        members.PhoneInvalid: 422,
        members.PhoneUnreadable: 503,
        members.PhoneMissing: 404,
        members.TicketsShort: 409,
        members.NoTickets: 422,
        members.ReasonMissing: 422,
        desk.ExceptionNotFound: 404,
        desk.ExceptionDecided: 409,
        desk.ExceptionTaken: 409,
        desk.NothingToApprove: 409,
        desk.OrderUndecided: 409,
        desk.ComplaintNotFound: 404,
        desk.ComplaintOpen: 409,
        desk.ComplaintResolved: 409,
        desk.OrderNotYours: 404,
        desk.TooManyPictures: 422,
        films.VideoMissing: 404,
        kept.EventNotFound: 404,
        kept.EventNotEnded: 409,
        reports.ReportNotFound: 404,
        reports.ReportsOfAll: 403,
        payments.DebtNotFound: 404,
        payments.PaymentNotFound: 404,
        payments.RefundNotFound: 404,
        payments.DifferenceNotFound: 404,
        payments.DebtPaid: 409,
        payments.DebtCancelled: 409,
        payments.DebtExpired: 409,
        payments.PaymentPending: 409,
        payments.PaymentUnknown: 503,
        payments.PaymentRefused: 502,
        payments.PaymentsUnavailable: 503,
        payments.PaymentsStopped: 503,
        payments.RefundTooMuch: 422,
        payments.ReasonMissing: 422,
        payments.SamePerson: 403,
        payments.RefundNotWaiting: 409,
        payments.RefundNotFailed: 409,
        payments.CannotFulfil: 409,
        scores.ScoreUnavailable: 503,
        scores.ScoreRefused: 502,
        scores.ScoreNotFound: 404,
        scores.ScoreOver: 409,
        scores.ScoreConflict: 409,
        scores.ScoreTooMuch: 422,
        scans.NotForSale: 404,
    }
)
