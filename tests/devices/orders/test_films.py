"""Films of orders: where they are to be seen, who has looked, and what events say of them."""

from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from accounts.staff.permissions import kept
from devices.orders.films.service import Films
from devices.vendors.port import (
    CabinetVendor,
    DoorClosed,
    Event,
    Reason,
    VendorError,
    VendorRefused,
    VendorUnknown,
    VideoFailed,
    VideoReady,
    VideoSlice,
)
from handlers import rest_films
from sql.transaction import Tx
from tests.devices.fleet.maker import Office, serving, staff
from tests.devices.orders.shop import CLERK, FOREIGNER, VENDOR, Shop, decoded

COLAS = {"cola": 2}
WHY = {"reason": "看不清"}
PEOPLE = {
    "boss": staff(CLERK, "owner"),
    "operator": staff(20, "operator"),
    "readonly": staff(23, "readonly"),
    "foreigner": staff(FOREIGNER, kept("owner")),
}


class Cinema:
    """The part of the port that films take. trouble: what it raises next."""

    def __init__(self, now: Any) -> None:
        self.now = now
        self.trouble: VendorError | None = None
        self.asked: list[str] = []

    async def video_urls(self, vendor_order_no: str) -> list[VideoSlice]:
        self._hear(f"urls {vendor_order_no}")
        common = {"slices": 2, "url": "https://film.example/1", "expires_at": self.now()}
        return [VideoSlice(camera_no=1, slice=n, sha256="ab", **common) for n in (1, 2)]

    async def request_video(self, vendor_order_no: str, cameras: Sequence[int] = ()) -> None:
        self._hear(f"again {vendor_order_no}")

    def _hear(self, asked: str) -> None:
        self.asked.append(asked)
        if self.trouble is not None:
            raise self.trouble


@pytest.fixture
def cinema(shop: Shop) -> Cinema:
    return Cinema(shop.clock.now)


@pytest.fixture
def films(shop: Shop, cinema: Cinema) -> Films:
    return Films(shop.db, {VENDOR: cast("CabinetVendor", cinema)})


@pytest.fixture
async def office(shop: Shop, films: Films) -> AsyncIterator[Office]:
    async with serving(rest_films.routes(films), PEOPLE, shop.clock.now) as opened:
        yield opened


async def bought(shop: Shop) -> Any:
    await shop.grant(10_000)
    session = await shop.visit()
    await shop.told(session, COLAS, video="pending")
    return await shop.order(session)


async def state(shop: Shop) -> list[str]:
    """As the revisions have it."""
    rows = await shop.rows("order_revisions")
    return [(decoded(row["body"])["fact"] or {}).get("video", "") for row in rows]


async def audit(shop: Shop) -> list[tuple[str, str]]:
    return [(row["action"], row["reason"]) for row in await shop.rows("staff_audit")]


async def test_a_film_is_seen_and_who_looked_is_written_down(
    shop: Shop, office: Office, cinema: Cinema
) -> None:
    order = await bought(shop)
    path = f"/admin/cabinet-orders/{order.id}/video"

    found = await office.ask("GET", path, token="operator")

    assert found.status == 200, found.body
    assert found.json["state"] == "ready"
    assert found.json["slices"][1] == {
        "camera_no": 1,
        "slice": 2,
        "slices": 2,
        "url": "https://film.example/1",
        "expires_at": "2026-11-20T04:00:00.000Z",
        "sha256": "ab",
    }
    assert cinema.asked == [f"urls {order.vendor_order_no}"]
    assert await audit(shop) == [("cabinet_order.video", "")]


async def test_a_film_is_uploaded_once_more_and_once_per_key(
    shop: Shop, office: Office, cinema: Cinema
) -> None:
    order = await bought(shop)
    path = f"/admin/cabinet-orders/{order.id}/video/reupload"

    first, again = [await office.ask("POST", path, WHY, Idempotency_Key="k") for _ in range(2)]
    other = await office.ask("POST", path, {"reason": "x"}, Idempotency_Key="k")

    assert (first.status, first.json) == (202, {"state": "pending", "slices": []})
    assert again.json == first.json
    assert (other.status, other.json["code"]) == (422, "idempotency.key_reused")
    assert cinema.asked == [f"again {order.vendor_order_no}"]
    assert await audit(shop) == [("cabinet_order.video_reupload", "看不清")]
    assert await state(shop) == ["pending"]


