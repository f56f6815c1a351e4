"""WeChat's numbered errors, with the texts it sends."""

TEXTS = {
    -1: "system error",
    40001: "invalid credential, access_token is invalid or not latest",
    40002: "invalid grant_type",
    40003: "invalid openid",
    40013: "invalid appid",
    40029: "invalid code",
    40037: "invalid template_id",
    40097: "invalid args",
    40125: "invalid appsecret",
    40169: "invalid length for scene, or the data is not json string",
    40226: "high-risk user, login refused",
    41001: "access_token missing",
    41002: "appid missing",
    41004: "appsecret missing",
    41008: "missing code",
    41030: "invalid page",
    42001: "access_token expired",
    43002: "require POST method",
    43101: "user refuse to accept the msg",
    45009: "reach max api daily quota limit",
    45011: "api minute-quota reach limit, must slower, retry next minute",
    47001: "data format error",
    47003: "argument invalid!",
}


class WeChatError(Exception):
    """A refusal in WeChat's words: HTTP 200 and a number."""

    def __init__(self, errcode: int, detail: str = "") -> None:
        text = TEXTS[errcode]
        super().__init__(f"{text} {detail}" if detail else text)
        self.errcode = errcode
