"""/metrics tells how doors, orders, callbacks and payments are."""

import re
from pathlib import Path
from typing import Any

import pytest

from simulators.xiaomai import ENDPOINT_ID
from tests.clock import Clock
from tests.edge.web import Web
from tests.edge.world import World


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """The figures are those of the services, whatever the database."""
    return sqlite_url


async def figures(web: Web) -> dict[str, float]:
    answer = await web.ask("GET", "/metrics")
    lines = re.findall(r"^(callme_[^ ]+) ([0-9.e+]+)$", answer.body.decode(), re.MULTILINE)
    return {name: float(value) for name, value in lines}


async def test_what_is_at_the_doors_is_in_the_figures(world: World, web: Web) -> None:
    await world.street.open_shop()
    await world.street.session("A")
    await world.street.order("A", is_paid=False)
    await world.street.exception("B")
    await world.money.payment(world.people["seller"].account_id)
    forged = await web.ask("POST", f"/cb/xiaomai/{ENDPOINT_ID}/events", {"event_id": "1"})
    assert forged.status == 401

    before = await figures(web)
    await world.app.cabinets.read_gauges()
    found = await figures(web)

    assert not any("door_sessions" in name for name in before), "read when a watch looks"
    assert found['callme_devices{link="online"}'] == 5
    assert found['callme_door_sessions{state="closed"}'] == 2
    assert found['callme_door_sessions{state="unpaid"}'] == 1
    assert found['callme_cabinet_orders_open{state="unpaid"}'] == 1
    assert found['callme_cabinet_orders_hour{state="paid"}'] == 2
    assert found['callme_payment_attempts{state="success"}'] == 1
    assert found['callme_exceptions_open{kind="no_order"}'] == 1
    refused = [name for name in found if name.startswith("callme_callbacks_total")]
    assert [found[name] for name in refused] == [1]
    assert 'vendor="xiaomai"' in refused[0]
    assert found["callme_inbox_waiting"] == found["callme_inbox_lag_seconds"] == 0


async def test_the_page_of_operations_names_every_figure_and_every_job(
    world: World, web: Web
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
    answer = await web.ask("GET", "/metrics")

    names = re.findall(r"^# HELP (callme_\w+)", answer.body.decode(), re.MULTILINE)

    assert len(names) > 20
    assert [name for name in names if f"`{name}`" not in page and f"`{name}{{" not in page] == []
    jobs = world.app.jobs.names
    assert {"order-pull", "reports", "months"} <= jobs
    assert {job for job in jobs if f"`{job}`" not in page} == set()


async def test_who_forges_callbacks_is_an_alert_until_it_ends(
    world: World, web: Web, clock: Clock
) -> None:
    thresholds = {each.name: each for each in world.app.cabinets.watches()}["thresholds"]

    async def alerts() -> list[dict[str, Any]]:
        found = await web.ask("GET", "/api/v1/admin/alerts", token=world.people["admin"].token)
        assert found.status == 200
        return [each for each in found.json["items"] if each["kind"] == "security.callbacks"]

    for n in range(50):
        forged = await web.ask("POST", f"/cb/xiaomai/{ENDPOINT_ID}/events", {"event_id": f"{n}"})
        assert forged.status == 401
    assert await alerts() == []
    await thresholds.run()

    (alert,) = await alerts()
    assert alert["subject"] == "xiaomai"
    assert alert["text"] == "50 callback.signature in 60 min"
    await thresholds.run()
    assert len(await alerts()) == 1
    clock.advance(minutes=71)
    await world.refresh("admin")
    await thresholds.run()
    assert await alerts() == []


async def test_the_watch_reads_them_by_itself(world: World) -> None:
    watches = {watch.name: watch for watch in world.app.cabinets.watches()}

    await world.street.open_shop()
    await watches["gauges"].run()
    await watches["thresholds"].run()

    assert world.app.cabinets.gauges.ordered == {"paid": 2}
