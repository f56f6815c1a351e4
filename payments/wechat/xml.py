"""The XML of version 2: one root of flat, unique texts, and nothing else that XML can do.

xmltodict (expat) refuses entity declarations but takes a DOCTYPE, drops undefined entities after
one, and makes lists and dicts of what is repeated, nested or has attributes. What it is given
and what it returns is therefore held to the little that WeChat sends.
"""

import html
import re
from collections.abc import Mapping
from typing import Final
from xml.parsers.expat import ExpatError

import xmltodict

from payments.wechat.errors import BadXml

MESSAGE_MAX_BYTES: Final = 64 << 10
# Far above what is ever sent: some thirty fields, and three for each coupon of an order.
FIELDS_MAX: Final = 256

_CDATA = re.compile(r"<!\[CDATA\[.*?\]\]>", re.DOTALL)
_DECLARATION = re.compile(
    r"""<\?xml\s+version=(["'])1\.0\1(\s+encoding=(["'])utf-8\3)?(\s+standalone=(["'])(yes|no)\5)?\s*\?>""",
    re.IGNORECASE,
)
_NAME = re.compile(r"[A-Za-z_][0-9A-Za-z_.-]{0,63}")
# What XML 1.0 cannot carry at all, not even escaped.
_UNWRITABLE = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def read(body: bytes, *, root: str = "xml") -> dict[str, str]:
    """The fields, exactly as signed: nothing stripped, "" for an empty one. Raises BadXml."""
    text = _text(body)
    try:
        document = xmltodict.parse(
            text, encoding="utf-8", strip_whitespace=False, disable_entities=True
        )
    except (ExpatError, ValueError):
        # The parser's words quote the message, and with it what is nobody's business.
        document = None
    if document is None:
        raise BadXml("not well-formed")
    return _fields(document, root)


def write(fields: Mapping[str, str], *, root: str = "xml") -> bytes:
    """Each value escaped once, so that the reader finds the very text that was signed.

    Raises ValueError for a name or a value that XML cannot carry.
    """
    return f"<{root}>{''.join(_element(*field) for field in fields.items())}</{root}>".encode()


def _text(body: bytes) -> str:
    if len(body) > MESSAGE_MAX_BYTES:
        raise BadXml(f"longer than {MESSAGE_MAX_BYTES} bytes")
    try:
        text = body.decode("utf-8", "strict")
    except UnicodeDecodeError:
        text = ""
    if not text:
        raise BadXml("empty, or not UTF-8")
    # Where a piece of CDATA is taken out, something stays, lest its neighbours become markup.
    bare = _CDATA.sub("_", _DECLARATION.sub("", text, count=1) if text[:2] == "<?" else text)
    if "<!" in bare or "<?" in bare:
        raise BadXml("a DOCTYPE, comment or instruction")
    return text


def _fields(document: Mapping[str, object], root: str) -> dict[str, str]:
    content = document.get(root)
    if not isinstance(content, dict):
        raise BadXml(f"no fields in <{root}>")
    if len(content) > FIELDS_MAX:
        raise BadXml("too many fields")
    fields = {}
    for name, value in content.items():
        if name == "#text":
            _see_blank(value)
        else:
            fields[name] = _leaf(name, value)
    return fields


def _leaf(name: str, value: object) -> str:
    # An attribute of the root comes as "@name"; a repeated, nested or attributed element is no str.
    if not _NAME.fullmatch(name) or not isinstance(value, str | None):
        raise BadXml("an attribute, a repeated or nested element")
    return value or ""


def _see_blank(value: object) -> None:
    if not isinstance(value, str) or value.strip(" \t\r\n"):
        raise BadXml("text between the elements")


def _element(name: str, value: str) -> str:
    if not _NAME.fullmatch(name) or _UNWRITABLE.search(value):
        raise ValueError(f"XML cannot carry the name or value of {name!r}")
    # A bare carriage return would be read as a line feed.
    escaped = html.escape(value, quote=False).replace("\r", "&#13;")
    return f"<{name}>{escaped}</{name}>"
