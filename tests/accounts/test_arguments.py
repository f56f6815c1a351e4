"""Message arguments: trimmed to what WeChat takes, or refused before they are sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.arguments import fit
from accounts.model import UnfitArgument
from simulators.wechat.fields import PATTERNS, fits


def fitted(field: str, text: str) -> str:
    return fit({field: text})[field]["value"]


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("thing1", "番茄鸡蛋面", "番茄鸡蛋面"),
        ("thing1", "面" * 20, "面" * 20),
        ("thing1", "面" * 21, "面" * 19 + "…"),
        ("thing1", "两行\n一\t句\0 话 ", "两行 一 句 话"),
        ("thing12", "😀" * 11, "😀" * 9 + "…"),
        ("thing1", "half \ud83d", "half"),
        ("number1", "39", "39"),
        ("number1", "3.50", "3.50"),
        ("letter1", "A-1 b", "Ab"),
        ("letter1", "x" * 33, "x" * 32),
        ("symbol1", "a!?", "!?"),
        ("character_string1", "A 39 号", "A39"),
        ("character_string1", "9" * 33, "9" * 32),
        ("time1", "15:01", "15:01"),
        ("time1", "2019年10月1日 15:01", "2019年10月1日 15:01"),
        ("time1", "2019-10-01 15:01", "2019-10-01 15:01"),
        ("time1", "15:01~16:30", "15:01~16:30"),
        ("date1", "2019年10月1日", "2019年10月1日"),
        ("date1", "2019-10-01 15:01", "2019-10-01 15:01"),
        ("amount1", "¥12.50", "¥12.50"),
        ("amount1", "12元", "12元"),
        ("phone_number1", "+86-0766-66888866", "+86-0766-66888866"),
        ("car_number1", "粤A8Z888", "粤A8Z888"),
        ("name1", "张三", "张三"),
        ("name1", "张" * 11, "张" * 10),
        ("name1", "a" * 21, "a" * 20),
        ("phrase1", "已叫号 ready", "已叫号"),
        ("phrase1", "请到档口取餐", "请到档口取"),
        ("unheard_of1", "as a thing", "as a thing"),
    ],
)
def test_a_text_is_trimmed_to_its_field(field: str, text: str, value: str) -> None:
    assert fitted(field, text) == value


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("thing1", ""),
        ("thing1", " \n "),
        ("number1", "39号"),
        ("number1", "1" * 33),
        ("letter1", "39"),
        ("symbol1", "a"),
        ("character_string1", "号"),
        ("time1", "noon"),
        ("date1", "20191001"),
        ("amount1", "12345678901"),
        ("phone_number1", "1" * 18),
        ("car_number1", "粤A8Z88888"),
        ("name1", "39"),
        ("phrase1", "ready"),
    ],
)
def test_what_trimming_would_make_false_is_refused(field: str, text: str) -> None:
    with pytest.raises(UnfitArgument) as refused:
        fit({field: text})

    assert refused.value.field == field


@given(kind=st.sampled_from(sorted(PATTERNS)), text=st.text(max_size=60))
def test_what_is_sent_is_taken_by_wechat(kind: str, text: str) -> None:
    try:
        value = fitted(f"{kind}1", text)
    except UnfitArgument:
        return

    assert fits(f"{kind}1", value), value
