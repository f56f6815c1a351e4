"""Money as whole fen; yuan only as text, at the edge; tickets, of which a fen makes five."""

import re
from decimal import Decimal
from typing import Final, TypeAlias

Fen: TypeAlias = int
"""A hundredth of a yuan. There are no parts of it, and no floats anywhere."""

TICKETS_PER_FEN: Final = 5

# A thousand times this still fits the database's integers.
FEN_MAX: Final = 10**15

# ASCII digits: Python's \d would take those of any script.
_YUAN: Final = re.compile(r"[0-9]{1,14}(\.[0-9]{1,2})?")


class NotMoney(ValueError):
    """A text or number that is no exact amount of fen."""

    code = "money.invalid"
    title = "Not an amount of money"


def parse_yuan(text: str | Decimal) -> Fen:
    """Yuan as fen, exactly: "12.3" is 1230. Raises NotMoney.

    A text is digits with at most two places; no sign, no exponent, no spaces. A Decimal, as a
    JSON reader gives it, may be written in any way that means such an amount.
    """
    if isinstance(text, Decimal):
        return _from_decimal(text)
    if not _YUAN.fullmatch(text):
        raise NotMoney("yuan are digits with at most two decimal places")
    return _from_decimal(Decimal(text))


def _from_decimal(yuan: Decimal) -> Fen:
    # Compared first, so that 1E+999999 is not written out.
    if not yuan.is_finite() or not 0 <= yuan <= FEN_MAX // 100:
        raise NotMoney("yuan are between 0 and ten thousand thousand million")
    # Nor 1E-999999, which is less than a fen for certain.
    if yuan and yuan.adjusted() < -2:
        raise NotMoney("yuan have at most two decimal places")
    # As a ratio, for arithmetic on decimals rounds to the context's 28 digits.
    numerator, denominator = yuan.as_integer_ratio()
    fen, rest = divmod(numerator * 100, denominator)
    if rest:
        raise NotMoney("yuan have at most two decimal places")
    return fen


def format_yuan(fen: Fen) -> str:
    """Fen as yuan with two places: 1230 is "12.30", -5 is "-0.05"."""
    yuan, rest = divmod(abs(fen), 100)
    return f"{'-' if fen < 0 else ''}{yuan}.{rest:02}"


def tickets_of(fen: Fen) -> int:
    """How many tickets an amount is worth."""
    return fen * TICKETS_PER_FEN
