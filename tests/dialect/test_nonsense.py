"""Nonsense in every field and every body: an answer in the dialect, and the next one is good."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from handlers.framing import text_frame
from tests.dialect.canteen import Canteen
from tests.dialect.phones import Answer, Frames, encoded
from tests.handlers.live import Closed, masked

QUERIES: Final = (
    *("login", "seller_list", "menu", "fetch", "note", "push", "hungry", "call", "done"),
    *("signup", "info", "admin", "renew", "update", "clear", "qrcode"),
)
FIELDS: Final = (
    *("query", "sessionKey", "code", "isseller", "sellerId", "marchSn", "noteContent", "grant"),
    *("telNum", "sellerName", "personName", "menuList", "term", "signupCode", "sellerImage", "id"),
)
TEXTS: Final = (
    "",
    " ",
    "'",
    "' OR '1'='1",
    "1; DROP TABLE tickets; --",
    '"); DELETE FROM stalls; --',
    "%s %d %n",
    "${7*7}{{7*7}}",
    "../../../etc/passwd",
    "<script>alert(1)</script>",
    "\x00",
    "a\x00b",
    "\r\nSet-Cookie: a=b",
    "\u202eabc",
    "\ufeff",
    "👩‍👩‍👧‍👦",
    "中" * 5000,
    "9" * 400,
    "-1",
    "1e9",
    "0x10",
    "١",
    "NaN",
    "true",
    "null",
    "[]",
    "{}",
)
# As JSON texts, so that what Python would not write can be sent too.
VALUES: Final = (
    *("null", "true", "false", "0", "-0", "-1", "1.5", "5.0", "1e400", "NaN", "Infinity"),
    *("9007199254740991", "9007199254740993", "9" * 400, "[]", "{}", "[[]]", '{"a":1}'),
    *("[1,2,3]", '["1"]', "[null]", '["\\ud800"]', '"\\ud800"', '"\\udc00\\ud800"'),
    *('"\\u0000"', '"\\ud83d\\ude00"', "[" * 500 + "]" * 500, '{"$ne":null}', "tru", '"'),
)


def is_in_the_dialect(answer: Answer, query: object) -> bool:
    if "queryErr" in answer:
        return answer["queryErr"] in {"Illegal query", "Session Time Out"}
    return answer.get(f"{query}Success") in {"success", "fail"}


@pytest.fixture
async def busy(canteen: Canteen) -> Canteen:
    for who in ("chen", "wang", await canteen.admin()):
        await canteen.sign_in(who)
    return canteen


async def check_it_works(canteen: Canteen) -> None:
    """Everything is as it should be, whatever was sent before."""
    rows = await canteen.rows()
    assert len(rows["accounts"]) >= 3
    await canteen.sign_in("chen")
    await canteen.sign_in("wang")
    number = await canteen.fetch()
    mine = {"sellerId": 1, "marchSn": number}
    pushed = await canteen.ask("wang", "push", **mine, noteContent="拌面")
    assert pushed == {"pushSuccess": "success"}
    assert await canteen.ask("chen", "call", marchSn=number) == {"callSuccess": "success"}
    assert await canteen.ask("wang", "hungry", **mine) == {"hungrySuccess": "success"}
    assert await canteen.ask("wang", "done", **mine) == {"doneSuccess": "success"}


def good_fields(query: str) -> dict[str, Any]:
    return {
        "query": query,
        "sellerId": 1,
        "marchSn": 1,
        "noteContent": "拌面",
        "telNum": "13800000002",
        "term": 1,
    }


async def test_nonsense_texts_in_every_field_of_every_query(busy: Canteen) -> None:
    for text in TEXTS:
        for query in QUERIES:
            # All other fields at once, then each of the two that decide who asks what.
            nonsense = dict.fromkeys(FIELDS, text)
            answer = await busy.send("chen", {**nonsense, "query": query, **_key(busy)})
            assert is_in_the_dialect(answer, query), (query, text)
        for field in ("query", "sessionKey"):
            answer = await busy.send("chen", {**good_fields("menu"), **_key(busy), field: text})
            assert set(answer) == {"queryErr"}, (field, text)

    await check_it_works(busy)


async def test_nonsense_texts_in_one_field_of_each_query(busy: Canteen) -> None:
    for query in QUERIES:
        for field in FIELDS[2:]:
            for text in TEXTS[3:20:2]:
                fields = {**good_fields(query), field: text}
                answer = await busy.send("admin-li", fields)
                assert is_in_the_dialect(answer, query), (query, field, text)

    await check_it_works(busy)


def _key(canteen: Canteen) -> dict[str, str]:
    return {"sessionKey": canteen.keys["chen"]}


async def test_json_values_of_every_kind_in_every_field(busy: Canteen) -> None:
    phone = await busy.posts()
    for query in QUERIES:
        for value in VALUES:
            for fields in _json_bodies(query, value, busy.keys["chen"]):
                answer = await phone.send(fields.encode(), "application/json")
                assert is_in_the_dialect(answer, query), fields[:300]

    await check_it_works(busy)


def _json_bodies(query: str, value: str, key: str) -> Iterator[str]:
    """The value in all fields, and in some on their own."""
    known = f'"query":"{query}","sessionKey":"{key}"'
    yield "{" + known + "".join(f',"{name}":{value}' for name in FIELDS[2:]) + "}"
    rest = ',"sellerId":1,"noteContent":"x"'
    for name in ("marchSn", "telNum", "menuList"):
        yield f'{{{known}{rest},"{name}":{value}}}'
    yield f'{{{known},"query":{value}}}'
    yield f'{{"query":"{query}","sessionKey":{value}}}'


async def test_a_field_of_another_kind_erases_nothing(busy: Canteen) -> None:
    phone = await busy.posts()
    key = busy.keys["chen"]
    before = await busy.ask("chen", "info")

    for name in ("sellerName", "personName", "menuList"):
        for value in ("{}", "[[]]", "1.5", '[{"a":1}]', '"\\ud800"', "null"):
            body = f'{{"query":"update","sessionKey":"{key}","{name}":{value}}}'
            await phone.send(body.encode(), "application/json")

    assert await busy.ask("chen", "info") == before


BODIES: Final = {
    "nothing": b"",
    "blanks": b"   \r\n",
    "nul bytes": b"\0" * 1000,
    "no UTF-8": b"\xff\xfe\xfd",
    "half an object": b'{"query":',
    "an array": b'["query"]',
    "a text": b'"query"',
    "a key twice": b'{"query":"menu","query":"fetch"}',
    "deep arrays": b'{"query":"menu","sessionKey":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep and open": b"[" * 1_000_000,
    "many keys": b"{" + b",".join(b'"k%d":1' % i for i in range(50_000)) + b"}",
    "many fields": b"&".join(b"k%d=1" % i for i in range(50_000)),
    "a long text": b"query=" + b"x" * 1_000_000,
    "a long key": b"x" * 1_000_000 + b"=1",
    "a whole mebibyte": b"query=menu&x=" + b"y" * (1024 * 1024 - 13),
    "one byte more": b"query=menu&x=" + b"y" * (1024 * 1024 - 12),
    "equals": b"=" * 100_000,
    "ampersands": b"&" * 100_000,
    "broken escapes": b"query=%zz%&%=%u1234",
    "escapes that are no UTF-8": b"query=%ff%fe",
    "half a surrogate, escaped": b"query=%ed%a0%80&sessionKey=%ed%a0%80",
    "xml": b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
    "gzip": b"\x1f\x8b\x08\x00" + b"\0" * 100,
    "a multipart of parts": b"".join(
        b'--b\r\nContent-Disposition: form-data; name="k%d"\r\n\r\n1\r\n' % i for i in range(5_000)
    )
    + b"--b--\r\n",
    "a multipart without end": b'--b\r\nContent-Disposition: form-data; name="query"\r\n\r\nmenu',
    "a multipart without names": b"--b\r\n\r\nmenu\r\n--b--\r\n",
    "a multipart without UTF-8": (
        b'--b\r\nContent-Disposition: form-data; name="query"\r\n\r\n\xff\r\n--b--\r\n'
    ),
    "a multipart of headers": b"--b\r\n" + b"X: y\r\n" * 20_000 + b"\r\n\r\n--b--\r\n",
}
MEDIA_TYPES: Final = (
    "application/x-www-form-urlencoded",
    "application/json",
    "application/json; charset=gbk",
    "multipart/form-data; boundary=b",
    "multipart/form-data",
    'multipart/form-data; boundary="',
    "Multipart/Form-Data; BOUNDARY=b",
    "text/plain",
    "",
    ";;= ;charset",
)


async def test_bodies_of_every_kind(busy: Canteen) -> None:
    phone = await busy.posts()
    for media_type in MEDIA_TYPES:
        for name, body in BODIES.items():
            answer = await phone.send(body, media_type)
            assert answer["queryErr"] == "Illegal query", (name, media_type)
            assert ("failMsg" in answer) == (len(body) > 1024 * 1024)

    await check_it_works(busy)


async def test_a_good_body_works_under_whatever_name_it_comes(busy: Canteen) -> None:
    phone = await busy.posts()
    key = busy.keys["wang"]
    as_json = json.dumps({"query": "hungry", "sessionKey": key, "marchSn": 5, "sellerId": 1})
    as_form = f"query=hungry&sessionKey={key}&marchSn=5&sellerId=1"
    expected = {"hungrySuccess": "fail", "failMsg": "Not Ready Yet"}

    for media_type in ("application/json", "application/x-www-form-urlencoded", "text/plain", ""):
        assert await phone.send(as_json.encode(), media_type) == expected
    for media_type in ("application/x-www-form-urlencoded; charset=UTF-8", "text/plain", ""):
        assert await phone.send(as_form.encode(), media_type) == expected
    twice = as_form.replace("query=hungry", "query=fetch&query=hungry")
    assert await phone.send(twice.encode(), "application/x-www-form-urlencoded") == expected


async def test_other_methods_are_no_queries(busy: Canteen) -> None:
    key = busy.keys["chen"]
    phone = await busy.posts()
    before = await busy.rows()

    page = await phone.get(f"/?query=fetch&sessionKey={key}")

    assert page.headers["Content-Type"].startswith("text/html")
    assert await busy.rows() == before


@pytest.mark.parametrize("is_plain", [True, False])
async def test_nonsense_in_frames_is_answered_frame_for_frame(
    busy: Canteen, is_plain: bool
) -> None:
    client = await Frames.connect(busy.app.port, is_plain=is_plain)
    await client.exchange({"query": "login", "sessionKey": busy.keys["chen"]})
    texts = [
        *(text for text in TEXTS if len(text) < 1000),
        *(
            f'{{"query":"{query}","marchSn":{value},"telNum":{value},"menuList":{value}}}'
            for query in QUERIES
            for value in VALUES
        ),
        *("[" * 5000, '{"query":' * 800, "%" * 5000, "%f0%9f", "%ED%A0%80", "+" * 5000),
    ]
    for start in range(0, len(texts), 50):
        chosen = texts[start : start + 50]
        client._writer.write(
            b"".join(
                masked(text_frame((text if is_plain else encoded(text)).encode()))
                for text in chosen
            )
        )
        for text in chosen:
            answer = await client.text()
            assert "erver" not in answer, (text, answer)

    client.send('{"query":"hello"}')
    assert await client.text() == '{"push":"hi"}'
    await client.close()
    await check_it_works(busy)


async def test_a_frame_that_is_cut_off_hurts_nobody(busy: Canteen) -> None:
    for cut in range(1, 40):
        client = await Frames.connect(busy.app.port)
        client._writer.write(masked(text_frame(b'{"query":"login","code":"x"}'))[:cut])
        await client._writer.drain()
        await client.close()
        with pytest.raises((Closed, OSError)):
            await client.text()

    await check_it_works(busy)


async def test_a_client_of_http_1_0_and_an_absolute_address_get_their_answers(
    busy: Canteen,
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", busy.app.port)
    body = b"query=nothing"
    writer.write(b"POST http://callme.example/? HTTP/1.0\r\nContent-Length: 13\r\n\r\n" + body)

    answer = await reader.read()

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b'{"queryErr":"Illegal query"}')
    writer.close()
