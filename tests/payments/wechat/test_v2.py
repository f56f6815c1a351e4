"""The client of version 2: what it asks, what it believes, and what stays unknown."""

import hashlib
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from payments.gateway import (
    AlreadyClosed,
    AlreadyPaid,
    GatewayError,
    NumberUsed,
    PaymentFact,
    PlaceOrder,
    Queried,
    Reaction,
    Refunded,
    RefundOrder,
    RefundState,
    Refused,
    TradeState,
    TradeType,
    Unknown,
)
from payments.wechat.combined import Orders
from payments.wechat.transport import ClientCertificate
from payments.wechat.v2 import Addresses, WeChatPayV2, cut, random_nonce
from tests.clock import Clock
from tests.payments.wechat import speech
from tests.payments.wechat.conftest import NOTIFY, REFUND_NOTIFY, MakeClient
from tests.payments.wechat.papers import Papers
from tests.payments.wechat.peer import Peer

NOON = Clock().now()
ORDER = PlaceOrder(
    out_trade_no="20261120-1",
    amount_fen=1250,
    description="一号档口：番茄鸡蛋面",
    trade_type=TradeType.JSAPI,
    client_ip="203.0.113.7",
    openid="oUpF8uMEb4qRXf22hE3X68TekukE",
    starts_at=NOON,
    expires_at=NOON + 30 * 60_000,
)
NATIVE = msgspec.structs.replace(
    ORDER, trade_type=TradeType.NATIVE, openid="", product_id="stall-7"
)
REFUND = RefundOrder(
    out_trade_no="20261120-1",
    transaction_id="4200000215201811190261405420",
    out_refund_no="R-1",
    total_fen=1250,
    refund_fen=250,
    reason="面卖完了",
)


# ---------------------------------------------------------------- an order


async def test_an_order_of_a_mini_program_is_placed(client: WeChatPayV2, peer: Peer) -> None:
    gateway: Orders = client
    peer.says(prepay_id="wx201410272009395522657a690389285100", trade_type="JSAPI")

    placed = await gateway.place(ORDER)

    assert placed.prepay_id == "wx201410272009395522657a690389285100"
    assert placed.code_url == ""
    ((path, asked),) = peer.asked
    assert path == "/pay/unifiedorder"
    assert asked.pop("sign") == speech.sign(asked)
    assert asked == {
        "appid": speech.APPID,
        "mch_id": speech.MCH_ID,
        "nonce_str": "n1",
        "sign_type": "HMAC-SHA256",
        "body": "一号档口：番茄鸡蛋面",
        "out_trade_no": "20261120-1",
        "total_fee": "1250",
        "spbill_create_ip": "203.0.113.7",
        "time_start": "20261120120000",
        "time_expire": "20261120123000",
        "notify_url": NOTIFY,
        "trade_type": "JSAPI",
        "openid": "oUpF8uMEb4qRXf22hE3X68TekukE",
    }


async def test_a_native_order_has_a_code(client: WeChatPayV2, peer: Peer) -> None:
    peer.says(prepay_id="wx1", code_url="weixin://wxpay/bizpayurl?pr=An4baqw")

    placed = await client.place(NATIVE)

    assert placed.code_url == "weixin://wxpay/bizpayurl?pr=An4baqw"
    ((_, asked),) = peer.asked
    assert asked["product_id"] == "stall-7"
    assert "openid" not in asked


async def test_what_people_write_is_escaped_once(client: WeChatPayV2, peer: Peer) -> None:
    peer.says(prepay_id="wx1")

    await client.place(
        msgspec.structs.replace(ORDER, description="a<b>&\"'\n]]>", attach="&amp;=\"'<x>")
    )

    ((_, asked),) = peer.asked
    assert asked["body"] == "a<b>&\"' ]]>"
    assert asked["attach"] == "&amp;=\"'<x>"
    assert asked.pop("sign") == speech.sign(asked)


