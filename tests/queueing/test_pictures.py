"""Pictures are judged by what they are, drawn anew, and kept under names of ours."""

import io
import os
import random
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from queueing.stalls.model import BadPicture, PictureTooLarge
from queueing.stalls.pictures import PART_AGE_S, PIXELS_MAX, SIDE_MAX, SIZE_MAX, Pictures


@pytest.fixture
def pictures(tmp_path: Path) -> Pictures:
    return Pictures(tmp_path / "media")


def drawing(mode: str = "RGB", size: tuple[int, int] = (60, 40)) -> Image.Image:
    """Red above, blue below: which way is up can be seen."""
    picture = Image.new("RGB", size, "red")
    ImageDraw.Draw(picture).rectangle((0, size[1] // 2, size[0], size[1]), fill="blue")
    return picture.convert(mode)


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def kept(pictures: Pictures, name: str) -> Image.Image:
    with Image.open(pictures.folder / name) as picture:
        picture.load()
        return picture


def is_near(pixel: object, wanted: tuple[int, ...]) -> bool:
    assert isinstance(pixel, tuple)
    return all(abs(a - b) < 40 for a, b in zip(pixel, wanted, strict=True))


RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
async def test_the_four_kinds_are_kept(pictures: Pictures, kind: str) -> None:
    name = await pictures.keep(saved(drawing(), kind), name="stall-7")

    picture = kept(pictures, name)
    assert (picture.size, picture.mode) == ((60, 40), "RGB")
    assert is_near(picture.getpixel((5, 5)), RED)
    assert is_near(picture.getpixel((5, 35)), BLUE)


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "PPM", "ICO", "PDF"])
async def test_other_kinds_are_refused(pictures: Pictures, kind: str) -> None:
    with pytest.raises(BadPicture):
        await pictures.keep(saved(drawing(), kind), name="stall-7")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"<!doctype html><script>alert(1)</script>",
        b"GIF89a" + b"<script>alert(1)</script>" * 20,
        b"\x89PNG\r\n\x1a\n" + b"<?php phpinfo(); ?>" * 20,
        b"\xff\xd8\xff\xe0" + bytes(500),
        b"RIFF\xff\xff\xff\xffWEBPVP8 " + bytes(200),
    ],
)
async def test_what_only_looks_like_a_picture_is_refused(pictures: Pictures, data: bytes) -> None:
    with pytest.raises(BadPicture):
        await pictures.keep(data, name="stall-7")

    assert not pictures.folder.exists()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
async def test_a_script_behind_the_last_pixel_is_not_kept(pictures: Pictures, kind: str) -> None:
    name = await pictures.keep(saved(drawing(), kind) + b"<script>alert(1)</script>", name="s")

    assert b"script" not in (pictures.folder / name).read_bytes()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
async def test_what_a_file_says_about_itself_is_not_kept(pictures: Pictures, kind: str) -> None:
    exif = Image.Exif()
    exif[0x010E] = "<script>description</script>"
    told = {"exif": exif, "icc_profile": b"<script>profile</script>" + bytes(200)}
    if kind == "JPEG":
        told["comment"] = b"<script>comment</script>"

    for mode in ("RGB", "L"):
        name = await pictures.keep(saved(drawing(mode), kind, **told), name="s")
        assert b"script" not in (pictures.folder / name).read_bytes()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
