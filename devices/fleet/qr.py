"""The codes on the stickers: what they say, signed, and reading them back.

`C1.D.<device>.<door>.<version>.<mac>` opens a door, `C1.S.<store>.<mac>` a choice of the
store's doors. They prove that we made them and nothing else: whether the sticker was replaced
and whether the door may be opened is judged at each opening.
"""

import hmac
import re
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Final

import msgspec

from devices.fleet.model import QrInvalid

TEXT_MAX: Final = 200
_CODE_MAX: Final = len("C1.D.") + 3 * 16 + 2 + len(".") + 22
PREFIX_MAX: Final = TEXT_MAX - _CODE_MAX
"""What may stand before the longest code, that of a door with the largest numbers."""
SECRET_MIN_BYTES: Final = 32

# 128 bits cannot be guessed, and a short text makes a code that a poor camera reads.
_MAC_BYTES: Final = 16
# So is the key of nothing else made.
_PURPOSE: Final = b"callme:cabinet-qr:1"
_NUMBER: Final = r"(0|[1-9][0-9]{0,15})"
_CODE: Final = re.compile(
    rf"(C1\.(?:D\.{_NUMBER}\.{_NUMBER}\.{_NUMBER}|S\.{_NUMBER}))\.([A-Za-z0-9_-]{{22}})", re.ASCII
)


class DoorCode(msgspec.Struct, frozen=True):
    device_id: int
    door_no: int
    version: int


class StoreCode(msgspec.Struct, frozen=True):
    store_id: int


class QrCodes:
    """Makes and reads codes.

    secret: the server's. prefix: stands before each code, so that an ordinary scanner opens a
    page with it; a code is read with and without.
    """

    def __init__(self, secret: str, prefix: str = "") -> None:
        if len(secret.encode()) < SECRET_MIN_BYTES:
            raise ValueError(f"the secret has fewer than {SECRET_MIN_BYTES} bytes")
        self._key = hmac.new(secret.encode(), _PURPOSE, sha256).digest()
        self._prefix = prefix
        if len(prefix) > PREFIX_MAX:
            raise ValueError(f"with this prefix a code would have more than {TEXT_MAX} characters")

    def door(self, device_id: int, door_no: int, version: int) -> str:
        return self._signed(f"C1.D.{device_id}.{door_no}.{version}")

    def store(self, store_id: int) -> str:
        return self._signed(f"C1.S.{store_id}")

    def read(self, text: str) -> DoorCode | StoreCode:
        """Raises QrInvalid for what we have not written, to the letter."""
        found = _CODE.fullmatch(text.removeprefix(self._prefix)) if len(text) <= TEXT_MAX else None
        if found is None:
            raise QrInvalid
        said, device_id, door_no, version, store_id, mac = found.groups()
        if not hmac.compare_digest(self._mac(said), mac):
            raise QrInvalid
        if store_id is not None:
            return StoreCode(int(store_id))
        return DoorCode(int(device_id), int(door_no), int(version))

    def _signed(self, said: str) -> str:
        return f"{self._prefix}{said}.{self._mac(said)}"

    def _mac(self, said: str) -> str:
        mac = hmac.new(self._key, said.encode(), sha256).digest()[:_MAC_BYTES]
        return urlsafe_b64encode(mac).decode().rstrip("=")
