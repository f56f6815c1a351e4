"""The second factor: a code of six digits that an authenticator shows for thirty seconds.

Source: RFC 6238; the step before and the one after are taken as well (5.2), none twice.
"""

import hmac
from typing import Final

import pyotp

from sql.types import Millis

ISSUER: Final = "callme"
STEP_MS: Final = 30_000
DIGITS: Final = 6


def new_secret() -> str:
    """160 bits, as the RFC recommends."""
    return pyotp.random_base32()


def uri(secret: str, *, login_name: str) -> str:
    """What an authenticator reads from a QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=login_name, issuer_name=ISSUER)


def step_of(secret: str, code: str, *, now: Millis, after: int) -> int | None:
    """The step whose code it is, of those around now and after the last one that was used."""
    generator, current = pyotp.TOTP(secret), now // STEP_MS
    for step in (current, current - 1, current + 1):
        expected = generator.generate_otp(step)
        if step > after and hmac.compare_digest(expected.encode(), code.encode()):
            return step
    return None
