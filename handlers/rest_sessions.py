"""Signing in and out over REST."""

from typing import Annotated, Literal

import msgspec

from accounts.model import Opened
from accounts.service import People, Sessions
from accounts.staff.permissions import STAFF
from handlers import cookies, signing_in
from handlers.actors import signed_in
from handlers.calls import SIGNED_IN, Call, Response
from handlers.limits import Limits
from handlers.routing import Route
from handlers.wire import rfc3339


class SessionNew(msgspec.Struct, frozen=True):
    """code: what wx.login gave to the mini-program of this app; good once."""

    app: Literal["diner", "seller"]
    code: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class AccountOut(msgspec.Struct, frozen=True):
    id: int
    roles: list[str]


class SessionOut(msgspec.Struct, frozen=True):
    token: str
    expires_at: str
    account: AccountOut


def session_out(opened: Opened) -> SessionOut:
    session = opened.session
    return SessionOut(
        opened.jwt,
        rfc3339(opened.expires_at),
        AccountOut(session.account_id, sorted(session.roles)),
    )


def routes(
    people: People, sessions: Sessions, limits: Limits, *, secure: bool = False
) -> list[Route]:
    """secure: whether the pages are served over HTTPS."""
    without_cookies = cookies.sign_out(secure=secure)

    async def sign_in(call: Call) -> SessionOut:
        opened = await signing_in.sign_in(
            people,
            sessions,
            limits,
            app=call.body.app,
            code=call.body.code,
            address=call.address,
            now=call.now,
        )
        return session_out(opened)

    async def sign_out(call: Call) -> Response:
        session = signed_in(call)
        await sessions.end(session)
        # The console signs in with cookies; what they hold is worth nothing from now on.
        return Response(204, headers=without_cookies if session.app == "staff" else ())

    return [
        Route(
            "POST",
            "/api/v1/sessions",
            sign_in,
            body=SessionNew,
            returns=SessionOut,
            area="sign-in",
            summary="Sign in with a mini-program's code",
            errors=("session.code_refused", "wechat.unavailable", "account.blocked"),
        ),
        Route(
            "DELETE",
            "/api/v1/sessions/current",
            sign_out,
            status=204,
            who=SIGNED_IN | STAFF,
            area="sign-in",
            summary="Sign out; its sockets are closed",
        ),
    ]
