"""The vendor's signatures and ciphers, from hashlib and cryptography alone.

It is on purpose not the product's code: two sides that share a mistake agree with each other.
Sources: WeChat Pay V2 «签名算法»; V3 «签名生成», «证书和回调报文解密»; V2 «退款结果通知».
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SignType = Literal["MD5", "HMAC-SHA256"]
BLOCK_BITS = 128
# The vendor pads with SHA-1, for which no weakness is known in this place.
OAEP = rsa_padding.OAEP(
    mgf=rsa_padding.MGF1(algorithm=hashes.SHA1()),  # noqa: S303  # nosec B303
    algorithm=hashes.SHA1(),  # noqa: S303  # nosec B303
    label=None,
)


def sign_v2(fields: Mapping[str, str], key: str, sign_type: SignType) -> str:
    """Upper-case hex over all fields but the sign itself and the empty ones."""
    pairs = [f"{name}={fields[name]}" for name in _in_byte_order(fields) if _counts(name, fields)]
    text = "&".join([*pairs, f"key={key}"]).encode()
    if sign_type == "MD5":
        return hashlib.md5(text, usedforsecurity=False).hexdigest().upper()
    return hmac.new(key.encode(), text, hashlib.sha256).hexdigest().upper()


def _in_byte_order(fields: Mapping[str, str]) -> list[str]:
    return sorted(fields, key=str.encode)


def _counts(name: str, fields: Mapping[str, str]) -> bool:
    return name != "sign" and fields[name] != ""


def is_signed_v2(fields: Mapping[str, str], key: str, sign_type: SignType) -> bool:
    return hmac.compare_digest(
        sign_v2(fields, key, sign_type).encode(), fields.get("sign", "").encode()
    )


def lines(*parts: str | bytes) -> bytes:
    """What V3 signs: each part with a line feed after it."""
    return b"".join((p.encode() if isinstance(p, str) else p) + b"\n" for p in parts)


def sign_v3(message: bytes, key: RSAPrivateKey) -> str:
    signature = key.sign(message, rsa_padding.PKCS1v15(), hashes.SHA256())
    return base64.b64encode(signature).decode()


def is_signed_v3(message: bytes, signature: str, key: RSAPublicKey) -> bool:
    try:
        raw = base64.b64decode(signature, validate=True)
        key.verify(raw, message, rsa_padding.PKCS1v15(), hashes.SHA256())
    except (ValueError, InvalidSignature):
        return False
    return True


def encrypt_gcm(text: bytes, key: str, nonce: str, associated_data: str) -> str:
    """AEAD_AES_256_GCM, the tag at the end, in base64."""
    sealed = AESGCM(key.encode()).encrypt(nonce.encode(), text, associated_data.encode())
    return base64.b64encode(sealed).decode()


def encrypt_req_info(text: bytes, key: str) -> str:
    """A V2 refund notification's inside: AES-256-ECB under the lower-case MD5 of the V2 key."""
    digest = hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()
    padder = padding.PKCS7(BLOCK_BITS).padder()
    padded = padder.update(text) + padder.finalize()
    # The vendor chose ECB; that it can be cut and spliced is why callers must ask back.
    cipher = Cipher(algorithms.AES(digest.encode()), modes.ECB()).encryptor()  # noqa: S305  # nosec B305
    return base64.b64encode(cipher.update(padded) + cipher.finalize()).decode()


def encrypt_oaep(text: bytes, key: RSAPublicKey) -> str:
    return base64.b64encode(key.encrypt(text, OAEP)).decode()


def decrypt_oaep(text: str, key: RSAPrivateKey) -> bytes:
    """Raises ValueError when it is not base64, or was not encrypted for this key."""
    return key.decrypt(base64.b64decode(text, validate=True), OAEP)
