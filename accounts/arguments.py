"""The fields of a subscribe message and how long each may be.

A field's name is its kind and a number: `thing1`, `date2`. An argument that does not fit
is answered with 47003 and the message is lost, so what can be trimmed is trimmed here.
Source: WeChat, subscribeMessage.send, "参数值内容限制".
"""

import re
from collections.abc import Callable, Mapping

from accounts.model import UnfitArgument

Fit = Callable[[str], str]

_DATE = r"\d{4}(?:年\d{1,2}月\d{1,2}日|-\d{1,2}-\d{1,2})"
_TIME = r"\d{1,2}:\d{2}"
_UNNAMED = re.compile("[^A-Za-z\u3400-\u9fff ·]")


def fit(data: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Shape the arguments as WeChat wants them, trimmed to what each field may hold.

    Raises UnfitArgument, naming the field, where trimming would say something false
    (half a number) or leave nothing.
    """
    return {field: {"value": _fit_one(field, text)} for field, text in data.items()}


def _fit_one(field: str, text: str) -> str:
    kind = field.rstrip("0123456789")
    value = _KINDS.get(kind, _thing)(_one_line(text))
    if not value:
        raise UnfitArgument(field)
    return value


def _one_line(text: str) -> str:
    """Without line breaks, control characters and halves of characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _thing(text: str) -> str:
    return text if _width(text) <= 20 else _cut(text, 19) + "…"


def _name(text: str) -> str:
    """Twenty letters, or ten characters as soon as one of them is Chinese."""
    letters = _UNNAMED.sub("", text).strip()
    return _cut(letters, 20 if letters.isascii() else 10)


def _kept(pattern: str, most: int) -> Fit:
    """Keep the characters that pattern allows, as many as may be."""
    unwanted = re.compile(f"[^{pattern}]")
    return lambda text: _cut(unwanted.sub("", text), most).strip()


def _whole(pattern: str) -> Fit:
    """Take the text as it is or not at all."""
    wanted = re.compile(pattern, re.ASCII)
    return lambda text: text if wanted.fullmatch(text) else ""


def _cut(text: str, most: int) -> str:
    while _width(text) > most:
        text = text[:-1]
    return text


def _width(text: str) -> int:
    """Length as JavaScript counts it, where an emoji is two; never less than WeChat's."""
    return len(text.encode("utf-16-le")) // 2


_KINDS: Mapping[str, Fit] = {
    "thing": _thing,
    "number": _whole(r"(?=.{1,32}$)\d+(?:\.\d+)?"),
    "letter": _kept("A-Za-z", 32),
    "symbol": _kept(r"!-/:-@\[-`{-~", 5),
    "character_string": _kept("!-~", 32),
    "time": _whole(rf"(?:{_DATE} )?{_TIME}(?:~(?:{_DATE} )?{_TIME})?"),
    "date": _whole(rf"{_DATE}(?: {_TIME})?(?:~{_DATE}(?: {_TIME})?)?"),
    "amount": _whole(r"[¥$€£]?\d{1,10}(?:\.\d{1,2})?元?"),
    "phone_number": _whole(r"[0-9+()\- ]{1,17}"),
    "car_number": _whole(r"[\u4e00-\u9fffA-Z]?[\u4e00-\u9fffA-Z0-9]{1,7}"),
    "name": _name,
    "phrase": _kept("\u4e00-\u9fff", 5),
}
