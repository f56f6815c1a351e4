"""Callbacks of the cabinets' platforms: taken as they come, stored before they are answered.

Outside sign-in and XSRF; a body is never logged. Each is answered in its vendor's dialect.
"""

from collections.abc import Awaitable, Callable, Container, Mapping

from devices.inbox.model import RETRY_AFTER_S, Arrived
from devices.vendors.port import Answer, BadCallback, CabinetVendor, TooLarge
from handlers.calls import Call, Response
from handlers.errors import Problem
from handlers.routing import KIB, RAW, Route

BODY_MAX = 256 * KIB

Receive = Callable[[str, Arrived], Awaitable[Answer]]


def routes(
    receive: Receive, vendors: Mapping[str, CabinetVendor], *, now: Callable[[], int]
) -> list[Route]:
    """A route for each vendor, by its code, so that each is counted by itself."""
    return [
        Route(
            "POST",
            f"/cb/{code}/{{endpoint_id:text}}/events",
            _take(receive, code),
            body=RAW,
            max_body=BODY_MAX,
            counts_address=False,
            refuse=_refuse(vendor, now),
            in_document=False,
        )
        for code, vendor in vendors.items()
    ]


def _take(receive: Receive, code: str) -> Callable[[Call], Awaitable[Response]]:
    async def take(call: Call) -> Response:
        arrived = Arrived(
            endpoint_id=call.params["endpoint_id"],
            headers=call.headers,
            path=call.path,
            query=call.query_text,
            raw=call.raw,
            address=call.address,
        )
        return _response(await receive(code, arrived))

    return take


def _refuse(vendor: CabinetVendor, now: Callable[[], int]) -> Callable[[Problem], Response]:
    """What the edge refuses, and mistakes of ours: these must come again."""

    def refuse(problem: Problem) -> Response:
        if problem.status == 413:
            answer = vendor.refuse(TooLarge(), now=now())
        elif problem.status < 500 and problem.status != 429:
            answer = vendor.refuse(BadCallback(), now=now())
        else:
            answer = vendor.overloaded(retry_after_s=RETRY_AFTER_S)
        return _response(answer, without=problem.headers)

    return refuse


def _response(answer: Answer, without: Container[str] = ()) -> Response:
    """without: headers that the answer has already."""
    status, headers, body = answer
    return Response(status, body, tuple(pair for pair in headers.items() if pair[0] not in without))
