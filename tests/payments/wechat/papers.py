"""Certificates of a test's own: an authority, a server, a merchant."""

import datetime as dt
import ipaddress
import ssl
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# The library of TLS looks at the machine's own clock.
NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
EXPIRES = NOW + dt.timedelta(days=5 * 365)


class Paper(NamedTuple):
    cert: Path
    key: Path


class Papers:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority_key = ec.generate_private_key(ec.SECP256R1())
        self.authority = self._issue("authority", self._authority_key, authority=True)
        self.server = self._issue("server", ec.generate_private_key(ec.SECP256R1()))
        self.merchant = self._issue("merchant", ec.generate_private_key(ec.SECP256R1()))

    def demanding(self) -> ssl.SSLContext:
        """A server that speaks only to who has a certificate of the authority's."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.authority.cert)
        context.load_cert_chain(self.server.cert, self.server.key)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def asking(self) -> ssl.SSLContext:
        """A server that looks at a certificate where there is one."""
        context = self.demanding()
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def encrypted_key(self) -> Path:
        key = serialization.load_pem_private_key(self.merchant.key.read_bytes(), None)
        path = self._folder / "encrypted.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"a password"),
            )
        )
        return path

    def _issue(
        self, name: str, key: ec.EllipticCurvePrivateKey, *, authority: bool = False
    ) -> Paper:
        paper = Paper(self._folder / f"{name}_cert.pem", self._folder / f"{name}_key.pem")
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name("authority"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - dt.timedelta(days=1))
            .not_valid_after(EXPIRES)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
                critical=False,
            )
            .sign(self._authority_key, hashes.SHA256())
        )
        paper.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        paper.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return paper


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
