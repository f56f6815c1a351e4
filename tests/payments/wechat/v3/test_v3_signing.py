"""Version 3's signatures and ciphers: against published values, openssl, and forgers."""

import base64
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from payments.wechat.errors import BadContent, BadSignature
from payments.wechat.secrets import ApiV3Key, MerchantKey
from payments.wechat.signing_v3 import (
    Identity,
    Probe,
    Proof,
    Stale,
    encrypt,
    is_signed,
    proof_within,
    see_fresh,
    unseal,
    verify,
)
from tests.clock import Clock
from tests.payments.wechat.v3 import published
from tests.payments.wechat.v3.conftest import Pairs
from tests.payments.wechat.v3.platform import elliptic_key, of_another_kind

KEY = ApiV3Key(published.API_V3_KEY)
BODY = '{"name": "番茄鸡蛋面"}\n'.encode()


@pytest.fixture
def headers(pairs: Pairs, clock: Clock) -> dict[str, str]:
    return pairs.first.headers(BODY, clock.now() // 1000)


# ---------------------------------------------------------------- published values


def test_the_published_text_is_unsealed() -> None:
    text = unseal(
        KEY,
        ciphertext=published.SEALED,
        nonce=published.SEALED_NONCE,
        associated_data=published.SEALED_DATA,
    )

    assert text == published.SEALED_TEXT


def test_the_published_signature_is_of_the_published_certificate() -> None:
    key = x509.load_pem_x509_certificate(published.CERTIFICATE).public_key()
    assert isinstance(key, RSAPublicKey)

    assert is_signed(published.SIGNED_TEXT, published.SIGNATURE, key)
    assert not is_signed(b"massage", published.SIGNATURE, key)


# ---------------------------------------------------------------- requests


def test_openssl_agrees_with_the_signature_of_a_request(
    identity: Identity, pairs: Pairs, clock: Clock, tmp_path: Path
) -> None:
    header = identity.authorization(
        "POST", "/v3/a?b=%E4%B8%80", BODY, now=clock.now(), nonce="593BEC0C930BF1AF"
    )

    said = header.split('signature="')[1].rstrip('"')
    (tmp_path / "signature").write_bytes(base64.b64decode(said))
    (tmp_path / "key").write_bytes(pairs.merchant.public_pem)
    message = b"POST\n/v3/a?b=%%E4%%B8%%80\n1795147200\n593BEC0C930BF1AF\n%s\n" % BODY
    seconds = str(clock.now() // 1000).encode()
    (tmp_path / "message").write_bytes(message.replace(b"1795147200", seconds))
    told = subprocess.run(
        ["openssl", "dgst", "-sha256", "-verify", "key", "-signature", "signature", "message"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert told.stdout == b"Verified OK\n"


def test_the_header_says_who_signed_when(identity: Identity, pairs: Pairs) -> None:
    header = identity.authorization(
        "GET", "/v3/certificates", b"", now=1_554_208_460_999, nonce="n"
    )

    assert header.startswith(
        'WECHATPAY2-SHA256-RSA2048 mchid="1900009191",nonce_str="n",timestamp="1554208460",'
        f'serial_no="{pairs.merchant.id}",signature="'
    )


def test_a_key_that_is_not_of_the_certificate_is_refused(pairs: Pairs) -> None:
    with pytest.raises(ValueError, match="not of the merchant's key"):
        Identity.of_certificate("1", MerchantKey(pairs.first.key_pem), pairs.second.certificate_pem)


@pytest.mark.parametrize("pem", [elliptic_key(), elliptic_key().replace(b"MIG", b"AAA")])
def test_what_is_no_rsa_key_is_refused_without_showing_it(pem: bytes) -> None:
    with pytest.raises(ValueError, match="no RSA private key") as refused:
        Identity("1", MerchantKey(pem), serial="5A")

    assert "MI" not in str(refused.value)


# ---------------------------------------------------------------- answers and callbacks


def test_what_was_signed_is_verified(headers: dict[str, str], pairs: Pairs) -> None:
    verify(proof_within(headers), BODY, pairs.first.private.public_key())


@pytest.mark.parametrize("body", [BODY.rstrip(), BODY + b"\n", BODY.replace(b" ", b""), b""])
def test_a_body_written_anew_is_not_what_was_signed(
    headers: dict[str, str], pairs: Pairs, body: bytes
) -> None:
    with pytest.raises(BadSignature, match="does not match"):
        verify(proof_within(headers), body, pairs.first.private.public_key())


def test_another_key_verifies_nothing(headers: dict[str, str], pairs: Pairs) -> None:
    with pytest.raises(BadSignature):
        verify(proof_within(headers), BODY, pairs.second.private.public_key())


@pytest.mark.parametrize("nth", range(0, 256, 15))
def test_a_single_bit_spoils_a_signature(headers: dict[str, str], pairs: Pairs, nth: int) -> None:
    signature = bytearray(base64.b64decode(headers["Wechatpay-Signature"]))
    signature[nth] ^= 1
    headers["Wechatpay-Signature"] = base64.b64encode(signature).decode()

    with pytest.raises(BadSignature):
        verify(proof_within(headers), BODY, pairs.first.private.public_key())


def test_a_signature_is_written_in_one_way(headers: dict[str, str], pairs: Pairs) -> None:
    """Of its last character four bits mean nothing, and are zero."""
    written = headers["Wechatpay-Signature"]
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    digit = digits[digits.index(written[-3]) + 1]
    headers["Wechatpay-Signature"] = written[:-3] + digit + "=="
    assert base64.b64decode(headers["Wechatpay-Signature"]) == base64.b64decode(written)

    with pytest.raises(BadSignature):
        verify(proof_within(headers), BODY, pairs.first.private.public_key())


@pytest.mark.parametrize("signature", ["x", "!!!!", "签名", "QUJD", " " * 344])
def test_what_is_no_signature_is_refused_in_peace(
    headers: dict[str, str], pairs: Pairs, signature: str
) -> None:
    proof = proof_within(headers | {"Wechatpay-Signature": signature})

    with pytest.raises(BadSignature):
        verify(proof, BODY, pairs.first.private.public_key())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Wechatpay-Signature", ""),
        ("Wechatpay-Serial", ""),
        ("Wechatpay-Serial", "a b"),
        ("Wechatpay-Timestamp", ""),
        ("Wechatpay-Timestamp", "-5"),
        ("Wechatpay-Timestamp", "1e9"),
        ("Wechatpay-Timestamp", "٣"),
        ("Wechatpay-Nonce", ""),
        ("Wechatpay-Nonce", "a\nb"),
    ],
)
def test_headers_that_cannot_be_a_signatures_are_refused(
    headers: dict[str, str], name: str, value: str
) -> None:
    with pytest.raises(BadSignature):
        proof_within(headers | {name: value})


def test_headers_are_found_in_either_case(headers: dict[str, str]) -> None:
    lower = {name.lower(): value for name, value in headers.items()}

    assert proof_within(lower) == proof_within(headers)


def test_a_probe_is_known_for_what_it_is(headers: dict[str, str]) -> None:
    with pytest.raises(Probe):
        proof_within(headers | {"Wechatpay-Signature": "WECHATPAY/SIGNTEST/abc"})


@pytest.mark.parametrize("seconds", [300, -300, 86_400, -86_400])
def test_five_minutes_are_too_far(clock: Clock, seconds: int) -> None:
    proof = Proof(
        key_id="A", timestamp=str(clock.now() // 1000 + seconds), nonce="n", signature="s"
    )

    with pytest.raises(Stale):
        see_fresh(proof, now=clock.now())


@pytest.mark.parametrize("seconds", [299, -299, 0])
def test_less_is_near_enough(clock: Clock, seconds: int) -> None:
    proof = Proof(
        key_id="A", timestamp=str(clock.now() // 1000 + seconds), nonce="n", signature="s"
    )

    see_fresh(proof, now=clock.now())


# ---------------------------------------------------------------- ciphers


@pytest.mark.parametrize(
    "changed",
    [
        {"ciphertext": "not base64"},
        {"ciphertext": ""},
        {"ciphertext": "ulwSiIajGClcvcOYvOQ7+l+0PAbzzwM="},
        {"nonce": ""},
        {"nonce": "uluk4a9R25RX"},
        {"associated_data": ""},
    ],
)
def test_what_does_not_open_is_bad_content(changed: dict[str, str]) -> None:
    whole = {
        "ciphertext": published.SEALED,
        "nonce": published.SEALED_NONCE,
        "associated_data": published.SEALED_DATA,
    }

    with pytest.raises(BadContent) as refused:
        unseal(KEY, **(whole | changed))

    assert published.API_V3_KEY not in str(refused.value)


def test_a_secret_is_opened_by_the_merchants_key_alone(identity: Identity, pairs: Pairs) -> None:
    secret = encrypt("番茄".encode(), pairs.merchant.private.public_key())

    assert identity.decrypt(secret) == "番茄".encode()
    with pytest.raises(BadContent):
        identity.decrypt(encrypt(b"text", pairs.first.private.public_key()))
    with pytest.raises(BadContent):
        identity.decrypt("not base64")


def test_a_certificate_of_another_kind_is_not_the_merchants(pairs: Pairs) -> None:
    with pytest.raises(ValueError, match="not of the merchant's key"):
        Identity.of_certificate("1", MerchantKey(pairs.merchant.key_pem), of_another_kind())
