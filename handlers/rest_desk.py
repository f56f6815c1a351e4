"""The desk over REST: exceptions and complaints; members, their tickets and phones."""

from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET

from accounts.staff.permissions import Permission, allowed
from commerce.members.messages import (
    GrantOut,
    Look,
    MemberOut,
    OwnOut,
    OwnPatch,
    Phone,
    PhoneOut,
    PhoneSearch,
    Tickets,
    TicketsNew,
    grant_out,
    member_out,
    own_out,
    ticket_line,
)
from commerce.members.service import Members
from commerce.members.store import SORTS, GrantAsk
from commerce.members.store import Wanted as MembersWanted
from devices.desk.complaints.store import SORTS as COMPLAINT_SORTS
from devices.desk.complaints.store import Wanted as ComplaintsWanted
from devices.desk.messages import (
    Approval,
    ComplaintNew,
    ComplaintOut,
    Decision,
    ExceptionOut,
    Resolution,
    Severity,
    StaffComplaintOut,
    complaint_out,
    exception_out,
    ruling_of,
    staff_complaint_out,
)
from devices.desk.model import (
    ComplaintState,
    ExceptionState,
    Ruling,
)
from devices.desk.service import Complaints, Desk
from devices.desk.store import SORTS as EXCEPTION_SORTS
from devices.desk.store import Wanted
from handlers.actors import by, signed_in
from handlers.calls import ADMIN, DINER, Call, Response
from handlers.errors import Problem
from handlers.routing import BODY_MAX, Route
from handlers.wire import Listing, Page, sorted_by

_EXCEPTIONS: Final = ADMIN | allowed(Permission.EXCEPTIONS_READ)
_DECIDE: Final = ADMIN | allowed(Permission.EXCEPTIONS_DECIDE)
_RELEASE_ANY: Final = ADMIN | allowed(Permission.EXCEPTIONS_RELEASE)
_COMPLAINTS: Final = ADMIN | allowed(Permission.COMPLAINTS_READ)
_RESOLVE: Final = ADMIN | allowed(Permission.COMPLAINTS_DECIDE)
_REFUND: Final = ADMIN | allowed(Permission.CABINET_ORDERS_REFUND)
_MEMBERS: Final = ADMIN | allowed(Permission.MEMBERS_READ)
_PHONE: Final = ADMIN | allowed(Permission.MEMBERS_PHONE)
_TICKETS: Final = ADMIN | allowed(Permission.MEMBERS_TICKETS)
_BAR: Final = ADMIN | allowed(Permission.MEMBERS_BAR)

# Six pictures of half a megabyte in base64, and the words.
_COMPLAINT_MAX: Final = 6 * 700 * 1024 + BODY_MAX

Id = Annotated[int, msgspec.Meta(ge=0)]


class ExceptionPage(Page, frozen=True, kw_only=True):
    """0 and nothing leave all in. is_open: those that nobody has decided yet, or the others."""

    kind: Annotated[str, msgspec.Meta(max_length=16)] = ""
    state: ExceptionState | None = None
    is_open: bool | None = None
    severity: Severity | None = None
    store_id: Id = 0
    device_id: Id = 0
    order_id: Id = 0
    session_id: Id = 0


class ComplaintPage(Page, frozen=True, kw_only=True):
    state: ComplaintState | None = None
    store_id: Id = 0
    order_id: Id = 0
    account_id: Id = 0


class MemberPage(Page, frozen=True, kw_only=True):
    """keyword: in the name. phone: a whole number; phone_tail: its last four digits. We log no
    queries; where a proxy does, search by POST."""

    keyword: Annotated[str, msgspec.Meta(max_length=100)] = ""
    phone: Phone = ""
    phone_tail: Annotated[str, msgspec.Meta(pattern=r"^([0-9]{4})?$")] = ""
    is_barred: bool | None = None


class TicketsWanted(msgspec.Struct, frozen=True):
    """before: the n of the last line seen, to go further back."""

    before: Id = 0
    most: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50


