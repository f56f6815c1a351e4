"""Subscribe messages: what people allowed, what was sent to them, and what is refused."""

from typing import Any

import msgspec

from simulators.clock import VirtualClock
from simulators.wechat.apps import APPS, Template, default_templates
from simulators.wechat.errors import WeChatError
from simulators.wechat.fields import fits
from simulators.wechat.logins import Logins

INBOX_MAX = 2000
STATES = ("formal", "trial", "developer")


class Letter(msgspec.Struct, forbid_unknown_fields=False):
    """The body of subscribe/send."""

    touser: str = ""
    template_id: str = ""
    page: str = ""
    data: dict[str, Any] = {}
    miniprogram_state: str = "formal"
    lang: str = "zh_CN"


class Message(msgspec.Struct):
    id: int
    appid: str
    openid: str
    template_id: str
    title: str
    page: str
    lines: dict[str, str]
    data: dict[str, str]
    miniprogram_state: str
    lang: str
    sent_at_s: float


class Messages:
    """One tap of a person allows one message of one template."""

    def __init__(self, clock: VirtualClock, logins: Logins) -> None:
        self._clock = clock
        self._logins = logins
        self._next_id = 1
        self.templates = default_templates()
        self.grants: dict[tuple[str, str], int] = {}
        self.inbox: list[Message] = []
        self.pages: set[str] | None = None

    def grant(self, openid: str, template_id: str, times: int = 1) -> int:
        """Allow so many more messages; how many are left. Raises KeyError for the template."""
        template = self.templates[template_id]
        self._logins.introduce(_appid(template.app), openid)
        key = (openid, template_id)
        self.grants[key] = max(0, self.grants.get(key, 0) + times)
        return self.grants[key]

    def send(self, appid: str, letter: Letter) -> Message:
        """Deliver once per grant. Raises WeChatError; a letter refused uses up no grant."""
        if not self._logins.knows(appid, letter.touser):
            raise WeChatError(40003)
        template = self.templates.get(letter.template_id)
        if template is None or _appid(template.app) != appid:
            raise WeChatError(40037)
        if letter.page and not self.has_page(letter.page.partition("?")[0]):
            raise WeChatError(41030)
        data = _checked(template, letter)
        left = self.grants.get((letter.touser, letter.template_id), 0)
        if left == 0:
            raise WeChatError(43101)
        self.grants[letter.touser, letter.template_id] = left - 1
        return self._deliver(appid, template, letter, data)

    def has_page(self, page: str) -> bool:
        """Whether the mini-program has this page; any well-formed one until pages are published."""
        if self.pages is not None:
            return page in self.pages
        return bool(page) and not page.startswith("/") and "?" not in page and " " not in page

    def _deliver(
        self, appid: str, template: Template, letter: Letter, data: dict[str, str]
    ) -> Message:
        message = Message(
            id=self._next_id,
            appid=appid,
            openid=letter.touser,
            template_id=template.template_id,
            title=template.title,
            page=letter.page,
            lines={label: data[field] for field, label in template.fields.items()},
            data=data,
            miniprogram_state=letter.miniprogram_state,
            lang=letter.lang,
            sent_at_s=self._clock.now_s(),
        )
        self._next_id += 1
        self.inbox.append(message)
        del self.inbox[:-INBOX_MAX]
        return message


def _checked(template: Template, letter: Letter) -> dict[str, str]:
    if letter.miniprogram_state not in STATES:
        raise WeChatError(47003, "miniprogram_state invalid")
    for field in letter.data:
        if field not in template.fields:
            raise WeChatError(47003, f"data.{field} is not a field of the template")
    return {field: _value(letter, field) for field in template.fields}


def _value(letter: Letter, field: str) -> str:
    given = letter.data.get(field)
    value = given.get("value") if isinstance(given, dict) else None
    if value is None or value == "":
        raise WeChatError(47003, f"data.{field}.value is empty")
    if not isinstance(value, str) or not fits(field, value):
        raise WeChatError(47003, f"data.{field}.value invalid")
    return value


def _appid(app_name: str) -> str:
    return next(app.appid for app in APPS if app.name == app_name)
