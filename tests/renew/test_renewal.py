"""From choosing months to the receipt, while all goes well."""

import pytest

from tests.renew.conftest import Seller
from tests.renew.till import Till

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_three_months_are_paid_and_the_receipt_says_so(till: Till, seller: Seller) -> None:
    await seller.order(3)
    assert await seller.text("#pay-amount") == "¥90.00"
    assert await seller.text("#pay-what") == "兰州拉面 续费 3 个月"

    till.pay()

    await seller.is_at("receipt")
    await seller.sees("2 → 5 个月")
    receipt = await seller.text("#receipt")
    facts = ["续费成功", "¥90.00", "兰州拉面", "3 个月", "S7R0001"]
    assert [fact for fact in facts if fact not in receipt] == []
    assert await seller.text("#receipt-time") == "2026年11月20日 12:05:06"
    assert not await seller.page.get_by_text("微信支付单号").is_visible()
    assert till.only_order().months == 3


async def test_a_transaction_id_is_on_the_receipt_where_it_is_known(
    till: Till, seller: Seller
) -> None:
    till.names_transactions = True
    await seller.order()

    till.pay()

    await seller.sees("42000S7R0001")


async def test_word_from_the_socket_is_heard_before_the_next_asking(
    till: Till, seller: Seller
) -> None:
    await seller.page.clock.install(time="2026-11-20T12:00:00+08:00")
    await seller.order()
    assert await till.subscribed.get() == "me"
    await seller.page.clock.pause_at("2026-11-20T12:10:00+08:00")  # no timer fires any more

    till.pay(told=True)

    await seller.is_at("receipt")


async def test_the_socket_is_closed_when_the_order_is_paid(till: Till, seller: Seller) -> None:
    await seller.order()
    assert await till.subscribed.get() == "me"

    till.pay()
    await seller.sees("2 → 5 个月")

    await seller.page.wait_for_timeout(0)
    assert till.sockets == []


async def test_i_have_paid_lets_the_server_ask_wechat(till: Till, seller: Seller) -> None:
    await seller.order()
    await seller.press("我已付款")
    await seller.sees("微信还没有收到这笔付款")

    till.only_order().is_paid_at_wechat = True
    await seller.press("我已付款")

    await seller.is_at("receipt")
    assert till.count("POST /api/v1/payments/S7R0001/refresh") == 2


@pytest.mark.parametrize(("typed", "months"), [("7", 7), ("36", 36), ("１２", 12), (" 5 ", 5)])
async def test_any_number_up_to_36_can_be_typed(
    till: Till, seller: Seller, typed: str, months: int
) -> None:
    await seller.sign_in()

    await seller.page.locator("#own").fill(typed)
    await seller.sees(f"付款后共 {2 + months} 个月")
    await seller.press(f"微信支付 ¥{30 * months}.00")

    await seller.sees_qr()
    assert till.only_order().months == months


@pytest.mark.parametrize("typed", ["", "0", "37", "1.5", "-3", "三", "1e1"])
async def test_any_other_number_is_refused_in_words(till: Till, seller: Seller, typed: str) -> None:
    await seller.sign_in()
    await seller.page.locator("#own-choice").check()
    await seller.page.locator("#own").fill(typed)

    await seller.press("微信支付")

    await seller.sees("请填 1 到 36 之间的整数。")
    assert await seller.ask("document.activeElement.id") == "own"
    assert await seller.page.locator("#own").get_attribute("aria-invalid") == "true"
    assert till.orders == {}


async def test_pressing_twice_makes_one_order(till: Till, seller: Seller) -> None:
    await seller.sign_in()

    await seller.ask("for (let press = 0; press < 5; press += 1) order.click()")

    await seller.sees_qr()
    assert till.count("POST /api/v1/stalls/7/renewals") == 1


async def test_going_back_and_choosing_the_same_goes_on_with_the_order(
    till: Till, seller: Seller
) -> None:
    await seller.order(3)
    await seller.press("返回")
    await seller.sees("有一笔还没付款的订单：3 个月，¥90.00。")

    await seller.press("微信支付 ¥90.00")

    await seller.is_at("pay")
    assert len(till.orders) == 1


async def test_an_order_paid_after_going_back_is_noticed(till: Till, seller: Seller) -> None:
    await seller.order(3)
    await seller.press("返回")

    till.pay()

    await seller.is_at("receipt")


async def test_another_choice_is_another_order_with_another_key(till: Till, seller: Seller) -> None:
    await seller.order(3)
    await seller.press("返回")

    await seller.page.locator('input[value="6"]').check()
    await seller.press("微信支付 ¥180.00")

    await seller.sees("兰州拉面 续费 6 个月")
    assert [order.months for order in till.orders.values()] == [3, 6]
    assert len({order.key for order in till.orders.values()}) == 2


async def test_all_of_it_can_be_done_with_the_keyboard(till: Till, seller: Seller) -> None:
    keyboard = seller.page.keyboard
    await seller.open()
    await seller.page.get_by_label("登录码").focus()
    await keyboard.type("good")
    await keyboard.press("Enter")
    await seller.is_at("choose")
    assert await seller.ask("document.activeElement.id") == "choose-title"

    await seller.page.locator("input[value='3']").focus()
    await keyboard.press("ArrowDown")
    await keyboard.press("ArrowDown")
    await keyboard.press("Enter")
    await seller.sees_qr()
    assert await seller.ask("document.activeElement.id") == "pay-title"
    till.only_order().is_paid_at_wechat = True
    await keyboard.press("Tab")
    assert await seller.ask("document.activeElement.id") == "paid"
    await keyboard.press("Enter")

    await seller.is_at("receipt")
    assert await seller.ask("document.activeElement.id") == "receipt-title"
    assert till.only_order().months == 12


async def test_the_receipt_is_printed_alone(till: Till, seller: Seller) -> None:
    await seller.page.add_init_script("window.print = () => (window.printed = true)")
    await seller.order()
    till.pay()
    await seller.sees("2 → 5 个月")

    await seller.press("打印收据")
    await seller.page.emulate_media(media="print")

    assert await seller.ask("window.printed")
    assert not await seller.button("打印收据").is_visible()
    assert not await seller.page.locator(".languages").is_visible()
    assert await seller.page.locator("#receipt").is_visible()


async def test_a_receipt_survives_a_reload_until_it_is_done_with(
    till: Till, seller: Seller
) -> None:
    await seller.order()
    till.pay()
    await seller.sees("2 → 5 个月")
    await seller.page.reload()
    await seller.sees("2 → 5 个月")

    await seller.press("完成")

    await seller.is_at("choose")
    assert await seller.text("#balance-months") == "5"
    await seller.page.reload()
    await seller.is_at("choose")
