"""A shop with people who bought there, and the routes of reports on a real socket."""

from collections.abc import AsyncIterator

import pytest

from accounts.model import Session
from devices.reports.service import Reports
from devices.vendors.port import Certainty
from handlers import rest_reports
from tests.devices.fleet.maker import Office, serving, staff
from tests.devices.orders.conftest import one_shop, shop
from tests.devices.orders.shop import BUYER, CLERK, FOREIGNER, Shop, by

__all__ = ["one_shop", "shop"]

PEOPLE = {
    "boss": staff(CLERK, "owner"),
    "finance": staff(21, "finance"),
    "support": staff(22, "support"),
    "foreigner": staff(FOREIGNER, "owner"),
    "buyer": Session(BUYER, BUYER, frozenset({"diner"}), "diner", 2**52),
}


@pytest.fixture
async def office(one_shop: Shop) -> AsyncIterator[Office]:
    now = one_shop.clock.now
    async with serving(rest_reports.routes(Reports(one_shop.db), now), PEOPLE, now) as opened:
        yield opened


async def busy_day(shop: Shop) -> None:
    """Two days: tickets, Payscore, somebody who is short, somebody who takes nothing."""
    await shop.grant(20_000)
    for taken in ({"cola": 2}, {"tea": 1, "nuts": 3}):
        await shop.told(await shop.visit(), taken)
    score = await shop.visit(pay_with="wechat", account_id=8)
    await shop.told(score, {"cola": 1})
    await shop.deduct(score)
    await shop.told(await shop.visit(account_id=9, hold=0), {"nuts": 1})
    await shop.told(await shop.visit(account_id=10, hold=0), {})
    shop.clock.advance(days=1)
    session = await shop.visit()
    await shop.told(session, {"cola": 2})
    order = await shop.order(session)
    await shop.orders.correct(
        order.id, {"cola": 1}, version=order.version, reason="film", by=by(), key=""
    )
    another = await shop.visit(account_id=8, hold=0)
    await shop.told(another, {"cola": 3}, certainty=Certainty.UNCERTAIN)
