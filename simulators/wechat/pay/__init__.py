"""A simulated WeChat Pay: orders, refunds, bills, Payscore, and what it notifies of."""

from simulators.wechat.pay.wechatpay import WeChatPay

__all__ = ["WeChatPay"]