def routes(desk: Desk, complaints: Complaints, members: Members) -> list[Route]:
    return [
        *_exception_routes(_Exceptions(desk)),
        *_complaint_routes(_Complaints(complaints)),
        *_member_routes(_Members(members)),
    ]


# ---------------------------------------------------------------- exceptions


def _exception_routes(handlers: "_Exceptions") -> list[Route]:
    area, at = "admin: exceptions", "/api/v1/admin/exceptions"
    one = f"{at}/{{exception_id}}"
    refused = (
        "exceptions.not_found",
        "exceptions.decided",
        "exceptions.taken",
        "idempotency.key_reused",
    )
    of_its_subject = ("door_session.not_found", "cabinet_order.not_found")
    common: dict[str, Any] = {"returns": ExceptionOut, "area": area}
    return [
        Route(
            "GET",
            at,
            handlers.page,
            query=ExceptionPage,
            returns=Listing[ExceptionOut],
            who=_EXCEPTIONS,
            area=area,
            summary="What the machine does not decide, of the stores one sees, newest first",
        ),
        Route(
            "GET",
            one,
            handlers.one,
            who=_EXCEPTIONS,
            summary="One exception",
            errors=("exceptions.not_found",),
            **common,
        ),
        Route(
            "POST",
            f"{one}/take",
            handlers.take,
            who=_DECIDE,
            idempotent=True,
            summary="Say that one looks into it",
            errors=refused,
            **common,
        ),
        Route(
            "POST",
            f"{one}/release",
            handlers.release,
            who=_DECIDE,
            idempotent=True,
            summary="Say that one does not look into it any more",
            description="An owner or an administrator may say so of whoever has taken it.",
            errors=refused,
            **common,
        ),
        Route(
            "POST",
            f"{one}/approve",
            handlers.approve,
            body=Approval,
            who=_DECIDE,
            idempotent=True,
            summary="Let it happen: what that means depends on its kind",
            description="Of an order: it is charged, as items say or as was said where that is "
            "clear. Of a session without an order: nothing was taken.",
            errors=(
                *refused,
                *of_its_subject,
                "exceptions.nothing_to_approve",
                "cabinets.door_in_use",
                "cabinets.order_there",
                "cabinet_order.items_missing",
                "cabinet_order.unknown_item",
                "cabinet_order.session_missing",
                "payments.stopped",
            ),
            **common,
        ),
        Route(
            "POST",
            f"{one}/reject",
            handlers.reject,
            body=Decision,
            who=_DECIDE,
            idempotent=True,
            summary="Do not let it happen: nothing is charged, or it is waited on",
            errors=(
                *refused,
                *of_its_subject,
                "exceptions.nothing_to_approve",
                "payments.stopped",
            ),
            **common,
        ),
        Route(
            "POST",
            f"{one}/close",
            handlers.close,
            body=Decision,
            who=_DECIDE,
            idempotent=True,
            summary="There is nothing to decide about it any more",
            errors=(*refused, "exceptions.order_undecided"),
            **common,
        ),
    ]


class _Exceptions:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def page(self, call: Call) -> Listing[ExceptionOut]:
        page: ExceptionPage = call.query
        wanted = Wanted(
            kind=page.kind,
            state=page.state or "",
            is_open=page.is_open,
            severity=page.severity or "",
            store_id=page.store_id,
            device_id=page.device_id,
            order_id=page.order_id,
            session_id=page.session_id,
            sort=sorted_by(page, EXCEPTION_SORTS, "-id"),
        )
        total, found = await self._desk.page(
            wanted, by=by(call), offset=_offset(page), most=page.page_size
        )
        shown = [exception_out(each) for each in found]
        return Listing(shown, total, page.page, page.page_size)

    async def one(self, call: Call) -> ExceptionOut:
        return exception_out(await self._desk.exception(_id(call), by=by(call)))

    async def take(self, call: Call) -> ExceptionOut:
        taken = await self._desk.take(_id(call), by=by(call), key=call.idempotency_key)
        return exception_out(taken)

    async def release(self, call: Call) -> ExceptionOut:
        anyones = not signed_in(call).roles.isdisjoint(_RELEASE_ANY)
        released = await self._desk.release(
            _id(call), by=by(call), anyones=anyones, key=call.idempotency_key
        )
        return exception_out(released)

    async def approve(self, call: Call) -> ExceptionOut:
        ruling = ruling_of(call.body)
        ended = await self._desk.approve(_id(call), ruling, by=by(call), key=call.idempotency_key)
        return exception_out(ended)

    async def reject(self, call: Call) -> ExceptionOut:
        ruling = Ruling(call.body.reason)
        ended = await self._desk.reject(_id(call), ruling, by=by(call), key=call.idempotency_key)
        return exception_out(ended)

    async def close(self, call: Call) -> ExceptionOut:
        reason = call.body.reason
        ended = await self._desk.close(
            _id(call), by=by(call), reason=reason, key=call.idempotency_key
        )
        return exception_out(ended)


