"""For those who run the server: is it alive, is it ready, what does it do."""

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from handlers.calls import Call, Response
from handlers.routing import Route

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Health(msgspec.Struct, frozen=True):
    status: str


class Readiness(msgspec.Struct, frozen=True):
    """parts: each "ok" or what is wrong with it. Only the database decides the status."""

    status: str
    parts: Mapping[str, str]


def routes(
    readiness: Callable[[], Awaitable[Readiness]], metrics: Callable[[], bytes]
) -> list[Route]:
    async def ready(_: Call) -> Response:
        found = await readiness()
        return Response(200 if found.status == "ok" else 503, found)

    def health(_: Call) -> Health:
        return Health("ok")

    def show_metrics(_: Call) -> Response:
        return Response(200, metrics(), (("Content-Type", METRICS_TYPE),))

    return [
        Route(
            "GET",
            "/healthz",
            health,
            returns=Health,
            area="operations",
            summary="The process answers",
        ),
        Route(
            "GET",
            "/readyz",
            ready,
            returns=Readiness,
            area="operations",
            summary="The database answers too; 503 when not",
        ),
        Route(
            "GET",
            "/metrics",
            show_metrics,
            area="operations",
            summary="Figures for Prometheus",
            media_type=METRICS_TYPE,
        ),
    ]
