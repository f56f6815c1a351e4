"""XM1-HMAC-SHA256, the signature of both directions: our own writing of the contract."""

import hashlib
import hmac
import re
import secrets
import string
from urllib.parse import parse_qsl, quote

import msgspec

SCHEME = "XM1-HMAC-SHA256"
WINDOW_S = 300
NONCE_LIFE_S = 600
NONCE = re.compile(r"[0-9A-Za-z]{16,64}")
BASE62 = string.digits + string.ascii_letters


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """What a signature is over. query: as it stands in the address, without the mark."""

    method: str = "POST"
    path: str
    query: str = ""
    timestamp: str
    nonce: str
    body: bytes

    def text(self) -> str:
        digest = hashlib.sha256(self.body).hexdigest()
        query = sorted_query(self.query)
        parts = (SCHEME, self.method, self.path, query, self.timestamp, self.nonce, digest)
        return "\n".join(parts)

    def sign(self, secret: str) -> str:
        return hmac.new(secret.encode(), self.text().encode(), "sha256").hexdigest()


def sorted_query(query: str) -> str:
    pairs = parse_qsl(query, keep_blank_values=True)
    encoded = sorted((quote(name, safe="-._~"), quote(value, safe="-._~")) for name, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)


def new_nonce() -> str:
    return "".join(secrets.choice(BASE62) for _ in range(24))