async def test_a_photograph_stands_upright(pictures: Pictures, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # The camera was held upright: turn by a quarter to the right.

    name = await pictures.keep(saved(drawing(), kind, exif=exif), name="stall-7")

    picture = kept(pictures, name)
    assert picture.size == (40, 60)
    assert is_near(picture.getpixel((35, 30)), RED)
    assert is_near(picture.getpixel((5, 30)), BLUE)


async def test_of_an_animated_picture_the_first_frame_is_kept(pictures: Pictures) -> None:
    frames = [Image.new("RGB", (60, 40), (n, 0, 0)) for n in range(0, 250, 25)]

    for kind in ("GIF", "WEBP", "PNG"):
        data = saved(drawing(), kind, save_all=True, append_images=frames)
        name = await pictures.keep(data, name=kind)
        picture = kept(pictures, name)
        assert getattr(picture, "n_frames", 1) == 1
        assert is_near(picture.getpixel((5, 5)), RED)


async def test_a_picture_for_printers_gets_a_screens_colours(pictures: Pictures) -> None:
    name = await pictures.keep(saved(drawing("CMYK"), "JPEG"), name="stall-7")

    picture = kept(pictures, name)
    assert picture.mode == "RGB"
    assert is_near(picture.getpixel((5, 5)), RED)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
async def test_all_sorts_of_colours_are_understood(pictures: Pictures, mode: str) -> None:
    picture = Image.new("I;16", (60, 40), 40_000) if mode == "I;16" else drawing(mode)

    name = await pictures.keep(saved(picture, "PNG"), name="stall-7")

    assert kept(pictures, name).mode == ("RGBA" if "A" in mode else "RGB")


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
async def test_a_palette_with_holes_keeps_its_holes(pictures: Pictures, kind: str) -> None:
    picture = Image.new("P", (60, 40), 0)
    picture.putpalette([255, 255, 255, 255, 0, 0])
    picture.paste(1, (0, 0, 30, 40))

    name = await pictures.keep(saved(picture, kind, transparency=0), name="stall-7")

    again = kept(pictures, name)
    assert again.mode == "RGBA"
    assert again.getpixel((5, 5)) == (255, 0, 0, 255)
    assert again.getpixel((55, 5))[3] == 0  # type: ignore[index]


async def test_a_large_picture_is_made_as_large_as_a_screen(pictures: Pictures) -> None:
    name = await pictures.keep(saved(drawing(size=(4000, 3000)), "JPEG"), name="stall-7")

    assert kept(pictures, name).size == (SIDE_MAX, SIDE_MAX * 3 // 4)


async def test_a_photograph_is_not_blown_up_by_being_drawn_anew(pictures: Pictures) -> None:
    noise = Image.effect_noise((1200, 900), 60).convert("RGB")
    data = saved(noise, "JPEG", quality=60)
    assert len(data) < SIZE_MAX

    name = await pictures.keep(data, name="stall-7")

    assert name.endswith(".jpg")
    assert (pictures.folder / name).stat().st_size < 2 * len(data)


# Size


async def test_512_kib_are_the_limit(pictures: Pictures) -> None:
    data = saved(drawing(), "PNG")
    padded = data + bytes(SIZE_MAX - len(data))
    assert len(padded) == 512 * 1024

    await pictures.keep(padded[:-1], name="stall-7")
    await pictures.keep(padded, name="stall-7")
    with pytest.raises(PictureTooLarge):
        await pictures.keep(padded + b"\x00", name="stall-7")


def png(width: int, height: int, *, rows: int) -> bytes:
    """A PNG that claims a size, and packs some rows of nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    packed = zlib.compress(bytes((width // 8 + 1) * rows), 9)
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(*part) for part in ((b"IHDR", head), (b"IDAT", packed), (b"IEND", b""))
    )


@pytest.mark.parametrize(
    "data",
    [
        png(60_000, 60_000, rows=600),
        png(PIXELS_MAX // 1000 + 1, 1000, rows=1000),
        png(2**31 - 1, 2**31 - 1, rows=0),
        b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b",\x00\x00\x00\x00"
        + struct.pack("<HHB", 65535, 65535, 0) + b"\x02\x02\x44\x01\x00;",
    ],
)  # fmt: skip
async def test_a_bomb_is_refused_before_it_is_unpacked(pictures: Pictures, data: bytes) -> None:
    assert len(data) < SIZE_MAX

    with pytest.raises(BadPicture):
        await pictures.keep(data, name="stall-7")


async def test_the_largest_picture_that_is_taken_is_taken(pictures: Pictures) -> None:
    name = await pictures.keep(png(PIXELS_MAX // 1000, 1000, rows=1000), name="stall-7")

    assert kept(pictures, name).width == SIDE_MAX


async def test_a_jpeg_of_a_thousand_scans_is_refused(pictures: Pictures) -> None:
    data = saved(drawing(size=(400, 400)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    scan = data[last:-2]
    await pictures.keep(data, name="stall-7")

    with pytest.raises(BadPicture):
        await pictures.keep(data[:last] + scan * 1000 + data[-2:], name="stall-7")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
async def test_a_broken_file_is_refused_or_drawn_never_an_error(
    pictures: Pictures, kind: str
) -> None:
    chance = random.Random(kind)
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {} if kind == "GIF" else {"exif": exif}
    whole = saved(drawing(size=(90, 70)), kind, **options)
    refused = 0

    for turn in range(250):
        data = bytearray(whole)
        if turn < 50:
            del data[turn * len(data) // 50 :]
        else:
            for _ in range(chance.choice([1, 1, 2, 8, 40])):
                data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            await pictures.keep(bytes(data), name="stall-7")
        except BadPicture:
            refused += 1

    assert refused


# Names


async def test_the_same_picture_has_the_same_name_and_another_has_another(
    pictures: Pictures,
) -> None:
    one, two = saved(drawing(), "PNG"), saved(drawing(size=(61, 40)), "PNG")

    names = [await pictures.keep(data, name="stall-7") for data in (one, one, two)]

    assert names[0] == names[1] != names[2]
    assert all(name.startswith("stall-7-") for name in names)
    assert sorted(path.name for path in pictures.folder.iterdir()) == sorted(set(names))


async def test_a_picture_that_stays_is_found_by_its_name(pictures: Pictures) -> None:
    assert pictures.find("code-7") is None

    name = await pictures.keep_as(saved(drawing(), "JPEG"), name="code-7")

    assert name == "code-7.png"
    assert pictures.find("code-7") == name
    assert kept(pictures, name).format == "PNG"
    with pytest.raises(BadPicture):
        await pictures.keep_as(b'{"errcode":40001}', name="code-8")
    assert pictures.find("code-8") is None


async def test_a_dropped_picture_is_gone_and_may_be_dropped_again(pictures: Pictures) -> None:
    name = await pictures.keep(saved(drawing(), "PNG"), name="stall-7")

    for _ in range(2):
        await pictures.drop(name)

    assert list(pictures.folder.iterdir()) == []


async def test_what_a_killed_process_left_is_tidied_up(pictures: Pictures) -> None:
    name = await pictures.keep(saved(drawing(), "PNG"), name="stall-7")
    left, being_written = (pictures.folder / f".{name}.{pid}.part" for pid in (4711, 4712))
    for part in (left, being_written):
        part.write_bytes(b"half")
    hour_ago = being_written.stat().st_mtime - PART_AGE_S - 1
    os.utime(left, (hour_ago, hour_ago))
    gone = pictures.folder / ".gone.4713.part"
    gone.symlink_to("nowhere")

    await pictures.keep(saved(drawing(), "PNG"), name="stall-7")

    gone.unlink()
    assert sorted(pictures.folder.iterdir()) == sorted([being_written, pictures.folder / name])
