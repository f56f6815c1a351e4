"""Phone numbers, kept so that a copy of the database tells none.

A number is encrypted with AES-256-GCM under a key made of the server's secret, and found again
by a keyed digest. Whoever has the database without the secret has neither; the last four digits
stand apart, for lists.
"""

import base64
import hashlib
import hmac
import re
import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from commerce.members.model import PhoneInvalid, PhoneUnreadable

PHONE_MAX: Final = 20

# Twenty characters in all.
_PHONE = re.compile(r"\+[0-9]{5,19}|[0-9]{5,20}", re.ASCII)
_SPACE = re.compile(r"[\s()\-]+")
# What a box begins with: how it was made.
_MARK: Final = "1."
_NONCE_BYTES: Final = 12


class Phones:
    """secret: the server's; another secret opens no box of this one."""

    def __init__(self, secret: str) -> None:
        self._box = AESGCM(_derived(secret, b"members.phone.box"))
        self._mark = _derived(secret, b"members.phone.digest")

    def seal(self, phone: str) -> str:
        """The number encrypted, "" for none. Each time other, also of the same number.

        Raises PhoneInvalid.
        """
        plain = normal(phone)
        if not plain:
            return ""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._box.encrypt(nonce, plain.encode(), None)
        return _MARK + base64.urlsafe_b64encode(sealed).decode()

    def open(self, box: str) -> str:
        """The number again, "" of "". Raises PhoneUnreadable: of another secret, or changed."""
        if not box:
            return ""
        try:
            sealed = base64.urlsafe_b64decode(box.removeprefix(_MARK).encode())
            nonce, text = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
            return self._box.decrypt(nonce, text, None).decode()
        except (InvalidTag, ValueError) as error:
            raise PhoneUnreadable from error

    def digest(self, phone: str) -> str:
        """What the number is found by, "" for none. Raises PhoneInvalid."""
        plain = normal(phone)
        if not plain:
            return ""
        return hmac.new(self._mark, plain.encode(), hashlib.sha256).hexdigest()


def normal(phone: str) -> str:
    """The digits, with a plus if there was one: one number is written in one way.

    Raises PhoneInvalid.
    """
    plain = _SPACE.sub("", phone)
    if plain and not _PHONE.fullmatch(plain):
        raise PhoneInvalid
    return plain.removeprefix("+86") if len(plain) == len("+8613800000000") else plain


def tail(phone: str) -> str:
    """The last four digits. Raises PhoneInvalid."""
    return normal(phone)[-4:]


def masked(phone_tail: str) -> str:
    """As lists, logs and exports show a number: `•••• 1234`, "" for none."""
    return f"•••• {phone_tail}" if phone_tail else ""


def _derived(secret: str, purpose: bytes) -> bytes:
    kdf = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=purpose)
    return kdf.derive(secret.encode())
