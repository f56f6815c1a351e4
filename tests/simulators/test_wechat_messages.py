"""Subscribe messages: grants, the inbox and the published limits."""

import httpx
import pytest

from simulators.wechat import CALLED_TEMPLATE_ID, SELLER_APPID, SELLER_SECRET
from simulators.wechat.fields import fits
from tests.simulators.calls import CALLED_DATA, control, login, send, token


async def access_token(caller: httpx.AsyncClient) -> str:
    text = (await token(caller))["access_token"]
    assert isinstance(text, str)
    return text


async def test_one_grant_is_one_message(caller: httpx.AsyncClient) -> None:
    granted = await control(
        caller, "grants", openid="o-alice", template_id=CALLED_TEMPLATE_ID, times=2
    )
    key = await access_token(caller)

    answers = [await send(caller, key, "o-alice") for _ in range(3)]

    assert granted == {"left": 2}
    assert [answer["errcode"] for answer in answers] == [0, 0, 43101]
    assert answers[2]["errmsg"].startswith("user refuse to accept the msg rid: ")
    inbox = (await caller.get("/sim/inbox")).json()
    assert inbox["count"] == 2
    assert inbox["messages"][0]["lines"]["取餐号"] == "39"
    assert inbox["messages"][0]["sent_at"] == "2026-11-20T04:00:00.000Z"


async def test_the_inbox_can_be_asked_for_one_person_and_what_is_new(
    caller: httpx.AsyncClient,
) -> None:
    key = await access_token(caller)
    for openid in ("o-alice", "o-bob", "o-alice"):
        await control(caller, "grants", openid=openid, template_id=CALLED_TEMPLATE_ID)
        await send(caller, key, openid)

    alice = (await caller.get("/sim/inbox", params={"openid": "o-alice"})).json()
    new = (await caller.get("/sim/inbox", params={"after": 2})).json()
    none = (await caller.get("/sim/inbox", params={"template_id": "other"})).json()

    assert [m["id"] for m in alice["messages"]] == [1, 3]
    assert [m["id"] for m in new["messages"]] == [3]
    assert none["count"] == 0
    assert (await caller.delete("/sim/inbox")).json() == {}
    assert (await caller.get("/sim/inbox")).json()["count"] == 0


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("thing3", "一二三四五六七八九十一二三四五六七八九十一", "data.thing3.value invalid"),
        ("thing3", "", "data.thing3.value is empty"),
        ("character_string1", "三十九", "data.character_string1.value invalid"),
        ("time4", "12点", "data.time4.value invalid"),
        ("time4", 1205, "data.time4.value invalid"),
        ("thing9", "x", "data.thing9 is not a field of the template"),
    ],
)
async def test_what_does_not_fit_is_refused_by_field_and_uses_no_grant(
    caller: httpx.AsyncClient, field: str, value: object, complaint: str
) -> None:
    await control(caller, "grants", openid="o-alice", template_id=CALLED_TEMPLATE_ID)
    key = await access_token(caller)

    bad = await send(caller, key, "o-alice", data={**CALLED_DATA, field: {"value": value}})
    good = await send(caller, key, "o-alice")

    assert bad["errcode"] == 47003
    assert bad["errmsg"].startswith(f"argument invalid! {complaint} rid: ")
    assert good["errcode"] == 0


async def test_other_refusals_have_their_numbers(caller: httpx.AsyncClient) -> None:
    await login(caller, "sim:o-alice:1")
    key = await access_token(caller)
    seller_key = (await token(caller, appid=SELLER_APPID, secret=SELLER_SECRET))["access_token"]
    await login(caller, "sim:o-sam:1", appid=SELLER_APPID, secret=SELLER_SECRET)

    refused = [
        await send(caller, "", "o-alice"),
        await send(caller, "made-up", "o-alice"),
        await send(caller, key, "o-stranger"),
        await send(caller, key, "o-sam"),
        await send(caller, key, "o-alice", template_id="other"),
        await send(caller, seller_key, "o-sam"),
        await send(caller, key, "o-alice", page="/pages/qu/qu"),
        await send(caller, key, "o-alice", miniprogram_state="live"),
        await send(caller, key, "o-alice", data=[]),
        await send(caller, key, "o-alice"),
    ]

    assert [answer["errcode"] for answer in refused] == [
        *(41001, 40001, 40003, 40003, 40037, 40037, 41030, 47003, 47001, 43101),
    ]


async def test_another_template_can_be_chosen(caller: httpx.AsyncClient) -> None:
    fields = {"phrase1": "状态", "amount2": "金额"}
    await control(caller, "templates", template_id="T2", title="付款", fields=fields, app="seller")
    await control(caller, "grants", openid="o-sam", template_id="T2")
    key = (await token(caller, appid=SELLER_APPID, secret=SELLER_SECRET))["access_token"]

    sent = await send(
        caller,
        key,
        "o-sam",
        template_id="T2",
        data={"phrase1": {"value": "已付款"}, "amount2": {"value": "¥12.50"}},
    )

    assert sent["errcode"] == 0
    titles = [t["title"] for t in (await caller.get("/sim/templates")).json()["templates"]]
    assert titles == ["取餐提醒", "付款"]


async def test_a_grant_for_an_unknown_template_is_refused(caller: httpx.AsyncClient) -> None:
    response = await caller.post("/sim/grants", json={"openid": "o", "template_id": "none"})

    assert response.status_code == 400


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("thing1", "番茄鸡蛋面(大) 少盐!" + "好" * 8, "好" * 21),
        ("number1", "1234.5", "12a"),
        ("letter1", "ABC", "AB1"),
        ("symbol1", "!?#", "!a"),
        ("character_string1", "A-39/2026!", "号39"),
        ("time1", "2026年11月20日 12:05", "25:01"),
        ("time1", "11:30~13:00", "11:30-13:00"),
        ("date1", "2026-11-20", "20/11/2026"),
        ("date1", "2019年10月1日 15:01", "2019年10月"),
        ("amount1", "¥10.5元", "¥12345678901"),
        ("phone_number1", "+86-0766-66888866", "+86-0766-668888660"),
        ("car_number1", "粤A8Z888挂", "粤A8Z888挂12"),
        ("name1", "张三丰", "一二三四五六七八九十一"),
        ("name1", "Zhang Sanfeng", "Abcdefghijklmnopqrstu"),
        ("phrase1", "已叫号", "已经叫过号了"),
        ("phrase1", "请取餐", "OK"),
    ],
)
def test_the_limits_go_by_the_type_in_the_fields_name(field: str, good: str, bad: str) -> None:
    assert fits(field, good)
    assert not fits(field, bad)


def test_an_unknown_type_takes_nothing() -> None:
    assert not fits("colour1", "red")
