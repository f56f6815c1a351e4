"""The keys with which WeChat Pay signs, by the name that each message gives in its header.

A platform certificate lives for years and is replaced by another a day or more before it is used;
a public key (`PUB_KEY_ID_…`) replaces certificates altogether, for a growing share of messages
over a week. So several are good at the same time, and the message says which.

Sources: doc 4012551764 (download), 4012068829 (rotation).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from payments.gateway import GatewayError
from payments.wechat.errors import BadContent
from payments.wechat.secrets import ApiV3Key
from payments.wechat.signing_v3 import UnknownKey, proof_within, see_fresh, unseal, verify
from sql.types import Millis

log = logging.getLogger("callme.payments")

PUBLIC_KEY_MARK: Final = "PUB_KEY_ID_"
REFRESH_S: Final = 12 * 3600
# Whoever makes up serials makes us ask no oftener than this.
PAUSE_S: Final = 60


class PlatformKey(msgspec.Struct, frozen=True, kw_only=True):
    """id: the certificate's serial, or PUB_KEY_ID_…; a public key does not expire."""

    id: str
    key: RSAPublicKey
    expires_at: Millis | None = None

    @property
    def is_public_key(self) -> bool:
        return self.id.startswith(PUBLIC_KEY_MARK)


class KeyRing:
    """What is good now. Safe to share between the client and the notifications.

    keys: those known from the start. download: asks WeChat for its certificates, and raises
    GatewayError; what is here stays until it has succeeded.
    """

    def __init__(
        self,
        keys: Iterable[PlatformKey],
        *,
        now: Callable[[], Millis],
        download: Callable[[], Awaitable[list[PlatformKey]]] | None = None,
    ) -> None:
        self._keys = {_norm(key.id): key for key in keys}
        self._now = now
        self._download = download
        self._flight: asyncio.Task[GatewayError | None] | None = None
        self._tried_at: Millis | None = None
        self._fetched_at: Millis | None = None

    async def close(self) -> None:
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.wait([self._flight])

    def all(self) -> list[PlatformKey]:
        """What has not expired."""
        return [key for key in self._keys.values() if not self._is_over(key)]

    @property
    def public_key_id(self) -> str:
        """To be named in requests, so that answers are signed with it; "" without one."""
        return next((key.id for key in self.all() if key.is_public_key), "")

    def for_secrets(self) -> PlatformKey | None:
        """The key to encrypt with: the public key, or the certificate that lasts longest."""
        return max(
            self.all(), key=lambda key: (key.is_public_key, key.expires_at or 0), default=None
        )

    async def verify(self, headers: Mapping[str, str], body: bytes) -> None:
        """body: the raw bytes. Raises BadSignature; in it Probe, Stale and UnknownKey."""
        proof = proof_within(headers)
        see_fresh(proof, now=self._now())
        verify(proof, body, await self.find(proof.key_id))

    async def find(self, key_id: str) -> RSAPublicKey:
        """Asks WeChat for a serial that is not here, at most once a minute. Raises UnknownKey."""
        key = self._held(key_id)
        if key is None and self._may_ask(key_id):
            problem = await self._fetched()
            if problem is not None:
                log.warning("WeChat Pay's certificates cannot be renewed: %s", problem)
            key = self._held(key_id)
        if key is None:
            raise UnknownKey("signed with a key that is not known here")
        return key.key

    async def refresh_due(self) -> None:
        """For a job: renew what was fetched 12 hours ago. Raises GatewayError."""
        if self._download is None or self._is_within(self._fetched_at, REFRESH_S):
            return
        problem = await self._fetched()
        if problem is not None:
            raise problem

    def _held(self, key_id: str) -> PlatformKey | None:
        key = self._keys.get(_norm(key_id))
        return None if key is None or self._is_over(key) else key

    def _may_ask(self, key_id: str) -> bool:
        # A public key is fetched by hand, by the operator.
        if self._download is None or key_id.startswith(PUBLIC_KEY_MARK):
            return False
        return self._flight is not None or not self._is_within(self._tried_at, PAUSE_S)

    async def _fetched(self) -> GatewayError | None:
        """One download for all who wait; it goes on though one of them gives up."""
        if self._flight is None:
            self._flight = asyncio.create_task(self._fetch())
        return await asyncio.shield(self._flight)

    async def _fetch(self) -> GatewayError | None:
        assert self._download is not None
        self._tried_at = self._now()
        try:
            fresh = await self._download()
        except GatewayError as error:
            return error
        finally:
            self._flight = None
        self._keys = {_norm(key.id): key for key in [*self.all(), *fresh]}
        self._fetched_at = self._now()
        return None

    def _is_over(self, key: PlatformKey) -> bool:
        return key.expires_at is not None and key.expires_at <= self._now()

    def _is_within(self, at: Millis | None, seconds: int) -> bool:
        return at is not None and self._now() - at < seconds * 1000


