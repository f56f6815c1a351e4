"""WeChat Pay out of the settings: the gateway, and what reads the notices that come to us."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from payments.gateway import Gateway, GatewayError
from payments.model import Merchant as WhoWeAre
from payments.notices.service import (
    OtherTold,
    PermissionTold,
    Reader,
    RefundTold,
    ScoreTold,
    Told,
)
from payments.scans.model import Codes
from payments.service import NoGateway
from payments.wechat import notices_v2
from payments.wechat.combined import CombinedGateway
from payments.wechat.keys import load_keys
from payments.wechat.native import StandingCodes
from payments.wechat.notices_v3 import (
    NoticeReader,
    PermissionChanged,
    RefundChanged,
    ServiceChanged,
)
from payments.wechat.payscore import Payscore, PayscoreService
from payments.wechat.secrets import ApiV2Key, ApiV3Key, MerchantKey
from payments.wechat.signing import Merchant, SignType
from payments.wechat.signing_v3 import Identity
from payments.wechat.transport import ClientCertificate
from payments.wechat.v2 import Addresses, WeChatPayV2
from payments.wechat.v3 import AddressesV3, WeChatPayV3
from server.config import Config
from sql.types import Millis

log = logging.getLogger("callme.wechatpay")

# Where WeChat tells us, below the notify base.
V2_PAY = "/notify/wechatpay/v2/pay"
V2_REFUND = "/notify/wechatpay/v2/refund"
V2_NATIVE = "/notify/wechatpay/v2/native"
V3 = "/notify/wechatpay/v3"
DEFAULT = "https://api.mch.weixin.qq.com"
FALLBACK = "https://api2.mch.weixin.qq.com"
NOTICE_PATHS = {V2_PAY: "xml", V2_REFUND: "xml", V2_NATIVE: "scan", V3: "json"}


class WeChatPay:
    """Both versions, or nothing where they are not set up."""

    def __init__(self, config: Config, *, now: Callable[[], Millis]) -> None:
        pay = config.wechatpay
        self.gateway: Gateway = NoGateway()
        self.readers: dict[str, Reader] = {}
        self.codes: Codes | None = None
        self.who_we_are = WhoWeAre()
        self.v3: WeChatPayV3 | None = None
        self.payscore: Payscore | None = None
        self._closing: list[Callable[[], Awaitable[Any]]] = []
        if not (pay.mch_id and pay.api_v2_key):
            return
        # Sellers pay for months in their mini-program, diners for cabinets in theirs.
        self._merchant = Merchant(
            appid=config.wechat.seller_appid,
            mch_id=pay.mch_id,
            key=ApiV2Key(pay.api_v2_key),
            sign_type=SignType(pay.sign_type),
            also=frozenset(filter(None, [config.wechat.diner_appid])),
        )
        self.who_we_are = WhoWeAre(pay.mch_id, self._merchant.appids)
        self._set_up(config, now)

    def _set_up(self, config: Config, now: Callable[[], Millis]) -> None:
        pay, base = config.wechatpay, config.notify_base
        certificate = None
        if pay.merchant_cert_file:
            certificate = ClientCertificate(
                cert_file=Path(pay.merchant_cert_file), key_file=Path(pay.merchant_key_file)
            )
        v2 = WeChatPayV2(
            self._merchant,
            Addresses(api=pay.url, notify=base + V2_PAY, refund_notify=base + V2_REFUND),
            # A peer that speaks plain HTTP is shown no certificate: version 3 refunds there.
            certificate=certificate if pay.url.startswith("https:") else None,
        )
        self._closing.append(v2.aclose)
        self.codes = StandingCodes(self._merchant, v2)
        self.readers = {V2_PAY: self._read_payment, V2_REFUND: self._read_refund}
        if pay.api_v3_key and pay.merchant_key_file:
            self._set_up_v3(config, now)
        self.gateway = CombinedGateway(
            v2,
            has_certificate=certificate is not None and pay.url.startswith("https:"),
            v3=self.v3,
        )

    def _set_up_v3(self, config: Config, now: Callable[[], Millis]) -> None:
        pay = config.wechatpay
        key = ApiV3Key(pay.api_v3_key)
        folder = pay.platform_keys_dir
        self.v3 = WeChatPayV3(
            Identity.of_certificate(
                pay.mch_id,
                MerchantKey(Path(pay.merchant_key_file).read_bytes()),
                Path(pay.merchant_cert_file).read_bytes(),
            ),
            AddressesV3(
                api=pay.url,
                notify=config.notify_base + V3,
                fallback=FALLBACK if pay.url == DEFAULT else "",
            ),
            key,
            keys=load_keys(Path(folder)) if folder else (),
            now=now,
        )
        self._closing.append(self.v3.aclose)
        if pay.payscore_service_id and config.wechat.diner_appid:
            service = PayscoreService(
                service_id=pay.payscore_service_id,
                appid=config.wechat.diner_appid,
                notify_url=config.notify_base + V3,
                view_key=ApiV2Key(pay.api_v2_key),
            )
            self.payscore = Payscore(self.v3, service, now=now)
        self._notices = NoticeReader(
            self.v3.keys, key, mch_id=pay.mch_id, appids=self.who_we_are.appids
        )
        self.readers[V3] = self._read_v3

    async def _read_payment(self, raw: bytes, _: Mapping[str, str]) -> Told:
        return notices_v2.read_payment(raw, self._merchant)

    async def _read_refund(self, raw: bytes, _: Mapping[str, str]) -> Told:
        # Nobody signed it: what has become of the refund is asked for.
        return RefundTold(notices_v2.read_refund(raw, self._merchant).out_refund_no)

    async def _read_v3(self, raw: bytes, headers: Mapping[str, str]) -> Told:
        notice = await self._notices.read(headers, raw)
        if isinstance(notice.event, RefundChanged):
            return RefundTold(notice.event.refund.out_refund_no)
        if isinstance(notice.event, ServiceChanged):
            return ScoreTold(notice.event.order)
        if isinstance(notice.event, PermissionChanged):
            return PermissionTold(
                authorization_code=notice.event.authorization_code[:32],
                openid=notice.event.openid[:64],
                is_granted=notice.event.is_granted,
                changed_at=notice.created_at,
            )
        return OtherTold(notice.event_type[:40], notice.id[:64])

    async def refresh_keys(self) -> None:
        """Fetch the platform's certificates where they are due, every twelve hours."""
        if self.v3 is None:
            return
        try:
            await self.v3.keys.refresh_due()
        except GatewayError as error:
            # Those that are held stay good; a merchant of public keys has no certificates.
            log.info("the platform's certificates were not fetched: %s", error)

    async def close(self) -> None:
        for close in self._closing:
            await close()