async def test_an_order_may_be_signed_by_md5(make_client: MakeClient, peer: Peer) -> None:
    peer.md5 = True
    client = make_client(peer.url, merchant=speech.MD5_MERCHANT)
    peer.says(prepay_id="wx1")

    await client.place(ORDER)

    ((_, asked),) = peer.asked
    assert asked["sign_type"] == "MD5"
    assert asked.pop("sign") == speech.sign(asked, md5=True)


async def test_an_answer_is_signed_as_we_sign(make_client: MakeClient, peer: Peer) -> None:
    peer.md5 = True
    client = make_client(peer.url)
    peer.says(prepay_id="wx1")

    with pytest.raises(Unknown, match="no HMAC-SHA256"):
        await client.place(ORDER)


@pytest.mark.parametrize(
    "order",
    [
        msgspec.structs.replace(ORDER, openid=""),
        msgspec.structs.replace(NATIVE, product_id=""),
        msgspec.structs.replace(ORDER, amount_fen=0),
        msgspec.structs.replace(ORDER, attach="a&total_fee=1&z="),
        msgspec.structs.replace(ORDER, attach="a\0"),
    ],
)
async def test_an_order_that_cannot_be_is_our_mistake(
    client: WeChatPayV2, peer: Peer, order: PlaceOrder
) -> None:
    with pytest.raises(Refused) as refused:
        await client.place(order)

    assert refused.value.reaction is Reaction.BUG
    assert peer.requests == []


@pytest.mark.parametrize(
    ("err_code", "des", "error"),
    [
        ("ORDERPAID", "商户订单已支付", AlreadyPaid),
        ("ORDERCLOSED", "订单已关闭", AlreadyClosed),
        ("OUT_TRADE_NO_USED", "商户订单号重复", NumberUsed),
        ("INVALID_REQUEST", "201 商户订单号重复", NumberUsed),
        ("201", "商户订单号重复", NumberUsed),
        ("SYSTEMERROR", "系统超时", Unknown),
        ("INVALID_REQUEST", "参数错误", Unknown),
        ("NEW_IN_2030", "", Unknown),
        ("", "", Unknown),
    ],
)
async def test_a_refused_order_has_its_name(
    client: WeChatPayV2, peer: Peer, err_code: str, des: str, error: type[GatewayError]
) -> None:
    peer.refuses(err_code, des)

    with pytest.raises(error) as refused:
        await client.place(ORDER)

    assert type(refused.value) is error


async def test_a_refusal_says_what_to_do(client: WeChatPayV2, peer: Peer) -> None:
    peer.refuses("NOTENOUGH", "余额不足\u202e[31m")

    with pytest.raises(Refused) as refused:
        await client.place(ORDER)

    assert refused.value.reaction is Reaction.TELL_USER
    assert str(refused.value) == "NOTENOUGH: 余额不足?[31m"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"prepay_id": "wx 1"},
        {"prepay_id": "wx1", "appid": "wx-another"},
        {"prepay_id": "wx1", "mch_id": "10000101"},
        {"prepay_id": "wx1", "appid": ""},
        {"prepay_id": "wx1", "mch_id": ""},
        {"prepay_id": "wx1", "result_code": ""},
        {"prepay_id": "wx1", "result_code": "success"},
        {"prepay_id": "wx1", "return_code": ""},
    ],
)
async def test_an_answer_that_is_not_ours_is_unknown(
    client: WeChatPayV2, peer: Peer, fields: dict[str, str]
) -> None:
    peer.says(**fields)

    with pytest.raises(Unknown):
        await client.place(ORDER)


async def test_a_native_order_without_a_code_is_unknown(client: WeChatPayV2, peer: Peer) -> None:
    peer.says(prepay_id="wx1")

    with pytest.raises(Unknown, match="code_url"):
        await client.place(NATIVE)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>502</html>",
        b"<xml><return_code>SUCCESS</return_code></xml>",
        b"<!DOCTYPE xml><xml><return_code>SUCCESS</return_code></xml>",
        b"\xff\xfe",
        speech.xml(speech.signed({"return_code": "SUCCESS"}, key="another")),
    ],
)
async def test_an_answer_that_is_none_is_unknown(
    client: WeChatPayV2, peer: Peer, body: bytes
) -> None:
    peer.says_body(body)

    with pytest.raises(Unknown):
        await client.place(ORDER)