class _Sealed(msgspec.Struct):
    ciphertext: str
    nonce: str
    associated_data: str = ""
    algorithm: str = "AEAD_AES_256_GCM"


class _Listed(msgspec.Struct):
    serial_no: str
    encrypt_certificate: _Sealed


class _List(msgspec.Struct):
    data: list[_Listed]


def keys_within(body: bytes, api_v3_key: ApiV3Key) -> list[PlatformKey]:
    """The certificates of an answer of /v3/certificates.

    Each was sealed by somebody who has our APIv3 key; one that is not of RSA is left out.
    Raises BadContent.
    """
    try:
        listed = msgspec.json.decode(body, type=_List).data
    except (ValueError, RecursionError):
        raise BadContent("not a list of certificates") from None
    found = [_unsealed(item, api_v3_key) for item in listed]
    return [key for key in found if key is not None]


def load_keys(folder: Path) -> list[PlatformKey]:
    """Every .pem of platform_keys_dir. Raises OSError, and ValueError that names the file.

    A certificate says its serial itself; of a public key the file's name is the id.
    """
    return [_read(file) for file in sorted(folder.glob("*.pem"))]


def key_of(certificate: x509.Certificate) -> PlatformKey:
    """Raises ValueError for one that is not of RSA."""
    public = certificate.public_key()
    if not isinstance(public, RSAPublicKey):
        raise ValueError("not a certificate of RSA")
    return PlatformKey(
        id=f"{certificate.serial_number:040X}",
        key=public,
        expires_at=int(certificate.not_valid_after_utc.timestamp()) * 1000,
    )


def _unsealed(item: _Listed, api_v3_key: ApiV3Key) -> PlatformKey | None:
    sealed = item.encrypt_certificate
    pem = unseal(
        api_v3_key,
        ciphertext=sealed.ciphertext,
        nonce=sealed.nonce,
        associated_data=sealed.associated_data,
    )
    try:
        key = key_of(x509.load_pem_x509_certificate(pem))
    except (ValueError, UnsupportedAlgorithm):
        log.warning("a certificate of WeChat Pay's is left out: it is not of RSA")
        return None
    if _norm(key.id) != _norm(item.serial_no):
        raise BadContent("a certificate with another serial than the list says")
    return key


def _read(file: Path) -> PlatformKey:
    pem = file.read_bytes()
    try:
        if b"BEGIN CERTIFICATE" in pem:
            return key_of(x509.load_pem_x509_certificate(pem))
        public = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        public = None
    if not isinstance(public, RSAPublicKey):
        raise ValueError(f"{file} holds neither a certificate nor a public key of RSA")
    if not file.stem.startswith(PUBLIC_KEY_MARK):
        raise ValueError(f"{file} must be named for its key: {PUBLIC_KEY_MARK}….pem")
    return PlatformKey(id=file.stem, key=public)


def _norm(key_id: str) -> str:
    """Serials are written with and without leading zeros, and in either case."""
    return key_id if key_id.startswith(PUBLIC_KEY_MARK) else key_id.upper().lstrip("0")
