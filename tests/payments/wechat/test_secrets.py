"""Secrets do not show, and one is not taken for another."""

import copy
import pickle
import traceback
from typing import Any

import pytest

from payments.wechat.secrets import ApiV2Key, ApiV3Key, MerchantKey, Secret
from payments.wechat.signing import Merchant, SignType, sign

HIDDEN = "0123456789abcdefghijklmnopqrstuv"
# Written apart: no file of ours holds what looks like a key.
PEM = "-----BEGIN PRIVATE" + " KEY-----\nMIIE\n-----END PRIVATE KEY-----\n"
KINDS: list[Any] = [ApiV2Key, ApiV3Key]


@pytest.mark.parametrize("kind", KINDS)
def test_a_secret_does_not_show(kind: type[Secret]) -> None:
    secret = kind(HIDDEN)

    assert f"{secret} {secret!r} {[secret]}".count(f"{kind.__name__}(…)") == 3
    assert HIDDEN not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == HIDDEN.encode()


def test_a_secret_does_not_show_in_what_holds_it() -> None:
    merchant = Merchant(appid="wx1", mch_id="1", key=ApiV2Key(HIDDEN))

    assert HIDDEN not in repr(merchant)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keep", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_secret_is_not_stored(kind: type[Secret], keep: Any) -> None:
    with pytest.raises(TypeError):
        keep(kind(HIDDEN))


@pytest.mark.parametrize("kind", [*KINDS, MerchantKey])
@pytest.mark.parametrize(
    "value",
    [b"", HIDDEN + "w", HIDDEN[:-1] + "\n", HIDDEN[:-2] + "é", b"\0" * 32, " " * 32],
)
def test_what_cannot_be_that_secret_is_refused_unseen(
    kind: type[Secret], value: bytes | str
) -> None:
    with pytest.raises(ValueError, match="must be") as refused:
        kind(value)

    told = "".join(traceback.format_exception_only(refused.value))
    assert HIDDEN[:8] not in told


def test_a_v3_key_is_exactly_as_long_as_its_cipher_wants() -> None:
    with pytest.raises(ValueError, match="32"):
        ApiV3Key(HIDDEN[:-1])


def test_a_merchants_key_is_a_plain_private_key() -> None:
    assert MerchantKey(PEM).reveal() == PEM.encode()
    with pytest.raises(ValueError, match="unencrypted"):
        MerchantKey(PEM.replace("PRIVATE", "ENCRYPTED PRIVATE"))


def test_the_types_keep_a_v3_key_from_signing() -> None:
    """The comments are the test: mypy complains of one that is not needed."""
    v3, pem = ApiV3Key(HIDDEN), MerchantKey(PEM)

    sign({}, v3, SignType.MD5)  # type: ignore[arg-type]
    sign({}, pem, SignType.MD5)  # type: ignore[arg-type]
    Merchant(appid="wx1", mch_id="1", key=v3)  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        sign({}, HIDDEN, SignType.MD5)  # type: ignore[arg-type]
