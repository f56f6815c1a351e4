"""Q15 with a picture, and qrcode: what is kept, how it is kept, and what is not."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from simulators.wechat import wxacode
from tests.dialect.canteen import Canteen
from tests.dialect.phones import Answer

KEPT: Final = {"updateSuccess": "success", "updateImageSuccess": "success"}
SIZE: Final = {
    "updateSuccess": "success",
    "updateImageSuccess": "fail",
    "failMsg": "Size Error",
}
BAD: Final = {**SIZE, "failMsg": "Move 1 Error"}
NONE: Final = {**SIZE, "failMsg": "No File Uploaded"}

LIMIT: Final = 512 * 1024


@pytest.fixture
async def shop(canteen: Canteen) -> Canteen:
    await canteen.sign_in("chen")
    return canteen


@pytest.fixture
def media(tmp_path: Path) -> Path:
    return tmp_path / "media"


def picture(kind: str = "PNG", *, size: tuple[int, int] = (40, 30), secret: str = "") -> bytes:
    image = Image.new("RGB", size, (200, 40, 40))
    out = io.BytesIO()
    if kind == "PNG" and secret:
        info = PngInfo()
        info.add_text("comment", secret)
        image.save(out, kind, pnginfo=info)
    else:
        image.save(out, kind)
    return out.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def padded(size: int) -> bytes:
    """A good PNG of exactly so many bytes."""
    whole = picture()
    end = whole[-12:]
    missing = size - len(whole) - 12
    return whole[:-12] + chunk(b"teSt", b"x" * missing) + end


def bomb() -> bytes:
    """Claims 60,000 × 60,000 pixels."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress(b"\0" * 1_000_000))
    return b"\x89PNG\r\n\x1a\n" + head + rows + chunk(b"IEND", b"")


async def upload(shop: Canteen, data: bytes, *, name: str = "sellerImage") -> Answer:
    phone = await shop.posts()
    fields = {"query": "update", "sessionKey": shop.keys["chen"], "personName": "陈"}
    return await phone.upload(fields, data, name=name)


async def kept_picture(shop: Canteen) -> str:
    """The address the list of stalls tells."""
    info = await shop.ask("chen", "info")
    assert info["imageUrl"] == info["imageURL"]
    return str(info["imageUrl"])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
async def test_a_picture_is_drawn_anew_and_served_under_a_name_of_ours(
    shop: Canteen, media: Path, kind: str
) -> None:
    assert await upload(shop, picture(kind, secret="<script>alert(1)</script>")) == KEPT

    url = await kept_picture(shop)
    served = await (await shop.posts()).get(url.removeprefix("http://127.0.0.1"))

    (file,) = media.iterdir()
    assert url == f"http://127.0.0.1/media/{file.name}"
    assert file.name.startswith("stall-1-")
    assert served.status_code == 200
    assert served.headers["Content-Type"] in {"image/png", "image/jpeg"}
    assert served.headers["X-Content-Type-Options"] == "nosniff"
    assert Image.open(io.BytesIO(served.content)).size == (40, 30)
    assert b"script" not in served.content
    shown = await shop.ask("chen", "seller_list")
    assert shown["list"][0]["imageURL"] == shown["list"][0]["imageUrl"] == url


async def test_half_a_mebibyte_is_taken_and_one_byte_more_is_not(shop: Canteen) -> None:
    assert len(padded(LIMIT)) == LIMIT
    assert await upload(shop, padded(LIMIT - 1)) == KEPT
    assert await upload(shop, padded(LIMIT)) == KEPT
    first = await kept_picture(shop)

    assert await upload(shop, padded(LIMIT + 1)) == SIZE
    assert await upload(shop, padded(1_000_000)) == SIZE

    assert await kept_picture(shop) == first


@pytest.mark.parametrize("size", [1024 * 1024, 6_000_000])
async def test_a_photograph_as_it_came_from_the_camera_is_refused_in_the_dialect(
    shop: Canteen, size: int
) -> None:
    too_large = {"queryErr": "Illegal query", "failMsg": "Size Error"}

    assert await upload(shop, padded(size)) == too_large

    assert await upload(shop, picture()) == KEPT


