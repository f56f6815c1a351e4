"""A cash desk on each kind of database."""

from collections.abc import AsyncIterator

import pytest

from simulators.wechat import WeChat
from tests.clock import Clock
from tests.money.desk import Desk, free_port

PAY_SETTINGS = ("mch_id", "api_v2_key", "api_v3_key", "merchant_key_file", "merchant_cert_file",
                "platform_keys_dir")  # fmt: skip


@pytest.fixture
def settings(settings: dict[str, str], wechat: WeChat) -> dict[str, str]:
    """WeChat Pay is the simulated one; the port is known before, for notices come to it."""
    told = wechat.pay.introduction(wechat.url)
    port = free_port()
    return {
        **settings,
        **{f"CALLME_WECHATPAY__{name.upper()}": str(told[name]) for name in PAY_SETTINGS},
        "CALLME_WECHATPAY__URL": wechat.url,
        "CALLME_WECHATPAY__ALLOW_SIMULATOR": "true",
        "CALLME_WECHATPAY__NOTIFY_BASE": f"http://127.0.0.1:{port}",
        "CALLME_SERVER__PORT": str(port),
        "CALLME_QUEUE__ADMIN_OPENIDS": "admin-li,admin-zhao",
        "CALLME_SESSION__IDLE_S": "43200",
    }


@pytest.fixture
async def desk(settings: dict[str, str], clock: Clock, wechat: WeChat) -> AsyncIterator[Desk]:
    base = settings["CALLME_WECHATPAY__NOTIFY_BASE"]
    wechat.pay.settings.native_notify_url = f"{base}/notify/wechatpay/v2/native"
    opened = Desk(settings, clock, wechat)
    await opened.open()
    await opened.open_stall()
    for admin in ("admin-li", "admin-zhao"):
        await opened.sign_in(admin)
    yield opened
    await opened.close()
