"""Users who let a merchant open Payscore orders without asking each time.

Source: WeChat Pay V3, Payscore, «商户预授权», «查询与用户授权记录», «解除用户授权关系».
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from simulators.clock import VirtualClock
from simulators.wechat.pay import times
from simulators.wechat.pay.errors import V3Refusal
from simulators.wechat.pay.merchant import APPIDS, MCH_ID, SERVICE_ID
from simulators.wechat.pay.score import refused
from simulators.wechat.pay.score_orders import Id, Number

PermissionState = Literal["ASKED", "AVAILABLE", "UNAVAILABLE"]


class Apply(msgspec.Struct):
    service_id: Id
    appid: Id
    authorization_code: Number
    notify_url: str = ""


class Terminate(msgspec.Struct):
    service_id: Id
    reason: Annotated[str, Meta(min_length=1, max_length=50)]
    appid: str = ""


class Permission(msgspec.Struct):
    """ASKED until the user agreed; the vendor knows no record of it before."""

    applied: Apply
    token: str
    state: PermissionState = "ASKED"
    openid: str = ""
    changed_s: float = 0.0
    reason: str = ""

    def shown(self) -> dict[str, Any]:
        said = {
            "service_id": self.applied.service_id,
            "appid": self.applied.appid,
            "mchid": MCH_ID,
            "openid": self.openid,
            "authorization_code": self.applied.authorization_code,
            "authorization_state": self.state,
            "notify_url": self.applied.notify_url,
        }
        is_open = self.state == "AVAILABLE"
        when = "authorization_success_time" if is_open else "cancel_authorization_time"
        said[when] = times.digits(self.changed_s)
        return {name: value for name, value in said.items() if value}

    def event(self) -> dict[str, Any]:
        """What USER_OPEN_SERVICE and USER_CLOSE_SERVICE carry."""
        is_open = self.state == "AVAILABLE"
        return {
            "appid": self.applied.appid,
            "mchid": MCH_ID,
            "service_id": self.applied.service_id,
            "openid": self.openid,
            "authorization_code": self.applied.authorization_code,
            "user_service_status": "USER_OPEN_SERVICE" if is_open else "USER_CLOSE_SERVICE",
            "openorclose_time": times.digits(self.changed_s),
        }


class Permissions:
    """By authorization_code, each of which is good once."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.all: dict[str, Permission] = {}

    def apply(self, asked: Apply) -> Permission:
        """Raises V3Refusal."""
        if asked.service_id != SERVICE_ID:
            raise refused(268503786)
        if asked.appid not in APPIDS:
            raise refused(271302149)
        known = self.all.get(asked.authorization_code)
        if known is not None and (known.applied != asked or known.state != "ASKED"):
            raise V3Refusal(400, "INVALID_REQUEST", "授权协议号重复")
        permission = known or Permission(asked, secrets.token_urlsafe(48))
        self.all[asked.authorization_code] = permission
        return permission

    def find(self, kind: str, value: str) -> Permission:
        """By "authorization-code", or the newest by "openid". Raises V3Refusal."""
        name = {"authorization-code": None, "openid": "openid"}[kind]
        found = [
            p
            for p in self.all.values()
            if p.state != "ASKED" and value == (p.openid if name else p.applied.authorization_code)
        ]
        if not found:
            raise V3Refusal(404, "RESOURCE_NOT_EXISTS", "授权记录不存在")
        return max(found, key=lambda p: (p.state == "AVAILABLE", p.changed_s))

    def of_token(self, token: str) -> Permission:
        """Raises KeyError."""
        found = next((p for p in self.all.values() if p.token == token), None)
        if found is None:
            raise KeyError("no such apply_permissions_token")
        return found

    def holds(self, openid: str, appid: str) -> bool:
        return any(
            p.state == "AVAILABLE" and (p.openid, p.applied.appid) == (openid, appid)
            for p in self.all.values()
        )

    def grant(self, permission: Permission, openid: str) -> None:
        self._change(permission, "AVAILABLE")
        permission.openid = openid

    def end(self, permission: Permission, reason: str) -> None:
        """Raises V3Refusal when there is none to end."""
        if permission.state != "AVAILABLE":
            raise V3Refusal(400, "INVALID_REQUEST", "用户授权已解除")
        self._change(permission, "UNAVAILABLE")
        permission.reason = reason

    def _change(self, permission: Permission, state: PermissionState) -> None:
        permission.state, permission.changed_s = state, self._clock.now_s()
