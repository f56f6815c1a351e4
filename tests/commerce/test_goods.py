"""Goods from the ERP: pages, versions, what cannot be taken, and where to go on."""

from typing import Any

import pytest

from commerce.erp import ErpRefused
from commerce.goods import service as goods_service
from commerce.goods import store
from commerce.goods.model import Good, GoodNotFound, GoodSaid, SyncFailed, Unfit, Wanted
from commerce.goods.service import Goods
from simulators.erp import ErpFault
from simulators.groceries import GROCERIES
from sql.alerts import open_alerts
from tests.commerce.conftest import Shop
from tests.conftest import Told


def said(sku: str, version: int, **more: Any) -> GoodSaid:
    return GoodSaid(sku=sku, name=f"good {sku}", price_fen=100, version=version, **more)


async def all_goods(shop: Shop, **wanted: Any) -> list[Good]:
    return (await shop.goods.page(Wanted(**wanted), offset=0, most=100))[1]


async def alerts(shop: Shop, kind: str) -> list[str]:
    return [each.subject for each in await shop.db.read(open_alerts) if each.kind == kind]


# ---------------------------------------------------------------- a synchronisation


async def test_everything_comes_and_then_what_was_changed(shop: Shop, told: Told) -> None:
    first = await shop.goods.sync()
    told.wakes.clear()
    again = await shop.goods.sync()
    quiet = set(told.wakes)
    shop.sim.put_good("SKU-1003", price_fen=480)
    shop.sim.discontinue("SKU-1012")
    shop.sim.put_good("NEW-1", name="新品", price_fen=990, barcode="69", weight_g=10)
    third = await shop.goods.sync()

    assert (first.added, first.pages, first.unfit) == (len(GROCERIES), 1, ())
    assert (again.added, again.changed, again.unchanged) == (0, 0, 0)
    assert "goods" not in quiet
    assert "goods" in told.wakes
    assert (third.added, third.changed) == (1, 2)
    goods = {good.sku: good for good in await all_goods(shop)}
    assert goods["SKU-1003"].price_fen == 480
    assert goods["SKU-1012"].status == 0
    assert (goods["NEW-1"].name, goods["NEW-1"].barcode) == ("新品", "69")
    assert goods["SKU-1001"].created_at == shop.clock.now()


