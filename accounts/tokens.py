"""The JWT face of a session: HS256, made and read by us alone."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import Final

import jwt
import msgspec

from accounts.model import SessionExpired
from sql.types import Millis

ISSUER: Final = "callme"
# The purpose of the token: one made for anything else is not a session.
AUDIENCE: Final = "callme:session"
SECRET_MIN_BYTES: Final = 32
TOKEN_MAX_BYTES: Final = 4096

_ALGORITHM: Final = "HS256"
_JTI = re.compile(r"[0-9a-f]{64}")


class Claims(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a token says. Times in seconds, as RFC 7519 has them; jti is the key's hash."""

    iss: str
    aud: str
    sub: str
    iat: int
    exp: int
    jti: str


class Tokens:
    """Makes tokens and reads them back; what it reads was made by it, unchanged to the bit."""

    def __init__(self, secret: str, *, max_s: int, now: Callable[[], Millis]) -> None:
        self._secret = secret.encode()
        if len(self._secret) < SECRET_MIN_BYTES:
            raise ValueError(f"the secret has fewer than {SECRET_MIN_BYTES} bytes")
        self._max_s = max_s
        self._now = now
        self._jwt = jwt.PyJWT(
            {
                "require": ["exp", "iat", "aud", "iss", "sub", "jti"],
                "enforce_minimum_key_length": True,
                # PyJWT reads the clock of the machine; ours is handed in, see _check_life.
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            }
        )
        self._header = self._encode({}).partition(".")[0]

    def issue(self, *, key_hash: str, account_id: int, created_at: Millis, ends_at: Millis) -> str:
        claims = Claims(
            iss=ISSUER,
            aud=AUDIENCE,
            sub=str(account_id),
            iat=created_at // 1000,
            exp=ends_at // 1000,
            jti=key_hash,
        )
        return self._encode(msgspec.to_builtins(claims))

    def read(self, token: str) -> Claims:
        """Raises SessionExpired for whatever is not a token of ours within its life."""
        if not self._has_our_shape(token):
            raise SessionExpired("not a token of ours")
        try:
            payload = self._jwt.decode(
                token,
                self._secret,
                algorithms=[_ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
            )
            claims = msgspec.convert(payload, Claims)
        except (jwt.PyJWTError, msgspec.ValidationError):
            raise SessionExpired("not a token of ours") from None
        self._check_life(claims)
        return claims

    def _has_our_shape(self, token: str) -> bool:
        """Whether the token is spelt as we spell ours.

        Our header is always the same text, so a token with another one (alg none, a kid, a
        key of its own) is not looked at further. Base64 has several spellings for the same
        bytes; accepting one only makes every changed bit a changed token.
        """
        if len(token) > TOKEN_MAX_BYTES or not token.isascii():
            return False
        header, _, rest = token.partition(".")
        payload, _, signature = rest.partition(".")
        return header == self._header and _is_canonical(payload) and _is_canonical(signature)

    def _check_life(self, claims: Claims) -> None:
        if not 0 <= claims.exp - claims.iat <= self._max_s:
            raise SessionExpired("a life longer than any we give")
        # The session's own end is exact to the millisecond; this one is the second it is in.
        if self._now() // 1000 > claims.exp:
            raise SessionExpired("the token's life is over")
        if not _JTI.fullmatch(claims.jti) or not claims.sub.isdecimal():
            raise SessionExpired("not a token of ours")

    def _encode(self, claims: dict[str, object]) -> str:
        return self._jwt.encode(claims, self._secret, algorithm=_ALGORITHM)


def _is_canonical(segment: str) -> bool:
    try:
        raw = urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except ValueError:
        return False
    return urlsafe_b64encode(raw).rstrip(b"=").decode() == segment
