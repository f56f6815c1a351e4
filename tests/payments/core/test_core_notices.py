"""Notices: verified, kept as they came, applied in the same transaction; what is not WeChat's is
kept for a person in small numbers."""

import asyncio
from collections.abc import Mapping

import msgspec
import pytest

from payments.gateway import PaymentFact
from payments.ledger.store import BOOKS
from payments.model import DebtState, PaymentNotFound, RefundStatus
from payments.notices.service import BAD_A_DAY, OtherTold, RefundTold, Told
from payments.wechat.errors import BadContent, BadMessage, BadSignature
from sql.alerts import clear_alert, raise_alert
from sql.errors import DatabaseUnavailable
from tests.payments.core.till import Till

PATH = "/notify/wechatpay/v2/pay"


async def read(raw: bytes, headers: Mapping[str, str]) -> Told:
    """A reader of a tongue of the tests' own: JSON with a word in front, signed with a header."""
    if headers.get("Wechatpay-Signature") != "good":
        raise BadSignature("not signed")
    what, _, body = raw.partition(b" ")
    if what == b"paid":
        return msgspec.json.decode(body, type=PaymentFact)
    if what == b"refund":
        return RefundTold(body.decode())
    if what == b"other":
        return OtherTold("score", body.decode())
    raise BadContent("no such word")


SIGNED = {"Wechatpay-Signature": "good", "Cookie": "secret", "Content-Type": "text/xml"}


@pytest.fixture
def inbox(till: Till) -> Till:
    till.readers = {PATH: read}
    till.start()
    return till


def notice_of(fact: PaymentFact) -> bytes:
    return b"paid " + msgspec.json.encode(fact)


async def paid_notice(till: Till) -> bytes:
    """The notice that the money of a new debt has come."""
    number = (await till.pay(await till.owe())).out_trade_no
    return notice_of(till.bank.pay(number))


async def test_a_notice_is_kept_as_it_came_with_what_became_of_it(inbox: Till) -> None:
    raw = await paid_notice(inbox)

    verdict = await inbox.payments.receive(raw, SIGNED, PATH)

    (kept,) = await inbox.rows("payment_notices")
    assert verdict == kept["verdict"] == "paid"
    assert (kept["body"], kept["path"], kept["is_verified"], kept["times"]) == (
        raw,
        PATH,
        True,
        1,
    )
    assert msgspec.json.decode(kept["headers"]) == {
        "content-type": "text/xml",
        "wechatpay-signature": "good",
    }
    (receipt,) = await inbox.rows("receipts")
    assert kept["number"] == receipt["out_trade_no"]


@pytest.mark.parametrize(
    "raw", [b"", b"\x00\xff", b"base64:AAAA", "回调".encode(), "回调".encode("gbk"), b"\\'%s\n"]
)
async def test_a_notice_is_kept_byte_for_byte(inbox: Till, raw: bytes) -> None:
    with pytest.raises(BadMessage):
        await inbox.payments.receive(raw, SIGNED, PATH)

    (kept,) = await inbox.rows("payment_notices")
    assert (kept["body"], kept["verdict"]) == (raw, "BadContent")


async def test_the_same_notice_again_is_counted_and_changes_nothing(inbox: Till) -> None:
    raw = await paid_notice(inbox)
    first = await inbox.payments.receive(raw, SIGNED, PATH)
    inbox.clock.advance(seconds=15)

    verdicts = await asyncio.gather(*(inbox.payments.receive(raw, SIGNED, PATH) for _ in range(8)))

    assert (first, set(verdicts)) == ("paid", {"repeated"})
    (kept,) = await inbox.rows("payment_notices")
    assert (kept["times"], kept["verdict"]) == (9, "paid")
    assert kept["last_at"] - kept["received_at"] == 15_000
    assert len(await inbox.notes()) == 1
    assert inbox.payments.inbox.counts == {"paid": 1, "repeated": 8}


async def test_eight_at_once_are_one_payment(inbox: Till) -> None:
    raw = await paid_notice(inbox)

    verdicts = await asyncio.gather(*(inbox.payments.receive(raw, SIGNED, PATH) for _ in range(8)))

    assert sorted(verdicts) == ["paid"] + ["repeated"] * 7
    (kept,) = await inbox.rows("payment_notices")
    assert (kept["times"], kept["verdict"], len(await inbox.notes())) == (8, "paid", 1)


async def test_one_that_is_not_signed_is_refused_and_kept_for_a_person(inbox: Till) -> None:
    raw = await paid_notice(inbox)

    for _ in range(2):
        with pytest.raises(BadMessage):
            await inbox.payments.receive(raw, {}, PATH)

    (kept,) = await inbox.rows("payment_notices")
    assert (kept["is_verified"], kept["verdict"], kept["times"]) == (False, "BadSignature", 2)
    assert await inbox.rows("receipts") == []
    # It does not stand in the way of the true one.
    assert await inbox.payments.receive(raw, SIGNED, PATH) == "paid"