async def test_a_run_that_breaks_goes_on_where_it_stood(
    one_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = one_shop
    monkeypatch.setattr("commerce.erp.Erp.goods.__defaults__", ("", 5))
    await shop.goods.sync()
    assert len(await all_goods(shop)) == len(GROCERIES)
    for number in range(7):
        shop.sim.put_good(f"NEW-{number}")
    broken = [None, "http_502"]

    def strike(endpoint: str) -> ErpFault | None:
        kind = broken.pop(0) if broken else None
        return None if kind is None else ErpFault("goods", "http_502")

    monkeypatch.setattr(shop.sim.faults, "strike", strike)
    with pytest.raises(SyncFailed, match="HTTP 502"):
        await shop.goods.sync()
    half = len(await all_goods(shop)) - len(GROCERIES)
    rest = await shop.goods.sync()

    assert half == 5
    assert (rest.added, rest.pages) == (2, 1)


@pytest.mark.parametrize("kind", ["drop", "nonsense", "busy", "unauthorised", "http_502"])
async def test_an_erp_without_a_good_answer_changes_nothing(one_shop: Shop, kind: str) -> None:
    one_shop.sim.faults.add(ErpFault("goods", kind))  # type: ignore[arg-type]

    with pytest.raises(SyncFailed):
        await one_shop.goods.sync()

    assert await all_goods(one_shop) == []
    assert (await one_shop.goods.sync()).added == len(GROCERIES)


async def test_without_an_erp_nothing_comes(one_shop: Shop) -> None:
    with pytest.raises(SyncFailed, match="no ERP"):
        await Goods(one_shop.db, None).sync()


async def test_what_cannot_be_taken_holds_nothing_up(shop: Shop) -> None:
    shop.sim.faults.add(ErpFault("goods", "bad_items"))
    shop.sim.put_good("odd sku")

    done = await shop.goods.sync()

    assert done.added == len(GROCERIES) - 4
    assert [one.sku for one in done.unfit] == [
        *("SKU-1001", "SKU-1002", "x" * 50, "SKU-1004", "?", "odd sku")
    ]
    assert "price_fen" in done.unfit[0].why
    assert sorted(await alerts(shop, "goods.unfit")) == sorted(one.sku for one in done.unfit)
    shop.sim.put_good("SKU-1001")
    await shop.goods.sync()
    assert "SKU-1001" not in await alerts(shop, "goods.unfit")


async def test_an_older_copy_that_comes_late_is_nothing(shop: Shop) -> None:
    shop.sim.faults.add(ErpFault("goods", "stale"))

    done = await shop.goods.sync()

    assert (done.added, done.stale) == (len(GROCERIES), 2)
    goods = {good.sku: good for good in await all_goods(shop)}
    assert goods["SKU-1001"].price_fen == 200


async def test_versions_decide_whatever_the_order(shop: Shop) -> None:
    async def take(*goods: GoodSaid) -> tuple[int, int, int, int]:
        done = await shop.db.write(store.take_page, goods, (), "c")
        return done.added, done.changed, done.unchanged, done.stale

    assert await take(said("a", 3), said("a", 5, status=0), said("a", 4)) == (1, 0, 0, 2)
    assert await take(said("a", 5, status=0)) == (0, 0, 1, 0)
    assert await take(said("a", 4)) == (0, 0, 0, 1)
    assert await take(said("a", 6, status=0)) == (0, 0, 1, 0)
    assert await take(said("a", 6)) == (0, 1, 0, 0)
    (good,) = await all_goods(shop)
    assert (good.erp_version, good.status) == (6, 1)
    assert await shop.db.read(store.cursor) == "c"


async def test_an_erp_that_was_set_up_anew_is_read_from_the_beginning(one_shop: Shop) -> None:
    await one_shop.db.write(store.take_page, (), (), "g999999")

    done = await one_shop.goods.sync()

    assert done.added == len(GROCERIES)
    one_shop.sim.faults.add(ErpFault("goods", "unauthorised"))
    with pytest.raises(SyncFailed, match=r"token\.wrong"):
        await one_shop.goods.sync()


async def test_an_erp_that_knows_no_beginning_is_not_asked_for_ever(
    one_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(cursor: str = "") -> None:
        raise ErpRefused(400, "cursor.unknown", cursor)

    monkeypatch.setattr(one_shop.erp, "goods", refuse)

    with pytest.raises(SyncFailed, match=r"cursor\.unknown"):
        await one_shop.goods.sync()


async def test_a_run_has_an_end(one_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(goods_service, "PAGES_MAX", 2)
    monkeypatch.setattr("commerce.erp.Erp.goods.__defaults__", ("", 1))

    assert (await one_shop.goods.sync()).pages == 2
    assert (await one_shop.goods.sync()).added == 2


# ---------------------------------------------------------------- looking


async def test_goods_are_listed_filtered_and_found(shop: Shop) -> None:
    await shop.db.write(
        store.take_page,
        (
            said("a1", 1, barcode="69"),
            GoodSaid(sku="B2", name="Cola 可乐", price_fen=300, version=1, status=0),
            said("c3", 1),
        ),
        (Unfit("d4", "why"),),
        "",
    )

    assert [good.sku for good in await all_goods(shop, sort="-price_fen")] == ["B2", "a1", "c3"]
    assert [good.sku for good in await all_goods(shop, keyword="cola")] == ["B2"]
    assert [good.sku for good in await all_goods(shop, keyword="b2")] == ["B2"]
    assert [good.sku for good in await all_goods(shop, status=0)] == ["B2"]
    assert [good.sku for good in await all_goods(shop, barcode="69")] == ["a1"]
    total, page = await shop.goods.page(Wanted(), offset=1, most=1)
    assert (total, len(page)) == (3, 1)
    good = (await all_goods(shop, keyword="c3"))[0]
    assert await shop.goods.good(good.id) == good
    with pytest.raises(GoodNotFound):
        await shop.goods.good(99)
    found = await shop.db.read(store.find_goods, {"a1", "B2", "x"})
    assert set(found) == {"a1", "B2"}
    assert await shop.db.read(store.find_goods, ()) == {}
