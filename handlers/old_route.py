"""`POST /`: the old dialect over HTTP."""

from handlers.calls import Call, Response
from handlers.errors import Problem
from handlers.old_bodies import read_body
from handlers.old_dialect import ILLEGAL_QUERY, TOO_MANY, Dialect
from handlers.routing import RAW, Route

# A form with a picture of 512 KiB around it.
BODY_MAX = 1024 * 1024


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
            refuse=refuse,
            in_document=False,
        )
    ]


def refuse(problem: Problem) -> Response:
    """What the edge refuses, in this dialect's words. Too fast is 200 like every answer; what
    the client could not have known (too large, too late, the database is away) keeps its status.
    """
    if problem.status == 429:
        return Response(200, TOO_MANY)
    if problem.status == 503:
        return Response(503, {"queryErr": "Server Busy"})
    if problem.status >= 500:
        return Response(problem.status, {"queryErr": "Server Error"})
    return Response(problem.status, ILLEGAL_QUERY)
