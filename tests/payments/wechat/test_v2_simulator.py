"""The client and the simulated WeChat Pay, which share no line: one life of an order."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from payments.gateway import (
    AlreadyPaid,
    NumberUsed,
    PlaceOrder,
    Reaction,
    Refunded,
    RefundOrder,
    RefundState,
    Refused,
    TradeState,
    TradeType,
    Unknown,
)
from payments.wechat.errors import BadSignature, BadXml
from payments.wechat.notices_v2 import (
    ACK,
    accept_scan,
    nack,
    read_payment,
    read_refund,
    read_scan,
    refuse_scan,
)
from payments.wechat.secrets import ApiV2Key
from payments.wechat.signing import Merchant, SignType
from payments.wechat.transport import ClientCertificate
from payments.wechat.v2 import Addresses, WeChatPayV2
from simulators.wechat import SELLER_APPID, WeChat
from simulators.wechat.pay.faults import PayFault
from simulators.wechat.pay.merchant import API_V2_KEY, MCH_ID
from simulators.wechat.pay.scans import scan
from tests.clock import Clock
from tests.payments.wechat.peer import Peer

NOON = Clock().now()
MERCHANT = Merchant(appid=SELLER_APPID, mch_id=MCH_ID, key=ApiV2Key(API_V2_KEY))
ORDER = PlaceOrder(
    out_trade_no="20261120-1",
    amount_fen=12_000,
    description="档口月费 <十一月> & 税",
    trade_type=TradeType.NATIVE,
    client_ip="203.0.113.7",
    product_id="stall-7",
    attach="a<b>&\"' ]]>",
    starts_at=NOON,
    expires_at=NOON + 30 * 60_000,
)


@pytest.fixture
async def sim() -> AsyncIterator[WeChat]:
    sim = WeChat(start_s=NOON / 1000)
    await sim.start(port=0)
    yield sim
    await sim.stop()


@pytest.fixture(params=SignType)
async def client(
    request: pytest.FixtureRequest, sim: WeChat, peer: Peer
) -> AsyncIterator[WeChatPayV2]:
    """Over TLS, with the certificate; `peer` gets the notifications."""
    keys = sim.pay.introduction(sim.url)
    client = WeChatPayV2(
        msgspec.structs.replace(MERCHANT, sign_type=request.param),
        Addresses(
            api=await sim.start_tls(),
            notify=f"{peer.url}/payment",
            refund_notify=f"{peer.url}/refund",
        ),
        certificate=ClientCertificate(
            cert_file=Path(str(keys["merchant_cert_file"])),
            key_file=Path(str(keys["merchant_key_file"])),
        ),
        ca_file=sim.pay.tls_certificate_file,
    )
    yield client
    await client.aclose()


async def paid(client: WeChatPayV2, sim: WeChat, peer: Peer) -> None:
    await client.place(ORDER)
    peer.says_body(ACK)
    sim.pay.pay(sim.pay.orders.all[ORDER.out_trade_no], openid="o-seller")
    await sim.pay.notifier.idle()


async def refund(client: WeChatPayV2, sim: WeChat, peer: Peer) -> Refunded:
    fact = (await client.query(ORDER.out_trade_no)).fact
    assert fact is not None
    peer.says_body(ACK)
    accepted = await client.refund(
        RefundOrder(
            out_trade_no=ORDER.out_trade_no,
            transaction_id=fact.transaction_id,
            out_refund_no="R-1",
            total_fen=12_000,
            refund_fen=2_000,
            reason="多付了",
        )
    )
    await sim.pay.notifier.idle()
    return accepted


async def test_an_order_is_placed_again_and_not_otherwise(client: WeChatPayV2) -> None:
    first = await client.place(ORDER)
    again = await client.place(ORDER)

    assert first.code_url == again.code_url
    assert first.prepay_id != again.prepay_id
    with pytest.raises(NumberUsed):
        await client.place(msgspec.structs.replace(ORDER, amount_fen=1))


async def test_a_used_number_may_be_said_the_other_way(client: WeChatPayV2, sim: WeChat) -> None:
    sim.pay.settings.is_used_as_201 = True
    await client.place(ORDER)

    with pytest.raises(NumberUsed):
        await client.place(msgspec.structs.replace(ORDER, amount_fen=1))


async def test_the_notification_and_the_query_tell_one_fact(
    request: pytest.FixtureRequest, client: WeChatPayV2, sim: WeChat, peer: Peer
) -> None:
    await paid(client, sim, peer)

    (told,) = peer.requests
    sign_type = request.node.callspec.params["client"]
    told_fact = read_payment(told.body, MERCHANT, sign_type=sign_type)
    found = await client.query(ORDER.out_trade_no)
    assert sim.pay.notifier.all[0].state == "delivered"
    assert found.state is TradeState.PAID
    assert found.fact == msgspec.structs.replace(told_fact, source="query")
    assert told_fact.amount_fen == 12_000
    assert told_fact.paid_at == NOON
    with pytest.raises(AlreadyPaid):
        await client.place(ORDER)
    with pytest.raises(AlreadyPaid):
        await client.close(ORDER.out_trade_no)


async def test_an_order_is_closed_once_it_is_old_enough(client: WeChatPayV2, sim: WeChat) -> None:
    await client.place(ORDER)
    with pytest.raises(Unknown):
        await client.close(ORDER.out_trade_no)

    sim.clock.advance(301)
    await client.close(ORDER.out_trade_no)
    await client.close(ORDER.out_trade_no)

    assert (await client.query(ORDER.out_trade_no)).state is TradeState.CLOSED
    assert (await client.query("another")).state is TradeState.NOT_FOUND
    with pytest.raises(Refused) as refused:
        await client.close("another")
    assert refused.value.reaction is Reaction.REPEAT_ORDER


async def test_a_refund_goes_back_and_is_told_of(
    client: WeChatPayV2, sim: WeChat, peer: Peer
) -> None:
    await paid(client, sim, peer)
    fact = (await client.query(ORDER.out_trade_no)).fact
    assert (await client.query_refund("R-1")).state is RefundState.NOT_FOUND

    accepted = await refund(client, sim, peer)

    refunded = await client.query_refund("R-1")
    hint = read_refund(peer.requests[-1].body, MERCHANT)
    assert accepted.state is RefundState.PROCESSING
    assert (refunded.state, refunded.refund_fen) == (RefundState.SUCCESS, 2_000)
    assert refunded.refunded_at == hint.refunded_at == NOON
    assert (hint.out_refund_no, hint.refund_id) == ("R-1", refunded.refund_id)
    assert accepted.refund_id == refunded.refund_id
    assert (await client.query(ORDER.out_trade_no)).fact == fact


async def test_the_bill_of_the_day_tells_of_both(
    client: WeChatPayV2, sim: WeChat, peer: Peer
) -> None:
    await paid(client, sim, peer)
    await refund(client, sim, peer)
    with pytest.raises(Unknown):
        await client.bill(20261120)

    sim.clock.advance(24 * 3600)

    rows = await client.bill(20261120)
    assert {(row.out_refund_no, row.amount_fen, row.refund_fen) for row in rows} == {
        ("", 12_000, 0),
        ("R-1", 0, 2_000),
    }
    assert {row.out_trade_no for row in rows} == {ORDER.out_trade_no}
    assert await client.bill(20261119) == []


@pytest.mark.parametrize(
    "kind", ["tampered_amount", "forged_sign", "missing_sign", "drop", "http_502", "nonsense"]
)
async def test_a_spoilt_answer_settles_nothing(
    client: WeChatPayV2, sim: WeChat, peer: Peer, kind: str
) -> None:
    await paid(client, sim, peer)
    sim.pay.faults.add(msgspec.convert({"endpoint": "orderquery", "kind": kind}, PayFault))

    if kind == "tampered_amount":
        # Signed with the true key: that is for the books to find, not for the client.
        assert (await client.query(ORDER.out_trade_no)).fact is not None
    else:
        with pytest.raises(Unknown):
            await client.query(ORDER.out_trade_no)


@pytest.mark.parametrize(
    "kind", ["forged_sign", "missing_sign", "no_return_code", "xxe", "signtest", "nonsense"]
)
async def test_a_spoilt_notification_is_refused_and_comes_again(
    request: pytest.FixtureRequest, client: WeChatPayV2, sim: WeChat, peer: Peer, kind: str
) -> None:
    sign_type = request.node.callspec.params["client"]
    await client.place(ORDER)
    sim.pay.faults.add(msgspec.convert({"endpoint": "notify.pay", "kind": kind}, PayFault))

    peer.says_body(nack("it does not verify"))
    sim.pay.pay(sim.pay.orders.all[ORDER.out_trade_no])
    await sim.pay.notifier.idle()
    peer.says_body(ACK)
    sim.clock.advance(15)
    await sim.pay.notifier.idle()

    spoilt, good = (told.body for told in peer.requests)
    with pytest.raises((BadXml, BadSignature)):
        read_payment(spoilt, MERCHANT, sign_type=sign_type)
    assert read_payment(good, MERCHANT, sign_type=sign_type).amount_fen == 12_000
    assert sim.pay.notifier.all[0].state == "delivered"


async def test_a_standing_code_makes_an_order_of_each_scan(
    client: WeChatPayV2, sim: WeChat, peer: Peer
) -> None:
    placed = await client.place(ORDER)
    sim.pay.settings.native_notify_url = f"{peer.url}/scan"
    scan_asked = read_scan(await scanned(client, sim, peer, b"later"), MERCHANT)

    peer.says_body(accept_scan(scan_asked, MERCHANT, prepay_id=placed.prepay_id))
    taken = await scan(sim.pay, client.product_url("stall-7", now=NOON), "o-passer-by")
    peer.says_body(refuse_scan(scan_asked, MERCHANT, reason="卖完了"))
    refused = await scan(sim.pay, client.product_url("stall-7", now=NOON), "o-passer-by")

    assert (scan_asked.product_id, scan_asked.openid) == ("stall-7", "o-passer-by")
    assert taken.order is not None
    assert taken.order.out_trade_no == ORDER.out_trade_no
    assert (refused.order, refused.text) == (None, "卖完了")


async def scanned(client: WeChatPayV2, sim: WeChat, peer: Peer, answer: bytes) -> bytes:
    """What is posted when somebody scans."""
    peer.says_body(answer)
    await scan(sim.pay, client.product_url("stall-7", now=NOON), "o-passer-by")
    body: bytes = peer.requests[-1].body
    return body
