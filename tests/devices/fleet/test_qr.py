"""The codes on the stickers: what is read back is what was written, and nothing else is."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.fleet.model import QrInvalid
from devices.fleet.qr import TEXT_MAX, DoorCode, QrCodes, StoreCode
from tests.devices.fleet.conftest import SECRET

QR = QrCodes(SECRET)
IDS = st.integers(min_value=0, max_value=2**53 - 1)


@given(IDS, IDS, IDS)
def test_a_doors_code_is_read_back(device_id: int, door_no: int, version: int) -> None:
    text = QR.door(device_id, door_no, version)

    assert QR.read(text) == DoorCode(device_id, door_no, version)
    assert len(text) <= TEXT_MAX


@given(IDS)
def test_a_stores_code_is_read_back(store_id: int) -> None:
    assert QR.read(QR.store(store_id)) == StoreCode(store_id)


@given(st.data())
def test_one_changed_character_makes_it_nobodys(data: st.DataObject) -> None:
    text = QR.door(12, 1, 3)
    at = data.draw(st.integers(min_value=0, max_value=len(text) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda c: c != text[at]))

    with pytest.raises(QrInvalid):
        QR.read(text[:at] + other + text[at + 1 :])


@given(st.text())
def test_no_text_of_somebody_elses_is_read(text: str) -> None:
    with pytest.raises(QrInvalid):
        QR.read(text)


@pytest.mark.parametrize("wrap", ["{}\n", " {}", "{} ", "{}=", "{}.", "https://example.org/{}"])
def test_what_is_around_a_code_makes_it_another_text(wrap: str) -> None:
    for text in (QR.door(12, 1, 3), QR.store(7)):
        with pytest.raises(QrInvalid):
            QR.read(wrap.format(text))


def test_numbers_have_one_spelling() -> None:
    mac = QR.door(12, 1, 3).rpartition(".")[2]

    for said in ("C1.D.012.1.3", "C1.D.+12.1.3", "C1.D.12.1.3.", "C1.D.１２.1.3", "c1.d.12.1.3"):
        with pytest.raises(QrInvalid):
            QR.read(f"{said}.{mac}")


def test_a_door_is_not_taken_for_a_store() -> None:
    mac = QR.store(7).rpartition(".")[2]

    with pytest.raises(QrInvalid):
        QR.read(f"C1.D.7.1.1.{mac}")


def test_another_servers_codes_are_not_ours() -> None:
    theirs = QrCodes(SECRET + "!")

    with pytest.raises(QrInvalid):
        QR.read(theirs.door(12, 1, 3))


def test_an_ordinary_scanner_is_sent_to_a_page_and_old_stickers_still_open() -> None:
    qr = QrCodes(SECRET, prefix="https://cabinets.example/h5/?qr=")

    text = qr.door(12, 1, 3)

    assert re.fullmatch(r"https://cabinets\.example/h5/\?qr=C1\.D\.12\.1\.3\.[\w-]{22}", text)
    assert qr.read(text) == qr.read(QR.door(12, 1, 3)) == DoorCode(12, 1, 3)


def test_a_prefix_that_leaves_no_room_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="200"):
        QrCodes(SECRET, prefix="https://" + "x" * 150)


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        QrCodes("short")
