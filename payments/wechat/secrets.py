"""The secrets shared with WeChat Pay, of types that cannot be taken for one another.

WeChat has an "API key" of version 2 and one of version 3, both of 32 characters and both in the
merchant's settings. Each signs or opens something else, and mistaking one for the other tells
nothing but "signature error".
"""

import re
from typing import NoReturn

_V2 = re.compile(rb"[!-~]{1,32}")
_V3 = re.compile(rb"[!-~]{32}")


class Secret:
    """Bytes that no log, traceback or pickle shows. Ask `reveal` where they are used."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes | str) -> None:
        self._value = value.encode() if isinstance(value, str) else bytes(value)
        self._check(self._value)

    def _check(self, value: bytes) -> None:
        """Raises ValueError, without the value."""

    def reveal(self) -> bytes:
        return self._value

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is not copied or stored")


class ApiV2Key(Secret):
    """Signs every message of version 2, and opens its refund notifications."""

    __slots__ = ()

    def _check(self, value: bytes) -> None:
        if not _V2.fullmatch(value):
            raise ValueError("the APIv2 key must be at most 32 visible characters")


class ApiV3Key(Secret):
    """Opens what version 3 encrypts (AES-256-GCM); it signs nothing."""

    __slots__ = ()

    def _check(self, value: bytes) -> None:
        if not _V3.fullmatch(value):
            raise ValueError("the APIv3 key must be 32 visible characters")


class MerchantKey(Secret):
    """The merchant's private key in PEM: signs version 3, and is half of the client certificate."""

    __slots__ = ()

    def _check(self, value: bytes) -> None:
        if b"PRIVATE KEY-----" not in value or b"ENCRYPTED" in value:
            raise ValueError("the merchant's key must be an unencrypted private key in PEM")
