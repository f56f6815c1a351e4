"""What the cabinets filmed of an order, over REST for the back office."""

from typing import Any, Final

import msgspec

from accounts.staff.permissions import Permission, allowed
from commerce.members.messages import Reason
from devices.orders.films.model import Film
from devices.orders.films.service import Films
from handlers.actors import by
from handlers.calls import ADMIN, Call
from handlers.routing import Route
from handlers.wire import rfc3339

_LOOK: Final = ADMIN | allowed(Permission.CABINET_ORDERS_VIDEO)


class UploadAgain(msgspec.Struct, frozen=True):
    reason: Reason


class SliceOut(msgspec.Struct, frozen=True):
    """A part of what one camera saw; the address is the platform's, until expires_at."""

    camera_no: int
    slice: int
    slices: int
    url: str
    expires_at: str
    sha256: str


class FilmOut(msgspec.Struct, frozen=True):
    """state: ready, or pending, and then there are no slices yet."""

    state: str
    slices: list[SliceOut]


def routes(films: Films) -> list[Route]:
    async def film(call: Call) -> FilmOut:
        return _out(await films.film(call.params["order_id"], by=by(call)))

    async def upload_again(call: Call) -> FilmOut:
        asked = await films.upload_again(
            call.params["order_id"],
            by=by(call),
            reason=call.body.reason,
            key=call.idempotency_key,
        )
        return _out(asked)

    one = "/api/v1/admin/cabinet-orders/{order_id}/video"
    refused = (
        "cabinet_order.not_found",
        "cabinet_order.video_missing",
        "devices.command_refused",
        "devices.command_unclear",
        "devices.vendor_not_set",
    )
    common: dict[str, Any] = {"returns": FilmOut, "who": _LOOK, "area": "admin: cabinet orders"}
    return [
        Route(
            "GET",
            one,
            film,
            summary="Where the film of an order is to be seen; each look is in the audit",
            errors=refused,
            **common,
        ),
        Route(
            "POST",
            f"{one}/reupload",
            upload_again,
            body=UploadAgain,
            status=202,
            idempotent=True,
            summary="Let the cabinet upload the film once more",
            errors=(*refused, "idempotency.key_reused"),
            **common,
        ),
    ]


def _out(film: Film) -> FilmOut:
    slices = [
        SliceOut(**msgspec.structs.asdict(each) | {"expires_at": rfc3339(each.expires_at)})
        for each in film.slices
    ]
    return FilmOut(film.state, slices)
