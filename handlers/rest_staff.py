"""The back office's people over REST: signing in, one's own account, all accounts, the audit."""

from typing import Annotated, Any, Final

import msgspec

from accounts.audit.model import Entry, Filter
from accounts.audit.service import Audit
from accounts.staff.messages import (
    OwnPatch,
    PasswordChange,
    PasswordReset,
    Proof,
    Reason,
    SignIn,
    StaffNew,
    StaffPatch,
    TotpCode,
    given,
)
from accounts.staff.model import (
    PasswordWrong,
    Role,
    Sex,
    SignInRefused,
    StaffAccount,
    Status,
    TotpRefused,
    TotpWrong,
    folded,
)
from accounts.staff.permissions import STAFF, Permission, allowed, permissions_of
from accounts.staff.service import Staff
from accounts.staff.store import Wanted
from handlers import cookies
from handlers.actors import by, signed_in
from handlers.calls import Call, Response
from handlers.errors import FieldError, Problem, TooManyRequests
from handlers.limits import Limits, address_key
from handlers.rest_sessions import SessionOut, session_out
from handlers.routing import Route
from handlers.wire import Listing, Page, from_rfc3339, rfc3339

OWNERS: Final = allowed(Permission.ACCOUNTS_MANAGE)
_SORTS: Final = frozenset({"id", "login_name", "nickname", "role", "created_at", "updated_at"})

Time = Annotated[str, msgspec.Meta(max_length=40, description="RFC 3339, as 2026-11-20T04:05:06Z.")]


class StaffOut(msgspec.Struct, frozen=True):
    """store_ids: the stores it is kept to; none: it sees all."""

    id: int
    login_name: str
    nickname: str
    mobile: str
    email: str
    sex: Sex
    avatar: str
    role: Role
    status: Status
    totp: bool
    created_at: str
    updated_at: str
    store_ids: tuple[int, ...]


class MeOut(StaffOut, frozen=True):
    """permissions: what the role may do, for a client that shows no more than that."""

    permissions: list[str]


class EnrolmentOut(msgspec.Struct, frozen=True):
    """Shown once. uri: for the QR code that an authenticator reads."""

    secret: str
    uri: str


class AccountPage(Page, frozen=True):
    status: Status | None = None
    role: Role | None = None
    keyword: Annotated[
        str, msgspec.Meta(max_length=100, description="In the login name, mobile or nickname.")
    ] = ""


class AuditPage(Page, frozen=True, rename={"from_": "from"}):
    """from is within, before is not."""

    actor_id: Annotated[int, msgspec.Meta(ge=0)] = 0
    action: Annotated[str, msgspec.Meta(max_length=40)] = ""
    subject: Annotated[str, msgspec.Meta(max_length=64)] = ""
    from_: Time = ""
    before: Time = ""


class AuditOut(msgspec.Struct, frozen=True):
    """actor: the login name at that time; before, after: what was changed."""

    id: int
    at: str
    actor_id: int
    actor: str
    address: str
    action: str
    subject: str
    before: dict[str, Any]
    after: dict[str, Any]
    reason: str
    hash: str


class WithReason(msgspec.Struct, frozen=True):
    reason: Reason = ""


def routes(
    staff: Staff, audit: Audit, limits: Limits, *, max_age_s: int = 0, secure: bool = False
) -> list[Route]:
    """max_age_s: how long a browser keeps its cookie; secure: whether pages come over HTTPS."""
    handlers = _Handlers(staff, audit, limits, max_age_s=max_age_s, secure=secure)
    return [*_own_routes(handlers), *_account_routes(handlers), *_audit_routes(handlers)]


def _own_routes(handlers: "_Handlers") -> list[Route]:
    area = "admin: sign-in"
    at = "/api/v1/admin/me"
    return [
        Route(
            "POST",
            "/api/v1/admin/sessions",
            handlers.sign_in,
            body=SignIn,
            returns=SessionOut,
            area=area,
            summary="Sign in with a login name and password",
            description="Also sets the cookies a console signs in with. "
            "A wrong name and a wrong password are answered alike.",
            errors=("session.refused", "session.totp_required", "session.totp_refused"),
        ),
        Route(
            "GET",
            at,
            handlers.me,
            returns=MeOut,
            who=STAFF,
            area=area,
            summary="One's own account, and what it may do",
        ),
        Route(
            "PATCH",
            at,
            handlers.change_me,
            body=OwnPatch,
            returns=MeOut,
            who=STAFF,
            area=area,
            summary="Change one's own data; login name, role and status stay",
        ),
        Route(
            "POST",
            f"{at}/password",
            handlers.change_password,
            body=PasswordChange,
            status=204,
            who=STAFF,
            area=area,
            summary="Change one's own password; all other sessions end",
            errors=("staff.password_wrong", "staff.weak_password"),
        ),
        Route(
            "POST",
            f"{at}/totp",
            handlers.begin_totp,
            body=Proof,
            returns=EnrolmentOut,
            status=201,
            who=STAFF,
            area=area,
            summary="Get the secret of a second factor, to be turned on with a first code",
            errors=("staff.password_wrong", "staff.totp_is_on"),
        ),
        Route(
            "PUT",
            f"{at}/totp",
            handlers.confirm_totp,
            body=TotpCode,
            returns=MeOut,
            who=STAFF,
            area=area,
            summary="Turn the second factor on",
            errors=("staff.totp_wrong", "staff.totp_not_begun"),
        ),
        Route(
            "DELETE",
            f"{at}/totp",
            handlers.end_totp,
            body=Proof,
            returns=MeOut,
            who=STAFF,
            area=area,
            summary="Turn the second factor off",
            errors=("staff.password_wrong",),
        ),
    ]


