"""What a standing code sells, and how that is said in a product id.

A product id is a kind and numbers: `stall-7-3`. What the kind's numbers mean is its domain's
business. WeChat takes 32 characters.
"""

import re
from collections.abc import Callable
from typing import Final, Protocol

from payments.model import Debt, PaymentError
from payments.wechat.notices_v2 import Scan
from sql.database import Tx
from sql.types import Millis

PRODUCT_ID_MAX: Final = 32

_PRODUCT: Final = re.compile(r"([a-z]{1,15})((?:-[1-9][0-9]{0,15})+)", re.ASCII)


class NotForSale(PaymentError):
    """The text is shown to whoever has scanned."""

    code = "payments.not_for_sale"
    title = "That is not for sale"


Sell = Callable[[Tx, tuple[int, ...]], Debt]
"""What a scan owes for, by the numbers of its product id: a new debt, or one there already.

Raises NotForSale before it has changed anything.
"""


class Codes(Protocol):
    """How a code is written, and how its scans are read and answered."""

    def text(self, product_id: str, *, now: Millis) -> str: ...
    def read(self, raw: bytes) -> Scan: ...
    def accept(self, scan: Scan, prepay_id: str) -> bytes: ...
    def refuse(self, scan: Scan, reason: str) -> bytes: ...


def product_id(kind: str, *numbers: int) -> str:
    text = "-".join((kind, *map(str, numbers)))
    assert len(text) <= PRODUCT_ID_MAX, text
    assert _PRODUCT.fullmatch(text), text
    return text


def product_of(text: str) -> tuple[str, tuple[int, ...]]:
    """The kind and the numbers. Raises NotForSale."""
    found = _PRODUCT.fullmatch(text)
    if found is None or len(text) > PRODUCT_ID_MAX:
        raise NotForSale("没有这个商品")
    return found[1], tuple(int(number) for number in found[2].split("-")[1:])
