"""Accounts, sessions and roles, and the rules that need no database.

AccountsError
├── SessionExpired       no such session, or it has ended
├── AccountBlocked       the account was blocked by an admin
├── CodeRefused          WeChat knows no person for this sign-in code
├── WeChatRefused        WeChat understood the request and said no
├── WeChatUnavailable    no answer from WeChat, or none that can be understood
│   └── AppNotConfigured no app id is set for this mini-program
└── UnfitArgument        no trimming makes this text fit its template field
"""

from typing import Literal, TypeAlias

import msgspec

from sql.types import Millis

App: TypeAlias = Literal["diner", "seller", "board", "staff"]
"""What was signed in with; WeChat's openids exist for the first two."""


class Session(msgspec.Struct, frozen=True):
    """Who is asking. `expires_at` is the latest end; an unused session ends sooner."""

    id: int
    account_id: int
    roles: frozenset[str]
    app: App
    expires_at: Millis


class Opened(msgspec.Struct, frozen=True):
    """A new session and its two faces. The only place where the key is ever seen."""

    session: Session
    key_hex: str
    jwt: str
    expires_at: Millis


class Account(msgspec.Struct, frozen=True):
    """A person in one mini-program. The openid never leaves the server."""

    id: int
    app: App
    openid: str
    created_at: Millis
    blocked_at: Millis | None


class AccountsError(Exception):
    """Base of the family."""

    code = "accounts.error"
    title = "Accounts error"


class SessionExpired(AccountsError):
    """No such session, or it has ended; signing in again helps."""

    code = "session.expired"
    title = "The session has ended"


class AccountBlocked(AccountsError):
    """An admin has blocked the account."""

    code = "account.blocked"
    title = "The account is blocked"


class _WithErrcode(AccountsError):
    def __init__(self, errcode: int) -> None:
        super().__init__(f"errcode {errcode}")
        self.errcode = errcode


class CodeRefused(_WithErrcode):
    """WeChat answered the sign-in code with an errcode: used, too old, or made up."""

    code = "session.code_refused"
    title = "WeChat did not accept the sign-in code"


class WeChatRefused(_WithErrcode):
    """WeChat understood the request and refused it; asking again the same way is useless."""

    code = "wechat.refused"
    title = "WeChat refused the request"

    def __init__(self, errcode: int, *, field: str = "") -> None:
        super().__init__(errcode)
        self.field = field


class WeChatUnavailable(AccountsError):
    """WeChat gave no answer, or nonsense. Never says more than the path asked for."""

    code = "wechat.unavailable"
    title = "WeChat cannot be reached"


class AppNotConfigured(WeChatUnavailable):
    """The mini-program has no app id or secret in the configuration."""

    code = "wechat.not_configured"
    title = "This mini-program is not configured"


class UnfitArgument(AccountsError):
    """A text that no trimming makes fit its field of a message template."""

    code = "wechat.unfit_argument"
    title = "A message argument does not fit its template"

    def __init__(self, field: str) -> None:
        super().__init__(f"field {field}")
        self.field = field


def is_live(*, used_at: Millis, ends_at: Millis, now: Millis, idle_ms: int) -> bool:
    """Whether a session last used at used_at is valid at now.

    A clock that went back makes the age negative, which is younger than anything: nobody
    is signed out by it, and no session lives longer than by the jump.
    """
    return now - used_at <= idle_ms and now <= ends_at


def roles_of(
    app: App, *, openid: str, given: frozenset[str], admins: frozenset[str]
) -> frozenset[str]:
    """The roles of a session: by the app signed in with, by hand, by the admin list."""
    roles = set(given)
    if app != "board":
        roles.add(app)
    if openid in admins:
        roles.add("admin")
    return frozenset(roles)


def mask(text: str) -> str:
    """An openid or phone for a log: enough to compare two lines, too little to use."""
    if len(text) < 11:
        return "****"
    return f"{text[:3]}****{text[-4:]}"