async def test_what_is_no_picture_is_not_kept(shop: Canteen, media: Path) -> None:
    whole = picture("PNG", size=(300, 300))
    polyglot = b"<html><script>alert(1)</script></html>" + whole
    hostile = {
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "html": b"<!doctype html><script>alert(1)</script>",
        "php": b"<?php system($_GET['c']); ?>",
        "html before png": polyglot,
        "signature alone": b"\x89PNG\r\n\x1a\n",
        "half": whole[: len(whole) // 2],
        "bomb": bomb(),
        "text": b"hello",
        "nul": b"\0",
        "bmp": picture("BMP"),
        "tiff": picture("TIFF"),
        "pdf": picture("PDF"),
        "ico": picture("ICO"),
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n",
    }

    for name, data in hostile.items():
        assert await upload(shop, data) == BAD, name

    assert await kept_picture(shop) == ""
    assert not media.exists()


async def test_a_picture_broken_anywhere_is_kept_whole_or_not_at_all(shop: Canteen) -> None:
    for kind in ("PNG", "JPEG", "GIF", "WEBP"):
        whole = picture(kind, size=(64, 64))
        for at in range(0, len(whole), max(1, len(whole) // 40)):
            broken = whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]
            assert await upload(shop, broken) in (KEPT, BAD), (kind, at)
            assert await upload(shop, whole[:at]) in (KEPT, BAD, NONE), (kind, at)


async def test_what_hides_behind_the_last_pixel_is_left_behind(shop: Canteen, media: Path) -> None:
    assert await upload(shop, picture("JPEG") + b"<?php system('id'); ?>") == KEPT

    (file,) = media.iterdir()
    assert b"php" not in file.read_bytes()


async def test_no_file_an_empty_file_and_a_file_of_another_name(shop: Canteen) -> None:
    phone = await shop.posts()
    fields = {"query": "update", "sessionKey": shop.keys["chen"]}

    assert await upload(shop, b"") == NONE
    assert await upload(shop, picture(), name="imageName") == NONE
    assert await phone.ask({**fields, "sellerImage": "../../etc/passwd"}) == NONE
    assert await kept_picture(shop) == ""


async def test_a_large_photograph_is_made_small(shop: Canteen) -> None:
    assert await upload(shop, picture("JPEG", size=(3000, 2000))) == KEPT

    url = await kept_picture(shop)
    served = await (await shop.posts()).get(url.removeprefix("http://127.0.0.1"))

    assert Image.open(io.BytesIO(served.content)).size == (1200, 800)


async def test_who_has_no_stall_or_a_lapsed_one_leaves_no_file(shop: Canteen, media: Path) -> None:
    phone = await shop.posts()
    await shop.sign_in("sun")
    await shop.sign_in("wang")
    await shop.hold_the_jobs()
    before = await shop.rows()

    for who, reason in (("sun", "Need Renew Error"), ("wang", "Need Signup Error")):
        fields = {"query": "update", "sessionKey": shop.keys[who]}
        answer = await phone.upload(fields, picture())
        assert answer == {
            "updateSuccess": "fail",
            "updateImageSuccess": "fail",
            "failMsg": reason,
        }
    shop.clock.advance(seconds=3601)
    answer = await phone.upload({"query": "update", "sessionKey": shop.keys["chen"]}, picture())

    assert answer == {"queryErr": "Session Time Out"}
    assert not media.exists()
    assert await shop.rows() == before


async def test_a_full_disk_is_told_and_changes_no_picture(
    shop: Canteen, media: Path, expect_log: Callable[[str], None]
) -> None:
    expect_log("a picture was not stored")
    media.write_text("a file where the folder should be")

    answer = await upload(shop, picture())

    assert answer == {**BAD, "failMsg": "Move 2 Error"}
    assert await kept_picture(shop) == ""


# ---------------------------------------------------------------- qrcode


async def test_the_code_leads_to_the_stalls_page_and_is_made_once(
    shop: Canteen, media: Path
) -> None:
    answer = await shop.ask("chen", "qrcode")
    again = await shop.ask("chen", "qrcode")
    served = await (await shop.posts()).get("/media/code-1.png")

    assert answer == again
    assert answer["qrcodeImageUrl"] == "http://127.0.0.1/media/code-1.png"
    assert wxacode.read(served.content) == "sellerId=1"
    assert Image.open(io.BytesIO(served.content)).size == (430, 430)
    assert shop.wechat.counts["getwxacodeunlimit"] == 1
    assert [file.name for file in media.iterdir()] == ["code-1.png"]


@pytest.mark.parametrize(
    ("kind", "errcode"),
    [("errcode", 45009), ("errcode", -1), ("errcode", 41030), ("nonsense", 0), ("drop", 0)],
)
async def test_an_error_of_wechat_is_never_kept_as_a_picture(
    shop: Canteen, media: Path, expect_log: Callable[[str], None], kind: str, errcode: int
) -> None:
    expect_log("no mini-program code")
    shop.fail("getwxacodeunlimit", kind, errcode)

    assert await shop.ask("chen", "qrcode") == {"qrcodeSuccess": "fail", "failMsg": "API Error"}

    assert not media.exists()
    assert (await shop.ask("chen", "qrcode"))["qrcodeSuccess"] == "success"


async def test_a_rejected_access_token_is_renewed_on_the_way(shop: Canteen) -> None:
    shop.fail("getwxacodeunlimit", "errcode", 40001)

    assert (await shop.ask("chen", "qrcode"))["qrcodeSuccess"] == "success"
