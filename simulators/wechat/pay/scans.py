"""A camera held to a code: mode two's code_url, mode one's signed link, and the short form of both.

Source: WeChat Pay V2, Native, «模式一», «模式二».
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

import msgspec

from simulators.wechat.pay import posts, signing, xmltext
from simulators.wechat.pay.merchant import API_V2_KEY, APPIDS, MCH_ID
from simulators.wechat.pay.notifier import Attempt
from simulators.wechat.pay.orders import CODE_URL, Order
from simulators.wechat.pay.signing import SignType

if TYPE_CHECKING:
    from simulators.wechat.pay.wechatpay import WeChatPay

SIGN_TYPES: tuple[SignType, ...] = ("MD5", "HMAC-SHA256")
LINK_FIELDS = {"sign", "appid", "mch_id", "product_id", "time_stamp", "nonce_str"}


class BadCode(ValueError):
    """The camera cannot read it, or the phone refuses it."""


class Scanned(msgspec.Struct):
    """What the user sees: an order to pay, or the merchant's err_code_des."""

    order: Order | None = None
    text: str = ""


async def scan(money: WeChatPay, text: str, openid: str) -> Scanned:
    """Raises BadCode."""
    text = money.short_urls.get(text, text)
    if text.startswith(CODE_URL):
        order = money.orders.of_code_url(text)
        if order is None:
            raise BadCode("no order has this code_url")
        return Scanned(order)
    link = dict(parse_qsl(urlsplit(text).query, keep_blank_values=True))
    if not text.startswith("weixin://wxpay/bizpayurl?") or set(link) != LINK_FIELDS:
        raise BadCode("not a code of WeChat Pay")
    _check_link(link)
    return await _ask_merchant(money, link, openid)


def _check_link(link: dict[str, str]) -> None:
    if not any(signing.is_signed_v2(link, API_V2_KEY, kind) for kind in SIGN_TYPES):
        raise BadCode("the link's sign is wrong")
    if link["mch_id"] != MCH_ID or link["appid"] not in APPIDS:
        raise BadCode("the link names another merchant or app")
    if len(link["product_id"]) > 32 or len(link["time_stamp"]) > 10:
        raise BadCode("the link's product_id or time_stamp is too long")


async def _ask_merchant(money: WeChatPay, link: dict[str, str], openid: str) -> Scanned:
    """Mode one: the merchant places the order while the user looks at the phone."""
    if not money.settings.native_notify_url:
        raise BadCode("the merchant has set no address for scans")
    fields = {
        "appid": link["appid"],
        "openid": openid,
        "mch_id": MCH_ID,
        "is_subscribe": "N",
        "product_id": link["product_id"],
    }
    fault = money.strike("notify.native")
    post = posts.v2_scan(fields)(fault)
    status, answer = 0, "never arrived"
    is_lost = fault is not None and fault.kind == "drop"
    if not is_lost and not money.settings.is_blocked:
        url = money.settings.native_notify_url
        status, answer = await money.notifier.send(url, post.headers, post.body)
    shown = _understood(money, status, answer)
    money.scans.append(
        Attempt(
            at_s=money.clock.now_s(),
            is_thanked=shown.order is not None,
            status=status,
            answer=answer,
            took_s=0.0,
            fault=fault.kind if fault else None,
            body=post.body.decode("utf-8", "replace"),
        )
    )
    return shown


def _understood(money: WeChatPay, status: int, answer: str) -> Scanned:
    """What the phone makes of the merchant's answer; whatever is wrong is «try again later»."""
    later = Scanned(text="系统繁忙，请稍后再试")
    try:
        said = xmltext.read(answer.encode())
    except xmltext.XmlError:
        return later
    if status != 200 or said.get("return_code") != "SUCCESS":
        return later
    if not any(signing.is_signed_v2(said, API_V2_KEY, kind) for kind in SIGN_TYPES):
        return later
    if said.get("result_code") != "SUCCESS":
        return Scanned(text=said.get("err_code_des", "") or later.text)
    order = money.orders.of_prepay(said.get("prepay_id", ""))
    is_ours = said.get("mch_id") == MCH_ID and said.get("appid") in APPIDS
    if order is None or not is_ours or order.trade_type != "NATIVE":
        return later
    return Scanned(order)


def link_of(appid: str, product_id: str, time_stamp: str) -> str:
    """A mode-one link as a merchant prints it."""
    fields = {
        "appid": appid,
        "mch_id": MCH_ID,
        "nonce_str": secrets.token_hex(8),
        "product_id": product_id,
        "time_stamp": time_stamp,
    }
    sign = signing.sign_v2(fields, API_V2_KEY, "MD5")
    rest = "&".join(f"{name}={value}" for name, value in fields.items())
    return f"weixin://wxpay/bizpayurl?sign={sign}&{rest}"