def _id(call: Call) -> int:
    found: int = call.params["exception_id"]
    return found


# ---------------------------------------------------------------- complaints


def _complaint_routes(handlers: "_Complaints") -> list[Route]:
    mine, at = "/api/v1/cabinet-orders/{order_id}/complaints", "/api/v1/admin/complaints"
    one, office = f"{at}/{{complaint_id}}", "admin: complaints"
    found = ("complaints.not_found",)
    return [
        Route(
            "POST",
            mine,
            handlers.complain,
            body=ComplaintNew,
            returns=ComplaintOut,
            status=201,
            who=DINER,
            idempotent=True,
            max_body=_COMPLAINT_MAX,
            area="cabinets",
            summary="Complain about one's order, with at most six pictures",
            errors=(
                "complaints.order_not_found",
                "complaints.open",
                "stall.bad_picture",
                "stall.picture_too_large",
                "idempotency.key_reused",
            ),
        ),
        Route(
            "GET",
            mine,
            handlers.own,
            returns=list[ComplaintOut],
            who=DINER,
            area="cabinets",
            summary="What one has said about an order, and how it ended",
            errors=("complaints.order_not_found",),
        ),
        Route(
            "GET",
            "/api/v1/complaints/{complaint_id}/pictures/{n}",
            handlers.own_picture,
            who=DINER,
            area="cabinets",
            summary="A picture of one's own complaint",
            errors=found,
            media_type="image/*",
        ),
        Route(
            "GET",
            at,
            handlers.page,
            query=ComplaintPage,
            returns=Listing[StaffComplaintOut],
            who=_COMPLAINTS,
            area=office,
            summary="Complaints of the stores one sees, newest first",
        ),
        Route(
            "GET",
            one,
            handlers.one,
            returns=StaffComplaintOut,
            who=_COMPLAINTS,
            area=office,
            summary="One complaint",
            errors=found,
        ),
        Route(
            "GET",
            f"{one}/pictures/{{n}}",
            handlers.picture,
            who=_COMPLAINTS,
            area=office,
            summary="A picture of a complaint",
            errors=found,
            media_type="image/*",
        ),
        Route(
            "POST",
            f"{one}/resolve",
            handlers.resolve,
            body=Resolution,
            returns=StaffComplaintOut,
            who=_RESOLVE,
            idempotent=True,
            area=office,
            summary="End it with some money back, or refuse it; the buyer is told",
            description="Money goes back only by those who may refund cabinet orders.",
            errors=(
                *found,
                "complaints.resolved",
                "cabinet_order.not_found",
                "cabinet_order.in_review",
                "cabinet_order.not_paid",
                "cabinet_order.refund_too_much",
                "payments.stopped",
                "idempotency.key_reused",
            ),
        ),
    ]


