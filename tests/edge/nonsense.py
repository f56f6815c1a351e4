"""What nobody should send: values, texts and bodies, drawn from dice."""

import random
from collections.abc import Sequence
from typing import Any

import msgspec

from handlers.routing import RAW, Route

# In every place where a text is taken: none of these may mean anything to a database.
SQL = [
    "' OR '1'='1",
    "'; DROP TABLE stalls; --",
    '"; DROP TABLE tickets; --',
    "1; DELETE FROM sessions",
    "1 OR 1=1",
    "' UNION SELECT key_hash FROM sessions --",
    "') ; UPDATE stalls SET balance_months = 99 --",
    "\\'; TRUNCATE TABLE events; --",
    "0x27204f52",
    "%27%20OR%201=1",
    "admin'/*",
    "*/ OR 1=1 #",
    "`; SELECT SLEEP(5); `",
    "'||(SELECT 1)||'",
    "' AND (SELECT COUNT(*) FROM sqlite_master) > 0 --",
    "-1 UNION SELECT @@version",
    ":name",
    "%(phone)s",
    "?",
    "$1",
    "{0}",
    "_%",
]

TEXTS = [
    "",
    " ",
    "\x00",
    "a\x00b",
    "\r\nSet-Cookie: a=b",
    "\u202e\u2066",
    "\ufeff",
    "\U0001f35c" * 40,
    "牛肉拉面" * 60,
    "e\u0301" * 99,
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "%00",
    "%",
    "null",
    "1e9",
    "０１２",
    "x" * 5_000,
    *SQL,
]

NUMBERS = [
    0, -1, 1, 99, 100, 2**31, 2**32, 2**53 - 1, 2**53, -(2**53), 2**63 - 1, 2**63, 2**64,
    10**30, 10**4000, 0.5, -0.0, 1.0, 1e308, 3.0e10,
]  # fmt: skip

# Bytes that look like JSON to one reader or another.
BROKEN = [
    b"", b" ", b"{", b"}", b"[]", b"null", b"NaN", b"{'a': 1}", b'{"a": NaN}', b'{"a": 1e999}',
    b'{"a": 1, "a": 2}', b'{"a": 1}{"b": 2}', b'{"a": 1,}', b'"\\ud800"', b'{"name": "\\ud83d"}',
    b'{"note": "\\udc00\\ud800", "number": 1}', b'{"\\ud800": 1}', b'{"name": "\xff\xfe"}',
    b'\xef\xbb\xbf{"a": 1}', b'{"a": "\x00"}', b'{"a": "\\u0000"}', b'{"a": 01}', b'{"a": +1}',
    b'{"a": .5}', b'{"a": 0x1}', b'{"a": Infinity}', b'{"number": 1e1, "note": "x"}',
    b'{"months": 1.0, "reason": "x"}', b'{"months": true, "reason": "x"}', b"\x00" * 100,
    b"\x1f\x8b\x08\x00", b"<xml><a>1</a></xml>", b"a=1&b=2", b'{"a":' + b"9" * 60_000 + b"}",
    b"[" * 30_000, b"[" * 100_000, b'{"a":' * 12_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    b'{"' + b"k" * 60_000 + b'": 1}',
]  # fmt: skip

MEDIA_TYPES = [
    "application/json", "application/json; charset=utf-16", "APPLICATION/JSON", "text/plain", "",
    "application/x-www-form-urlencoded", "multipart/form-data", "multipart/form-data; boundary=",
    'multipart/form-data; boundary="' + "b" * 100 + '"', "application/json, text/html", "x/\x7f",
    "application/octet-stream", "image/png",
]  # fmt: skip

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "QUERY", "get"]


