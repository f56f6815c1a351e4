"""What fits into a subscribe message, by the type in the field's name (thing1, time2 …).

Source: WeChat, subscribeMessage.send, the table of parameter limits.
"""

import re

CHINESE = r"\u3400-\u9fff\uf900-\ufaff"
DAY = r"\d{4}(年\d{1,2}月\d{1,2}日|-\d{1,2}-\d{1,2})"
HOUR = r"([01]?\d|2[0-3]):[0-5]\d(:[0-5]\d)?"
MOMENT = rf"({DAY} )?{HOUR}"

PATTERNS = {
    "thing": r"[\s\S]{1,20}",
    "number": r"(?=.{1,32}$)\d+(\.\d+)?",
    "letter": r"[A-Za-z]{1,32}",
    "symbol": rf"[^A-Za-z0-9\s{CHINESE}]{{1,5}}",
    "character_string": rf"[^\s{CHINESE}]{{1,32}}",
    "time": rf"{MOMENT}(~{MOMENT})?",
    "date": rf"{DAY}( {HOUR})?(~{DAY}( {HOUR})?)?",
    "amount": r"[¥$€£￥]?\d{1,10}(\.\d{1,2})?元?",
    "phone_number": r"[\d+\-() ]{1,17}",
    "car_number": rf"[{CHINESE}A-Z]?[{CHINESE}A-Z0-9]{{1,7}}",
    "name": rf"[{CHINESE}·]{{1,10}}|[A-Za-z ]{{1,20}}|[A-Za-z·{CHINESE} ]{{1,10}}",
    "phrase": rf"[{CHINESE}]{{1,5}}",
}
RULES = {kind: re.compile(pattern) for kind, pattern in PATTERNS.items()}


def fits(field: str, value: object) -> bool:
    """Whether WeChat takes this value in a field of this name; unknown types take nothing."""
    rule = RULES.get(field.rstrip("0123456789"))
    return rule is not None and isinstance(value, str) and rule.fullmatch(value) is not None
