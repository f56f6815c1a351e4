"""What a client of the old dialect sends: one flat set of fields, in whichever wrapping.

The original read forms only; its documents said JSON, and later clients sent it.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from tornado.httputil import (
    HTTPFile,
    HTTPHeaders,
    HTTPInputError,
    ParseBodyConfig,
    ParseMultipartConfig,
    parse_body_arguments,
)

from handlers.errors import Problem
from handlers.wire import reader

FIELDS_MAX: Final = 50

_BOUNDS: Final = ParseBodyConfig(multipart=ParseMultipartConfig(max_parts=FIELDS_MAX + 1))
_read_object: Final = reader(dict[str, Any])


class Fields(msgspec.Struct, frozen=True):
    """The fields of one request, and the files that came with it.

    files: name → content.
    """

    values: Mapping[str, Any]
    files: Mapping[str, bytes] = {}

    def text(self, name: str) -> str:
        """A field as text, whatever JSON made of it; "" when it is not there or no text."""
        return _text(self.values.get(name)) or ""

    def has(self, name: str) -> bool:
        """Whether it was sent; null is not."""
        return self.values.get(name) is not None

    def is_text(self, name: str) -> bool:
        return _text(self.values.get(name)) is not None

    def says_yes(self, name: str) -> bool:
        """The word, not PHP's idea of truth, for which "no" was true."""
        return self.text(name).strip().lower() in {"yes", "1", "true"}

    def texts(self, name: str) -> list[str] | None:
        """A list of texts: a JSON array, or one text with commas between; None for anything else.
        Blank ones are left out."""
        value = self.values.get(name)
        if isinstance(value, list):
            parts = [_text(part) for part in value]
        else:
            text = _text(value)
            parts = [None] if text is None else [*text.split(",")]
        if None in parts:
            return None
        return [part.strip() for part in parts if part and part.strip()]


def read_body(raw: bytes, headers: Mapping[str, str]) -> Fields | None:
    """The fields of a body: a form, a multipart form or a JSON object; None for anything else."""
    media_type = headers.get("Content-Type", "")
    kind = media_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return _read_multipart(raw, media_type)
    if kind == "application/json" or raw.lstrip()[:1] == b"{":
        return read_json(raw)
    return _read_form(raw)


def read_json(raw: bytes) -> Fields | None:
    try:
        return Fields(_read_object(raw))
    except Problem:
        return None


def _read_form(raw: bytes) -> Fields | None:
    try:
        pairs = parse_qsl(
            raw.decode("utf-8"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=FIELDS_MAX,
        )
    except ValueError:
        return None
    return Fields(dict(pairs))


def _read_multipart(raw: bytes, media_type: str) -> Fields | None:
    arguments: dict[str, list[bytes]] = {}
    files: dict[str, list[HTTPFile]] = {}
    try:
        parse_body_arguments(media_type, raw, arguments, files, HTTPHeaders(), config=_BOUNDS)
        values = {name: found[-1].decode("utf-8") for name, found in arguments.items()}
    except (HTTPInputError, UnicodeDecodeError):
        return None
    return Fields(values, {name: found[-1].body for name, found in files.items()})


def _text(value: object) -> str | None:
    """What PHP would have made of it; None for what is no text, half a surrogate pair too."""
    if isinstance(value, bool):
        return "1" if value else ""
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str) or any("\ud800" <= letter <= "\udfff" for letter in value):
        return None
    return value
