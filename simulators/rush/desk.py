"""Signing in: a code from (the simulated) WeChat, and what the server gives for it."""

import secrets
from typing import Any

import httpx

from simulators.rush.links import LinkLostError, RefusedError
from simulators.wechat.apps import CALLED_TEMPLATE_ID


class Desk:
    """What a phone asks of WeChat and of the server before it has a session."""

    def __init__(self, http: httpx.AsyncClient, base_url: str, wechat_url: str = "") -> None:
        self._http = http
        self._base_url = base_url.rstrip("/")
        self._wechat_url = wechat_url.rstrip("/")

    async def code(self, openid: str, app: str) -> str:
        """A fresh login code. Without a WeChat address, one by the simulator's convention."""
        if not self._wechat_url:
            return f"sim:{openid}:{secrets.token_hex(8)}"
        body = {"openid": openid, "app": app}
        answer = await self._ask("POST", self._wechat_url + "/sim/codes", json=body)
        return str(answer.json()["code"])

    async def grant(self, openid: str) -> str:
        """The person allows one message; the template's id, or nothing without a WeChat."""
        if not self._wechat_url:
            return ""
        body = {"openid": openid, "template_id": CALLED_TEMPLATE_ID}
        await self._ask("POST", self._wechat_url + "/sim/grants", json=body)
        return CALLED_TEMPLATE_ID

    async def messages_sent(self) -> int:
        """How many subscribe messages WeChat has delivered so far."""
        if not self._wechat_url:
            return 0
        answer = await self._ask("GET", self._wechat_url + "/sim/inbox")
        return int(answer.json()["count"])

    async def sign_in(self, openid: str, app: str) -> dict[str, Any]:
        """{token, account, …} of a new session. Raises RefusedError, LinkLostError."""
        body = {"app": app, "code": await self.code(openid, app)}
        answer = await self._ask("POST", self._base_url + "/api/v1/sessions", json=body)
        session: dict[str, Any] = answer.json()
        return session

    async def _ask(self, method: str, url: str, *, json: object = None) -> httpx.Response:
        try:
            answer = await self._http.request(method, url, json=json)
        except httpx.HTTPError as error:
            raise LinkLostError(f"{url}: {error!r}") from error
        if answer.status_code >= 500:
            raise LinkLostError(f"{url}: {answer.status_code}")
        if answer.is_error:
            raise RefusedError(problem_code(answer))
        return answer


def problem_code(answer: httpx.Response) -> str:
    """The stable code of an application/problem+json body, or the HTTP status."""
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    code = problem.get("code") if isinstance(problem, dict) else None
    return str(code or f"http_{answer.status_code}")
