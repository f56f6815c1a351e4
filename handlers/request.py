"""One request from its headers and body to its answer; nothing here knows the connection."""

import re
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import structlog
from tornado.httputil import HTTPHeaders, HTTPInputError, HTTPServerConnectionDelegate

from accounts.model import Session
from handlers import cookies
from handlers.address import TrustedProxies
from handlers.answers import JSON, PROBLEM_JSON, Answer, answer_for, has_seen
from handlers.calls import Call
from handlers.errors import REFUSALS, Problem, Refusals, TooManyRequests
from handlers.limits import Limits, address_key
from handlers.routing import RAW, Endpoint, Resource, Route
from handlers.wire import encode

log = structlog.get_logger(__name__)

BODY_TIMEOUT_S: Final = 15.0

_KEY: Final = re.compile(r"[\x21-\x7e]{1,200}")
_HOST: Final = re.compile(r"[A-Za-z0-9._~%!$&'()*+;=\[\]:-]*", re.ASCII)

# What is yielded may be an awaitable; its value is sent back.
Steps = Generator[Any, Any, Answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """What the requests of one server share.

    now: milliseconds UTC since 1970.
    authenticate: a token → its session, plainly or as an awaitable; raises an exception that
        `refusals` lists as 401.
    fallback: asked for what has no route here: pages and WebSocket upgrades.
    observe: told of each answer: route (None if there was none), status, seconds it took.
    """

    now: Callable[[], int]
    authenticate: Callable[[str], Any]
    limits: Limits
    refusals: Refusals = REFUSALS
    proxies: TrustedProxies = field(default_factory=TrustedProxies)
    fallback: HTTPServerConnectionDelegate | None = None
    observe: Callable[[Route | None, int, float], None] | None = None
    access_log: bool = True
    body_timeout_s: float = BODY_TIMEOUT_S

    def wait_of_address(self, address: str) -> float:
        """Count a request of this address; the seconds it has to wait, 0.0 for none."""
        if not self.limits.enabled:
            return 0.0
        return self.limits.address.allow(address_key(address), self.now())


class Request:
    """What was asked, by whom; `steps` is the way to its answer."""

    __slots__ = (
        "address", "edge", "endpoint", "found", "headers", "id", "method", "params", "path",
        "query",
    )  # fmt: skip

    def __init__(
        self,
        edge: Edge,
        method: str,
        path: str,
        query: str,
        headers: HTTPHeaders,
        found: tuple[Resource, dict[str, Any]] | None,
    ) -> None:
        self.edge = edge
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.found = found[0] if found else None
        self.params = found[1] if found else {}
        self.endpoint = self.found.endpoint(method) if self.found is not None else None
        self.address = ""
        self.id = ""

    @property
    def route_name(self) -> str:
        return self.found.path if self.found is not None else "-"

    def steps(self, raw: bytes) -> Steps:
        endpoint = self.endpoint
        if endpoint is None:
            return self._without_endpoint()
        route = endpoint.route
        session = yield from self._session(endpoint)
        self._count(endpoint, session)
        call = self._call(endpoint, session, raw)
        etag = None
        if route.etag is not None:
            text = yield route.etag(call)
            etag = f'"{text}"' if text is not None else None
            if etag and endpoint.is_safe and has_seen(self.headers.get("If-None-Match"), etag):
                return Answer(304, etag=etag, is_private=session is not None)
        result = yield route.call(call)
        return answer_for(route, result, etag, is_private=session is not None)

    def refusal(self, error: Exception) -> Answer:
        """The answer to an exception, in the route's dialect; logged if it is our own mistake."""
        problem = self.edge.refusals.problem(error)
        if problem is None:
            log.error("request failed", request_id=self.id, route=self.route_name, exc_info=error)
            # Ours, not the client's: it is told nothing but the id under which the log has it.
            problem = Problem(500, "internal", "Something went wrong on our side.")
        headers = tuple(problem.headers.items())
        if self.endpoint is not None and self.endpoint.route.refuse is not None:
            response = self.endpoint.route.refuse(problem)
            answer = answer_for(self.endpoint.route, response, None, is_private=True)
            return msgspec.structs.replace(answer, headers=(*headers, *answer.headers))
        return Answer(problem.status, headers, encode(problem.body(self.id)), PROBLEM_JSON)

    def _without_endpoint(self) -> Answer:
        if self.found is None:
            raise Problem(404, "not_found", "There is nothing at this address.")
        allow = {"Allow": self.found.allow}
        if self.method == "OPTIONS":
            return Answer(204, tuple(allow.items()))
        detail = f"This address takes {self.found.allow}."
        raise Problem(405, "method.not_allowed", detail, headers=allow)

    def _session(self, endpoint: Endpoint) -> Generator[Any, Any, Session | None]:
        who = endpoint.route.who
        if not who and endpoint.route.body is RAW:
            return None
        token = self._token(endpoint)
        if not token:
            if who:
                raise _unauthorized("session.required", "Sign in first.")
            return None
        try:
            session: Session = yield self.edge.authenticate(token)
        except Exception as error:
            problem = self.edge.refusals.problem(error)
            if problem is None or problem.status != 401:
                raise
            if not who:
                return None
            raise _unauthorized(problem.code, problem.detail) from error
        if who and who.isdisjoint(session.roles):
            raise Problem(403, "forbidden", "Your role does not allow this.")
        return session

    def _token(self, endpoint: Endpoint) -> str:
        authorization = self.headers.get("Authorization", "")
        if authorization[:7].lower() == "bearer ":
            return authorization[7:].strip()
        token = cookies.session_token(self.headers.get("Cookie", ""))
        if not token or endpoint.is_safe:
            return token
        if cookies.is_ours(token, self.headers.get(cookies.XSRF_HEADER, "")):
            return token
        if endpoint.route.who:
            raise Problem(403, "xsrf.invalid", f"{cookies.XSRF_HEADER} is missing or wrong.")
        return ""

    def _count(self, endpoint: Endpoint, session: Session | None) -> None:
        limits = self.edge.limits
        if not limits.enabled:
            return
        now = self.edge.now()
        if session is not None:
            key = f"session {session.id}"
            _refuse_if(limits.session.allow(key, now))
        else:
            key = address_key(self.address)
        if endpoint.route.limit is not None:
            _refuse_if(endpoint.route.limit.allow(endpoint.limit_key + key, now))

    def _call(self, endpoint: Endpoint, session: Session | None, raw: bytes) -> Call:
        return Call(
            self.method,
            self.path,
            self.params,
            endpoint.read_query(self.query) if endpoint.read_query else None,
            self._body(endpoint, raw),
            raw,
            session,
            self.headers,
            self.address,
            self.id,
            self._idempotency_key() if endpoint.route.idempotent else "",
            self.edge.now(),
            self.query,
        )

    def _body(self, endpoint: Endpoint, raw: bytes) -> object:
        if endpoint.read_body is None:
            return raw if endpoint.route.body is RAW else None
        if not raw and endpoint.body_may_be_left_out:
            return endpoint.read_body(b"{}")
        media_type = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if media_type != JSON or "Content-Encoding" in self.headers:
            raise Problem(415, "body.media_type", f"The body must be {JSON}, not encoded.")
        return endpoint.read_body(raw)

    def _idempotency_key(self) -> str:
        keys = self.headers.get_list("Idempotency-Key")
        if not keys:
            return ""
        if len(keys) > 1 or not _KEY.fullmatch(keys[0]):
            raise Problem(
                400,
                "idempotency_key.invalid",
                "An Idempotency-Key is 1 to 200 visible ASCII characters.",
            )
        return keys[0]


def _unauthorized(code: str, detail: str) -> Problem:
    return Problem(401, code, detail, headers={"WWW-Authenticate": "Bearer"})


def _refuse_if(wait_s: float) -> None:
    if wait_s:
        raise TooManyRequests(wait_s)


def origin_form(target: str) -> str:
    """`http://host/path` → `/path`: a server must take both (RFC 9112, 3.2.2)."""
    if target.startswith(("http://", "https://")):
        return "/" + target.split("/", 3)[3] if target.count("/") > 2 else "/"
    return target


def check_host(version: str, headers: HTTPHeaders) -> None:
    """Raises HTTPInputError (a 400) unless there is one sane Host; HTTP/1.0 may have none."""
    hosts = headers.get_list("Host")
    if not hosts and version == "HTTP/1.0":
        return
    if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
        raise HTTPInputError("One Host header is needed")
