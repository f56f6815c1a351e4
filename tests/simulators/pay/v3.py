"""The merchant's side of V3 in the tests, by cryptography alone."""

import base64
import json
import secrets
from typing import Any

import httpx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate
from tornado.httputil import HTTPServerRequest

from simulators.wechat import WeChat
from simulators.wechat.pay.merchant import API_V3_KEY, MCH_ID


class Client:
    """Configured as the product is: from the introduction and the files it names."""

    def __init__(self, wechat: WeChat, caller: httpx.AsyncClient) -> None:
        self.wechat = wechat
        self.caller = caller
        told = wechat.pay.introduction(wechat.url)
        self.serial = str(told["merchant_serial"])
        with open(str(told["merchant_key_file"]), "rb") as file:  # noqa: PTH123
            key = load_pem_private_key(file.read(), None)
        assert isinstance(key, RSAPrivateKey)
        self.key = key
        self.public_key_id = str(told["public_key_id"])
        self.ring: dict[str, RSAPublicKey] = {}
        for path in wechat.pay.keys.platform_keys_dir.glob("*.pem"):
            self.trust(path.stem, path.read_bytes())

    def trust(self, name: str, pem: bytes) -> None:
        is_bare = name.startswith("PUB_KEY_ID")
        key = load_pem_public_key(pem) if is_bare else load_pem_x509_certificate(pem).public_key()
        assert isinstance(key, RSAPublicKey)
        self.ring[name] = key

    def authorization(self, method: str, uri: str, body: bytes, **changes: str) -> str:
        said = {
            "mchid": MCH_ID,
            "nonce_str": secrets.token_hex(16),
            "timestamp": str(int(self.wechat.clock.now_s())),
            "serial_no": self.serial,
        } | changes
        text = f"{method}\n{uri}\n{said['timestamp']}\n{said['nonce_str']}\n".encode()
        signature = self.key.sign(text + body + b"\n", PKCS1v15(), hashes.SHA256())
        said = {"signature": base64.b64encode(signature).decode()} | said | changes
        return "WECHATPAY2-SHA256-RSA2048 " + ",".join(f'{k}="{v}"' for k, v in said.items())

    async def send(
        self, method: str, uri: str, value: object = None, **headers: str
    ) -> httpx.Response:
        body = b"" if value is None else json.dumps(value).encode()
        sent = {
            "Authorization": self.authorization(method, uri, body),
            "Accept": "application/json",
            **({"Content-Type": "application/json"} if body else {}),
            **headers,
        }
        return await self.caller.request(method, uri, content=body, headers=sent)

    async def ask(self, method: str, uri: str, value: object = None, **headers: str) -> Any:
        """A good answer, its signature verified; None for 204."""
        response = await self.send(method, uri, value, **headers)
        assert response.status_code in (200, 204), response.text
        self.verify(dict(response.headers), response.content)
        return response.json() if response.content else None

    async def refused(self, method: str, uri: str, value: object = None) -> tuple[int, str, int]:
        """Status, code and the number at the end of the Request-Id."""
        response = await self.send(method, uri, value)
        assert response.status_code >= 400, response.text
        self.verify(dict(response.headers), response.content)
        number = int(response.headers["Request-Id"].rpartition("-")[2])
        return response.status_code, response.json()["code"], number

    def verify(self, headers: dict[str, str], body: bytes) -> str:
        """The serial whose key it was. Raises InvalidSignature, KeyError, ValueError."""
        found = {name.lower(): value for name, value in headers.items()}
        serial = found["wechatpay-serial"]
        text = f"{found['wechatpay-timestamp']}\n{found['wechatpay-nonce']}\n".encode()
        signature = base64.b64decode(found["wechatpay-signature"], validate=True)
        self.ring[serial].verify(signature, text + body + b"\n", PKCS1v15(), hashes.SHA256())
        return serial

    def opened(self, request: HTTPServerRequest) -> tuple[str, dict[str, Any]]:
        """The event and its resource, the signature verified."""
        self.verify(dict(request.headers), request.body)
        event = json.loads(request.body)
        resource = json.loads(unsealed(event["resource"]))
        return event["event_type"], resource


def unsealed(sealed: dict[str, str]) -> bytes:
    assert sealed["algorithm"] == "AEAD_AES_256_GCM"
    return AESGCM(API_V3_KEY.encode()).decrypt(
        sealed["nonce"].encode(),
        base64.b64decode(sealed["ciphertext"], validate=True),
        sealed["associated_data"].encode(),
    )
