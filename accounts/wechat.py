"""WeChat's mini-program API: who signs in, access tokens, messages, mini-program codes.

WeChat answers HTTP 200 whatever happened; errcode decides. The secret and the access
token travel in the address, so no address is ever logged or put into an error.
Source: developers.weixin.qq.com/miniprogram/dev/OpenApiDoc.
"""

import asyncio
import enum
import logging
import re
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import httpx
import msgspec

from accounts.access_tokens import AccessTokens
from accounts.arguments import fit
from accounts.messages import CodeAnswer, SendAnswer, TokenAnswer, Verdict
from accounts.model import (
    App,
    AppNotConfigured,
    CodeRefused,
    UnfitArgument,
    WeChatRefused,
    WeChatUnavailable,
    mask,
)
from accounts.store import AccessToken
from sql.database import Database
from sql.types import Millis

log = logging.getLogger("callme.accounts")

T = TypeVar("T")

ANSWER_MAX_BYTES: Final = 1 << 20
_CODE: Final = "/sns/jscode2session"
_STABLE: Final = "/cgi-bin/stable_token"
_SEND: Final = "/cgi-bin/message/subscribe/send"
_PICTURE: Final = "/wxa/getwxacodeunlimit"

_BUSY: Final = -1
_TOKEN_REJECTED: Final = frozenset({40001, 40014, 42001})
# Wrong app id or secret: WeChat answers every person the same until the operator acts.
_OUR_CREDENTIALS: Final = frozenset({40013, 40125})
_MESSAGE_REFUSED: Final = 43101
# Wrong openid, template, page, argument: the same message can never be sent.
_MESSAGE_WRONG: Final = frozenset({40003, 40037, 41030, 47003})

_OPENID = re.compile(r"[!-~]{1,64}")
_ACCESS_TOKEN = re.compile(r"[!-~]{1,2048}")
_SCENE = re.compile(r"[0-9A-Za-z!#$&'()*+,/:;=?@\-._~]{1,32}")
_PAGE = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_/-]{0,127}")
_FIELD = re.compile(r"data\.(\w{1,40})")


class MessageResult(enum.Enum):
    """What became of a message; only RETRY may be sent again."""

    SENT = "sent"
    REFUSED = "refused"
    BAD_ARGUMENT = "bad argument"
    RETRY = "retry"


