"""The mini-programs this WeChat knows, with their secrets and message templates.

Nothing here is secret: the ids exist in this simulator only.
"""

import msgspec

DINER_APPID = "wx5a1e0000000d1ce1"
DINER_SECRET = "5a1e0000000000000000000000d1ce10"  # nosec B105
SELLER_APPID = "wx5a1e000000005e11"
SELLER_SECRET = "5a1e00000000000000000000005e1100"  # nosec B105

CALLED_TEMPLATE_ID = "simCalled00000000000000000000000000000000-A"


class App(msgspec.Struct, frozen=True):
    name: str
    appid: str
    secret: str


class Template(msgspec.Struct, forbid_unknown_fields=True):
    """A subscribe-message template: which fields a message must carry, with their labels.

    app: "diner" or "seller", the mini-program the template was chosen in.
    """

    template_id: str
    title: str
    fields: dict[str, str]
    app: str = "diner"


APPS = (App("diner", DINER_APPID, DINER_SECRET), App("seller", SELLER_APPID, SELLER_SECRET))


def default_templates() -> dict[str, Template]:
    called = Template(
        template_id=CALLED_TEMPLATE_ID,
        title="取餐提醒",
        fields={
            "character_string1": "取餐号",
            "thing2": "档口",
            "thing3": "餐品",
            "time4": "叫号时间",
            "thing5": "温馨提示",
        },
    )
    return {called.template_id: called}
