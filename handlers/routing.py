"""The table of routes, and which of them a path means.

A rest module has a function `routes(services) -> list[Route]`; the table is made of all of them.
From the same table the OpenAPI document is written and the authorisation tests are generated.

A path's trailing slash makes no difference. `{name}` stands for an id (1 to 2^53 - 1, no leading
zeros), `{name:text}` for one segment of letters, digits and `_ . -`; anything else is no such path
(404), and so is a segment with escapes: nothing we name needs one.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from handlers.calls import PUBLIC, Call, Response
from handlers.errors import Problem
from handlers.limits import Limit
from handlers.wire import INTEGER_MAX, query_reader, reader

KIB: Final = 1024
BODY_MAX: Final = 64 * KIB
TEXT_MAX: Final = 64

# The body of a route that reads bytes itself: callbacks, uploads, the old dialect.
RAW: Final = bytes

_SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
_TEXT: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", re.ASCII)
_PARAMETER: Final = re.compile(r"\{([a-z_]+)(:text)?\}")


@dataclass(frozen=True, slots=True)
class Route:
    """One method on one path.

    call: gets a Call, returns what `returns` says or a Response, plainly or as an awaitable.
    body: a Struct, or RAW for bytes of any type; a Struct whose fields all have defaults may be
        left out of the request. query: a Struct.
    who: roles, one of which the session needs; PUBLIC for none.
    errors: the codes it may refuse with, for the document.
    etag: called before `call`; its text names the state the answer would show. If the client has
        seen that state, it is told so (304) and `call` is not called. None: no ETag this time.
    discard_max: a body that is over max_body is read to its end up to here, so that its client gets
        to read the refusal; http.DISCARD_MAX is the least.
    idempotent: takes an Idempotency-Key.
    limit: counted per session, without one per address, besides the limits for all routes.
    counts_address: whether the limit of an address counts it. Platforms come from few addresses,
        with many callbacks at once, and prove who they are.
    refuse: writes refusals in another dialect than problem+json.
    in_document: whether the OpenAPI document has it. media_type: of the answer, for the document.
    """

    method: str
    path: str
    call: Callable[[Call], Any]
    body: Any = None
    query: Any = None
    returns: Any = None
    status: int = 200
    who: frozenset[str] = PUBLIC
    area: str = ""
    summary: str = ""
    description: str = ""
    errors: Sequence[str] = ()
    etag: Callable[[Call], Any] | None = None
    idempotent: bool = False
    max_body: int = BODY_MAX
    discard_max: int = 0
    limit: Limit | None = None
    counts_address: bool = True
    refuse: Callable[[Problem], Response] | None = None
    in_document: bool = True
    media_type: str = "application/json"

    @property
    def parameters(self) -> list[tuple[str, bool]]:
        """The path's parameters as (name, whether it is an id)."""
        return [(name, not text) for name, text in _PARAMETER.findall(self.path)]


class Endpoint:
    """A route with its readers made ready."""

    __slots__ = ("body_may_be_left_out", "is_safe", "limit_key", "read_body", "read_query", "route")

    def __init__(self, route: Route) -> None:
        self.route = route
        self.is_safe = route.method in _SAFE_METHODS
        self.limit_key = f"{route.method} {route.path} "
        self.read_query = query_reader(route.query) if route.query else None
        self.read_body = reader(route.body) if route.body not in (None, RAW) else None
        self.body_may_be_left_out = self.read_body is not None and _all_default(route.body)


@dataclass(slots=True)
class Resource:
    """What there is at one path."""

    path: str
    endpoints: dict[str, Endpoint] = field(default_factory=dict)

    def endpoint(self, method: str) -> Endpoint | None:
        return self.endpoints.get("GET" if method == "HEAD" else method)

    @property
    def allow(self) -> str:
        methods = set(self.endpoints) | {"OPTIONS"}
        if "GET" in methods:
            methods.add("HEAD")
        return ", ".join(sorted(methods))


class Table:
    """All routes. Raises ValueError if two claim the same method and path."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._root = _Node()
        for route in self.routes:
            self._add(route)

    def find(self, path: str) -> tuple[Resource, dict[str, Any]] | None:
        """The resource a path means, and the values of its parameters."""
        segments = path.split("/")[1:]
        if segments and not segments[-1]:
            segments.pop()
        values: list[int | str] = []
        found = _walk(self._root, segments, 0, values)
        if found is None:
            return None
        resource, names = found
        return resource, dict(zip(names, reversed(values), strict=True))

    def _add(self, route: Route) -> None:
        node = self._root
        for segment in route.path.strip("/").split("/") if route.path != "/" else ():
            node = node.child(segment)
        names = tuple(name for name, _ in route.parameters)
        if node.found is None:
            node.found = (Resource(route.path), names)
        resource = node.found[0]
        if route.method in resource.endpoints:
            raise ValueError(f"two routes for {route.method} {route.path}")
        if resource.path != route.path:
            raise ValueError(f"{route.path} and {resource.path} are the same path")
        resource.endpoints[route.method] = Endpoint(route)


class _Node:
    """One step of a path: what may follow, most definite first."""

    __slots__ = ("found", "literal", "number", "text")

    def __init__(self) -> None:
        self.literal: dict[str, _Node] = {}
        self.number: _Node | None = None
        self.text: _Node | None = None
        self.found: tuple[Resource, tuple[str, ...]] | None = None

    def child(self, segment: str) -> "_Node":
        parameter = _PARAMETER.fullmatch(segment)
        if parameter is None:
            if "{" in segment:
                raise ValueError(f"{segment} is neither a name nor a parameter")
            return self.literal.setdefault(segment, _Node())
        if parameter[2]:
            self.text = self.text or _Node()
            return self.text
        self.number = self.number or _Node()
        return self.number


def _walk(
    node: _Node, segments: list[str], at: int, values: list[int | str]
) -> tuple[Resource, tuple[str, ...]] | None:
    """The values are filled from the last parameter to the first, on the way back."""
    if at == len(segments):
        return node.found
    segment = segments[at]
    child = node.literal.get(segment)
    if child is not None:
        found = _walk(child, segments, at + 1, values)
        if found is not None:
            return found
    if node.number is not None and (number := path_id(segment)):
        found = _walk(node.number, segments, at + 1, values)
        if found is not None:
            values.append(number)
            return found
    if node.text is not None and len(segment) <= TEXT_MAX and _TEXT.fullmatch(segment):
        found = _walk(node.text, segments, at + 1, values)
        if found is not None:
            values.append(segment)
            return found
    return None


def path_id(segment: str) -> int:
    """The id a segment is, or 0."""
    if segment.isdecimal() and segment.isascii() and len(segment) <= 16 and segment[0] != "0":
        number = int(segment)
        return number if number <= INTEGER_MAX else 0
    return 0


def _all_default(kind: Any) -> bool:
    return all(not each.required for each in msgspec.structs.fields(kind))
