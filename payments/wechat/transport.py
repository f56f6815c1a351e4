"""One request to WeChat Pay over HTTPS, one answer, or Unknown.

A request that failed may have been carried out all the same, so every failure is Unknown.
"""

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httpx
import msgspec
from cryptography import x509

from payments.gateway import Unknown
from sql.types import Millis

ANSWER_MAX_BYTES: Final = 64 << 10


class ClientCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """The merchant's API certificate (apiclient_cert.pem, apiclient_key.pem)."""

    cert_file: Path
    key_file: Path

    def expires_at(self) -> Millis:
        """Five years after it was made; refunds end with it. Raises OSError, ValueError."""
        certificate = x509.load_pem_x509_certificate(self.cert_file.read_bytes())
        return int(certificate.not_valid_after_utc.timestamp()) * 1000


class Transport:
    """Connections to one address, with one identity.

    A client of its own for each identity: a pooled connection made without the certificate
    would be taken for calls that need it. Raises OSError, ssl.SSLError (an OSError) at once for
    a certificate that is missing or not the key's.

    ca_file: trusted instead of the system's authorities, for a peer of one's own.
    """

    def __init__(
        self,
        url: str,
        *,
        certificate: ClientCertificate | None = None,
        ca_file: Path | None = None,
        timeout_s: float = 5.0,
    ) -> None:
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient(
            base_url=url,
            verify=_tls(certificate, ca_file),
            timeout=timeout_s,
            follow_redirects=False,
            trust_env=False,
            # Compressed answers could grow past our bound in one step.
            headers={"accept-encoding": "identity", "user-agent": "callme"},
            limits=httpx.Limits(max_connections=50, max_keepalive_connections=10),
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def post(
        self,
        path: str,
        body: bytes,
        *,
        headers: Mapping[str, str],
        answer_max_bytes: int = ANSWER_MAX_BYTES,
        timeout_s: float | None = None,
    ) -> bytes:
        """The body of an answer of HTTP 200. Raises Unknown."""
        try:
            async with (
                asyncio.timeout(timeout_s or self._timeout_s),
                self._http.stream("POST", path, content=body, headers=dict(headers)) as response,
            ):
                return await _read(response, answer_max_bytes)
        except (httpx.HTTPError, TimeoutError) as error:
            problem = type(error).__name__
        except _Unreadable as error:
            problem = str(error)
        # Outside of the handler: the client's exception holds the request, and would hang on
        # ours as its context.
        raise Unknown(f"{path}: {problem}")


def _tls(certificate: ClientCertificate | None, ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        # The password keeps an encrypted key from asking at the terminal; it is then refused.
        context.load_cert_chain(certificate.cert_file, certificate.key_file, password="")
    return context


class _Unreadable(Exception):
    """An answer that is not looked into: its status, length or encoding is wrong."""


async def _read(response: httpx.Response, most: int) -> bytes:
    if response.status_code != 200:
        raise _Unreadable(f"HTTP {response.status_code}")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise _Unreadable("compressed though not asked")
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > most:
            raise _Unreadable(f"longer than {most} bytes")
    return bytes(body)
