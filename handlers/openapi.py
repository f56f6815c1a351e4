"""The OpenAPI 3.1 document, made from the table of routes and the types of their messages.

The same table gives the same bytes, so the document can be kept in the repository and compared.
"""

import asyncio
import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any, Final

import msgspec

from handlers.answers import JSON, PROBLEM_JSON
from handlers.calls import PUBLIC, Call, Response
from handlers.errors import REFUSALS, ProblemBody
from handlers.routing import RAW, Route
from handlers.wire import INTEGER_MAX, encode

VERSION: Final = "1"
PATH: Final = "/api/v1/openapi.json"

_REF: Final = "#/components/schemas/{name}"
_PARAMETER: Final = re.compile(r"\{([a-z_]+):text\}")

DESCRIPTION: Final = """\
Money is integer fen, times are RFC 3339 in UTC, ids are integers below 2^53.

Errors are `application/problem+json`; `code` is stable, `title` and `detail` are for people.
Unknown fields of a body and unknown parameters are ignored. A trailing slash makes no difference.
What belongs to somebody else is answered 404, like what does not exist.
"""

_REQUEST_ID_HEADER: Final = {
    "description": "The id of this exchange in our log; the client's own if it sent a sane one.",
    "schema": {"type": "string"},
}
_ETAG_HEADER: Final = {
    "description": "Names this state; send it back in If-None-Match.",
    "schema": {"type": "string"},
}
_RETRY_HEADER: Final = {
    "description": "Whole seconds to wait before asking again.",
    "schema": {"type": "integer", "minimum": 1},
}
_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Made by the client for one wish. A repeat with the same body gets the first "
    "answer again, another body is refused with 422, a repeat that comes too early with 409.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,200}$"},
}
_IF_NONE_MATCH: Final = {
    "name": "If-None-Match",
    "in": "header",
    "description": "ETags of what the client has seen.",
    "schema": {"type": "string"},
}

# What any route may answer besides what it says of itself.
_COMMON: Final = (429, 500, 503)


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """The document as plain dictionaries."""
    shown = [route for route in routes if route.in_document]
    types = _types_of(shown)
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    schema_of = dict(zip(map(repr, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in sorted(shown, key=lambda route: (route.path, route.method)):
        path = _PARAMETER.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {"title": "callme", "version": VERSION, "description": DESCRIPTION},
        "servers": [{"url": "/"}],
        "tags": [{"name": area} for area in sorted({r.area for r in shown if r.area})],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(components.items())),
            "responses": _problem_responses(schema_of),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token that a sign-in gave.",
                }
            },
        },
    }


def route(routes: Sequence[Route]) -> Route:
    """The route that serves the document of these routes. It is made once, when first asked for,
    and beside the event loop: it takes as long as a tenth of a start."""

    @cache
    def written() -> tuple[str, Response]:
        body = encode(document(routes))
        state = hashlib.sha256(body).hexdigest()[:16]
        return state, Response(200, body, (("Content-Type", JSON),))

    async def etag(_: Call) -> str:
        return (await asyncio.to_thread(written))[0]

    async def openapi(_: Call) -> Response:
        return (await asyncio.to_thread(written))[1]

    return Route("GET", PATH, openapi, etag=etag, in_document=False)


def _types_of(routes: Iterable[Route]) -> list[Any]:
    """Every type a schema is needed for, once, in the order of the routes."""
    types: dict[str, Any] = {repr(ProblemBody): ProblemBody}
    for each in routes:
        for kind in (each.body, each.returns):
            if kind not in (None, RAW):
                types[repr(kind)] = kind
        if each.query is not None:
            for field in msgspec.structs.fields(each.query):
                types[repr(field.type)] = field.type
    return list(types.values())


def _operation(route: Route, schema_of: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {"operationId": _operation_id(route)}
    if route.area:
        operation["tags"] = [route.area]
    if route.summary:
        operation["summary"] = route.summary
    description = "\n\n".join(filter(None, (route.description, _codes(route))))
    if description:
        operation["description"] = description
    parameters = _parameters(route, schema_of)
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = _request_body(route, schema_of)
    operation["responses"] = _responses(route, schema_of)
    operation["security"] = [] if route.who == PUBLIC else [{"bearer": []}]
    return operation


def _operation_id(route: Route) -> str:
    """`post_stalls_tickets` for POST /api/v1/stalls/{stall_id}/tickets, with its parameters."""
    path = route.path.removeprefix("/api/v1").replace(":text", "")
    words = re.findall(r"[A-Za-z0-9]+", path)
    return "_".join([route.method.lower(), *words]) or route.method.lower()


def _codes(route: Route) -> str:
    parts = []
    if route.who != PUBLIC:
        parts.append("Roles: " + ", ".join(sorted(route.who)) + ".")
    if route.errors:
        parts.append("Refusals: " + ", ".join(f"`{code}`" for code in sorted(route.errors)) + ".")
    return "\n\n".join(parts)


def _parameters(route: Route, schema_of: dict[str, Any]) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": _path_schema(is_id)}
        for name, is_id in route.parameters
    ]
    if route.query is not None:
        parameters += [
            _query_parameter(field, schema_of) for field in msgspec.structs.fields(route.query)
        ]
    if route.idempotent:
        parameters.append(_IDEMPOTENCY_KEY)
    if route.etag is not None:
        parameters.append(_IF_NONE_MATCH)
    return parameters


