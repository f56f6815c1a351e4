"""How this WeChat Pay is set up, beyond single faults; the control API may change any of it."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

RefundResult = Literal["SUCCESS", "CHANGE", "REFUNDCLOSE", "PROCESSING"]
Seconds = Annotated[float, Meta(ge=0)]


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    """certificate_shown: whether a plain-HTTP caller counts as showing the client certificate.

    refund_result: what becomes of refunds not planned otherwise, after refund_takes_s.
    native_notify_url: what the merchant has set for mode-one scans on the merchant platform.
    public_key_share: percent of V3 notifications that are signed with the public key's pair.
    certificates_available: false for a merchant that has the public key only.
    is_used_as_201: say a used number the other way, INVALID_REQUEST «201 商户订单号重复».
    created_cannot_cancel: refuse with 271302332 where the documents contradict each other.
    is_blocked: no notification reaches anybody.
    """

    certificate_shown: bool = True
    ack_timeout_s: Seconds = 5.0
    close_min_age_s: Seconds = 300.0
    refund_result: RefundResult = "SUCCESS"
    refund_takes_s: Seconds = 0.0
    deduct_takes_s: Seconds = 0.0
    deduct_again_s: Seconds = 3600.0
    native_notify_url: str = ""
    public_key_share: Annotated[int, Meta(ge=0, le=100)] = 0
    certificates_available: bool = True
    is_used_as_201: bool = False
    created_cannot_cancel: bool = False
    payscore_cap_fen: Annotated[int, Meta(ge=1)] = 20_000
    is_blocked: bool = False
