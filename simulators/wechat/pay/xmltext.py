"""V2's XML: one flat element, written as the vendor writes it and read as strictly as it can be."""

import xml.parsers.expat
from collections.abc import Mapping

NUMBERS = frozenset({"total_fee", "cash_fee", "refund_fee", "settlement_total_fee", "coupon_fee"})


class XmlError(ValueError):
    """Not the XML this interface reads; `return_msg` is the vendor's word for it."""

    def __init__(self, return_msg: str) -> None:
        super().__init__(return_msg)
        self.return_msg = return_msg


def written(fields: Mapping[str, str], root: str = "xml") -> bytes:
    """Text in CDATA and whole numbers bare, as in the vendor's own answers."""
    rows = [f"<{name}>{_value(name, value)}</{name}>\n" for name, value in fields.items()]
    return f"<{root}>{''.join(rows)}</{root}>".encode()


def _value(name: str, value: str) -> str:
    if name.rstrip("0123456789").rstrip("_") in NUMBERS and value.isdigit():
        return value
    return f"<![CDATA[{value.replace(']]>', ']]]]><![CDATA[>')}]]>"


def read(body: bytes) -> dict[str, str]:
    """Raises XmlError."""
    if not body.strip():
        raise XmlError("post数据为空")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise XmlError("编码格式错误，请使用UTF-8编码") from error
    if "encoding" in text.partition("?>")[0] and "utf-8" not in text.partition("?>")[0].lower():
        raise XmlError("编码格式错误，请使用UTF-8编码")
    return _Reader().read(body)


class _Reader:
    def __init__(self) -> None:
        self._path: list[str] = []
        self._text: list[str] = []
        self._fields: dict[str, str] = {}

    def read(self, body: bytes) -> dict[str, str]:
        parser = xml.parsers.expat.ParserCreate()
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = self._refuse
        try:
            parser.Parse(body, True)
        except xml.parsers.expat.ExpatError as error:
            raise XmlError("XML格式错误") from error
        return self._fields

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(name)
        self._text.clear()
        is_flat = len(self._path) == 1 if name == "xml" else len(self._path) == 2
        if not is_flat or self._path[0] != "xml" or attributes or name in self._fields:
            raise XmlError("XML格式错误")

    def _end(self, name: str) -> None:
        if len(self._path) == 2:
            self._fields[name] = "".join(self._text)
        self._path.pop()

    def _characters(self, text: str) -> None:
        if len(self._path) == 2:
            self._text.append(text)

    def _refuse(self, *_declaration: object) -> None:
        raise XmlError("XML格式错误")
