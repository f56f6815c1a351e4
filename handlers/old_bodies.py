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
    parse_body_arguments,
)

from handlers.errors import Problem
from handlers.wire import reader

FIELDS_MAX: Final = 50

_read_object: Final = reader(dict[str, Any])


class Fields(msgspec.Struct, frozen=True):
    """The fields of one request, and the files that came with it.

    files: name → content.
    """

    values: Mapping[str, Any]
    files: Mapping[str, bytes] = {}

    def text(self, name: str) -> str:
        """A field as text, whatever JSON made of it; "" when it is not there or no text."""
        value = self.values.get(name)
        if isinstance(value, bool):
            return "1" if value else ""
        if isinstance(value, int):
            return str(value)
        return value if isinstance(value, str) and _is_text(value) else ""

    def has(self, name: str) -> bool:
        return name in self.values

    def says_yes(self, name: str) -> bool:
        """The word, not PHP's idea of truth, for which "no" was true."""
        return self.text(name).strip().lower() in {"yes", "1", "true"}

    def texts(self, name: str) -> list[str]:
        """A list of texts: a JSON array, or one text with commas between."""
        value = self.values.get(name)
        parts = value if isinstance(value, list) else self.text(name).split(",")
        stripped = (part.strip() for part in parts if isinstance(part, str) and _is_text(part))
        return [part for part in stripped if part]


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
        parse_body_arguments(media_type, raw, arguments, files, HTTPHeaders())
        values = {name: found[-1].decode("utf-8") for name, found in arguments.items()}
    except (HTTPInputError, UnicodeDecodeError):
        return None
    return Fields(values, {name: found[-1].body for name, found in files.items()})


def _is_text(value: str) -> bool:
    """Whether the text can be written anywhere: half a surrogate pair cannot."""
    return value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)