async def test_nobody_signs_a_failure_of_the_envelope(client: WeChatPayV2, peer: Peer) -> None:
    """Who stands in between could say so as well."""
    forged = {"return_code": "FAIL", "return_msg": "签名错误\n", "err_code": "ORDERPAID"}
    peer.says_body(speech.xml(forged))

    with pytest.raises(Unknown, match=r"签名错误\?$"):
        await client.place(ORDER)


async def test_our_own_request_is_no_answer(client: WeChatPayV2, peer: Peer) -> None:
    """It is signed with the same key."""
    peer.says(prepay_id="wx1")
    await client.place(ORDER)
    peer.says_body(peer.requests[0].body)

    with pytest.raises(Unknown):
        await client.place(ORDER)


async def test_no_secret_is_told(client: WeChatPayV2, peer: Peer) -> None:
    peer.says_body(b"<xml>" + b"x" * 100)

    with pytest.raises(Unknown) as unknown:
        await client.place(ORDER)

    assert unknown.value.__context__ is None or unknown.value.__suppress_context__
    assert speech.KEY not in f"{unknown.value!r} {client.__dict__}"


# ---------------------------------------------------------------- a query


async def test_a_paid_order_is_a_fact(client: WeChatPayV2, peer: Peer) -> None:
    peer.says(**speech.payment(trade_state="SUCCESS", total_fee="1250"))

    found = await client.query("1409811653")

    assert found == Queried(
        TradeState.PAID,
        PaymentFact(
            out_trade_no="1409811653",
            transaction_id="1004400740201409030005092168",
            amount_fen=1250,
            currency="CNY",
            appid=speech.APPID,
            mch_id=speech.MCH_ID,
            openid="oUpF8uMEb4qRXf22hE3X68TekukE",
            paid_at=NOON + 306_000,
            source="query",
        ),
    )
    ((path, asked),) = peer.asked
    assert path == "/pay/orderquery"
    assert asked["out_trade_no"] == "1409811653"


async def test_an_order_being_refunded_is_paid(client: WeChatPayV2, peer: Peer) -> None:
    peer.says(**speech.payment(trade_state="REFUND"))

    found = await client.query("1409811653")

    assert found.fact is not None


@pytest.mark.parametrize(
    ("trade_state", "state"),
    [
        ("NOTPAY", TradeState.NOT_PAID),
        ("USERPAYING", TradeState.PAYING),
        ("ACCEPT", TradeState.PAYING),
        ("CLOSED", TradeState.CLOSED),
        ("REVOKED", TradeState.CLOSED),
        ("PAYERROR", TradeState.ERROR),
    ],
)
async def test_other_states_are_told_apart(
    client: WeChatPayV2, peer: Peer, trade_state: str, state: TradeState
) -> None:
    peer.says(out_trade_no="1", trade_state=trade_state)

    assert await client.query("1") == Queried(state)


async def test_an_order_that_never_arrived_is_not_found(client: WeChatPayV2, peer: Peer) -> None:
    peer.refuses("ORDERNOTEXIST", "订单不存在")

    assert await client.query("1") == Queried(TradeState.NOT_FOUND)


@pytest.mark.parametrize(
    "fields",
    [
        {"out_trade_no": "2", "trade_state": "NOTPAY"},
        {"trade_state": "NOTPAY"},
        {"out_trade_no": "1"},
        {"out_trade_no": "1", "trade_state": "NEW_IN_2030"},
        {"out_trade_no": "1", "trade_state": "SUCCESS"},
        speech.payment(out_trade_no="1", trade_state="SUCCESS", total_fee="1.0"),
        speech.payment(out_trade_no="1", trade_state="SUCCESS", time_end="20261320120506"),
    ],
)
async def test_a_query_that_does_not_say_is_unknown(
    client: WeChatPayV2, peer: Peer, fields: dict[str, str]
) -> None:
    peer.says(**fields)

    with pytest.raises(Unknown):
        await client.query("1")


