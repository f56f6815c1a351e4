"""Yuan become fen exactly, or not at all."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments.money import FEN_MAX, NotMoney, format_yuan, parse_yuan, tickets_of


@pytest.mark.parametrize(
    ("text", "fen"),
    [("0", 0), ("12", 1200), ("12.3", 1230), ("12.30", 1230), ("0.01", 1), ("007.07", 707)],
)
def test_yuan_text_becomes_fen(text: str, fen: int) -> None:
    assert parse_yuan(text) == fen


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            ".",
            "1.",
            ".5",
            "1.234",
            "1.000",
            "-1",
            "+1",
            "1e2",
            "1 ",
            " 1",
            "1,000",
            "1_0",
        ),
        *("NaN", "Infinity", "0x1", "１２", "٣", "1.2.3", "¥1", "1\n", "9" * 14, "1" * 15),
    ],
)
def test_what_is_not_plain_digits_with_two_places_is_refused(text: str) -> None:
    with pytest.raises(NotMoney):
        parse_yuan(text)


@pytest.mark.parametrize(
    ("number", "fen"),
    [("12.30", 1230), ("12.3000", 1230), ("1E+2", 10_000), ("0E-9", 0), ("1e-2", 1), ("-0.0", 0)],
)
def test_a_decimal_counts_by_its_value(number: str, fen: int) -> None:
    assert parse_yuan(Decimal(number)) == fen


@pytest.mark.parametrize(
    "number",
    [
        *("NaN", "sNaN", "Infinity", "-Infinity", "-0.01", "0.001", "1E+999999", "1E-999999"),
        # Arithmetic on decimals would round this to 1.00.
        "1.0000000000000000000000000000001",
    ],
)
def test_a_decimal_that_is_no_amount_of_fen_is_refused(number: str) -> None:
    with pytest.raises(NotMoney):
        parse_yuan(Decimal(number))


def test_the_largest_amount_is_taken_and_the_next_refused() -> None:
    assert parse_yuan(format_yuan(FEN_MAX)) == FEN_MAX

    with pytest.raises(NotMoney):
        parse_yuan(format_yuan(FEN_MAX + 1))


@pytest.mark.parametrize(
    ("fen", "text"), [(0, "0.00"), (1, "0.01"), (1230, "12.30"), (-5, "-0.05"), (-1230, "-12.30")]
)
def test_fen_are_shown_as_yuan_with_two_places(fen: int, text: str) -> None:
    assert format_yuan(fen) == text


@given(st.integers(0, FEN_MAX))
def test_every_amount_comes_back_from_its_text(fen: int) -> None:
    text = format_yuan(fen)

    assert parse_yuan(text) == parse_yuan(Decimal(text)) == fen


def test_a_fen_makes_five_tickets() -> None:
    assert tickets_of(1230) == 6150
