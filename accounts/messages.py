"""What crosses a wire: WeChat's answers, and the message that waits in the outbox."""

from typing import Annotated

import msgspec

# The outbox rows that Messages.deliver_subscribe_message delivers.
SUBSCRIBE_MESSAGE = "wechat.subscribe_message"


class SubscribeMessage(msgspec.Struct, frozen=True):
    """Payload of the outbox. Names the account: an openid is not written down twice."""

    account_id: int
    template: str
    page: str
    data: dict[str, str]
    lang: str = "zh_CN"


class Delivered(msgspec.Struct, frozen=True):
    """The parcel has arrived."""


class Retry(msgspec.Struct, frozen=True):
    """The parcel may arrive later."""

    reason: str


class Dead(msgspec.Struct, frozen=True):
    """The parcel can never arrive."""

    reason: str


class Verdict(msgspec.Struct, frozen=True):
    """What every answer of WeChat may be instead of what was asked for."""

    errcode: int = 0
    errmsg: str = ""


class SendAnswer(msgspec.Struct, frozen=True):
    """cgi-bin/message/subscribe/send: without an errcode it is not WeChat's answer."""

    errcode: int


class CodeAnswer(Verdict, frozen=True):
    """sns/jscode2session. Its session_key is not read: nothing here may ever hold it."""

    openid: str = ""


class TokenAnswer(Verdict, frozen=True):
    """cgi-bin/stable_token. expires_in in seconds."""

    access_token: str = ""
    expires_in: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 0