async def test_a_notification_is_no_answer_to_a_query(client: WeChatPayV2, peer: Peer) -> None:
    peer.says(**speech.payment())

    with pytest.raises(Unknown, match="trade_state"):
        await client.query("1409811653")


async def test_a_refused_query_stays_refused(client: WeChatPayV2, peer: Peer) -> None:
    peer.refuses("SIGNERROR", "签名错误")

    with pytest.raises(Refused) as refused:
        await client.query("1")

    assert refused.value.reaction is Reaction.STOP


# ---------------------------------------------------------------- closing


async def test_an_order_is_closed(client: WeChatPayV2, peer: Peer) -> None:
    peer.says()

    await client.close("1")

    ((path, asked),) = peer.asked
    assert path == "/pay/closeorder"
    assert asked["out_trade_no"] == "1"


async def test_a_closed_order_may_be_closed_again(client: WeChatPayV2, peer: Peer) -> None:
    peer.refuses("ORDERCLOSED")

    await client.close("1")


@pytest.mark.parametrize(
    ("err_code", "error"),
    [("ORDERPAID", AlreadyPaid), ("ORDERNOTEXIST", Refused), ("SYSTEMERROR", Unknown)],
)
async def test_an_order_may_not_be_closed(
    client: WeChatPayV2, peer: Peer, err_code: str, error: type[GatewayError]
) -> None:
    peer.refuses(err_code)

    with pytest.raises(error):
        await client.close("1")


# ---------------------------------------------------------------- refunds


ACCEPTED = {
    "out_trade_no": "20261120-1",
    "out_refund_no": "R-1",
    "refund_id": "50000408942018111907145868882",
    "refund_fee": "250",
}


async def test_a_refund_is_accepted(client: WeChatPayV2, peer: Peer) -> None:
    peer.says(**ACCEPTED)

    refunded = await client.refund(REFUND)

    assert refunded == Refunded(
        out_refund_no="R-1",
        refund_id="50000408942018111907145868882",
        state=RefundState.PROCESSING,
        refund_fen=250,
    )
    ((path, asked),) = peer.asked
    assert path == "/secapi/pay/refund"
    assert asked.pop("sign") == speech.sign(asked)
    assert asked == {
        "appid": speech.APPID,
        "mch_id": speech.MCH_ID,
        "nonce_str": "n1",
        "sign_type": "HMAC-SHA256",
        "transaction_id": "4200000215201811190261405420",
        "out_refund_no": "R-1",
        "total_fee": "1250",
        "refund_fee": "250",
        "refund_desc": "面卖完了",
        "notify_url": REFUND_NOTIFY,
    }


async def test_a_refund_may_name_the_order_by_our_number(client: WeChatPayV2, peer: Peer) -> None:
    peer.says(**ACCEPTED)

    await client.refund(msgspec.structs.replace(REFUND, transaction_id=""))

    ((_, asked),) = peer.asked
    assert "transaction_id" not in asked
    assert asked["out_trade_no"] == "20261120-1"


@pytest.mark.parametrize("name", ["out_trade_no", "out_refund_no", "refund_fee"])
async def test_an_answer_about_another_refund_is_unknown(
    client: WeChatPayV2, peer: Peer, name: str
) -> None:
    peer.says(**ACCEPTED | {name: "1"})

    with pytest.raises(Unknown, match=name):
        await client.refund(REFUND)


@pytest.mark.parametrize(
    ("err_code", "reaction"),
    [
        ("BIZERR_NEED_RETRY", Reaction.RETRY),
        ("NOTENOUGH", Reaction.WAIT),
        ("TRADE_OVERDUE", Reaction.MANUAL),
        ("ORDERNOTEXIST", Reaction.MANUAL),
        ("INVALID_REQ_TOO_MUCH", Reaction.WAIT),
    ],
)
async def test_a_refused_refund_says_what_to_do(
    client: WeChatPayV2, peer: Peer, err_code: str, reaction: Reaction
) -> None:
    peer.refuses(err_code)

    with pytest.raises(Refused) as refused:
        await client.refund(REFUND)

    assert refused.value.reaction is reaction


