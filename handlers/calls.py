"""What a route's function is given and what it may give back."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from accounts.model import Session

# Who may use a route. PUBLIC: anyone; a good token is looked up all the same, a bad one ignored.
PUBLIC: Final[frozenset[str]] = frozenset()
DINER: Final = frozenset({"diner"})
SELLER: Final = frozenset({"seller"})
ADMIN: Final = frozenset({"admin"})
SIGNED_IN: Final = DINER | SELLER | ADMIN


class Call(msgspec.Struct, frozen=True):
    """One request, checked: the route exists, the caller may use it, query and body are decoded.

    params: the path's, an int for `{stall_id}` and a str for `{out_trade_no:text}`.
    query, body: of the types the route names, else None.
    raw, query_text: the body and the query as they came (for signatures).
    address: the client's, with trusted proxies taken away.
    idempotency_key: "" if none was sent or the route does not take one.
    now: milliseconds UTC since 1970 at which the request was complete.
    """

    method: str
    path: str
    params: Mapping[str, Any]
    query: Any
    body: Any
    raw: bytes
    session: Session | None
    headers: Mapping[str, str]
    address: str
    request_id: str
    idempotency_key: str
    now: int
    query_text: str

    @property
    def signed_in(self) -> Session:
        """The session, on a route that is not PUBLIC."""
        assert self.session is not None
        return self.session


class Response(msgspec.Struct, frozen=True):
    """An answer that needs another status or headers of its own than its route promises.

    body: a message to encode, or bytes that are sent as they are (with a Content-Type in headers).
    headers: pairs, so that Set-Cookie may come twice.
    """

    status: int = 200
    body: object = None
    headers: tuple[tuple[str, str], ...] = ()
