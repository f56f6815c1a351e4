"""The little of XML that is read and written."""

import pytest
import xmltodict
from hypothesis import given
from hypothesis import strategies as st

from payments.wechat.errors import BadXml
from payments.wechat.xml import MESSAGE_MAX_BYTES, read, write
from tests.payments.wechat import speech

characters = st.characters(
    codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"
)
names = st.from_regex(r"[A-Za-z_][0-9A-Za-z_.-]{0,12}", fullmatch=True)
values = st.text(characters | st.sampled_from("\t\n\r<>&]['\" "), max_size=20)


def test_fields_are_read_as_they_stand() -> None:
    body = (
        b'<?xml version="1.0" encoding="UTF-8"?>\n<xml>\n  <a><![CDATA[ 1 <2> ]]></a>\n'
        b"  <b>&lt;&amp;&#20013;</b><c/><d></d>\r\n<e><![CDATA[]]></e><f> </f>"
        b"<g>x<![CDATA[]]]]><![CDATA[>y]]>z</g>\n</xml>\n"
    )

    assert read(body) == {
        "a": " 1 <2> ",
        "b": "<&中",
        "c": "",
        "d": "",
        "e": "",
        "f": " ",
        "g": "x]]>yz",
    }


@pytest.mark.parametrize(
    "declaration",
    [
        b"",
        b'<?xml version="1.0"?>',
        b"<?xml version='1.0' encoding='utf-8'?>",
        b'<?xml version="1.0" encoding="UTF-8" standalone="yes" ?>',
    ],
)
def test_a_declaration_may_say_what_is_so(declaration: bytes) -> None:
    assert read(declaration + b"<xml><a>1</a></xml>") == {"a": "1"}


def test_markup_within_cdata_is_text() -> None:
    body = b"<xml><a><![CDATA[<!DOCTYPE x><!-- --><?x?>&x;]]></a></xml>"

    assert read(body) == {"a": "<!DOCTYPE x><!-- --><?x?>&x;"}


def test_another_root_is_read_where_it_is_asked_for() -> None:
    assert read(b"<root><a>1</a></root>", root="root") == {"a": "1"}
    with pytest.raises(BadXml):
        read(b"<xml><a>1</a></xml>", root="root")


def test_a_message_has_a_greatest_length() -> None:
    frame = len(b"<xml><a></a></xml>")
    body = write({"a": "x" * (MESSAGE_MAX_BYTES - frame)})

    assert len(body) == MESSAGE_MAX_BYTES
    assert len(read(body)["a"]) == MESSAGE_MAX_BYTES - frame
    with pytest.raises(BadXml):
        read(body + b" ")


def test_the_words_of_the_parser_are_not_passed_on() -> None:
    with pytest.raises(BadXml) as refused:
        read(b"<xml><secret>hush</xml>")

    assert str(refused.value) == "not well-formed"
    assert refused.value.__context__ is None


@given(st.dictionaries(names, values, min_size=1, max_size=6))
def test_what_is_written_is_read_again(fields: dict[str, str]) -> None:
    assert read(write(fields)) == fields


@given(st.dictionaries(names, values, min_size=1, max_size=6))
def test_others_read_what_we_write(fields: dict[str, str]) -> None:
    body = write(fields)

    assert speech.fields_of(body) == fields
    found = xmltodict.parse(body, strip_whitespace=False)["xml"]
    assert {name: value or "" for name, value in found.items()} == fields


def test_a_value_is_escaped_once() -> None:
    assert write({"a": "1<2&amp;\"'\r"}) == b"<xml><a>1&lt;2&amp;amp;\"'&#13;</a></xml>"


@pytest.mark.parametrize(
    "fields",
    [
        {"": "1"},
        {"1a": "1"},
        {"a b": "1"},
        {"a>": "1"},
        {"a": "\0"},
        {"a": "\x1b"},
        {"a": "\ud800"},
        {"a": "\ufffe"},
    ],
)
def test_what_xml_cannot_carry_is_not_written(fields: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="XML cannot carry"):
        write(fields)