async def test_without_a_certificate_nothing_is_refunded(
    make_client: MakeClient, peer: Peer
) -> None:
    with pytest.raises(Refused, match="certificate") as refused:
        await make_client(peer.url).refund(REFUND)

    assert refused.value.err_code == "NO_CERTIFICATE"
    assert refused.value.reaction is Reaction.STOP
    assert peer.requests == []


async def test_the_certificate_is_shown_for_refunds_alone(
    make_client: MakeClient, asking_peer: Peer, folder: Papers, certificate: ClientCertificate
) -> None:
    client = make_client(asking_peer.url, certificate=certificate, ca_file=folder.authority.cert)
    asking_peer.says(**ACCEPTED)
    asking_peer.says(out_trade_no="1", trade_state="NOTPAY")
    asking_peer.says(**ACCEPTED)

    await client.refund(REFUND)
    await client.query("1")
    await client.refund(REFUND)

    assert asking_peer.certified == [True, False, True]


REFUND_FOUND = {
    "out_trade_no": "20261120-1",
    "refund_count": "2",
    "out_refund_no_0": "R-0",
    "refund_id_0": "5000",
    "refund_fee_0": "1",
    "refund_status_0": "CHANGE",
    "out_refund_no_1": "R-1",
    "refund_id_1": "5001",
    "refund_fee_1": "250",
    "refund_status_1": "SUCCESS",
    "refund_success_time_1": "2026-11-20 12:05:06",
}


async def test_a_refund_is_found_in_the_list(client: WeChatPayV2, peer: Peer) -> None:
    peer.says(**REFUND_FOUND)

    refunded = await client.query_refund("R-1")

    assert refunded == Refunded(
        out_refund_no="R-1",
        refund_id="5001",
        state=RefundState.SUCCESS,
        refund_fen=250,
        refunded_at=NOON + 306_000,
    )
    ((path, asked),) = peer.asked
    assert path == "/pay/refundquery"
    assert asked["out_refund_no"] == "R-1"


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("PROCESSING", RefundState.PROCESSING),
        ("REFUNDCLOSE", RefundState.CLOSED),
        ("CHANGE", RefundState.ABNORMAL),
    ],
)
async def test_a_refund_may_not_have_ended_well(
    client: WeChatPayV2, peer: Peer, status: str, state: RefundState
) -> None:
    peer.says(**REFUND_FOUND | {"refund_status_1": status, "refund_success_time_1": ""})

    refunded = await client.query_refund("R-1")

    assert refunded.state is state
    assert refunded.refunded_at is None


async def test_a_refund_that_never_arrived_is_not_found(client: WeChatPayV2, peer: Peer) -> None:
    peer.refuses("REFUNDNOTEXIST")

    refunded = await client.query_refund("R-1")

    assert refunded == Refunded(out_refund_no="R-1", state=RefundState.NOT_FOUND)


async def test_a_refused_refund_query_stays_refused(client: WeChatPayV2, peer: Peer) -> None:
    peer.refuses("NOAUTH")

    with pytest.raises(Refused):
        await client.query_refund("R-1")


@pytest.mark.parametrize(
    "change",
    [
        {"out_refund_no_1": "R-2"},
        {"refund_status_1": "NEW_IN_2030"},
        {"refund_status_1": ""},
        {"refund_fee_1": "2.5"},
        {"refund_id_1": ""},
        {"refund_success_time_1": "yesterday"},
    ],
)
async def test_a_refund_query_that_does_not_say_is_unknown(
    client: WeChatPayV2, peer: Peer, change: dict[str, str]
) -> None:
    peer.says(**REFUND_FOUND | change)

    with pytest.raises(Unknown):
        await client.query_refund("R-1")


