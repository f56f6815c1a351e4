"""Stores and devices over REST, as a console asks for them."""

import io
from collections.abc import AsyncIterator
from typing import Any

import pytest
from PIL import Image

from accounts.model import Session
from accounts.staff.permissions import ROLES
from devices.fleet.store import StoresWanted, stores_page
from devices.fleet.streams import tell
from devices.vendors.port import Reason, VendorRefused, VendorUnknown
from handlers import rest_fleet
from tests.clock import Clock
from tests.devices.fleet.conftest import STORE, World
from tests.devices.fleet.maker import Office, serving, staff

PEOPLE = {
    "boss": staff(1, "owner"),
    "clerk": staff(2, "operator"),
    **{role: staff(10 + n, role) for n, role in enumerate(ROLES)},
    "admin": Session(20, 20, frozenset({"admin", "seller"}), "seller", 2**52),
    "diner": Session(30, 30, frozenset({"diner"}), "diner", 2**52),
}
NEW = {key: value for key, value in STORE.items() if key != "review_limit_fen"}
DEVICE = {"vendor": "maker", "code": "D-1", "name": "by the door"}


@pytest.fixture
async def office(one_world: World, clock: Clock) -> AsyncIterator[Office]:
    async with serving(rest_fleet.routes(one_world.fleet), PEOPLE, clock.now) as office:
        yield office


async def make(office: Office, path: str, body: object) -> Any:
    answer = await office.ask("POST", path, body)
    assert answer.status == 201, answer.body
    return answer.json


# ---------------------------------------------------------------- fields


async def test_a_store_is_made_shown_changed_deleted_and_restored(office: Office) -> None:
    made = await make(office, "/admin/stores", NEW)
    at = f"/admin/stores/{made['id']}"

    assert made == {
        **STORE,
        "id": 1,
        "qr_code": made["qr_code"],
        "deleted_at": None,
        "created_at": "2026-11-20T04:00:00.000Z",
        "updated_at": "2026-11-20T04:00:00.000Z",
    }
    assert (await office.ask("GET", at)).json == made
    changed = await office.ask("PATCH", at, {"review_limit_fen": 900, "reason": "new rule"})
    assert changed.json == {**made, "review_limit_fen": 900}
    back = await office.ask("PATCH", at, {"review_limit_fen": None})
    assert back.json == made
    gone = await office.ask("DELETE", f"{at}?reason=closed")
    assert gone.json["deleted_at"] == "2026-11-20T04:00:00.000Z"
    assert (await office.ask("GET", "/admin/stores")).json["items"] == []
    assert (await office.ask("GET", "/admin/stores?deleted=any")).json["total"] == 1
    assert (await office.ask("POST", f"{at}/restore", {})).json == made


async def test_what_is_left_out_has_its_default(office: Office) -> None:
    least = {"code": "S", "name": "n", "type": "arcade", "property": "franchise"}

    made = await make(office, "/admin/stores", least)

    assert (made["address"], made["phone"], made["review_limit_fen"]) == ("", "", None)
    device = await make(office, "/admin/devices", DEVICE)
    assert [door["door_no"] for door in device["doors"]] == [1]


@pytest.mark.parametrize(
    ("field", "longest"),
    [("code", "c" * 50), ("name", "名" * 100), ("address", "址" * 200), ("phone", "1" * 20)],
)
async def test_a_store_field_takes_its_length_and_no_more(
    office: Office, field: str, longest: str
) -> None:
    made = await make(office, "/admin/stores", {**NEW, field: longest})
    assert made[field] == longest

    for method, path in (("POST", "/admin/stores"), ("PATCH", f"/admin/stores/{made['id']}")):
        refused = await office.ask(method, path, {**NEW, field: longest + longest[0]})
        assert (refused.status, refused.json["code"]) == (400, "body.invalid")
        assert refused.json["errors"][0]["path"] == f"$.{field}"
    assert (await office.ask("GET", "/admin/stores")).json["items"] == [made]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("code", ""),
        ("code", "a b"),
        ("code", "a\n"),
        ("code", "店"),
        ("name", ""),
        ("name", " x"),
        ("name", "x "),
        ("name", "a\x00b"),
        ("name", "x\n"),
        ("type", "school"),
        ("property", "rented"),
        ("phone", "call me"),
        ("address", "a\nb"),
        ("review_limit_fen", -1),
        ("review_limit_fen", 100_000_001),
        ("review_limit_fen", "5"),
        ("name", None),
    ],
)
async def test_what_a_store_cannot_be_is_refused(office: Office, field: str, value: object) -> None:
    refused = await office.ask("POST", "/admin/stores", {**NEW, field: value})

    assert (refused.status, refused.json["errors"][0]["path"]) == (400, f"$.{field}")
    assert (await office.ask("GET", "/admin/stores")).json["total"] == 0


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("code", "d" * 50, "d" * 51),
        ("name", "柜" * 100, "柜" * 101),
        ("doors", [99, 1], [100]),
        ("doors", [7], [0]),
        ("doors", [7], []),
        ("doors", [7], list(range(1, 22))),
        ("vendor", "maker", "Maker"),
    ],
)
async def test_a_device_field_takes_what_it_can_be(
    office: Office, field: str, good: object, bad: object
) -> None:
    refused = await office.ask("POST", "/admin/devices", {**DEVICE, field: bad})
    assert refused.status == 400
    assert refused.json["errors"][0]["path"].startswith(f"$.{field}")

    made = await make(office, "/admin/devices", {**DEVICE, field: good})

    shown = [door["door_no"] for door in made["doors"]] if field == "doors" else made[field]
    assert shown == (sorted(good) if isinstance(good, list) else good)


