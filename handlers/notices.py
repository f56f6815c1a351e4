"""Notices of WeChat Pay: taken as they come, stored before they are answered.

Outside sign-in and XSRF; a body is never logged. Whatever WeChat does not read as its own
«success» comes again, up to fifteen times in a day.
"""

from collections.abc import Awaitable, Callable, Mapping

import structlog

from handlers.calls import Call, Response
from handlers.errors import Problem
from handlers.routing import RAW, Route
from payments.wechat.errors import BadMessage
from payments.wechat.notices_v2 import ACK, nack

log = structlog.get_logger(__name__)

XML = (("Content-Type", "text/xml; charset=utf-8"),)
JSON = (("Content-Type", "application/json"),)

Receive = Callable[[bytes, Mapping[str, str], str], Awaitable[str]]


def routes(receive: Receive, paths: Mapping[str, str]) -> list[Route]:
    """paths: each with its dialect, "xml" or "json"."""
    return [
        Route(
            "POST",
            path,
            _xml(receive) if dialect == "xml" else _json(receive),
            body=RAW,
            refuse=_refuse_xml if dialect == "xml" else _refuse_json,
            in_document=False,
        )
        for path, dialect in paths.items()
    ]


def _xml(receive: Receive) -> Callable[[Call], Awaitable[Response]]:
    async def take(call: Call) -> Response:
        try:
            await receive(call.raw, call.headers, call.path)
        except BadMessage as error:
            # Counted and kept for a person to look at; a flood of them is no alarm each.
            log.info("a notice was refused", path=call.path, why=type(error).__name__)
            return Response(200, nack("refused"), XML)
        return Response(200, ACK, XML)

    return take


def _json(receive: Receive) -> Callable[[Call], Awaitable[Response]]:
    async def take(call: Call) -> Response:
        try:
            await receive(call.raw, call.headers, call.path)
        except BadMessage as error:
            # WeChat tries us with wrong signatures: they must be refused, and are no alarm.
            log.info("a notice was refused", path=call.path, why=type(error).__name__)
            return Response(401, b'{"code":"FAIL","message":"refused"}', JSON)
        return Response(204)

    return take


def _refuse_xml(problem: Problem) -> Response:
    return Response(problem.status, nack("try again"), XML)


def _refuse_json(problem: Problem) -> Response:
    return Response(problem.status, b'{"code":"FAIL","message":"try again"}', JSON)