class Nonsense:
    """All that is drawn here follows from the dice alone."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice

    def text(self) -> str:
        if self.dice.random() < 0.8:
            return self.dice.choice(TEXTS)
        size = self.dice.randrange(1, 60)
        return "".join(chr(self._letter()) for _ in range(size))

    def _letter(self) -> int:
        letter = self.dice.choice([self.dice.randrange(128), self.dice.randrange(0x10000)])
        # Half a surrogate pair cannot be encoded here; those are in BROKEN, written out.
        return letter if not 0xD800 <= letter <= 0xDFFF else 0x20

    def value(self, depth: int = 0) -> Any:
        kind = self.dice.randrange(7 if depth < 3 else 5)
        if kind == 0:
            return self.dice.choice([None, True, False])
        if kind == 1:
            return self.dice.choice(NUMBERS)
        if kind <= 4:
            return self.text()
        some = range(self.dice.randrange(4))
        if kind == 5:
            return [self.value(depth + 1) for _ in some]
        return {self.text(): self.value(depth + 1) for _ in some}

    def id(self) -> Any:
        return self.dice.choice([self.value(), self.dice.choice(NUMBERS), self.text(), None])

    def spoilt(self, good: dict[str, Any], *, keep: Sequence[str] = ()) -> dict[str, Any]:
        """A good message with a field or two wrong, missing or too many."""
        message = dict(good)
        names = [name for name in message if name not in keep]
        for _ in range(self.dice.randrange(1, 3)):
            name = self.dice.choice([*names, self.text()])
            if self.dice.random() < 0.15:
                message.pop(name, None)
            elif name not in keep:
                message[name] = self.value()
        return message

    def json(self, value: Any) -> bytes:
        """Written as this machine's own writer never would: numbers beyond 64 bits and all."""
        return _write(value).encode("utf-8", "surrogatepass")

    # ------------------------------------------------------------ requests

    def body(self, route: Route, good: dict[str, Any]) -> bytes:
        chance = self.dice.random()
        if route.body is RAW and chance < 0.2:
            return self.form()
        if chance < 0.7:
            return self.json(self.spoilt(good))
        if chance < 0.8:
            return self.json(self.value())
        if chance < 0.99:
            return self.dice.choice(BROKEN)
        return self.json({**good, "padding": "x" * 2**20})

    def form(self) -> bytes:
        pairs = [f"{self.escaped(self.text())}={self.escaped(self.text())}" for _ in range(4)]
        return "&".join(["query=push", *pairs]).encode("latin-1")

    def escaped(self, text: str) -> str:
        """A text in an address: escaped, half escaped, or as it is where a line allows that."""
        raw = text.encode("utf-8")[:300]
        if self.dice.random() < 0.9:
            return "".join(f"%{byte:02X}" for byte in raw)
        return "".join(chr(b) if 0x21 <= b < 0x7F and b not in b"#&?" else f"%{b:x}" for b in raw)

    def query(self, route: Route) -> str:
        names = [f.encode_name for f in msgspec.structs.fields(route.query)] if route.query else []
        names += ["page", "sort", "a"]
        pairs = []
        for _ in range(self.dice.randrange(0, 4)):
            value = self.dice.choice([str(self.dice.choice(NUMBERS[:-6])), self.text()])
            pairs.append(f"{self.dice.choice(names)}={self.escaped(value)}")
        return "&".join(pairs)

    def headers(self) -> list[tuple[str, str]]:
        """One header or another, doubled or strange; none that says how long the body is."""
        odd = [
            ("Idempotency-Key", self.dice.choice(["k", "k" * 201, "a b", "\xe9", "", "'; --"])),
            ("If-None-Match", self.dice.choice(["*", '"a"', 'W/"', ",,,", '"' * 99])),
            ("Authorization", self.dice.choice(["Bearer", "Bearer ", "Basic YTpi", "bearer x.y.z",
                                                "Bearer " + "a" * 9000, "\xff", "Bearer \xff"])),
            ("Cookie", self.dice.choice(["a=b", "=;;=", "callme=x; callme=y", "x" * 4000])),
            ("X-Request-Id", self.dice.choice(["a", "<b>", "x" * 65, "\xff"])),
            ("X-Forwarded-For", self.dice.choice(["1.2.3.4", "::1", "a,b", ","])),
            ("Accept-Encoding", "gzip"),
            ("Content-Encoding", self.dice.choice(["gzip", "identity", "br"])),
            ("Expect", self.dice.choice(["100-continue", "200-ok"])),
            ("Range", "bytes=0-"),
            ("Upgrade", "websocket"),
        ]  # fmt: skip
        some = [self.dice.choice(odd) for _ in range(self.dice.randrange(3))]
        return some * 2 if self.dice.random() < 0.1 else some


def _write(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{_write(k)}:{_write(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_write, value)) + "]"
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < 10**4000 else "9" * 4001
    return msgspec.json.encode(value).decode()