# ---------------------------------------------------------------- a device's life


async def test_a_device_is_bound_shown_and_unbound(office: Office, one_world: World) -> None:
    shop = await make(office, "/admin/stores", NEW)
    device = await make(office, "/admin/devices", {**DEVICE, "doors": [1, 2]})
    at = f"/admin/devices/{device['id']}"
    assert (device["status"], device["store_id"], device["link"]) == ("new", None, "never")

    bound = await office.ask("POST", f"{at}/bind", {"store_id": shop["id"], "reason": "opening"})

    assert (bound.json["status"], bound.json["store_id"]) == ("bound", shop["id"])
    shown = (await office.ask("GET", at)).json
    assert shown == {**bound.json, "binding": shown["binding"]}
    assert shown["binding"] == {
        "id": 1,
        "device_id": device["id"],
        "store_id": shop["id"],
        "state": "bound",
        "begun_at": "2026-11-20T04:00:00.000Z",
        "bound_at": "2026-11-20T04:00:00.000Z",
        "bound_by": 1,
        "unbound_at": None,
        "unbound_by": 0,
        "reason": "opening",
        "problem": "",
    }
    assert (await office.ask("GET", f"{at}/bindings")).json["items"] == [shown["binding"]]
    in_store = await office.ask("GET", f"/admin/devices?store_id={shop['id']}&link=never")
    assert [each["id"] for each in in_store.json["items"]] == [device["id"]]
    refused = await office.ask("DELETE", f"/admin/stores/{shop['id']}")
    assert (refused.status, refused.json["code"]) == (409, "stores.in_use")

    out = await office.ask("POST", f"{at}/unbind", {"reason": "repair"})

    assert (out.json["status"], out.json["store_id"]) == ("new", None)
    assert (await office.ask("GET", at)).json["binding"] is None
    again = await office.ask("POST", f"{at}/unbind", {})
    assert (again.status, again.json["code"]) == (409, "devices.not_bound")


async def test_the_vendors_no_and_its_silence_are_told_apart(
    office: Office, one_world: World
) -> None:
    shop = await make(office, "/admin/stores", NEW)
    device = await make(office, "/admin/devices", DEVICE)
    at, body = f"/admin/devices/{device['id']}", {"store_id": shop["id"]}
    one_world.maker.answers = [VendorRefused(Reason.DEVICE_UNKNOWN, 2001), VendorUnknown()]

    refused = await office.ask("POST", f"{at}/bind", body)
    assert (refused.status, refused.json["code"]) == (502, "devices.binding_refused")
    assert refused.json["detail"] == "device_unknown"
    unclear = await office.ask("POST", f"{at}/bind", body)
    assert (unclear.status, unclear.json["code"]) == (503, "devices.binding_unclear")
    shown = (await office.ask("GET", at)).json
    assert (shown["status"], shown["binding"]["problem"]) == (
        "binding",
        "no clear answer: no answer",
    )

    assert (await office.ask("POST", f"{at}/bind", body)).json["status"] == "bound"


