"""Standing codes: what a scan owes is its product's business; the rest is as for any debt."""

import asyncio
from typing import Any

import msgspec
import pytest

from payments.gateway import Reaction, Refused, Unknown
from payments.ledger.store import BOOKS
from payments.model import Debt, PaymentNotFound, PaymentsUnavailable
from payments.scans.model import NotForSale, product_id, product_of
from payments.scans.service import LATER, Scans
from payments.store import load_debt, owe
from payments.wechat.errors import BadMessage, BadSignature
from payments.wechat.notices_v2 import Scan
from sql.alerts import clear_alert, raise_alert
from sql.database import Tx
from tests.payments.core.till import MONTHS, Till

PATH = "/notify/wechatpay/v2/native"
PRODUCT = "noodles-7-3"


class Codes:
    """Codes of the tests' own tongue: what is read and answered is said in words."""

    def text(self, product_id: str, *, now: int) -> str:
        return f"code {product_id} {now}"

    def read(self, raw: bytes) -> Scan:
        if not raw.startswith(b"{"):
            raise BadSignature("not signed")
        return msgspec.json.decode(raw, type=Scan)

    def accept(self, scan: Scan, prepay_id: str) -> bytes:
        return f"pay {prepay_id}".encode()

    def refuse(self, scan: Scan, reason: str) -> bytes:
        return f"no: {reason}".encode()


class Shop:
    """It sells noodles to everybody anew, and one dinner once."""

    def __init__(self, till: Till) -> None:
        self.till = till
        self.sold: list[tuple[int, ...]] = []
        self.dinner: Debt | None = None
        till.codes = Codes()
        till.start()
        till.payments.scans.sells("noodles", self._noodles)
        till.payments.scans.sells("dinner", self._dinner)

    def _noodles(self, tx: Tx, numbers: tuple[int, ...]) -> Debt:
        if numbers == (13,):
            raise NotForSale("卖完了")
        self.sold.append(numbers)
        return owe(tx, kind=MONTHS, subject=1, payer_id=0, amount_fen=300, description="面")

    def _dinner(self, tx: Tx, _: tuple[int, ...]) -> Debt:
        assert self.dinner is not None
        return load_debt(tx, self.dinner.id)

    async def scan(self, product: str = PRODUCT, nonce: str = "n1", openid: str = "o1") -> str:
        raw = msgspec.json.encode(Scan(product_id=product, openid=openid, nonce_str=nonce))
        answer = await self.till.payments.scans.receive(raw, {}, PATH, "10.0.0.1")
        return answer.decode()

    async def verdicts(self) -> list[tuple[str, str, int]]:
        rows = await self.till.rows("payment_notices")
        return [(row["verdict"], row["number"], row["times"]) for row in rows]


@pytest.fixture
def shop(till: Till) -> Shop:
    return Shop(till)


async def test_each_scan_owes_for_itself_and_is_kept(shop: Shop) -> None:
    answers = {await shop.scan(nonce=f"n{each}") for each in range(3)}

    assert len(answers) == 3
    assert all(answer.startswith("pay wx") for answer in answers)
    assert shop.sold == [(7, 3)] * 3
    orders = shop.till.bank.orders.values()
    assert {order.placed.product_id for order in orders} == {PRODUCT}
    assert {order.placed.client_ip for order in orders} == {"10.0.0.1"}
    assert await shop.verdicts() == [("scan", PRODUCT, 1)] * 3


async def test_one_scan_told_by_many_at_once_is_one_order(shop: Shop) -> None:
    answers = await asyncio.gather(*(shop.scan() for _ in range(10)))

    assert len(set(answers)) == 1
    assert len(shop.till.bank.orders) == 1
    assert await shop.verdicts() == [("scan", PRODUCT, 10)]
    assert shop.till.payments.inbox.counts["scan"] == 10


async def test_what_is_owed_once_is_paid_once(shop: Shop) -> None:
    shop.dinner = await shop.till.owe(subject=9)

    first, second = await shop.scan("dinner-1", "n1"), await shop.scan("dinner-1", "n2")
    (number,) = shop.till.bank.orders
    await shop.till.payments.apply(shop.till.bank.pay(number))
    third = await shop.scan("dinner-1", "n3")

    assert first == second
    assert third == "no: 已经支付过了"
    assert await shop.till.agrees()


async def test_a_prepay_id_that_has_run_out_is_not_given_again(shop: Shop) -> None:
    shop.dinner = await shop.till.owe(subject=9)
    first = await shop.scan("dinner-1", "n1")
    shop.till.clock.advance(hours=2)

    second = await shop.scan("dinner-1", "n2")

    assert first != second
    assert [order.state for order in shop.till.bank.orders.values()] == ["closed", "not_paid"]


