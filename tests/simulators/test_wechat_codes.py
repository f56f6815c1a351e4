"""getwxacodeunlimit: a picture, or an error in JSON."""

import io

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from simulators.wechat import WeChat, wxacode
from tests.simulators.calls import control, token
from tests.simulators.calls import wxacode as ask_code

SCENE_CHARS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ!#$&'()*+,/:;=?@-._~"


async def test_a_code_is_a_picture_that_holds_its_scene(caller: httpx.AsyncClient) -> None:
    key = (await token(caller))["access_token"]

    response = await ask_code(caller, key, scene="sellerId=12&t=~x", width=280)

    picture = Image.open(io.BytesIO(response.content))
    assert response.headers["Content-Type"] == "image/png"
    assert picture.size == (280, 280)
    assert picture.info["scene"] == "sellerId=12&t=~x"
    assert picture.info["page"] == "pages/qu/qu"
    assert wxacode.read(response.content) == "sellerId=12&t=~x"


@given(
    scene=st.text(SCENE_CHARS, min_size=1, max_size=32),
    width=st.sampled_from([280, 281, 430, 1280]),
)
def test_every_scene_can_be_read_from_the_pixels(scene: str, width: int) -> None:
    picture = wxacode.draw(wxacode.CodeRequest(scene=scene, width=width))

    assert wxacode.read(picture) == scene


def test_a_code_survives_being_saved_as_another_kind_of_picture() -> None:
    out = io.BytesIO()
    drawn = Image.open(io.BytesIO(wxacode.draw(wxacode.CodeRequest(scene="sellerId=3"))))
    drawn.save(out, "JPEG", quality=80)

    assert wxacode.read(out.getvalue()) == "sellerId=3"


def test_what_is_no_code_is_not_read() -> None:
    out = io.BytesIO()
    Image.new("RGB", (430, 430), "white").save(out, "PNG")

    for other in (b'{"errcode":40169}', out.getvalue()):
        with pytest.raises(ValueError, match="picture"):
            wxacode.read(other)


async def test_errors_are_json_with_http_200(caller: httpx.AsyncClient) -> None:
    key = (await token(caller))["access_token"]

    refused = [
        await ask_code(caller, key, scene="x" * 33),
        await ask_code(caller, key, scene="档口=1"),
        await ask_code(caller, key, scene="a%20b"),
        await ask_code(caller, key, scene=""),
        await ask_code(caller, key, page="/pages/qu/qu"),
        await ask_code(caller, key, page="pages/qu/qu?sellerId=1"),
        await ask_code(caller, key, width=279),
        await ask_code(caller, key, width=1281),
        await ask_code(caller, key, env_version="live"),
        await ask_code(caller, key, width="wide"),
        await ask_code(caller, "made-up"),
    ]

    assert [response.json()["errcode"] for response in refused] == [
        *(40169, 40169, 40169, 40169, 41030, 41030, 40097, 40097, 40097, 47001, 40001),
    ]
    assert {response.status_code for response in refused} == {200}


async def test_only_published_pages_once_they_are_named(caller: httpx.AsyncClient) -> None:
    key = (await token(caller))["access_token"]
    await control(caller, "pages", pages=["pages/qu/qu"])

    known = await ask_code(caller, key)
    unknown = await ask_code(caller, key, page="pages/other/other")
    unchecked = await ask_code(caller, key, page="pages/other/other", check_path=False)
    await control(caller, "pages", pages=None)
    free = await ask_code(caller, key, page="pages/other/other")

    assert unknown.json()["errcode"] == 41030
    for response in (known, unchecked, free):
        assert response.headers["Content-Type"] == "image/png"


async def test_five_thousand_a_minute_and_no_more(
    caller: httpx.AsyncClient, wechat: WeChat
) -> None:
    key = (await token(caller))["access_token"]
    for _ in range(5000):
        wechat.code_quota.allows("all", wechat.clock.now_s())

    over = await ask_code(caller, key)
    wechat.clock.advance(60)
    next_minute = await ask_code(caller, key)

    assert over.json()["errcode"] == 45009
    assert next_minute.headers["Content-Type"] == "image/png"