async def test_a_device_is_changed_kept_back_and_retired(office: Office) -> None:
    device = await make(office, "/admin/devices", DEVICE)
    at = f"/admin/devices/{device['id']}"

    changed = await office.ask("PATCH", at, {"name": "by the lift", "doors": [1, 2]})
    assert (changed.json["name"], len(changed.json["doors"])) == ("by the lift", 2)
    kept = await office.ask("POST", f"{at}/maintenance", {"on": True, "reason": "dirty"})
    assert kept.json["service"] == "maintenance"
    assert (await office.ask("POST", f"{at}/maintenance", {"on": False})).json["service"] == "open"
    assert (await office.ask("POST", f"{at}/retire", {})).json["status"] == "retired"
    assert (await office.ask("POST", f"{at}/restore", {})).json["status"] == "new"


async def test_an_unchanged_device_is_not_sent_again(office: Office, clock: Clock) -> None:
    device = await make(office, "/admin/devices", DEVICE)
    at = f"/admin/devices/{device['id']}"
    etag = (await office.ask("GET", at)).header("etag")

    assert (await office.ask("GET", at, If_None_Match=etag)).status == 304
    clock.advance(seconds=1)
    await office.ask("POST", f"{at}/maintenance", {"on": True})
    assert (await office.ask("GET", at, If_None_Match=etag)).status == 200


async def test_a_wish_said_twice_is_one_wish(office: Office) -> None:
    for path, body, other in (
        ("/admin/stores", NEW, {**NEW, "name": "x"}),
        ("/admin/devices", DEVICE, {**DEVICE, "name": "x"}),
    ):
        one = await office.ask("POST", path, body, Idempotency_Key="wish")
        again = await office.ask("POST", path, body, Idempotency_Key="wish")
        refused = await office.ask("POST", path, other, Idempotency_Key="wish")

        assert (one.status, again.status, again.json) == (201, 201, one.json)
        assert (refused.status, refused.json["code"]) == (422, "idempotency.key_reused")
        taken = await office.ask("POST", path, body)
        assert (taken.status, taken.json["code"]) == (409, f"{path[7:]}.code_taken")


# ---------------------------------------------------------------- stickers


async def test_stickers_are_pictures_of_the_codes(office: Office, one_world: World) -> None:
    shop = await make(office, "/admin/stores", NEW)
    device = await make(office, "/admin/devices", {**DEVICE, "doors": [1, 2]})
    at = f"/admin/devices/{device['id']}"

    door = await office.ask("GET", f"{at}/qr.png?door_no=2&size=600")
    first = await office.ask("GET", f"{at}/qr.png")
    of_store = await office.ask("GET", f"/admin/stores/{shop['id']}/qr.png")

    assert {each.header("content-type") for each in (door, first, of_store)} == {"image/png"}
    assert Image.open(io.BytesIO(door.body)).size == (600, 600)
    assert Image.open(io.BytesIO(first.body)).size == (400, 400)
    assert len({door.body, first.body, of_store.body}) == 3
    assert (await office.ask("GET", f"{at}/qr.png?door_no=3")).json["code"] == (
        "devices.door_not_found"
    )
    replaced = (await office.ask("POST", f"{at}/replace-qr", {"reason": "torn"})).json
    assert replaced["qr_version"] == 2
    assert (await office.ask("GET", f"{at}/qr.png")).body != first.body
    assert replaced["doors"][1]["qr_code"] == one_world.qr.door(device["id"], 2, 2)


# ---------------------------------------------------------------- lists


async def test_a_page_is_sorted_by_what_a_list_shows(office: Office) -> None:
    for code in ("b", "a", "c"):
        await make(office, "/admin/stores", {**NEW, "code": code})
        await make(office, "/admin/devices", {**DEVICE, "code": code})

    for path in ("/admin/stores", "/admin/devices"):
        page = (await office.ask("GET", f"{path}?sort=-code&page_size=2&page=1")).json
        assert [each["code"] for each in page["items"]] == ["c", "b"]
        assert (page["total"], page["page"], page["page_size"]) == (3, 1, 2)
        refused = await office.ask("GET", f"{path}?sort=qr_version;drop")
        assert refused.status == 400
        refused = await office.ask("GET", f"{path}?sort=version")
        assert (refused.status, refused.json["errors"][0]["path"]) == (400, "$.sort")
        unknown = await office.ask("GET", f"{path}?status=broken&type=school&deleted=maybe")
        assert unknown.status == 400


# ---------------------------------------------------------------- who


