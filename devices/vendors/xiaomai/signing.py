"""How messages are signed, in both directions: HMAC-SHA256 over a canonical text."""

import hashlib
import hmac
import re
from typing import Final
from urllib.parse import parse_qsl, quote

import msgspec

from sql.types import Millis

ALGORITHM: Final = "XM1-HMAC-SHA256"

APP_ID: Final = "x-xm-app-id"
KEY_ID: Final = "x-xm-key-id"
TIMESTAMP: Final = "x-xm-timestamp"
NONCE: Final = "x-xm-nonce"
SIGN: Final = "x-xm-sign"

# No comma: that is how a header which stands there twice is read.
KEY_ID_FORM: Final = re.compile(r"[\x21-\x2b\x2d-\x7e]{1,64}", re.ASCII)
NONCE_FORM: Final = re.compile(r"[0-9A-Za-z]{16,64}", re.ASCII)

# More names than any of its addresses has; each is work for us before we know who asks.
_QUERY_FIELDS_MAX: Final = 32


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """What a signature covers. query: as it stands in the address. body_hash: of the raw bytes."""

    method: str
    path: str
    query: str
    timestamp: str
    nonce: str
    body_hash: str

    def text(self) -> bytes:
        """Raises ValueError for a query that has no canonical form."""
        lines = (
            ALGORITHM,
            self.method,
            self.path,
            canonical_query(self.query),
            self.timestamp,
            self.nonce,
            self.body_hash,
        )
        return "\n".join(lines).encode()


class Key(msgspec.Struct, frozen=True):
    """What our own requests are signed with."""

    app_id: str
    key_id: str
    secret: str

    def headers(
        self, *, path: str, query: str, body: bytes, now: Millis, nonce: str
    ) -> dict[str, str]:
        """Of a POST of these bytes."""
        timestamp = str(now // 1000)
        signed = Signed(
            method="POST",
            path=path,
            query=query,
            timestamp=timestamp,
            nonce=nonce,
            body_hash=sha256(body),
        )
        return {
            APP_ID: self.app_id,
            KEY_ID: self.key_id,
            TIMESTAMP: timestamp,
            NONCE: nonce,
            SIGN: sign(self.secret, signed.text()),
        }


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def sign(secret: str, text: bytes) -> str:
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()


def canonical_query(query: str) -> str:
    """Its fields sorted by name and value, everything but letters, digits and -._~ escaped."""
    if not query:
        return ""
    pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_QUERY_FIELDS_MAX)
    escaped = sorted((quote(name, safe=""), quote(value, safe="")) for name, value in pairs)
    return "&".join(f"{name}={value}" for name, value in escaped)
