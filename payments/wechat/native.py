"""Standing codes in WeChat's tongue (native mode one): `payments.scans.model.Codes`."""

from payments.wechat import notices_v2
from payments.wechat.notices_v2 import Scan
from payments.wechat.signing import Merchant
from payments.wechat.v2 import WeChatPayV2
from sql.types import Millis


class StandingCodes:
    """Signed with MD5, as WeChat signs what it says of them: neither has a place to say how."""

    def __init__(self, merchant: Merchant, v2: WeChatPayV2) -> None:
        self._merchant = merchant
        self._v2 = v2

    def text(self, product_id: str, *, now: Millis) -> str:
        return self._v2.product_url(product_id, now=now)

    def read(self, raw: bytes) -> Scan:
        """Raises BadMessage."""
        return notices_v2.read_scan(raw, self._merchant)

    def accept(self, scan: Scan, prepay_id: str) -> bytes:
        return notices_v2.accept_scan(scan, self._merchant, prepay_id=prepay_id)

    def refuse(self, scan: Scan, reason: str) -> bytes:
        return notices_v2.refuse_scan(scan, self._merchant, reason=reason)