async def test_a_flood_of_bad_ones_fills_no_disk(inbox: Till) -> None:
    async def send(text: bytes) -> None:
        with pytest.raises(BadMessage):
            await inbox.payments.receive(text, {}, PATH)

    long = b"x" * 60_000
    await send(long)
    for count in range(BAD_A_DAY + 20):
        await send(str(count).encode())

    rows = await inbox.rows("payment_notices")
    assert (len(rows), max(len(row["body"]) for row in rows)) == (BAD_A_DAY, 4096)
    assert inbox.payments.inbox.counts == {"BadSignature": BAD_A_DAY + 21}
    inbox.clock.advance(days=1, seconds=1)
    await send(b"the next day")
    assert len(await inbox.rows("payment_notices")) == BAD_A_DAY + 1
    inbox.clock.advance(days=31)
    assert await inbox.payments.sweep() == BAD_A_DAY + 1
    assert await inbox.rows("payment_notices") == []


async def test_where_no_notices_come_there_is_nothing(inbox: Till) -> None:
    with pytest.raises(PaymentNotFound):
        await inbox.payments.receive(b"x", SIGNED, "/notify/elsewhere")


async def test_a_refunds_notice_is_a_hint_to_ask(inbox: Till) -> None:
    _, number = await inbox.paid()
    refund = await inbox.refund(number)
    await inbox.payments.settle_due()
    inbox.bank.send_back()
    raw = b"refund " + refund.out_refund_no.encode()
    inbox.wakes.clear()

    verdict = await inbox.payments.receive(raw, SIGNED, PATH)

    believed = await inbox.payments.get_refund(refund.out_refund_no)
    assert (verdict, believed.status) == ("refund", RefundStatus.REQUESTED)
    assert inbox.wakes == {"payments"}
    await inbox.payments.settle_due()
    asked = await inbox.payments.get_refund(refund.out_refund_no)
    assert asked.status is RefundStatus.SUCCESS


async def test_a_notice_of_no_refund_of_ours_is_kept(inbox: Till) -> None:
    assert await inbox.payments.receive(b"refund r", SIGNED, PATH) == "refund.unknown"

    (kept,) = await inbox.rows("payment_notices")
    assert (kept["verdict"], kept["number"]) == ("refund.unknown", "r")


async def test_what_is_settled_elsewhere_is_kept(inbox: Till) -> None:
    assert await inbox.payments.receive(b"other s7", SIGNED, PATH) == "score"

    (kept,) = await inbox.rows("payment_notices")
    assert (kept["verdict"], kept["number"], kept["is_verified"]) == ("score", "s7", True)


async def test_while_money_is_stopped_notices_are_kept_and_count_afterwards(inbox: Till) -> None:
    raw = await paid_notice(inbox)
    await inbox.db.write(raise_alert, BOOKS, "I1", "wrong")

    held = await inbox.payments.receive(raw, SIGNED, PATH)
    await inbox.db.write(clear_alert, BOOKS, "I1")
    again = await inbox.payments.receive(raw, SIGNED, PATH)

    assert (held, again) == ("held", "paid")
    (kept,) = await inbox.rows("payment_notices")
    assert (kept["verdict"], kept["times"]) == ("paid", 2)


async def test_a_mistake_of_ours_is_kept_told_and_tried_again(inbox: Till) -> None:
    debt = await inbox.owe()
    raw = notice_of(inbox.bank.pay((await inbox.pay(debt)).out_trade_no))
    inbox.raises = ZeroDivisionError()

    with pytest.raises(ZeroDivisionError):
        await inbox.payments.receive(raw, SIGNED, PATH)
    (kept,) = await inbox.rows("payment_notices")
    kinds = await inbox.kinds()
    inbox.raises = None
    again = await inbox.payments.receive(raw, SIGNED, PATH)

    assert (kept["verdict"], kinds, again) == ("failed", ["payment.failed"], "paid")
    assert (await inbox.debt(debt)).state is DebtState.PAID


async def test_without_a_database_nothing_is_said_to_be_kept(
    inbox: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = await paid_notice(inbox)

    async def away(*_: object) -> None:
        raise DatabaseUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(inbox.db, "write", away)
        with pytest.raises(DatabaseUnavailable):
            await inbox.payments.receive(raw, SIGNED, PATH)

    assert await inbox.payments.receive(raw, SIGNED, PATH) == "paid"


async def test_a_clock_that_ran_ahead_does_not_hide_bad_notices_for_ever(inbox: Till) -> None:
    inbox.clock.advance(days=400)
    inbox.payments.inbox._full_until = inbox.clock.now() + 1000
    inbox.clock.advance(days=-400)

    with pytest.raises(BadMessage):
        await inbox.payments.receive(b"x", {}, PATH)

    assert len(await inbox.rows("payment_notices")) == 1
