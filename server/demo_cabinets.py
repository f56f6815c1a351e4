"""Cabinets of the demo: three stores with the simulated platform's cabinets, filled and priced."""

from __future__ import annotations

import secrets
from typing import Any, Final

from accounts.audit.model import By
from accounts.service import People
from commerce.goods.model import Wanted
from commerce.members.store import GrantAsk
from devices.stock.model import Place
from server.cabinets import CabinetSide

STORES: Final[tuple[dict[str, Any], ...]] = (
    {"code": "KIDS-01", "name": "童趣乐园", "type": "kids", "property": "own",
     "address": "学院路 1 号", "phone": "010-10000001"},
    {"code": "GAME-01", "name": "星际电玩", "type": "arcade", "property": "franchise",
     "address": "学院路 2 号", "phone": "010-10000002"},
    {"code": "GYM-01", "name": "大学生体育馆", "type": "sports", "property": "own",
     "address": "学院路 3 号", "phone": "010-10000003"},
)  # fmt: skip

SHOPPERS: Final = 12
TICKETS: Final = 50_000
"""A hundred yuan."""
CAPACITY: Final = 40
LAYERS: Final = 6

_BY: Final = By("system")


async def seed_cabinets(side: CabinetSide, people: People, cabinets: dict[str, int]) -> None:
    """cabinets: the doors of each, by the platform's code. Does what is not done yet."""
    await side.goods.sync()
    stores = await _stores(side)
    for place, (code, doors) in enumerate(sorted(cabinets.items())):
        await _cabinet(side, code, doors, stores[place % len(stores)])
    for number in range(1, SHOPPERS + 1):
        opened = await people.sign_in("diner", f"sim:demo-shopper-{number}:seed")
        await side.members.grant(
            GrantAsk(
                account_id=opened.session.account_id,
                tickets=TICKETS,
                reason="demo",
                by=_BY,
                key=f"demo-{number}",
            )
        )


async def _stores(side: CabinetSide) -> list[int]:
    return [
        (await side.fleet.create_store(values, by=_BY, key=f"demo-{values['code']}")).id
        for values in STORES
    ]


async def _cabinet(side: CabinetSide, code: str, doors: int, store_id: int) -> None:
    """The simulated cabinets begin empty and bound to nobody with each start; ours do not."""
    made = await side.fleet.create_device(
        vendor="xiaomai",
        code=code,
        name=code,
        doors=range(1, doors + 1),
        by=_BY,
        key=f"demo-{code}",
    )
    await side.fleet.bind(made.id, store_id, by=_BY, reason="demo")
    store = await side.fleet.store(store_id, by=_BY)
    await side.vendors["xiaomai"].bind(
        code,
        store_code=store.code,
        name=code,
        doors={door: side.fleet.qr.door(made.id, door, 1) for door in range(1, doors + 1)},
        contact_phone=store.phone,
    )
    _, goods = await side.goods.page(Wanted(), offset=0, most=LAYERS * 2)
    places = [
        Place(
            door_no=door_no,
            layer=number // 2 + 1,
            slot=number % 2 + 1,
            sku=good.sku,
            stock=CAPACITY,
            capacity=CAPACITY,
        )
        for door_no in range(1, doors + 1)
        for number, good in enumerate(goods)
    ]
    await side.stock.want_planogram(
        made.id, places, by=_BY, key=secrets.token_hex(8), reason="demo"
    )
