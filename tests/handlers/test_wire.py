"""Times as text, and how much the readers let pass."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.errors import Problem
from handlers.wire import INTEGER_MAX, encode, from_rfc3339, query_fields, reader, rfc3339

END_OF_9999 = 253_402_300_799_999

text = st.text(st.characters(codec="utf-8"))
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-INTEGER_MAX, INTEGER_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner) | st.dictionaries(text, inner),
    max_leaves=20,
)


@given(st.integers(0, END_OF_9999))
def test_a_time_survives_the_way_out_and_in(at: int) -> None:
    assert from_rfc3339(rfc3339(at)) == at


def test_a_time_is_written_in_utc_with_milliseconds() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(1_795_147_506_789) == "2026-11-20T04:05:06.789Z"


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t08:00:00.5+08:00", 500),
        ("1970-01-01T00:00:00.0019999Z", 1),
    ],
)
def test_a_time_may_come_in_any_zone(text: str, at: int) -> None:
    assert from_rfc3339(text) == at


@pytest.mark.parametrize(
    "text",
    ["", "2026-11-20", "2026-11-20T04:05:06", "2026-13-01T00:00:00Z", "20261120T040506Z", "now",
     "2026-11-20T04:05:06+25:00", "２026-11-20T04:05:06Z", "2026-W47-5T00:00:00Z"],
)  # fmt: skip
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_rfc3339(text)


@given(json_values)
def test_what_we_write_we_read(value: object) -> None:
    assert reader(object)(encode(value)) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    assert refusal(lambda: reader(object)(raw)) in (None, "body.invalid")


@given(st.text(st.characters(max_codepoint=255), max_size=200))
def test_any_query_is_read_or_refused(query: str) -> None:
    assert refusal(lambda: query_fields(query)) in (None, "query.invalid")


def refusal(read: Callable[[], object]) -> str | None:
    try:
        read()
    except Problem as problem:
        return problem.code
    return None
