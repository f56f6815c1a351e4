"""Key pairs with certificates, in a folder of PEM files, each made when it is first asked for.

An RSA pair costs a tenth of a second; a simulator that only signs people in needs none.
"""

from __future__ import annotations

import atexit
import functools
import os
import secrets
import shutil
import tempfile
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from simulators.wechat.pay.merchant import MCH_ID, PUB_KEY_MARK, SERIAL_MARK

BITS = 2048
# Wide enough for any day to which the simulator's clock may be turned.
NOT_BEFORE = datetime(2020, 1, 1, tzinfo=UTC)
NOT_AFTER = datetime(2049, 12, 31, tzinfo=UTC)
ORGANIZATION = "Simulated WeChat Pay, worth no money"


class Pair(msgspec.Struct, frozen=True):
    """A private key and the certificate made for it."""

    private: RSAPrivateKey
    certificate: x509.Certificate
    key_file: Path
    cert_file: Path

    @property
    def serial(self) -> str:
        return f"{self.certificate.serial_number:040X}"

    @property
    def public(self) -> RSAPublicKey:
        return self.private.public_key()

    @property
    def pub_key_id(self) -> str:
        """What this pair is called where it is used as a bare public key."""
        return PUB_KEY_MARK + f"{self.certificate.serial_number % 10**24:024d}"

    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def public_pem(self) -> bytes:
        return self.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


class KeyFolder:
    """`pair("merchant")`: the pair of that name, read from the folder or made there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pairs: dict[str, Pair] = {}

    def pair(self, name: str) -> Pair:
        if name not in self._pairs:
            self._pairs[name] = self._load(name) or self._make(name)
        return self._pairs[name]

    @property
    def platform_keys_dir(self) -> Path:
        """What a merchant fetches by hand: the first certificate, and the public key.

        The folder holds `SERIAL.pem` and `PUB_KEY_ID_….pem`; later certificates are to be
        downloaded, as in life.
        """
        given = self.folder / "platform"
        given.mkdir(exist_ok=True)
        first, public = self.pair("platform-1"), self.pair("public")
        _write(given / f"{first.serial}.pem", first.certificate_pem())
        _write(given / f"{public.pub_key_id}.pem", public.public_pem())
        return given

    def _files(self, name: str) -> tuple[Path, Path]:
        return self.folder / f"{name}-key.pem", self.folder / f"{name}-cert.pem"

    def _load(self, name: str) -> Pair | None:
        key_file, cert_file = self._files(name)
        if not (key_file.exists() and cert_file.exists()):
            return None
        private = load_pem_private_key(key_file.read_bytes(), None)
        certificate = x509.load_pem_x509_certificate(cert_file.read_bytes())
        if not isinstance(private, RSAPrivateKey):
            raise ValueError(f"{key_file} holds no RSA key")
        return Pair(private, certificate, key_file, cert_file)

    def _make(self, name: str) -> Pair:
        self.folder.mkdir(parents=True, exist_ok=True)
        private = rsa.generate_private_key(public_exponent=65537, key_size=BITS)
        certificate = _self_signed(name, private)
        key_file, cert_file = self._files(name)
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _write(key_file, pem)
        _write(cert_file, certificate.public_bytes(Encoding.PEM))
        return Pair(private, certificate, key_file, cert_file)


@functools.cache
def of_process() -> KeyFolder:
    """One folder for all simulators of this process, gone when the process ends."""
    folder = tempfile.mkdtemp(prefix="wechat-simulator-keys-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return KeyFolder(Path(folder))


def _self_signed(name: str, private: RSAPrivateKey) -> x509.Certificate:
    common_name = MCH_ID if name == "merchant" else f"simulator {name}"
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "CN"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )
    # A serial number has twenty bytes: ours say in the first two that they are simulated.
    serial = int(SERIAL_MARK + secrets.token_hex(18), 16)
    local = x509.SubjectAlternativeName(
        [x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))]
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(serial)
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(NOT_AFTER)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(local, critical=False)
        .sign(private, hashes.SHA256())
    )


def _write(file: Path, content: bytes) -> None:
    """Whole or not at all, and readable by its owner only."""
    beside = file.with_suffix(f".{os.getpid()}.tmp")
    beside.touch(mode=0o600)
    beside.write_bytes(content)
    beside.replace(file)
