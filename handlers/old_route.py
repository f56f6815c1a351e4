"""`POST /`: the old dialect over HTTP."""

from handlers.calls import Call, Response
from handlers.errors import Problem
from handlers.old_bodies import read_body
from handlers.old_dialect import ILLEGAL_QUERY, TOO_MANY, Dialect
from handlers.routing import RAW, Route

# A form with a picture of 512 KiB around it.
BODY_MAX = 1024 * 1024
# A phone's photograph, sent as it is: its owner is to read that it is too large.
DISCARD_MAX = 12 * 1024 * 1024


def routes(dialect: Dialect) -> list[Route]:
    async def answer(call: Call) -> Response:
        fields = read_body(call.raw, call.headers)
        if fields is None:
            return Response(200, ILLEGAL_QUERY)
        return Response(200, await dialect.answer(fields, address=call.address))

    return [
        Route(
            "POST",
            "/",
            answer,
            body=RAW,
            max_body=BODY_MAX,
            discard_max=DISCARD_MAX,
            refuse=refuse,
            in_document=False,
        )
    ]


def refuse(problem: Problem) -> Response:
    """What the edge refuses, in this dialect's words: 200 like every answer, unless the fault is
    on our side and the client may come back with the same request.
    """
    if problem.status == 429:
        return Response(200, TOO_MANY)
    if problem.status == 413:
        # Nothing but a picture is that large.
        return Response(200, {**ILLEGAL_QUERY, "failMsg": "Size Error"})
    if problem.status == 503:
        return Response(503, {"queryErr": "Server Busy"})
    if problem.status >= 500:
        return Response(problem.status, {"queryErr": "Server Error"})
    return Response(200, ILLEGAL_QUERY)
