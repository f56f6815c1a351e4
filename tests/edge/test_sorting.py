"""Lists come in the order that was asked for, and an order they do not have is refused."""

from typing import Any

from tests.edge.web import Web
from tests.edge.world import World

# By route: the fields, and whose list it is.
LISTS = {
    "/cabinet-orders": ("id", "created_at", "ordered_at", "paid_at", "due_fen"),
    "/admin/cabinet-orders": ("id", "created_at", "ordered_at", "paid_at", "due_fen"),
    "/admin/door-sessions": ("id", "created_at", "requested_at", "opened_at", "closed_at"),
    "/admin/exceptions": ("id", "created_at", "raised_at", "ended_at"),
    "/admin/complaints": ("id", "created_at", "resolved_at"),
    "/admin/alerts": ("id", "created_at", "raised_at", "cleared_at", "kind"),
    "/admin/incidents": ("id", "created_at", "at", "kind"),
    "/admin/callbacks": ("id", "created_at", "received_at"),
    "/admin/devices/1/bindings": ("id", "created_at", "begun_at", "bound_at", "unbound_at"),
    "/admin/devices/1/stock-moves": ("id", "created_at", "at", "sku", "delta"),
    "/admin/expiring?days=3660": ("expires_on", "sku", "quantity"),
    "/admin/sales-batches": ("id", "day", "created_at", "sent_at", "amount_fen"),
    "/admin/reports": ("id", "created_at", "made_at", "day", "kind"),
    "/admin/members": ("id", "username", "created_at"),
    "/admin/goods": ("sku", "name", "price_fen", "status", "created_at", "updated_at"),
}


async def listed(world: World, web: Web, path: str, sort: str) -> Any:
    who = "admin" if path.startswith("/admin") else "diner"
    query = ("&" if "?" in path else "?") + f"sort={sort}&page_size=100"
    token = world.people[who].token
    return await web.ask("GET", f"/api/v1{path}{query}", token=token)


async def fill(world: World) -> None:
    """At least two of most of them."""
    await world.street.open_shop()
    for place in ("A", "B"):
        await world.street.exception(place)
        await world.street.complaint(place)
        await world.street.event()
        await world.street.batch()
        await world.money.alert("payment.mismatch")
        world.clock.advance(minutes=1)
    await world.street.order("A", is_paid=False)
    await world.street.report()
    for name in ("admin", "diner"):
        await world.refresh(name)


async def test_each_list_has_its_orders(world: World, web: Web) -> None:
    await fill(world)
    wrong = []

    for path, fields in LISTS.items():
        for field in fields:
            up, down = [await listed(world, web, path, sign + field) for sign in ("", "-")]
            if (up.status, down.status) != (200, 200):
                wrong.append(f"{path} {field}: {up.status} {down.status}")
                continue
            rising, falling = up.json["items"], down.json["items"]
            if falling != rising[::-1] and path not in {"/admin/members", "/admin/goods"}:
                wrong.append(f"{path} {field}: one order is not the other reversed")
            values = [each.get(field) for each in rising]
            # What there is none of yet is below all.
            known = [each for each in values if each is not None]
            if known != sorted(known) or None in values[len(values) - len(known) :]:
                wrong.append(f"{path} {field}: {values}")

    assert wrong == []


async def test_an_order_that_a_list_does_not_have_is_refused(world: World, web: Web) -> None:
    for path in LISTS:
        for sort in ("nonsense", "-nonsense", "phone", "body"):
            answer = await listed(world, web, path, sort)
            assert (answer.status, answer.json["code"]) == (400, "query.invalid"), path
            assert answer.json["errors"][0]["path"] == "$.sort"