def _account_routes(handlers: "_Handlers") -> list[Route]:
    area = "admin: accounts"
    at = "/api/v1/admin/accounts"
    one = f"{at}/{{account_id}}"
    return [
        Route(
            "GET",
            at,
            handlers.list_accounts,
            query=AccountPage,
            returns=Listing[StaffOut],
            who=OWNERS,
            area=area,
            summary="All staff accounts, also deleted ones",
        ),
        Route(
            "POST",
            at,
            handlers.create,
            body=StaffNew,
            returns=StaffOut,
            status=201,
            who=OWNERS,
            area=area,
            summary="Make a staff account",
            errors=(
                "staff.login_name_taken",
                "staff.unfit_login_name",
                "staff.weak_password",
                "staff.owner_sees_all",
                "staff.store_unknown",
            ),
        ),
        Route(
            "GET",
            one,
            handlers.account,
            returns=StaffOut,
            who=OWNERS,
            area=area,
            summary="A staff account",
            errors=("staff.not_found",),
        ),
        Route(
            "PATCH",
            one,
            handlers.change,
            body=StaffPatch,
            returns=StaffOut,
            who=OWNERS,
            area=area,
            summary="Change a staff account; with other rights or another password sessions end",
            errors=(
                "staff.not_found",
                "staff.login_name_taken",
                "staff.unfit_login_name",
                "staff.weak_password",
                "staff.not_oneself",
                "staff.last_owner",
                "staff.owner_sees_all",
                "staff.store_unknown",
            ),
        ),
        Route(
            "DELETE",
            one,
            handlers.delete,
            query=WithReason,
            returns=StaffOut,
            who=OWNERS,
            area=area,
            summary="Delete a staff account: it keeps its history, its sessions end at once",
            errors=("staff.not_found", "staff.not_oneself", "staff.last_owner"),
        ),
        Route(
            "POST",
            f"{one}/restore",
            handlers.restore,
            body=WithReason,
            returns=StaffOut,
            who=OWNERS,
            area=area,
            summary="Take a deletion back; of an account that works this changes nothing",
            errors=("staff.not_found",),
        ),
        Route(
            "POST",
            f"{one}/password",
            handlers.reset_password,
            body=PasswordReset,
            returns=StaffOut,
            who=OWNERS,
            area=area,
            summary="Give somebody a new password; their sessions end",
            errors=("staff.not_found", "staff.weak_password"),
        ),
    ]


def _audit_routes(handlers: "_Handlers") -> list[Route]:
    return [
        Route(
            "GET",
            "/api/v1/admin/audit",
            handlers.audit_page,
            query=AuditPage,
            returns=Listing[AuditOut],
            who=allowed(Permission.AUDIT_READ),
            area="admin: audit",
            summary="What was done in the back office, newest first",
        ),
    ]