async def test_who_may_look_and_who_may_change(office: Office) -> None:
    shop = await make(office, "/admin/stores", NEW)
    device = await make(office, "/admin/devices", DEVICE)
    reads = [
        ("GET", "/admin/stores"),
        ("GET", f"/admin/stores/{shop['id']}"),
        ("GET", f"/admin/stores/{shop['id']}/qr.png"),
        ("GET", "/admin/devices"),
        ("GET", f"/admin/devices/{device['id']}"),
        ("GET", f"/admin/devices/{device['id']}/bindings"),
        ("GET", f"/admin/devices/{device['id']}/qr.png"),
    ]
    writes = [
        ("PATCH", f"/admin/stores/{shop['id']}", {}),
        ("POST", f"/admin/stores/{shop['id']}/restore", {}),
        ("PATCH", f"/admin/devices/{device['id']}", {}),
        ("POST", f"/admin/devices/{device['id']}/maintenance", {"on": False}),
        ("POST", f"/admin/devices/{device['id']}/replace-qr", {}),
        ("POST", f"/admin/devices/{device['id']}/restore", {}),
    ]
    for who in PEOPLE:
        looks = {(await office.ask(*asked, token=who)).status for asked in reads}
        changes = {(await office.ask(*asked, token=who)).status for asked in writes}

        assert looks == {403 if who == "diner" else 200}, who
        may_change = who in {"boss", "clerk", "owner", "operator", "admin"}
        assert changes == {200 if may_change else 403}, who
    assert (await office.ask("GET", "/admin/stores", token="")).status == 401


async def test_who_is_kept_to_a_store_is_not_told_of_another(
    office: Office, one_world: World
) -> None:
    mine, other = await one_world.bound("D-1", "S-1"), await one_world.bound("D-2", "S-2")
    assert mine.store_id is not None
    await one_world.keep(2, mine.store_id)

    listed = await office.ask("GET", "/admin/devices", token="clerk")
    assert [each["code"] for each in listed.json["items"]] == ["D-1"]
    for path in (f"/admin/devices/{other.id}", f"/admin/stores/{other.store_id}"):
        theirs = await office.ask("GET", path, token="clerk")
        missing = await office.ask("GET", f"{path}999", token="clerk")
        assert theirs.status == missing.status == 404
        assert theirs.json["detail"] == missing.json["detail"]
    assert (
        await office.ask("GET", f"/admin/devices/{other.id}/qr.png", token="clerk")
    ).status == 404
    new = await office.ask("POST", "/admin/stores", {**NEW, "code": "S-3"}, token="clerk")
    assert (new.status, new.json["code"]) == (403, "stores.out_of_scope")
    assert (await one_world.db.read(stores_page, StoresWanted()))[0] == 2


async def test_no_news_are_no_events(one_world: World) -> None:
    await one_world.db.write(tell, [])


async def test_a_code_tells_anybody_what_it_is_of(office: Office) -> None:
    store = await make(office, "/admin/stores", NEW)
    device = await make(office, "/admin/devices", {**DEVICE, "doors": [1, 2]})
    (_, second) = device["doors"]
    code = second["qr_code"].rpartition("=")[2]
    path = f"/cabinets/{code}"

    loose = await office.ask("GET", path, token="")
    await office.ask("POST", f"/admin/devices/{device['id']}/bind", {"store_id": store["id"]})
    bound = await office.ask("GET", path, token="")
    of_store = await office.ask("GET", f"/cabinets/{store['qr_code'].rpartition('=')[2]}", token="")

    label = {"kind": "door", "name": device["name"], "store_name": "", "door_no": 2}
    assert (loose.status, loose.json) == (200, label)
    assert bound.json == label | {"store_name": store["name"]}
    assert of_store.json == {
        "kind": "store",
        "name": "",
        "store_name": store["name"],
        "door_no": None,
    }
    await office.ask("POST", f"/admin/devices/{device['id']}/replace-qr", {})
    for void in (path, path[:-3], "/cabinets/C1.S.99.AAAAAAAAAAAAAAAAAAAAAA"):
        refused = await office.ask("GET", void, token="")
        assert (refused.status, refused.json["code"]) == (422, "cabinets.qr_invalid"), void
    await office.ask("POST", f"/admin/devices/{device['id']}/unbind", {})
    await office.ask("DELETE", f"/admin/stores/{store['id']}")
    gone = await office.ask("GET", f"/cabinets/{store['qr_code'].rpartition('=')[2]}", token="")
    assert gone.status == 422