async def test_a_field_that_only_looks_numbered_is_passed_over(
    client: WeChatPayV2, peer: Peer
) -> None:
    peer.says(**REFUND_FOUND | {"out_refund_no_0": "", "out_refund_no_x": "R-1"})

    assert (await client.query_refund("R-1")).refund_id == "5001"


# ---------------------------------------------------------------- what the phone is given


async def test_the_second_signature_is_published(make_client: MakeClient) -> None:
    """EasyWeChat's example, through the client; appId is signed and not passed."""
    client = make_client(
        "http://127.0.0.1:9",
        merchant=msgspec.structs.replace(speech.MERCHANT, appid="mock-appid"),
    )

    asked = client.request_payment("mock-prepay-id", now=1_601_234_567_999)

    assert asked.pop("paySign") == speech.sign({"appId": "mock-appid", **asked})
    assert asked == {
        "timeStamp": "1601234567",
        "nonceStr": "n1",
        "package": "prepay_id=mock-prepay-id",
        "signType": "HMAC-SHA256",
    }


async def test_the_second_signature_is_of_the_orders_kind(make_client: MakeClient) -> None:
    client = make_client("http://127.0.0.1:9", merchant=speech.MD5_MERCHANT)

    asked = client.request_payment("wx1", now=NOON)

    assert asked["signType"] == "MD5"
    assert len(asked["paySign"]) == 32


async def test_a_standing_code_is_signed(client: WeChatPayV2) -> None:
    url = urlsplit(client.product_url("stall-7|*", now=NOON))

    assert (url.scheme, url.netloc, url.path) == ("weixin", "wxpay", "/bizpayurl")
    fields = {name: value for name, (value,) in parse_qs(url.query).items()}
    assert fields.pop("sign") == speech.sign(fields, md5=True)
    assert fields == {
        "appid": speech.APPID,
        "mch_id": speech.MCH_ID,
        "product_id": "stall-7|*",
        "time_stamp": str(NOON // 1000),
        "nonce_str": "n1",
    }


@pytest.mark.parametrize("product_id", ["", "a b", "档口", "a&b", "x" * 33])
async def test_a_standing_code_has_a_plain_product(client: WeChatPayV2, product_id: str) -> None:
    with pytest.raises(ValueError, match="product_id"):
        client.product_url(product_id, now=NOON)


# ---------------------------------------------------------------- settings and pieces


@pytest.mark.parametrize(
    "url", ["/notify", "ftp://a/b", "https://a/b?c=1", "https://a/b#c", "https://a b", "x" * 300]
)
def test_a_notify_url_is_absolute_and_plain(url: str) -> None:
    with pytest.raises(ValueError, match="notify_url"):
        Addresses(api="https://api.mch.weixin.qq.com", notify=url)
    with pytest.raises(ValueError, match="notify_url"):
        Addresses(api="https://api.mch.weixin.qq.com", notify=NOTIFY, refund_notify=url)


async def test_nonces_are_long_and_never_the_same() -> None:
    nonces = {random_nonce() for _ in range(100)}

    assert len(nonces) == 100
    assert {len(nonce) for nonce in nonces} == {32}


@pytest.mark.parametrize(
    ("text", "most", "kept"),
    [
        ("番茄", 6, "番茄"),
        ("番茄", 5, "番"),
        ("番茄", 2, ""),
        ("a\r\nb", 10, "a  b"),
        ("🍜面", 4, "🍜"),
        ("\ud800a", 10, "?a"),
    ],
)
def test_a_text_is_cut_between_characters(text: str, most: int, kept: str) -> None:
    assert cut(text, most) == kept


def test_the_documents_key_is_what_the_speech_is_signed_with() -> None:
    """A slip here would make all the above agree with itself."""
    joined = f"a=1&key={speech.KEY}"

    assert speech.sign({"a": "1"}, md5=True) == hashlib.md5(joined.encode()).hexdigest().upper()  # noqa: S324