class MiniProgram:
    """One client for all our mini-programs. apps: the app id and secret of each.

    The tokens are shared through db with other processes.
    """

    def __init__(
        self,
        api_url: str,
        apps: Mapping[App, tuple[str, str]],
        *,
        db: Database,
        now: Callable[[], Millis],
        timeout_s: float = 5.0,
    ) -> None:
        self._apps = {app: pair for app, pair in apps.items() if all(pair)}
        self._secrets = dict(self._apps.values())
        self._now = now
        self._timeout_s = timeout_s
        self._tokens = AccessTokens(self._fetch_token, db=db, now=now)
        _quieten_httpx()
        self._http = httpx.AsyncClient(
            base_url=api_url,
            timeout=timeout_s,
            follow_redirects=False,
            trust_env=False,
            # Compressed answers could grow past our bound in one step.
            headers={"accept-encoding": "identity", "user-agent": "callme"},
            limits=httpx.Limits(max_connections=50, max_keepalive_connections=10),
        )

    async def close(self) -> None:
        await self._tokens.close()
        await self._http.aclose()

    async def code_to_openid(self, app: App, code: str) -> str:
        """Exchange a sign-in code, once: it is used up even when the answer is lost.

        Raises CodeRefused when WeChat answers an errcode, WeChatUnavailable.
        """
        appid, secret = self._credentials(app)
        if not (0 < len(code) <= 256 and code.isprintable()):
            raise CodeRefused(40029)
        answer = _decode(
            await self._ask(
                "GET",
                _CODE,
                appid=appid,
                secret=secret,
                js_code=code,
                grant_type="authorization_code",
            ),
            CodeAnswer,
        )
        if answer.errcode:
            if answer.errcode in _OUR_CREDENTIALS:
                log.error("WeChat refuses our %s app id or secret: %d", app, answer.errcode)
            raise CodeRefused(answer.errcode)
        if not _OPENID.fullmatch(answer.openid):
            raise WeChatUnavailable(f"{_CODE}: no openid in the answer")
        return answer.openid

    async def access_token(self, app: App) -> str:
        """Raises WeChatUnavailable, WeChatRefused."""
        return await self._tokens.get(self._credentials(app)[0])

    async def send_subscribe_message(
        self,
        app: App,
        openid: str,
        *,
        template: str,
        page: str,
        data: Mapping[str, str],
        lang: str = "zh_CN",
    ) -> MessageResult:
        """Send one message. May be repeated after RETRY only; never raises for WeChat's sake.

        data: field → text, trimmed here to what the field may hold.
        """
        try:
            body = {
                "touser": openid,
                "template_id": template,
                "page": page,
                "data": fit(data),
                "miniprogram_state": "formal",
                "lang": lang,
            }
            _decode(await self._post(app, _SEND, body), SendAnswer)
        except UnfitArgument as error:
            log.error("message %s: field %s cannot be made to fit", template, error.field)
            return MessageResult.BAD_ARGUMENT
        except WeChatUnavailable as error:
            log.warning("message %s to %s waits: %s", template, mask(openid), error)
            return MessageResult.RETRY
        except WeChatRefused as error:
            return _judge(error, openid=openid, template=template)
        return MessageResult.SENT

    async def mini_program_code(
        self, app: App, *, scene: str, page: str, width: int = 430
    ) -> bytes:
        """The picture of a mini-program code, PNG or JPEG as WeChat likes: see image_type.

        scene: at most 32 visible characters; page: without leading slash and query;
        width: 280 to 1280 pixels. Raises ValueError for others, WeChatRefused,
        WeChatUnavailable.
        """
        if not (_SCENE.fullmatch(scene) and _PAGE.fullmatch(page) and 280 <= width <= 1280):
            raise ValueError("scene, page or width that WeChat would refuse")
        body = {"scene": scene, "page": page, "width": width, "check_path": False}
        picture = await self._post(app, _PICTURE, body)
        if image_type(picture) is None:
            raise WeChatUnavailable(f"{_PICTURE}: the answer is no picture")
        return picture

    async def _post(self, app: App, path: str, body: Mapping[str, object]) -> bytes:
        """POST with an access token, and see that the answer is no errcode.

        A rejected token is renewed, the second time by force.
        """
        appid, _ = self._credentials(app)
        content = msgspec.json.encode(body)
        token = await self._tokens.get(appid)
        answer = await self._ask("POST", path, content=content, access_token=token)
        for force in (False, True):
            if _verdict(answer).errcode not in _TOKEN_REJECTED:
                break
            token = await self._tokens.renew(appid, rejected=token, force=force)
            answer = await self._ask("POST", path, content=content, access_token=token)
        verdict = _verdict(answer)
        if verdict.errcode == _BUSY or verdict.errcode in _TOKEN_REJECTED:
            raise WeChatUnavailable(f"{path}: errcode {verdict.errcode}")
        if verdict.errcode:
            raise WeChatRefused(verdict.errcode, field=_field(verdict.errmsg))
        return answer

    async def _fetch_token(self, appid: str, force: bool) -> AccessToken:
        asked_at = self._now()
        body = {
            "grant_type": "client_credential",
            "appid": appid,
            "secret": self._secrets[appid],
            "force_refresh": force,
        }
        content = msgspec.json.encode(body)
        answer = _decode(await self._ask("POST", _STABLE, content=content), TokenAnswer)
        if answer.errcode in _OUR_CREDENTIALS:
            log.error("WeChat refuses app id %s or its secret: %d", appid, answer.errcode)
        if answer.errcode or not _ACCESS_TOKEN.fullmatch(answer.access_token):
            raise WeChatUnavailable(f"{_STABLE}: errcode {answer.errcode}")
        return AccessToken(answer.access_token, asked_at + answer.expires_in * 1000)

    async def _ask(
        self, method: str, path: str, *, content: bytes | None = None, **params: str
    ) -> bytes:
        """One request, one answer of HTTP 200 and at most 1 MiB. Raises WeChatUnavailable."""
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._http.stream(method, path, params=params, content=content) as response,
            ):
                return await _read(response)
        except (httpx.HTTPError, TimeoutError) as error:
            problem = type(error).__name__
        except _Unreadable as error:
            problem = str(error)
        # Outside of the handler: the client's exception holds the address, and with it the
        # secret, and would hang on ours as its context.
        raise WeChatUnavailable(f"{path}: {problem}")

    def _credentials(self, app: App) -> tuple[str, str]:
        if app not in self._apps:
            raise AppNotConfigured(f"no app id and secret for {app}")
        return self._apps[app]


def _judge(error: WeChatRefused, *, openid: str, template: str) -> MessageResult:
    if error.errcode == _MESSAGE_REFUSED:
        return MessageResult.REFUSED
    if error.errcode in _MESSAGE_WRONG:
        # Ours to mend: the template of the configuration and our arguments do not agree.
        log.error("message %s is wrong: %d %s", template, error.errcode, error.field)
        return MessageResult.BAD_ARGUMENT
    log.warning("message %s to %s waits: errcode %d", template, mask(openid), error.errcode)
    return MessageResult.RETRY


def image_type(picture: bytes) -> str | None:
    """The media type of a whole PNG or JPEG; None for all else, half a picture too."""
    if picture.startswith(b"\x89PNG\r\n\x1a\n") and picture.endswith(b"IEND\xaeB`\x82"):
        return "image/png"
    if picture.startswith(b"\xff\xd8\xff") and picture.endswith(b"\xff\xd9"):
        return "image/jpeg"
    return None


class _Unreadable(Exception):
    """An answer that is not looked into: its status, length or encoding is wrong."""


async def _read(response: httpx.Response) -> bytes:
    if response.status_code != 200:
        raise _Unreadable(f"HTTP {response.status_code}")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise _Unreadable("compressed though not asked")
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > ANSWER_MAX_BYTES:
            raise _Unreadable("longer than 1 MiB")
    return bytes(body)


def _decode(answer: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer, type=kind)
    except (ValueError, RecursionError):
        raise WeChatUnavailable("an answer that is not understood") from None


def _verdict(answer: bytes) -> Verdict:
    """What is said about errors in an answer that may as well be a picture."""
    return _decode(answer, Verdict) if answer.lstrip()[:1] == b"{" else Verdict()


def _field(errmsg: str) -> str:
    """The field an error is about; the rest of the text may repeat what we sent."""
    found = _FIELD.search(errmsg)
    return found[1] if found else ""


class _NoAddresses(logging.Filter):
    """httpx logs the address of each request at INFO; WeChat's contain the secret."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING


_no_addresses = _NoAddresses()


def _quieten_httpx() -> None:
    logging.getLogger("httpx").addFilter(_no_addresses)
