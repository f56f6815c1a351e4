"""How version 2 is signed: MD5, or HMAC-SHA256, over the sorted fields and the shared key.

Source: wiki 4_3 (signature algorithm), wxa 7_7 (the second signature, `paySign`).
"""

import hashlib
import hmac
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from payments.wechat.errors import BadSignature
from payments.wechat.secrets import ApiV2Key


class SignType(StrEnum):
    MD5 = "MD5"
    HMAC_SHA256 = "HMAC-SHA256"


SIGN_LENGTHS: Final = {SignType.MD5: 32, SignType.HMAC_SHA256: 64}


class Merchant(msgspec.Struct, frozen=True, kw_only=True):
    """Who we are to WeChat Pay. sign_type: of the orders made from now on.

    appid: of the orders that do not say another; also: the other apps bound to the merchant.
    """

    appid: str
    mch_id: str
    key: ApiV2Key
    sign_type: SignType = SignType.HMAC_SHA256
    also: frozenset[str] = frozenset()

    @property
    def appids(self) -> frozenset[str]:
        return self.also | {self.appid}


def sign(fields: Mapping[str, str], key: ApiV2Key, sign_type: SignType) -> str:
    """The `sign` of all fields but `sign` itself; those that are "" take no part, "0" does."""
    message = _message(fields, key)
    if sign_type is SignType.MD5:
        # Prescribed by WeChat; the key at the end keeps others from signing.
        return hashlib.md5(message, usedforsecurity=False).hexdigest().upper()
    return hmac.new(key.reveal(), message, hashlib.sha256).hexdigest().upper()


def signed(fields: Mapping[str, str], key: ApiV2Key, sign_type: SignType) -> dict[str, str]:
    return {**fields, "sign": sign(fields, key, sign_type)}


def verify(fields: Mapping[str, str], key: ApiV2Key, sign_type: SignType) -> None:
    """Raises BadSignature unless all these fields were signed in just this way.

    sign_type is that of the order: a message does not choose how it is checked.
    """
    claimed = fields.get("sign", "")
    if not claimed:
        raise BadSignature("no sign")
    if len(claimed) != SIGN_LENGTHS[sign_type]:
        raise BadSignature(f"a sign that is no {sign_type}")
    if not hmac.compare_digest(claimed.encode(), sign(fields, key, sign_type).encode()):
        raise BadSignature("the sign does not match")


def _message(fields: Mapping[str, str], key: ApiV2Key) -> bytes:
    # By bytes, not by any alphabet: "re_openid" stands before "remark".
    taken = sorted(
        (name.encode(), value.encode())
        for name, value in fields.items()
        if value and name != "sign"
    )
    return b"&".join(name + b"=" + value for name, value in [*taken, (b"key", key.reveal())])