class _Complaints:
    def __init__(self, complaints: Complaints) -> None:
        self._complaints = complaints

    # A buyer's own

    async def complain(self, call: Call) -> ComplaintOut:
        body: ComplaintNew = call.body
        found = await self._complaints.complain(
            call.params["order_id"],
            signed_in(call).account_id,
            text=body.text,
            pictures=body.pictures,
            key=call.idempotency_key,
        )
        return complaint_out(found)

    async def own(self, call: Call) -> list[ComplaintOut]:
        account_id = signed_in(call).account_id
        found = await self._complaints.of_order(call.params["order_id"], account_id)
        return [complaint_out(each) for each in found]

    async def own_picture(self, call: Call) -> Response:
        account_id = signed_in(call).account_id
        name, data = await self._complaints.own_picture(
            call.params["complaint_id"], account_id, call.params["n"]
        )
        return _picture(name, data)

    # Staff

    async def page(self, call: Call) -> Listing[StaffComplaintOut]:
        page: ComplaintPage = call.query
        wanted = ComplaintsWanted(
            state=page.state or "",
            store_id=page.store_id,
            order_id=page.order_id,
            account_id=page.account_id,
            sort=sorted_by(page, COMPLAINT_SORTS, "-id"),
        )
        total, found = await self._complaints.page(
            wanted, by=by(call), offset=_offset(page), most=page.page_size
        )
        shown = [staff_complaint_out(each) for each in found]
        return Listing(shown, total, page.page, page.page_size)

    async def one(self, call: Call) -> StaffComplaintOut:
        complaint_id = call.params["complaint_id"]
        return staff_complaint_out(await self._complaints.complaint(complaint_id, by=by(call)))

    async def picture(self, call: Call) -> Response:
        complaint_id, n = call.params["complaint_id"], call.params["n"]
        name, data = await self._complaints.picture(complaint_id, n, by=by(call))
        return _picture(name, data)

    async def resolve(self, call: Call) -> StaffComplaintOut:
        body: Resolution = call.body
        refund_fen = 0 if body.refund_fen is UNSET else body.refund_fen
        if refund_fen and not signed_in(call).roles & _REFUND:
            raise Problem(403, "forbidden", "Your role does not send money back.")
        found = await self._complaints.resolve(
            call.params["complaint_id"],
            refund_fen=refund_fen,
            reason=body.reason,
            by=by(call),
            key=call.idempotency_key,
        )
        return staff_complaint_out(found)


def _picture(name: str, data: bytes) -> Response:
    kind = "image/png" if name.endswith(".png") else "image/jpeg"
    return Response(200, data, (("Content-Type", kind), ("Cache-Control", "private")))


# ---------------------------------------------------------------- members


def _member_routes(handlers: "_Members") -> list[Route]:
    area, at = "admin: members", "/api/v1/admin/members"
    one = f"{at}/{{member_id}}"
    found = ("members.not_found",)
    return [
        Route(
            "GET",
            "/api/v1/members/me",
            handlers.me,
            returns=OwnOut,
            who=DINER,
            area="cabinets",
            summary="What is known of oneself, and one's tickets",
        ),
        Route(
            "PATCH",
            "/api/v1/members/me",
            handlers.change_me,
            body=OwnPatch,
            returns=OwnOut,
            who=DINER,
            area="cabinets",
            summary="Change one's name or phone number",
            errors=("members.phone_invalid",),
        ),
        Route(
            "GET",
            at,
            handlers.page,
            query=MemberPage,
            returns=Listing[MemberOut],
            who=_MEMBERS,
            area=area,
            summary="Whoever has signed in as a diner; phones masked",
            errors=("members.phone_invalid",),
        ),
        Route(
            "POST",
            f"{at}/search",
            handlers.search,
            body=PhoneSearch,
            returns=list[MemberOut],
            who=_MEMBERS,
            area=area,
            summary="Those with this phone number",
            errors=("members.phone_invalid",),
        ),
        Route(
            "GET",
            one,
            handlers.one,
            returns=MemberOut,
            who=_MEMBERS,
            area=area,
            summary="One member",
            errors=found,
        ),
        Route(
            "POST",
            f"{one}/phone",
            handlers.phone,
            body=Look,
            returns=PhoneOut,
            who=_PHONE,
            area=area,
            summary="The whole phone number; each look leaves a line in the audit",
            errors=(*found, "members.phone_missing", "members.phone_unreadable"),
        ),
        Route(
            "GET",
            f"{one}/tickets",
            handlers.tickets,
            query=TicketsWanted,
            returns=Tickets,
            who=_MEMBERS,
            area=area,
            summary="What came to and went from the tickets, newest first",
            errors=found,
        ),
        Route(
            "POST",
            f"{one}/tickets",
            handlers.grant,
            body=TicketsNew,
            returns=GrantOut,
            status=201,
            who=_TICKETS,
            idempotent=True,
            area=area,
            summary="Give tickets, or take some; never below zero",
            errors=(
                *found,
                "members.of_all_stores",
                "members.tickets_short",
                "members.no_tickets",
                "payments.stopped",
                "idempotency.key_reused",
            ),
        ),
        Route(
            "POST",
            f"{one}/bar",
            handlers.bar,
            body=Look,
            returns=MemberOut,
            who=_BAR,
            area=area,
            summary="Let them open no cabinet any more",
            errors=(*found, "members.of_all_stores"),
        ),
        Route(
            "POST",
            f"{one}/unbar",
            handlers.unbar,
            body=Look,
            returns=MemberOut,
            who=_BAR,
            area=area,
            summary="Let them open cabinets again",
            errors=(*found, "members.of_all_stores"),
        ),
    ]


