"""Live state over REST, as a console asks for it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from devices.vendors.port import Reason, VendorRefused, VendorUnknown
from handlers import rest_fleet, rest_live
from tests.clock import Clock
from tests.devices.fleet.maker import Office, serving
from tests.devices.fleet.test_rest import PEOPLE
from tests.devices.presence.conftest import World, door, standing


@pytest.fixture
async def office(one_world: World, clock: Clock) -> AsyncIterator[Office]:
    routes = [*rest_fleet.routes(one_world.fleet), *rest_live.routes(one_world.presence)]
    async with serving(routes, PEOPLE, clock.now) as office:
        yield office


async def test_a_device_is_shown_as_it_is_now(office: Office, one_world: World) -> None:
    device = await standing(one_world)
    await one_world.beat(device, temp_c10=-184, volume=30, doors=(door(lock="locked"),))
    at = f"/admin/devices/{device.id}/live"

    shown = (await office.ask("GET", at)).json

    assert shown == {
        "device_id": device.id,
        "vendor": "maker",
        "code": "D-1",
        "name": "cabinet D-1",
        "store_id": device.store_id,
        "status": "bound",
        "service": "open",
        "link": "online",
        "link_since": "2026-11-20T04:00:00.000Z",
        "last_seen_at": "2026-11-20T04:00:00.000Z",
        "asked_at": None,
        "flapping": False,
        "sale_lock": "",
        "sale_lock_by": 0,
        "sale_lock_at": None,
        "faults": 0,
        "doors": [{"door_no": 1, "lock": "locked", "door": "unknown"}],
        "temperature": {"c10": -184, "at": "2026-11-20T04:00:00.000Z", "is_stale": False},
        "reported": {"temp_c10": -184, "volume": 30, "faults": []},
        "params": {
            "desired": {},
            "desired_version": 0,
            "desired_at": None,
            "desired_by": 0,
            "pending": {},
            "pushes": 0,
        },
        "version": shown["version"],
    }
    listed = await office.ask("GET", "/admin/devices/live")
    assert (listed.json["items"], listed.json["total"]) == ([shown], 1)


async def test_what_has_not_changed_is_not_sent_again(office: Office, one_world: World) -> None:
    device = await standing(one_world)
    for path in ("/admin/devices/live", f"/admin/devices/{device.id}/live"):
        etag = (await office.ask("GET", path)).header("etag")
        assert (await office.ask("GET", path, If_None_Match=etag)).status == 304

        await one_world.beat(device, volume=len(path))

        again = await office.ask("GET", path, If_None_Match=etag)
        assert again.status == 200
        one_world.clock.advance(minutes=3, seconds=1)
        stale = await office.ask("GET", path, If_None_Match=again.header("etag"))
        assert stale.status == 200
        one = stale.json.get("items", [stale.json])[0]
        assert one["temperature"]["is_stale"]


async def test_the_list_is_filtered_and_sorted(office: Office, one_world: World) -> None:
    first = await standing(one_world, "D-1", "S-1")
    await one_world.bound("D-2", "S-2")

    async def codes(query: str) -> list[str]:
        answer = await office.ask("GET", f"/admin/devices/live?{query}")
        return [each["code"] for each in answer.json["items"]]

    assert await codes("sort=-code") == ["D-2", "D-1"]
    assert await codes("link=never") == ["D-2"]
    assert await codes(f"store_id={first.store_id}") == ["D-1"]
    assert await codes("keyword=d-2&service=open") == ["D-2"]
    assert await codes("page_size=1&page=2") == ["D-2"]
    assert (await office.ask("GET", "/admin/devices/live?sort=flips")).status == 400
    assert (await office.ask("GET", "/admin/devices/live?link=gone")).status == 400


async def test_history_is_read_by_time(office: Office, one_world: World, clock: Clock) -> None:
    device = await standing(one_world)
    at = f"/admin/devices/{device.id}/telemetry"
    clock.advance(hours=1)
    await one_world.beat(device, temp_c10=60)

    every = (await office.ask("GET", at)).json
    assert [each["reported"]["temp_c10"] for each in every["items"]] == [40, 60]
    assert (every["is_whole"], every["items"][1]["at"]) == (True, "2026-11-20T05:00:00.000Z")
    some = await office.ask("GET", f"{at}?from=2026-11-20T04:00:00Z&before=2026-11-20T05:00:00Z")
    assert [each["reported"]["temp_c10"] for each in some.json["items"]] == [40]
    wrong = await office.ask("GET", f"{at}?from=yesterday")
    assert (wrong.status, wrong.json["errors"][0]["path"]) == (400, "$.from")


async def test_settings_are_pending_until_they_are_reported(
    office: Office, one_world: World
) -> None:
    device = await standing(one_world)
    at = f"/admin/devices/{device.id}"

    wanted = await office.ask(
        "PATCH", f"{at}/params", {"volume": 30, "target_temp_c10": -180, "reason": "warm"}
    )

    assert wanted.json["params"] == {
        "desired": {"volume": 30, "target_temp_c10": -180},
        "desired_version": 1,
        "desired_at": "2026-11-20T04:00:00.000Z",
        "desired_by": 1,
        "pending": {"volume": 30, "target_temp_c10": -180},
        "pushes": 0,
    }
    await one_world.beat(device, volume=30)
    shown = (await office.ask("GET", f"{at}/live")).json
    assert shown["params"]["pending"] == {"target_temp_c10": -180}
    late = await office.ask("PATCH", f"{at}/params", {"volume": 1, "desired_version": 0})
    assert (late.status, late.json["code"]) == (409, "devices.params_changed")
    odd = await office.ask("PATCH", f"{at}/params", {"compressor": 1})
    assert (odd.status, odd.json["code"]) == (422, "devices.param_unknown")
    none = await office.ask("PATCH", f"{at}/params", {"reason": "nothing"})
    assert (none.status, none.json["code"]) == (400, "body.invalid")


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("target_temp_c10", [-300, 300], [-301, 301, 1.5, "4", None]),
        ("volume", [0, 100], [-1, 101]),
        ("light", [0, 100], [-1, 101]),
        ("compressor", [], [-1, 2, True]),
    ],
)
async def test_a_setting_is_within_its_bounds(
    office: Office, one_world: World, name: str, good: list[int], bad: list[object]
) -> None:
    device = await standing(one_world)
    at = f"/admin/devices/{device.id}/params"

    for value in good:
        answer = await office.ask("PATCH", at, {name: value})
        assert answer.json["params"]["desired"] == {name: value}
    for other in bad:
        refused = await office.ask("PATCH", at, {name: other})
        assert (refused.status, refused.json["errors"][0]["path"]) == (400, f"$.{name}")


async def test_selling_is_stopped_and_started(office: Office, one_world: World) -> None:
    device = await standing(one_world)
    at = f"/admin/devices/{device.id}"

    locked = (await office.ask("POST", f"{at}/lock", {"reason": "smells"})).json
    assert (locked["sale_lock"], locked["sale_lock_by"]) == ("manual", 1)
    assert locked["sale_lock_at"] == "2026-11-20T04:00:00.000Z"
    assert (await office.ask("POST", f"{at}/unlock", {})).json["sale_lock"] == ""
    nowhere = await one_world.device("D-2")
    refused = await office.ask("POST", f"/admin/devices/{nowhere.id}/lock", {})
    assert (refused.status, refused.json["code"]) == (409, "devices.not_bound")


async def test_a_reboot_is_accepted_refused_or_unclear(office: Office, one_world: World) -> None:
    device = await standing(one_world)
    at = f"/admin/devices/{device.id}/reboot"
    one_world.grid.answers = [None, VendorRefused(Reason.OFFLINE), VendorUnknown("x")]

    answers = [await office.ask("POST", at, {"reason": "hangs"}) for _ in range(3)]

    assert [answer.status for answer in answers] == [202, 502, 503]
    assert answers[0].json["device_id"] == device.id
    assert [answer.json["code"] for answer in answers[1:]] == [
        "devices.command_refused",
        "devices.command_unclear",
    ]


async def test_who_may_look_and_who_may_tell_it(office: Office, one_world: World) -> None:
    device, other = await standing(one_world), await one_world.bound("D-2", "S-2")
    assert device.store_id is not None
    await one_world.keep(2, device.store_id)
    at = f"/admin/devices/{device.id}"
    reads = [("GET", "/admin/devices/live"), ("GET", f"{at}/live"), ("GET", f"{at}/telemetry")]
    writes: list[tuple[str, str, Any, int]] = [
        ("PATCH", f"{at}/params", {"volume": 1}, 200),
        ("POST", f"{at}/lock", {}, 200),
        ("POST", f"{at}/unlock", {}, 200),
        ("POST", f"{at}/reboot", {}, 202),
    ]
    for who in PEOPLE:
        looks = {(await office.ask(*asked, token=who)).status for asked in reads}
        assert looks == {403 if who == "diner" else 200}, who
        may_change = who in {"boss", "clerk", "owner", "operator", "admin"}
        for method, path, body, status in writes:
            answer = await office.ask(method, path, body, token=who)
            assert answer.status == (status if may_change else 403), (who, path)

    listed = await office.ask("GET", "/admin/devices/live", token="clerk")
    assert [each["code"] for each in listed.json["items"]] == ["D-1"]
    for method, path, body, _ in [*writes, ("GET", f"{at}/live", None, 0)]:
        theirs = path.replace(at, f"/admin/devices/{other.id}")
        answer = await office.ask(method, theirs, body, token="clerk")
        assert (answer.status, answer.json["code"]) == (404, "devices.not_found")
