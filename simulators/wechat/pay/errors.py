"""The vendor's refusals: V2's err_codes, and V3's codes with the number behind the Request-Id."""

TEXTS = {
    "APPID_NOT_EXIST": "appid不存在",
    "APPID_MCHID_NOT_MATCH": "appid和mch_id不匹配",
    "ERROR": "业务错误",
    "INVALID_REQUEST": "请求参数符合参数格式，但不符合业务规则",
    "INVALID_TRANSACTIONID": "无效transaction_id",
    "LACK_PARAMS": "缺少参数",
    "NOAUTH": "商户无此接口权限",
    "NOTENOUGH": "基本账户余额不足，请充值后重新发起",
    "ORDERCLOSED": "订单已关闭",
    "ORDERNOTEXIST": "订单不存在",
    "ORDERPAID": "该订单已支付",
    "OUT_TRADE_NO_USED": "商户订单号重复",
    "PARAM_ERROR": "参数错误",
    "REFUNDNOTEXIST": "退款单查询失败",
    "REFUND_FEE_MISMATCH": "订单金额或退款金额与之前请求不一致，请核实后再试",
    "SYSTEMERROR": "系统超时",
    "TRADE_OVERDUE": "订单已经超过可退款的最大期限",
    "TRADE_STATE_ERROR": "订单状态错误",
}


class Refusal(Exception):
    """A clear no to a signed question; V2 answers it as result_code FAIL, signed."""

    def __init__(self, err_code: str, text: str = "") -> None:
        self.text = text or TEXTS[err_code]
        super().__init__(f"{err_code}: {self.text}")
        self.err_code = err_code


class Envelope(Exception):
    """V2's return_code FAIL: nothing was understood, so nothing is signed."""

    def __init__(self, return_msg: str, error_code: str = "") -> None:
        super().__init__(return_msg)
        self.return_msg = return_msg
        self.error_code = error_code


class V3Refusal(Exception):
    """An HTTP status with a code; the number is told at the end of the Request-Id only."""

    def __init__(self, status: int, code: str, message: str, number: int = 0) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.number = number
