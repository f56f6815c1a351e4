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
Scanned = Callable[[bytes, Mapping[str, str], str, str], Awaitable[bytes]]


def routes(receive: Receive, scanned: Scanned, paths: Mapping[str, str]) -> list[Route]:
    """paths: each with its dialect: "xml", "json", or "scan" for those that wait for an order."""
    take = {"xml": _xml(receive), "json": _json(receive), "scan": _scan(scanned)}
    return [
        Route(
            "POST",
            path,
            take[dialect],
            body=RAW,
            # WeChat tells of a whole noon's payments from a few addresses.
            counts_address=False,
            refuse=_refuse_json if dialect == "json" else _refuse_xml,
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


def _scan(scanned: Scanned) -> Callable[[Call], Awaitable[Response]]:
    async def take(call: Call) -> Response:
        try:
            answer = await scanned(call.raw, call.headers, call.path, call.address)
        except BadMessage as error:
            log.info("a scan was refused", path=call.path, why=type(error).__name__)
            return Response(200, nack("refused"), XML)
        return Response(200, answer, XML)

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