@pytest.mark.parametrize(
    ("product", "words"),
    [
        ("noodles-13", "卖完了"),
        ("dumplings-1", "没有这个商品"),
        ("noodles", "没有这个商品"),
        ("noodles-1-", "没有这个商品"),
        ("noodles-01", "没有这个商品"),
        ("Noodles-1", "没有这个商品"),
        ("noodles-1111111111-2222222222-333", "没有这个商品"),
    ],
)
async def test_what_is_not_for_sale_is_refused_and_owes_nothing(
    shop: Shop, product: str, words: str
) -> None:
    assert await shop.scan(product) == f"no: {words}"

    assert await shop.till.rows("debts") == []
    assert await shop.verdicts() == [("scan.refused", product, 1)]
    # It may be sold tomorrow.
    assert await shop.scan(product) == f"no: {words}"


async def test_a_cancelled_debt_and_one_out_of_time_are_refused(shop: Shop) -> None:
    shop.dinner = await shop.till.owe(subject=9)
    await shop.till.payments.cancel(shop.dinner.id)
    cancelled = await shop.scan("dinner-1", "n1")
    shop.dinner = await shop.till.owe(expires_at=shop.till.clock.now() + 1)
    late = await shop.scan("dinner-1", "n2")

    assert (cancelled, late) == ("no: 订单已取消", "no: 已超时，请重新扫码")


async def test_while_money_is_stopped_nothing_is_sold(shop: Shop) -> None:
    await shop.till.db.write(raise_alert, BOOKS, "I6", "wrong")
    stopped = await shop.scan(nonce="n1")
    await shop.till.db.write(clear_alert, BOOKS, "I6")

    assert stopped == "no: 暂停收款，请稍后再试"
    assert (await shop.scan(nonce="n2")).startswith("pay ")


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (Unknown("away"), LATER),
        (Refused("NOAUTH", "no right", Reaction.STOP), "暂时不能收款"),
    ],
)
async def test_what_wechat_will_not_do_is_told_and_the_next_scan_is_another(
    shop: Shop, problem: Exception, words: str
) -> None:
    shop.till.bank.before["place"] = [problem]

    assert await shop.scan(nonce="n1") == f"no: {words}"
    assert (await shop.scan(nonce="n2")).startswith("pay ")


async def test_who_waits_too_long_is_told_to_come_again_and_nothing_is_lost(shop: Shop) -> None:
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    shop.till.bank.meanwhile["place"] = lambda: never
    payments = shop.till.payments
    payments.scans = Scans(shop.till.db, payments.inbox, payments._paying, Codes(), budget_s=0.05)
    payments.scans.sells("noodles", shop._noodles)

    assert await shop.scan(nonce="n1") == f"no: {LATER}"
    # The order is there, and so is the attempt: if it is paid, that counts.
    (number,) = shop.till.bank.orders
    await payments.apply(shop.till.bank.pay(number))
    assert await shop.till.agrees()


async def test_one_nonce_for_two_things_is_no_scan_of_wechats(shop: Shop) -> None:
    assert (await shop.scan(openid="o1")).startswith("pay ")
    assert await shop.scan(openid="o2") == f"no: {LATER}"
    assert await shop.scan("noodles-8-3") == f"no: {LATER}"

    assert len(shop.till.bank.orders) == 1


async def test_what_is_not_wechats_is_kept_for_a_person(shop: Shop) -> None:
    with pytest.raises(BadMessage):
        await shop.till.payments.scans.receive(b"<xml/>", {}, PATH, "10.0.0.1")

    (kept,) = await shop.till.rows("payment_notices")
    assert (kept["verdict"], kept["is_verified"], kept["path"]) == ("BadSignature", False, PATH)
    assert await shop.till.rows("debts") == []


async def test_without_wechat_pay_there_are_neither_codes_nor_scans(till: Till) -> None:
    with pytest.raises(PaymentsUnavailable):
        till.payments.scans.code("stall-1-1")
    with pytest.raises(PaymentNotFound):
        await till.payments.scans.receive(b"{}", {}, PATH, "10.0.0.1")


async def test_a_code_says_what_it_sells(shop: Shop) -> None:
    scans: Any = shop.till.payments.scans

    assert scans.code(product_id("noodles", 7, 3)) == f"code {PRODUCT} {shop.till.clock.now()}"
    assert product_of(PRODUCT) == ("noodles", (7, 3))
    assert len(product_id("stall", 2**53 - 1, 36)) <= 32
    with pytest.raises(AssertionError):
        product_id("stall", 2**53 - 1, 2**53 - 1)
    with pytest.raises(AssertionError):
        product_id("Stall", 1)
