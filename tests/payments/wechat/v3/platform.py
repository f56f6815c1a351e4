"""Something in WeChat Pay's place that speaks version 3, with signing code of its own."""

import base64
import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509.oid import NameOID
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.netutil import bind_sockets

from tests.clock import Clock

MCH_ID = "1900009191"
APPID = "wxd678efh567hg6787"
API_V3_KEY = "0123456789abcdef0123456789ABCDEF"
OAEP = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303
BEIJING = timezone(timedelta(hours=8))


class Pair:
    """An RSA key, with a certificate or (public_id) without."""

    def __init__(self, *, days: int = 1825, public_id: str = "") -> None:
        self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        start = datetime(2026, 1, 1, tzinfo=BEIJING)
        self.certificate = _certificate(self.private, self.private, start, days)
        self.id = public_id or f"{self.certificate.serial_number:040X}"

    @property
    def key_pem(self) -> bytes:
        return self.private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    @property
    def public_pem(self) -> bytes:
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def sign(self, message: bytes) -> str:
        return base64.b64encode(
            self.private.sign(message, padding.PKCS1v15(), hashes.SHA256())
        ).decode()

    def headers(self, body: bytes, at_s: int, nonce: str = "platform-nonce") -> dict[str, str]:
        return {
            "Wechatpay-Serial": self.id,
            "Wechatpay-Timestamp": str(at_s),
            "Wechatpay-Nonce": nonce,
            "Wechatpay-Signature": self.sign(b"%d\n%s\n%s\n" % (at_s, nonce.encode(), body)),
        }

    def open(self, text: str) -> bytes:
        """What a secret for this pair says."""
        return self.private.decrypt(base64.b64decode(text), OAEP)

    def seal_for(self, text: bytes) -> str:
        return base64.b64encode(self.private.public_key().encrypt(text, OAEP)).decode()

    def write(self, folder: Path) -> Path:
        """As an operator puts it into platform_keys_dir."""
        file = folder / f"{self.id}.pem"
        is_public = self.id.startswith("PUB_KEY_ID_")
        file.write_bytes(self.public_pem if is_public else self.certificate_pem)
        return file


def elliptic_key() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def of_another_kind() -> bytes:
    """A certificate whose key is not of RSA."""
    key = ec.generate_private_key(ec.SECP256R1())
    signer = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    start = datetime(2026, 1, 1, tzinfo=BEIJING)
    return _certificate(key, signer, start, 10).public_bytes(serialization.Encoding.PEM)


def _certificate(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    signer: rsa.RSAPrivateKey,
    start: datetime,
    days: int,
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tenpay.com")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    # Twenty bytes, the first of them not zero, as of WeChat's own.
    builder = builder.serial_number(x509.random_serial_number() >> 8 | 0x5A << 152)
    builder = builder.public_key(key.public_key())
    builder = builder.not_valid_before(start).not_valid_after(start + timedelta(days=days))
    return builder.sign(signer, hashes.SHA256())


def seal(content: bytes, *, data: str = "transaction", key: str = API_V3_KEY) -> dict[str, str]:
    """The `resource` of a notification, or an `encrypt_certificate`."""
    nonce = "61f9c719728a"
    sealed = AESGCM(key.encode()).encrypt(nonce.encode(), content, data.encode())
    return {
        "algorithm": "AEAD_AES_256_GCM",
        "nonce": nonce,
        "associated_data": data,
        "ciphertext": base64.b64encode(sealed).decode(),
    }


class Platform:
    """Answers each request with the next of what it was told to; keeps what it was asked.

    signs: with which pair. Every request's Authorization is verified, over what has arrived.
    """

    def __init__(self, clock: Clock, signs: Pair, merchant: Pair) -> None:
        self.clock = clock
        self.signs = signs
        self.merchant = merchant
        self.requests: list[HTTPServerRequest] = []
        self._answers: list[tuple[int, bytes, dict[str, str]] | None] = []
        self.url = ""

    def start(self) -> None:
        self._server = HTTPServer(self._answer)
        sockets = bind_sockets(0, "127.0.0.1")
        self._server.add_sockets(sockets)
        self.url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        self._server.stop()
        await self._server.close_all_connections()

    @property
    def paths(self) -> list[str]:
        return [f"{request.method} {request.uri}" for request in self.requests]

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(request.body) if request.body else None for request in self.requests]

    def says(self, content: Any, *, status: int = 200, **headers: str) -> None:
        """A signed answer. headers: `wechatpay_signature="…"` in place of the true one."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        given = self.signs.headers(body, self.clock.now() // 1000)
        changed = {name.replace("_", "-").title(): value for name, value in headers.items()}
        self._answers.append((status, body, given | changed))

    def says_unsigned(self, content: Any, *, status: int = 200, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        changed = {name.replace("_", "-").title(): value for name, value in headers.items()}
        self._answers.append((status, body, changed))

    def refuses(self, code: str, *, status: int = 400, number: int = 0, text: str = "") -> None:
        """As the documents have it: unsigned, the number at the end of the Request-Id."""
        request_id = "08F78BB5AF0610A802-" + str(number) if number else "08F78BB5AF0610A802"
        self.says_unsigned({"code": code, "message": text}, status=status, request_id=request_id)

    def lists(self, *pairs: Pair, key: str = API_V3_KEY) -> None:
        """An answer of /v3/certificates, signed by whoever signs now."""
        self.says({"data": [listed(pair.certificate_pem, pair.id, key=key) for pair in pairs]})

    def hangs_up(self) -> None:
        self._answers.append(None)

    def _answer(self, request: HTTPServerRequest) -> None:
        self.requests.append(request)
        self._see_authorized(request)
        stream = request.connection.detach()  # type: ignore[union-attr]
        answer = self._answers.pop(0)
        if answer is None:
            stream.close()
            return
        status, body, headers = answer
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join(lines).encode() + b"\r\n\r\n"
        stream.write(head + body).add_done_callback(lambda _: stream.close())

    def _see_authorized(self, request: HTTPServerRequest) -> None:
        scheme, _, rest = request.headers["Authorization"].partition(" ")
        assert scheme == "WECHATPAY2-SHA256-RSA2048"
        said = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        assert said["mchid"] == MCH_ID
        assert said["serial_no"] == self.merchant.id
        assert said["timestamp"] == str(self.clock.now() // 1000)
        signed = f"{request.method}\n{request.uri}\n{said['timestamp']}\n{said['nonce_str']}\n"
        self.merchant.private.public_key().verify(
            base64.b64decode(said["signature"]),
            signed.encode() + request.body + b"\n",
            padding.PKCS1v15(),
            hashes.SHA256(),
        )


def listed(certificate_pem: bytes, serial: str, *, key: str = API_V3_KEY) -> dict[str, Any]:
    return {
        "serial_no": serial,
        "effective_time": "2026-01-01T00:00:00+08:00",
        "expire_time": "2030-12-31T00:00:00+08:00",
        "encrypt_certificate": seal(certificate_pem, data="certificate", key=key),
    }
