"""Lost answers, a network that goes, codes that expire, refusals: what the seller is told."""

import pytest

from tests.renew.conftest import Seller
from tests.renew.till import Till

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

ORDERS = "POST /api/v1/stalls/7/renewals"


async def test_a_lost_answer_is_asked_for_again_and_stays_one_order(
    till: Till, seller: Seller
) -> None:
    till.loses_orders = True
    await seller.sign_in()
    await seller.press("微信支付")
    await seller.sees("不会重复下单")

    till.loses_orders = False

    await seller.sees_qr()
    assert till.count(ORDERS) >= 2
    assert len(till.orders) == 1
    assert await seller.text("#network") == ""


async def test_a_reload_before_the_answer_stays_one_order(till: Till, seller: Seller) -> None:
    till.loses_orders = True
    await seller.sign_in()
    await seller.press("微信支付")
    await seller.sees("不会重复下单")

    await seller.page.reload()
    till.loses_orders = False

    await seller.sees_qr()
    assert len(till.orders) == 1


async def test_who_does_not_want_to_wait_may_choose_anew(till: Till, seller: Seller) -> None:
    till.refuse(ORDERS, 503, "payments.unknown")
    await seller.sign_in()
    await seller.press("微信支付")
    await seller.sees("微信还没有回应，正在重试。")

    await seller.press("不等了，返回修改")
    till.allow()
    await seller.page.locator('input[value="1"]').check()
    await seller.press("微信支付 ¥30.00")

    await seller.sees("兰州拉面 续费 1 个月")
    assert till.only_order().months == 1


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (503, "payments.stopped", "收款暂停中"),
        (503, "payments.unavailable", "微信支付还没有配置好"),
        (502, "payments.refused", "微信支付没有接受这笔订单"),
        (409, "payments.pending", "上一笔付款还没关闭"),
        (409, "stall.closed", "档口已被管理员停用"),
        (500, "internal", "请把编号 r-17 告诉管理员"),
    ],
)
async def test_a_refused_order_is_told_and_the_next_press_is_a_new_one(
    till: Till, seller: Seller, status: int, code: str, words: str
) -> None:
    till.refuse(ORDERS, status, code)
    await seller.sign_in()
    await seller.press("微信支付")
    await seller.sees(words)

    till.allow()
    await seller.press("微信支付")

    await seller.sees_qr()
    assert till.count(ORDERS) == 2


async def test_a_busy_database_is_asked_again(till: Till, seller: Seller) -> None:
    till.refuse(ORDERS, 503, "database.commit_unknown")
    await seller.sign_in()
    await seller.press("微信支付")
    await seller.sees("服务器正忙")

    till.allow()

    await seller.sees_qr()


async def test_a_network_that_goes_while_waiting_is_told_and_nothing_is_lost(
    till: Till, seller: Seller
) -> None:
    await seller.order()
    till.is_away = True
    for socket in list(till.sockets):
        socket.close()
    await seller.sees("网络断了")
    till.pay()

    till.is_away = False

    await seller.is_at("receipt")
    await seller.sees("2 → 5 个月")
    assert await seller.text("#network") == ""


async def test_the_sign_in_page_of_a_wifi_is_no_answer(till: Till, seller: Seller) -> None:
    await seller.order()
    till.portal = True
    await seller.sees("网络断了")

    till.portal = False

    await seller.has("document.getElementById('network').textContent === ''")
    await seller.is_at("pay")


async def test_a_browser_that_knows_it_is_offline_says_so_at_once(seller: Seller) -> None:
    await seller.order()

    await seller.context.set_offline(True)
    await seller.sees("网络断了")
    await seller.context.set_offline(False)

    await seller.has("document.getElementById('network').textContent === ''")


async def test_a_reload_goes_on_with_the_same_order(till: Till, seller: Seller) -> None:
    await seller.order()

    await seller.page.reload()
    await seller.sees_qr()
    till.pay()

    await seller.sees("2 → 5 个月")
    assert len(till.orders) == 1


async def test_after_a_new_sign_in_the_order_goes_on(till: Till, seller: Seller) -> None:
    await seller.order()
    till.tokens.clear()
    await seller.sees("没付完的订单还在")

    await seller.page.get_by_label("登录码").fill("other")
    await seller.press("登录")

    await seller.sees_qr()
    assert len(till.orders) == 1