class _Members:
    def __init__(self, members: Members) -> None:
        self._members = members

    async def me(self, call: Call) -> OwnOut:
        return own_out(*await self._members.own(signed_in(call).account_id))

    async def change_me(self, call: Call) -> OwnOut:
        body: OwnPatch = call.body
        await self._members.change_own(
            signed_in(call).account_id,
            username=None if body.username is UNSET else body.username,
            phone=None if body.phone is UNSET else body.phone,
        )
        return await self.me(call)

    async def page(self, call: Call) -> Listing[MemberOut]:
        page: MemberPage = call.query
        wanted = MembersWanted(
            keyword=page.keyword,
            phone_tail=page.phone_tail,
            is_barred=page.is_barred,
            sort=sorted_by(page, SORTS, "-id"),
        )
        total, found = await self._members.page(
            wanted, phone=page.phone, by=by(call), offset=_offset(page), most=page.page_size
        )
        return Listing([member_out(each) for each in found], total, page.page, page.page_size)

    async def search(self, call: Call) -> list[MemberOut]:
        found = await self._members.search(call.body.phone, by=by(call))
        return [member_out(each) for each in found]

    async def one(self, call: Call) -> MemberOut:
        return member_out(await self._members.member(call.params["member_id"], by=by(call)))

    async def phone(self, call: Call) -> PhoneOut:
        member_id, reason = call.params["member_id"], call.body.reason
        return PhoneOut(await self._members.phone(member_id, by=by(call), reason=reason))

    async def tickets(self, call: Call) -> Tickets:
        member_id, wanted = call.params["member_id"], call.query
        lines = await self._members.ticket_lines(
            member_id, by=by(call), most=wanted.most, before=wanted.before or None
        )
        grants = await self._members.grants(member_id, by=by(call))
        return Tickets([ticket_line(line) for line in lines], [grant_out(each) for each in grants])

    async def grant(self, call: Call) -> GrantOut:
        body: TicketsNew = call.body
        if not call.idempotency_key:
            raise Problem(400, "idempotency_key.missing", "Tickets need an Idempotency-Key.")
        ask = GrantAsk(
            account_id=call.params["member_id"],
            tickets=body.tickets,
            reason=body.reason,
            by=by(call),
            key=call.idempotency_key,
        )
        return grant_out(await self._members.grant(ask))

    async def bar(self, call: Call) -> MemberOut:
        return await self._set_barred(call, is_barred=True)

    async def unbar(self, call: Call) -> MemberOut:
        return await self._set_barred(call, is_barred=False)

    async def _set_barred(self, call: Call, *, is_barred: bool) -> MemberOut:
        member_id, reason = call.params["member_id"], call.body.reason
        found = await self._members.bar(member_id, is_barred=is_barred, by=by(call), reason=reason)
        return member_out(found)


def _offset(page: Page) -> int:
    return (page.page - 1) * page.page_size
