"""A simulated WeChat: sign-in codes, interface tokens, subscribe messages, mini-program codes."""

from simulators.wechat.apps import (
    CALLED_TEMPLATE_ID,
    DINER_APPID,
    DINER_SECRET,
    SELLER_APPID,
    SELLER_SECRET,
)
from simulators.wechat.sim import WeChat

__all__ = [
    "CALLED_TEMPLATE_ID",
    "DINER_APPID",
    "DINER_SECRET",
    "SELLER_APPID",
    "SELLER_SECRET",
    "WeChat",
]