@pytest.mark.parametrize(
    ("trouble", "status", "code"),
    [
        (VendorRefused(Reason.VIDEO_MISSING), 404, "cabinet_order.video_missing"),
        (VendorRefused(Reason.ORDER_UNKNOWN), 404, "cabinet_order.video_missing"),
        (VendorRefused(Reason.OTHER), 502, "devices.command_refused"),
        (VendorUnknown("timed out"), 503, "devices.command_unclear"),
    ],
)
async def test_without_a_film_nothing_is_written_down(
    shop: Shop, office: Office, cinema: Cinema, trouble: VendorError, status: int, code: str
) -> None:
    order = await bought(shop)
    path = f"/admin/cabinet-orders/{order.id}/video"
    cinema.trouble = trouble

    seen = await office.ask("GET", path)
    asked = await office.ask("POST", f"{path}/reupload", WHY)

    assert (seen.status, seen.json["code"]) == (asked.status, asked.json["code"]) == (status, code)
    assert await audit(shop) == []


async def test_a_film_on_its_way_has_no_slices(shop: Shop, office: Office, cinema: Cinema) -> None:
    order = await bought(shop)
    cinema.trouble = VendorRefused(Reason.VIDEO_PENDING)

    found = await office.ask("GET", f"/admin/cabinet-orders/{order.id}/video")

    assert (found.status, found.json) == (200, {"state": "pending", "slices": []})


async def test_who_sees_films(shop: Shop, office: Office, films: Films) -> None:
    order = await bought(shop)
    await shop.execute("UPDATE cabinet_orders SET vendor_order_no = NULL")
    path = f"/admin/cabinet-orders/{order.id}/video"

    nobodys = await office.ask("GET", path)
    foreign = await office.ask("GET", path, token="foreigner")
    reader = await office.ask("GET", path, token="readonly")

    assert (nobodys.status, nobodys.json["code"]) == (404, "cabinet_order.video_missing")
    assert (foreign.status, foreign.json["code"]) == (404, "cabinet_order.not_found")
    assert reader.status == 403
    await shop.execute("UPDATE cabinet_orders SET vendor_order_no = 'W1'")
    films._vendors = {}
    away = await office.ask("GET", path)
    assert away.json["code"] == "devices.vendor_not_set"


async def test_events_tell_how_the_film_is(shop: Shop, films: Films) -> None:
    order = await bought(shop)
    handled: list[str] = []

    def handle(tx: Tx, row: Any, event: Event) -> None:
        handled.append(type(event).__name__)

    heed = films.beside(handle)

    async def tells(kind: Any, *, is_again: bool = False, **more: Any) -> list[str]:
        common = {"event_id": "e", "device_code": "XM-1", "occurred_at": 0}
        row = SimpleNamespace(vendor=VENDOR, is_again=is_again)
        await shop.db.write(heed, row, kind(**common, **more))
        return await state(shop)

    no = {"vendor_order_no": order.vendor_order_no}
    assert await tells(VideoReady, **no) == ["ready"]
    assert await tells(VideoFailed, is_again=True, **no) == ["ready"]
    assert await tells(VideoFailed, **no) == ["failed"]
    assert await tells(VideoReady, vendor_order_no="W-nobodys") == ["failed"]
    assert await tells(DoorClosed) == ["failed"]
    assert handled == ["VideoReady", "VideoFailed", "VideoFailed", "VideoReady", "DoorClosed"]
    # The latest word of the vendor is the one that is kept up.
    await shop.told(await shop.session_of(order), COLAS, 2)
    assert await tells(VideoReady, **no) == ["failed", "ready"]