def _path_schema(is_id: bool) -> dict[str, Any]:
    if is_id:
        return {"type": "integer", "minimum": 1, "maximum": INTEGER_MAX}
    return {"type": "string", "pattern": "^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$"}


def _query_parameter(field: msgspec.structs.FieldInfo, schema_of: dict[str, Any]) -> dict[str, Any]:
    schema = dict(schema_of[repr(field.type)])
    parameter = {"name": field.encode_name, "in": "query", "required": field.required}
    if "description" in schema:
        parameter["description"] = schema.pop("description")
    if field.default not in (msgspec.NODEFAULT, None):
        schema["default"] = msgspec.to_builtins(field.default)
    return {**parameter, "schema": schema}


def _request_body(route: Route, schema_of: dict[str, Any]) -> dict[str, Any]:
    if route.body is RAW:
        return {"required": True, "content": {"application/octet-stream": {}}}
    required = any(field.required for field in msgspec.structs.fields(route.body))
    return {
        "required": required,
        "content": {JSON: {"schema": schema_of[repr(route.body)]}},
    }


def _responses(route: Route, schema_of: dict[str, Any]) -> dict[str, Any]:
    headers = {"X-Request-Id": _REQUEST_ID_HEADER}
    if route.etag is not None:
        headers["ETag"] = _ETAG_HEADER
    good: dict[str, Any] = {"description": HTTPStatus(route.status).phrase, "headers": headers}
    if route.returns is not None and route.status != 204:
        good["content"] = {route.media_type: {"schema": schema_of[repr(route.returns)]}}
    elif route.media_type != JSON:
        good["content"] = {route.media_type: {}}
    responses = {str(route.status): good}
    if route.etag is not None:
        responses["304"] = {"description": HTTPStatus(304).phrase, "headers": headers}
    for status in _refusals(route):
        responses[str(status)] = {"$ref": f"#/components/responses/{status}"}
    responses["default"] = {"$ref": "#/components/responses/default"}
    return dict(sorted(responses.items()))


def _refusals(route: Route) -> list[int]:
    """The statuses that the exchange itself may refuse with, and those of the route's codes."""
    statuses = set(_COMMON)
    statuses |= {status for code in route.errors if (status := REFUSALS.status_of(code))}
    if route.query is not None or route.idempotent:
        statuses.add(400)
    if route.idempotent:
        statuses.add(422)
    if route.body is not None:
        statuses |= {400, 408, 413} if route.body is RAW else {400, 408, 413, 415}
    if route.who != PUBLIC:
        statuses |= {401, 403}
    if route.parameters:
        statuses.add(404)
    return sorted(statuses)


_DESCRIPTIONS: Final = {
    "400": "The query, the body or a header is not what the route takes.",
    "401": "Not signed in, or not any more.",
    "403": "The role does not allow it.",
    "404": "There is nothing here, or it is somebody else's.",
    "408": "The body did not come in time.",
    "409": "Not in this state, or not any more; the code says why.",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
    "422": "It can be read but not be done: the code says why.",
    "429": "Too many requests in a short time.",
    "500": "Our mistake; the log knows it by its request_id.",
    "502": "WeChat refused what we asked.",
    "503": "Something we need is away. Nothing is lost; ask again.",
    "default": "A refusal; its code says why.",
}


def _problem_responses(schema_of: dict[str, Any]) -> dict[str, Any]:
    responses = {}
    for status, description in _DESCRIPTIONS.items():
        headers: dict[str, Any] = {"X-Request-Id": _REQUEST_ID_HEADER}
        if status in {"429", "503"}:
            headers["Retry-After"] = _RETRY_HEADER
        if status == "401":
            headers["WWW-Authenticate"] = {"schema": {"type": "string"}}
        responses[status] = {
            "description": description,
            "headers": headers,
            "content": {PROBLEM_JSON: {"schema": schema_of[repr(ProblemBody)]}},
        }
    return responses
