"""The calls a mini-program's server makes, in the vendor's own words."""

from typing import Any

import httpx

from simulators.wechat import CALLED_TEMPLATE_ID, DINER_APPID, DINER_SECRET

DINER = {"appid": DINER_APPID, "secret": DINER_SECRET}
CALLED_DATA = {
    "character_string1": {"value": "39"},
    "thing2": {"value": "一号档口"},
    "thing3": {"value": "番茄鸡蛋面"},
    "time4": {"value": "2026-11-20 12:05"},
    "thing5": {"value": "请到档口取餐"},
}


async def login(caller: httpx.AsyncClient, code: str, **changes: str) -> dict[str, Any]:
    query = {**DINER, "js_code": code, "grant_type": "authorization_code", **changes}
    return answer_of(await caller.get("/sns/jscode2session", params=query))


async def token(caller: httpx.AsyncClient, **changes: object) -> dict[str, Any]:
    body = {"grant_type": "client_credential", **DINER, "force_refresh": False, **changes}
    return answer_of(await caller.post("/cgi-bin/stable_token", json=body))


async def send(
    caller: httpx.AsyncClient, access_token: str, openid: str, **changes: object
) -> dict[str, Any]:
    body = {
        "touser": openid,
        "template_id": CALLED_TEMPLATE_ID,
        "page": "pages/qu/qu?sellerId=1",
        "data": CALLED_DATA,
        **changes,
    }
    path = f"/cgi-bin/message/subscribe/send?access_token={access_token}"
    return answer_of(await caller.post(path, json=body))


async def wxacode(
    caller: httpx.AsyncClient, access_token: str, **changes: object
) -> httpx.Response:
    body = {"scene": "sellerId=1", "page": "pages/qu/qu", "width": 430, **changes}
    return await caller.post(f"/wxa/getwxacodeunlimit?access_token={access_token}", json=body)


async def control(caller: httpx.AsyncClient, path: str, **body: object) -> dict[str, Any]:
    return answer_of(await caller.post(f"/sim/{path}", json=body))


def answer_of(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    value = response.json()
    assert isinstance(value, dict)
    return value
