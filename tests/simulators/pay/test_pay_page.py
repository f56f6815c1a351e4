"""The phone on the demo's page, used by hand in Chromium."""

from urllib.parse import quote

import httpx
import pytest
from playwright.async_api import async_playwright, expect

from simulators.wechat import WeChat
from tests.simulators.pay.merchant import hand, look, place
from tests.simulators.pay.test_pay_score import APPLY, ORDERS, PERMISSIONS, creation
from tests.simulators.pay.v3 import Client

pytestmark = pytest.mark.browser


async def test_a_person_pays_scans_and_confirms_on_the_page(
    caller: httpx.AsyncClient, client: Client, wechat: WeChat
) -> None:
    await place(caller)
    native = await place(caller, out_trade_no="T-2", trade_type="NATIVE", product_id="1", openid="")
    await client.ask("POST", ORDERS, creation())
    await client.ask("POST", PERMISSIONS, APPLY)

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        page = await browser.new_page()
        await page.goto(f"{wechat.url}/scan?url={quote(native['code_url'])}")
        await page.get_by_label("openid").fill("o-bob")
        await page.get_by_role("button", name="扫码").click()
        await page.locator(".card", has_text="T-2").get_by_role("button", name="支付 Pay").click()
        await expect(page.locator("#payments .card")).to_have_count(1)
        await page.locator(".card", has_text="T-0001").get_by_role("button", name="Fail").click()
        await page.get_by_role("button", name="同意").click()
        await page.get_by_role("button", name="确认").click()
        await expect(page.locator("#scores .card")).to_have_count(0)
        await page.get_by_label("code").fill("no code")
        await page.get_by_role("button", name="扫码").click()
        await expect(page.get_by_role("status")).to_have_text("not a code of WeChat Pay")
        await expect(page.locator("#ledger")).to_contain_text("T-2")
        await browser.close()

    orders = {o["out_trade_no"]: o for o in (await look(caller, "state"))["orders"]}
    assert (orders["T-2"]["state"], orders["T-2"]["payer"]) == ("SUCCESS", "o-bob")
    assert orders["T-0001"]["state"] == "PAYERROR"
    assert wechat.pay.score.all["S-0001"].openid == "o-bob"
    assert wechat.pay.permissions.holds("o-bob", str(APPLY["appid"]))
    await hand(caller, "idle")
