"""A shop with its desk, an album for pictures, and the routes on a real socket."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from accounts.audit.model import By
from accounts.model import Session
from devices.desk.model import Action
from devices.desk.service import Complaints, Desk
from devices.flow.decisions import DECISIONS
from devices.orders import decisions
from handlers import rest_desk
from queueing.stalls.pictures import Pictures
from sql.database import Tx
from tests.devices.fleet.maker import Office, serving, staff
from tests.devices.orders.conftest import one_shop, shop
from tests.devices.orders.shop import BUYER, CLERK, FOREIGNER, OTHER, Shop

__all__ = ["one_shop", "shop"]


def desk_of(shop: Shop) -> Desk:
    """As the wiring makes it."""
    actions = {kind: Action(*pair) for kind, pair in DECISIONS.items()}
    return Desk(shop.db, actions=actions, for_orders=shop.orders.action)


def complaints_of(shop: Shop, folder: Path) -> Complaints:
    def refund(tx: Tx, order_id: int, fen: int, *, reason: str, by: By) -> object:
        return decisions.refund(tx, order_id, fen, reason=reason, by=by, rules=shop.rules)

    return Complaints(shop.db, Pictures(folder), refund)


def diner(account_id: int) -> Session:
    return Session(account_id, account_id, frozenset({"diner"}), "diner", 2**52)


PEOPLE = {
    "boss": staff(CLERK, "owner"),
    "finance": staff(21, "finance"),
    "support": staff(22, "support"),
    "operator": staff(24, "operator"),
    "readonly": staff(23, "readonly"),
    "foreigner": staff(FOREIGNER, "owner"),
    "buyer": diner(BUYER),
    "other": diner(OTHER),
}


@pytest.fixture
async def office(one_shop: Shop, tmp_path: Path) -> AsyncIterator[Office]:
    nobody: Any = None
    routes = rest_desk.routes(desk_of(one_shop), complaints_of(one_shop, tmp_path), nobody)
    async with serving(routes, PEOPLE, one_shop.clock.now) as opened:
        yield opened
