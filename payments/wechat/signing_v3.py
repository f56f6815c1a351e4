"""How version 3 is signed (RSA, SHA-256) and encrypted (AES-256-GCM, RSA-OAEP).

Everything is signed over the raw bytes that travel: a body that has been parsed and written again
is another body. Sources: doc 4012365342 (requests), 4012071382 (callbacks), 4012551764 (AEAD).
"""

import base64
import re
from collections.abc import Mapping
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from payments.wechat.errors import BadContent, BadSignature
from payments.wechat.secrets import ApiV3Key, MerchantKey
from sql.types import Millis

SCHEME: Final = "WECHATPAY2-SHA256-RSA2048"
# As WeChat's own libraries have it: at five minutes a message is old, or comes from the future.
CLOCK_SKEW_S: Final = 300
# WeChat sends signatures of this kind to see whether we look at them.
PROBE_MARK: Final = "WECHATPAY/SIGNTEST/"

_SECONDS = re.compile(r"[0-9]{1,12}")
_NONCE = re.compile(r"[!-~]{1,128}")
_KEY_ID = re.compile(r"[0-9A-Za-z_]{1,64}")
# Prescribed by WeChat; of the hash no more is asked here than to mix.
_OAEP: Final = OAEP(mgf=MGF1(SHA1()), algorithm=SHA1(), label=None)  # noqa: S303  # nosec B303


class Probe(BadSignature):
    """A wrong signature sent on purpose: refused like any other, and no cause for alarm."""


class Stale(BadSignature):
    """Signed at another time than now: replayed, or one of the clocks is wrong."""


class UnknownKey(BadSignature):
    """Signed with a key that is not in the ring."""


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What the headers say of a signature; nothing of it is believed yet."""

    key_id: str
    timestamp: str
    nonce: str
    signature: str


class Identity:
    """The merchant to version 3: its number, its private key and the certificate's serial.

    Raises ValueError for a key that is no RSA key.
    """

    def __init__(self, mch_id: str, key: MerchantKey, *, serial: str) -> None:
        self.mch_id = mch_id
        self.serial = serial
        self._key = _private_key(key)

    @classmethod
    def of_certificate(cls, mch_id: str, key: MerchantKey, certificate: bytes) -> "Identity":
        """certificate: apiclient_cert.pem, made for this key. Raises ValueError when it is not."""
        made_for = x509.load_pem_x509_certificate(certificate)
        identity = cls(mch_id, key, serial=f"{made_for.serial_number:040X}")
        if made_for.public_key() != identity._key.public_key():
            raise ValueError("the merchant's certificate is not of the merchant's key")
        return identity

    def authorization(
        self, method: str, target: str, body: bytes, *, now: Millis, nonce: str
    ) -> str:
        """The Authorization header. target: path and query, exactly as they are sent."""
        timestamp = str(now // 1000)
        signature = self.sign(_lines(method, target, timestamp, nonce, body))
        fields = {
            "mchid": self.mch_id,
            "nonce_str": nonce,
            "timestamp": timestamp,
            "serial_no": self.serial,
            "signature": signature,
        }
        return f"{SCHEME} " + ",".join(f'{name}="{value}"' for name, value in fields.items())

    def sign(self, message: bytes) -> str:
        return base64.b64encode(self._key.sign(message, PKCS1v15(), SHA256())).decode()

    def decrypt(self, ciphertext: str) -> bytes:
        """What was encrypted for the merchant's certificate. Raises BadContent."""
        try:
            return self._key.decrypt(base64.b64decode(ciphertext, validate=True), _OAEP)
        except ValueError:
            pass
        raise BadContent("it does not open with the merchant's key")


def proof_within(headers: Mapping[str, str]) -> Proof:
    """Raises Probe, and BadSignature for headers that are missing or cannot be a signature's."""
    given = {name.lower(): value for name, value in headers.items()}
    signature = given.get("wechatpay-signature", "")
    if signature.startswith(PROBE_MARK):
        raise Probe("a probe")
    if not signature:
        raise BadSignature("no signature")
    return Proof(
        key_id=_fit(given, "wechatpay-serial", _KEY_ID),
        timestamp=_fit(given, "wechatpay-timestamp", _SECONDS),
        nonce=_fit(given, "wechatpay-nonce", _NONCE),
        signature=signature,
    )


def see_fresh(proof: Proof, *, now: Millis) -> None:
    """Raises Stale."""
    if abs(now - int(proof.timestamp) * 1000) >= CLOCK_SKEW_S * 1000:
        raise Stale(f"signed {CLOCK_SKEW_S // 60} minutes or more from now")


def verify(proof: Proof, body: bytes, key: RSAPublicKey) -> None:
    """Raises BadSignature unless just these bytes were signed with the other half of key."""
    if not is_signed(_lines(proof.timestamp, proof.nonce, body), proof.signature, key):
        raise BadSignature("the signature does not match")


def is_signed(message: bytes, signature: str, key: RSAPublicKey) -> bool:
    """signature: in base64, by the strict book, which leaves no bit over to be changed."""
    try:
        decoded = base64.b64decode(signature, validate=True)
        key.verify(decoded, message, PKCS1v15(), SHA256())
    except (ValueError, InvalidSignature):
        return False
    return base64.b64encode(decoded).decode() == signature


def unseal(key: ApiV3Key, *, ciphertext: str, nonce: str, associated_data: str) -> bytes:
    """AEAD_AES_256_GCM: proof, too, that whoever sealed it has our APIv3 key. Raises BadContent."""
    try:
        sealed = base64.b64decode(ciphertext, validate=True)
        return AESGCM(key.reveal()).decrypt(nonce.encode(), sealed, associated_data.encode())
    except (ValueError, InvalidTag):
        pass
    raise BadContent("it does not open with our APIv3 key")


def encrypt(text: bytes, key: RSAPublicKey) -> str:
    """A sensitive field, for the owner of key alone. text: at most 214 bytes."""
    return base64.b64encode(key.encrypt(text, _OAEP)).decode()


def _lines(*parts: str | bytes) -> bytes:
    """Each part with a line feed after it, whatever it ends in itself."""
    return b"".join((p.encode() if isinstance(p, str) else p) + b"\n" for p in parts)


def _fit(headers: Mapping[str, str], name: str, pattern: re.Pattern[str]) -> str:
    value = headers.get(name, "")
    if not pattern.fullmatch(value):
        raise BadSignature(f"{name} is missing or unfit")
    return value


def _private_key(key: MerchantKey) -> RSAPrivateKey:
    try:
        loaded = load_pem_private_key(key.reveal(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        loaded = None
    if not isinstance(loaded, RSAPrivateKey):
        raise ValueError("the merchant's key is no RSA private key in PEM")
    return loaded
