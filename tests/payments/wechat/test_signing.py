"""The signature of version 2, against what WeChat and others have published."""

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments.wechat.errors import BadSignature
from payments.wechat.secrets import ApiV2Key
from payments.wechat.signing import SignType, sign, signed, verify
from tests.payments.wechat import speech

MD5, HMAC = SignType.MD5, SignType.HMAC_SHA256
KEY = ApiV2Key(speech.KEY)

# Wiki 4_3: the documents' own example.
SAMPLE = {
    "appid": "wxd930ea5d5a258f4f",
    "mch_id": "10000100",
    "device_info": "1000",
    "body": "test",
    "nonce_str": "ibuaiVcKdpRxkhJA",
}
SAMPLE_SIGNS = {
    MD5: "9A0A8659F005D6984697E2CA0A9CF3B7",
    HMAC: "6A9AE1657590FD6257D693A078E1C3E4BB6BA4DC30B23E0EE2496E54170DACD6",
}

# EasyWeChat, tests/Pay/UtilsTest.php: the second signature (wx.requestPayment).
SECOND_SIGNS = {
    MD5: "C52D6B09E8A039D6E8696A014BB37160",
    HMAC: "BAC9240577E86EDC7753264E502196C61F78F24777E9E7CCE82A7BD97F906EED",
}

texts = st.text(st.characters(codec="utf-8"), max_size=12)
fields_of_any_kind = st.dictionaries(st.from_regex(r"[A-Za-z_]{1,8}", fullmatch=True), texts)


@pytest.mark.parametrize("sign_type", SignType)
def test_the_published_example_is_signed_as_published(sign_type: SignType) -> None:
    assert sign(SAMPLE, KEY, sign_type) == SAMPLE_SIGNS[sign_type]
    verify({**SAMPLE, "sign": SAMPLE_SIGNS[sign_type]}, KEY, sign_type)


@pytest.mark.parametrize("sign_type", SignType)
def test_the_published_second_signature_is_ours(sign_type: SignType) -> None:
    fields = {
        "appId": "mock-appid",
        "timeStamp": "1601234567",
        "nonceStr": "mock-nonce",
        "package": "prepay_id=mock-prepay-id",
        "signType": str(sign_type),
    }

    assert sign(fields, ApiV2Key("mock-v2-secret-key"), sign_type) == SECOND_SIGNS[sign_type]


def test_an_empty_field_takes_no_part_and_a_zero_does() -> None:
    assert sign({**SAMPLE, "attach": ""}, KEY, MD5) == SAMPLE_SIGNS[MD5]
    assert sign({**SAMPLE, "coupon_fee": "0"}, KEY, MD5) != SAMPLE_SIGNS[MD5]
    assert sign({**SAMPLE, "attach": " "}, KEY, MD5) != SAMPLE_SIGNS[MD5]


def test_names_are_sorted_by_their_bytes() -> None:
    """ "_" stands between the capitals and the small letters; an alphabet would ignore it."""
    fields = {"remark": "r", "re_openid": "o", "Zone": "z", "a": "1"}

    assert sign(fields, KEY, MD5) == speech.sign(fields, md5=True)
    joined = f"Zone=z&a=1&re_openid=o&remark=r&key={speech.KEY}"
    assert (
        sign(fields, KEY, HMAC)
        == hmac.digest(speech.KEY.encode(), joined.encode(), "sha256").hex().upper()
    )


@given(fields_of_any_kind)
def test_both_ways_of_signing_agree_with_the_other_telling(fields: dict[str, str]) -> None:
    assert sign(fields, KEY, MD5) == speech.sign(fields, md5=True)
    assert sign(fields, KEY, HMAC) == speech.sign(fields)
    verify(signed(fields, KEY, HMAC), KEY, HMAC)


def test_fields_nobody_knows_take_part() -> None:
    fields = signed({**SAMPLE, "coupon_id_0": "10000"}, KEY, HMAC)

    verify(fields, KEY, HMAC)
    for change in ({"coupon_id_0": "10001"}, {"new_in_2030": "x"}):
        with pytest.raises(BadSignature):
            verify(fields | change, KEY, HMAC)
    with pytest.raises(BadSignature):
        verify({k: v for k, v in fields.items() if k != "coupon_id_0"}, KEY, HMAC)


@pytest.mark.parametrize("sign_type", SignType)
@pytest.mark.parametrize(
    "claimed",
    [
        None,
        "",
        " ",
        "0",
        "SUCCESS",
        "签" * 32,
        "\ud800".encode("utf-8", "replace").decode() * 64,
        "A" * 32,
        "A" * 64,
        SAMPLE_SIGNS[MD5].lower(),
        SAMPLE_SIGNS[HMAC].lower(),
        SAMPLE_SIGNS[MD5] + " ",
        SAMPLE_SIGNS[MD5][:-1],
        SAMPLE_SIGNS[MD5] * 2,
        SAMPLE_SIGNS[HMAC][:32],
    ],
)
def test_no_other_sign_will_do(sign_type: SignType, claimed: str | None) -> None:
    fields = SAMPLE if claimed is None else {**SAMPLE, "sign": claimed}

    with pytest.raises(BadSignature):
        verify(fields, KEY, sign_type)


def test_a_message_does_not_choose_how_it_is_checked() -> None:
    by_md5 = signed({**SAMPLE, "sign_type": "MD5"}, KEY, MD5)
    by_hmac = signed({**SAMPLE, "sign_type": "HMAC-SHA256"}, KEY, HMAC)

    with pytest.raises(BadSignature, match="no HMAC-SHA256"):
        verify(by_md5, KEY, HMAC)
    with pytest.raises(BadSignature, match="no MD5"):
        verify(by_hmac, KEY, MD5)


def test_another_key_signs_otherwise() -> None:
    fields = speech.signed(SAMPLE, key=speech.KEY[:-1] + "e")

    with pytest.raises(BadSignature) as refused:
        verify(fields, KEY, HMAC)

    assert SAMPLE_SIGNS[HMAC] not in str(refused.value)
    assert speech.sign(SAMPLE) not in str(refused.value)