class _Handlers:
    def __init__(
        self, staff: Staff, audit: Audit, limits: Limits, *, max_age_s: int, secure: bool
    ) -> None:
        self._staff = staff
        self._audit = audit
        self._limits = limits
        self._max_age_s = max_age_s
        self._secure = secure

    # One's own

    async def sign_in(self, call: Call) -> Response:
        asked: SignIn = call.body
        names = (f"staff {folded(asked.login_name)}", f"staff {address_key(call.address)}")
        with guarded_guesses(self._limits, names, call.now, SignInRefused, TotpRefused):
            opened = await self._staff.sign_in(
                asked.login_name, asked.password, code=asked.totp, address=call.address
            )
        headers = cookies.sign_in(opened.jwt, max_age_s=self._max_age_s, secure=self._secure)
        return Response(200, session_out(opened), headers)

    async def me(self, call: Call) -> MeOut:
        return _me_out(await self._staff.account(signed_in(call).account_id))

    async def change_me(self, call: Call) -> MeOut:
        return _me_out(await self._staff.change_own(given(call.body), by=by(call)))

    async def change_password(self, call: Call) -> Response:
        asked: PasswordChange = call.body
        with self._guarded(call):
            await self._staff.change_password(
                signed_in(call), old=asked.old_password, new=asked.new_password, by=by(call)
            )
        return Response(204)

    async def begin_totp(self, call: Call) -> EnrolmentOut:
        with self._guarded(call):
            enrolment = await self._staff.begin_totp(password=call.body.password, by=by(call))
        return EnrolmentOut(enrolment.secret, enrolment.uri)

    async def confirm_totp(self, call: Call) -> MeOut:
        with self._guarded(call):
            return _me_out(await self._staff.confirm_totp(call.body.totp, by=by(call)))

    async def end_totp(self, call: Call) -> MeOut:
        with self._guarded(call):
            return _me_out(await self._staff.end_totp(password=call.body.password, by=by(call)))

    def _guarded(self, call: Call) -> "guarded_guesses":
        """A session left open must not be the place to guess the password at leisure."""
        names = (f"staff account {signed_in(call).account_id}",)
        return guarded_guesses(self._limits, names, call.now, PasswordWrong, TotpWrong)

    # All

    async def list_accounts(self, call: Call) -> Listing[StaffOut]:
        page: AccountPage = call.query
        if page.sort.removeprefix("-") not in _SORTS | {""}:
            raise _wrong("sort", "Sorted by " + ", ".join(sorted(_SORTS)) + ".")
        total, found = await self._staff.page(
            Wanted(page.status, page.role or "", page.keyword, page.sort or "id"),
            offset=(page.page - 1) * page.page_size,
            most=page.page_size,
        )
        return Listing([_staff_out(each) for each in found], total, page.page, page.page_size)

    async def create(self, call: Call) -> StaffOut:
        asked: StaffNew = call.body
        made = await self._staff.create(
            given(asked), password=asked.password, by=by(call), reason=asked.reason
        )
        return _staff_out(made)

    async def account(self, call: Call) -> StaffOut:
        return _staff_out(await self._staff.account(call.params["account_id"]))

    async def change(self, call: Call) -> StaffOut:
        asked: StaffPatch = call.body
        changed = await self._staff.change(
            call.params["account_id"],
            given(asked),
            password=asked.password,
            by=by(call),
            reason=asked.reason,
        )
        return _staff_out(changed)

    async def delete(self, call: Call) -> StaffOut:
        account_id, reason = call.params["account_id"], call.query.reason
        return _staff_out(await self._staff.delete(account_id, by=by(call), reason=reason))

    async def restore(self, call: Call) -> StaffOut:
        account_id, reason = call.params["account_id"], call.body.reason
        return _staff_out(await self._staff.restore(account_id, by=by(call), reason=reason))

    async def reset_password(self, call: Call) -> StaffOut:
        asked: PasswordReset = call.body
        changed = await self._staff.reset_password(
            call.params["account_id"],
            asked.new_password,
            remove_totp=asked.remove_totp,
            by=by(call),
            reason=asked.reason,
        )
        return _staff_out(changed)

    async def audit_page(self, call: Call) -> Listing[AuditOut]:
        page: AuditPage = call.query
        wanted = Filter(
            actor_id=page.actor_id,
            action=page.action,
            subject=page.subject,
            from_at=_time("from", page.from_),
            before_at=_time("before", page.before),
        )
        total, found = await self._audit.page(
            wanted, offset=(page.page - 1) * page.page_size, most=page.page_size
        )
        return Listing([_audit_out(each) for each in found], total, page.page, page.page_size)


class guarded_guesses:  # noqa: N801 - read as a verb: `with guarded_guesses(…)`.
    """Count wrong guesses for each of the names, so that nobody finds a password by trying.

    Each guess is counted before it is judged, so that many at once are many; a right one is
    taken back. Raises TooManyRequests on entering when there were too many.
    """

    def __init__(
        self, limits: Limits, names: tuple[str, ...], now: int, *wrong: type[Exception]
    ) -> None:
        self._limits = limits
        self._names = names
        self._now = now
        self._wrong = wrong

    def __enter__(self) -> None:
        if not self._limits.enabled:
            return
        limit = self._limits.sign_in
        wait_s = max(limit.wait(name, self._now) for name in self._names)
        if wait_s:
            raise TooManyRequests(wait_s)
        for name in self._names:
            limit.allow(name, self._now)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._limits.enabled and (kind is None or not issubclass(kind, self._wrong)):
            for name in self._names:
                self._limits.sign_in.forgive(name)


def _staff_out(account: StaffAccount) -> StaffOut:
    return StaffOut(**_fields(account))


def _me_out(account: StaffAccount) -> MeOut:
    return MeOut(
        **_fields(account),
        permissions=permissions_of(account.role, is_kept=bool(account.store_ids)),
    )


def _fields(account: StaffAccount) -> dict[str, Any]:
    fields = msgspec.structs.asdict(account)
    fields["totp"] = fields.pop("has_totp")
    for name in ("created_at", "updated_at"):
        fields[name] = rfc3339(fields[name])
    return fields


def _audit_out(entry: Entry) -> AuditOut:
    return AuditOut(
        entry.id,
        rfc3339(entry.at),
        entry.actor_id,
        entry.actor,
        entry.address,
        entry.action,
        entry.subject,
        msgspec.json.decode(entry.before),
        msgspec.json.decode(entry.after),
        entry.reason,
        entry.hash,
    )


def _time(name: str, text: str) -> int:
    """Raises Problem for what is no time."""
    try:
        return from_rfc3339(text) if text else 0
    except ValueError as error:
        raise _wrong(name, str(error)) from error


def _wrong(name: str, why: str) -> Problem:
    return Problem(
        400, "query.invalid", "The query is wrong.", errors=(FieldError(f"$.{name}", why),)
    )