async def test_the_order_of_another_stall_is_forgotten(till: Till, seller: Seller) -> None:
    await seller.order()
    till.tokens.clear()
    await seller.is_at("sign-in")
    assert till.stall is not None
    till.stall["id"] = 8

    await seller.page.get_by_label("登录码").fill("other")
    await seller.press("登录")

    await seller.is_at("choose")


@pytest.mark.parametrize(
    ("state", "debt_state", "words"),
    [
        ("closed", "unpaid", "订单已关闭，请重新下单。"),
        ("submitted", "cancelled", "订单已关闭，请重新下单。"),
        ("failed", "unpaid", "付款没有成功，请重新下单。"),
        ("success", "refunded", "这笔付款已经退回，不计月数。"),
        ("success", "cancelled", "钱到得太晚"),
    ],
)
async def test_an_order_that_ends_unpaid_is_told_and_can_be_made_again(
    till: Till, seller: Seller, state: str, debt_state: str, words: str
) -> None:
    await seller.order(6)
    order = till.only_order()
    order.state, order.debt_state = state, debt_state
    await seller.sees(words)
    assert not await seller.page.locator("#qr").is_visible()

    await seller.press("重新下单")

    await seller.sees_qr()
    assert [order.months for order in till.orders.values()] == [6, 6]


async def test_a_code_expires_after_two_hours(till: Till, seller: Seller) -> None:
    await seller.page.clock.install()
    await seller.order()
    assert (await seller.text("#countdown")).startswith(("01:59:5", "02:00:00"))

    await seller.page.clock.fast_forward("01:52:00")
    await seller.sees("还剩 8 分钟。")
    await seller.page.clock.fast_forward("08:00")

    await seller.sees("二维码已过期。")
    assert not await seller.page.locator("#qr").is_visible()
    assert await seller.text("#countdown") == "00:00:00"
    await seller.button("重新下单").wait_for()


async def test_a_payment_in_the_last_moment_still_counts(till: Till, seller: Seller) -> None:
    await seller.page.clock.install()
    await seller.order()
    await seller.page.clock.fast_forward("02:00:01")
    await seller.sees("二维码已过期。")

    till.pay()

    await seller.is_at("receipt")


async def test_the_servers_own_time_limit_is_kept(till: Till, seller: Seller) -> None:
    till.good_for_s = -1
    await seller.sign_in()

    await seller.press("微信支付")

    await seller.sees("二维码已过期。")


async def test_a_code_that_cannot_be_had_is_asked_for_again(till: Till, seller: Seller) -> None:
    till.refuse("GET /api/v1/payments/S7R0001/qr.png", 503, "database.unavailable")
    await seller.sign_in()
    await seller.press("微信支付")
    await seller.sees("二维码暂时取不到")

    till.allow()

    await seller.sees_qr()


async def test_asking_too_often_is_told(till: Till, seller: Seller) -> None:
    await seller.order()
    till.refuse("POST /api/v1/payments", 429, "rate.limited", retry_after_s=4)

    await seller.press("我已付款")

    await seller.sees("操作太快，请 4 秒后再试。")


async def test_an_order_the_server_does_not_know_can_be_made_again(
    till: Till, seller: Seller
) -> None:
    await seller.order()
    till.orders.clear()

    await seller.sees("找不到这笔订单")

    await seller.press("重新下单")
    await seller.sees_qr()


async def test_a_price_that_changed_in_between_is_told(till: Till, seller: Seller) -> None:
    till.price_fen = 3550
    await seller.sign_in()

    await seller.press("微信支付 ¥90.00")

    await seller.sees("先前显示 ¥90.00，这笔订单是 ¥106.50。")
    assert await seller.text("#pay-amount") == "¥106.50"


async def test_the_receipt_waits_for_the_months_to_be_known(till: Till, seller: Seller) -> None:
    await seller.order()
    till.refuse("GET /api/v1/sellers/me/stall", 503, "database.unavailable")
    till.pay()
    await seller.sees("2 → 正在核对…")

    till.allow()

    await seller.sees("2 → 5 个月")


@pytest.mark.parametrize(
    ("stall", "words"),
    [
        ({"balance_months": 0}, "已到期，续费后才能发号。"),
        ({"balance_months": 1}, "快到期了。"),
        ({"disabled": True}, "档口已被管理员停用"),
    ],
)
async def test_what_is_wrong_with_the_stall_is_told(
    till: Till, seller: Seller, stall: dict[str, int], words: str
) -> None:
    assert till.stall is not None
    till.stall |= stall

    await seller.sign_in()

    await seller.sees(words)
