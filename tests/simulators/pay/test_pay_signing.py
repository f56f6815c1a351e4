"""The vendor's signatures, held against published values and against other writings of them."""

import base64
import hashlib

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from simulators.wechat.pay import signing, xmltext
from tests.simulators.pay.merchant import hmac_sign, md5_sign

PUBLISHED = {
    "appid": "wxd930ea5d5a258f4f",
    "mch_id": "10000100",
    "device_info": "1000",
    "body": "test",
    "nonce_str": "ibuaiVcKdpRxkhJA",
}
PUBLISHED_KEY = "192006250b4c09247ec02edce69f6a2d"
PUBLISHED_MD5 = "9A0A8659F005D6984697E2CA0A9CF3B7"
PUBLISHED_HMAC = "6A9AE1657590FD6257D693A078E1C3E4BB6BA4DC30B23E0EE2496E54170DACD6"


def test_the_published_example_signs_to_the_published_values() -> None:
    assert signing.sign_v2(PUBLISHED, PUBLISHED_KEY, "MD5") == PUBLISHED_MD5
    assert signing.sign_v2(PUBLISHED, PUBLISHED_KEY, "HMAC-SHA256") == PUBLISHED_HMAC
    assert md5_sign(PUBLISHED, PUBLISHED_KEY) == PUBLISHED_MD5
    assert hmac_sign(PUBLISHED, PUBLISHED_KEY) == PUBLISHED_HMAC


def test_empty_fields_and_the_sign_itself_do_not_count_but_zero_does() -> None:
    more = {**PUBLISHED, "attach": "", "sign": "anything"}
    zero = {**PUBLISHED, "coupon_fee": "0"}

    assert signing.sign_v2(more, PUBLISHED_KEY, "MD5") == PUBLISHED_MD5
    assert signing.sign_v2(zero, PUBLISHED_KEY, "MD5") != PUBLISHED_MD5


def test_an_underscore_stands_between_capitals_and_small_letters() -> None:
    fields = {"remark": "1", "re_openid": "2", "reZ": "3"}
    text = b"reZ=3&re_openid=2&remark=1&key=k"

    wanted = hashlib.md5(text, usedforsecurity=False).hexdigest().upper()

    assert signing.sign_v2(fields, "k", "MD5") == wanted


def test_what_a_refund_says_opens_with_the_small_hex_of_the_keys_md5() -> None:
    key = "k" * 32
    text = "<root><refund_id>中文</refund_id></root>".encode()

    sealed = base64.b64decode(signing.encrypt_req_info(text, key))

    secret = hashlib.md5(key.encode(), usedforsecurity=False).hexdigest().encode()
    opener = Cipher(algorithms.AES(secret), modes.ECB()).decryptor()  # noqa: S305
    padded = opener.update(sealed) + opener.finalize()
    assert padded[: -padded[-1]] == text


def test_v3_signs_and_seals_as_cryptography_reads_it() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    message = signing.lines("1554208460", "nonce", b"{}")

    signature = base64.b64decode(signing.sign_v3(message, key))
    sealed = base64.b64decode(signing.encrypt_gcm(b"secret", "k" * 32, "n" * 12, "extra"))

    assert message == b"1554208460\nnonce\n{}\n"
    key.public_key().verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    with pytest.raises(InvalidSignature):
        key.public_key().verify(signature, message + b" ", padding.PKCS1v15(), hashes.SHA256())
    assert AESGCM(b"k" * 32).decrypt(b"n" * 12, sealed, b"extra") == b"secret"


def test_a_signature_that_is_no_base64_is_no_signature() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    assert not signing.is_signed_v3(b"m", "WECHATPAY/SIGNTEST/!", key.public_key())
    assert not signing.is_signed_v3(b"m", "YWJj", key.public_key())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<xml>",
        b"<root><a>1</a></root>",
        b"<xml><a>1</a><a>2</a></xml>",
        b"<xml><a><b>1</b></a></xml>",
        b'<xml><a b="c">1</a></xml>',
        b'<!DOCTYPE xml [<!ENTITY x "y">]><xml><a>&x;</a></xml>',
        '<?xml version="1.0" encoding="GBK"?><xml><a>面</a></xml>'.encode("gbk"),
        b'<?xml version="1.0" encoding="latin-1"?><xml><a>1</a></xml>',
    ],
)
def test_what_is_no_flat_xml_in_utf8_is_refused(body: bytes) -> None:
    with pytest.raises(xmltext.XmlError):
        xmltext.read(body)


def test_what_is_written_reads_back_whatever_stands_in_it() -> None:
    fields = {"attach": " <\"]]>&amp;' ", "total_fee": "1", "body": "面"}

    assert xmltext.read(xmltext.written(fields)) == fields
