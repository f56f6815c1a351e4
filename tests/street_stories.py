"""What happens at a cabinet in a story, and what the server does about it, step by step.

{"cabinet": "XM-0001", "door_no": 1, "takes": {"SKU-1001": 2}}     opened, emptied, closed
{"cabinet": "XM-0001", "door_no": 1, "takes": {}, "certainty": "uncertain"}
{"wechat": "confirms"}                  the buyer confirms the Payscore order that waits
{"wechat": "pays", "number": "<number>"}    the buyer pays, on WeChat's own page
"""

from __future__ import annotations

from typing import Any, Final

from accounts.audit.model import By
from devices.stock.model import Place
from server.app import App
from simulators import xiaomai
from simulators.wechat import WeChat

SYSTEM: Final = By("system")
CODE: Final = "XM-0001"
STORE: Final[dict[str, Any]] = {
    "code": "KIDS-01", "name": "童趣乐园", "type": "kids", "property": "own",
    "address": "学院路 1 号", "phone": "010-10000001", "review_limit_fen": None,
}  # fmt: skip
SHELF: Final = {1: "SKU-1001", 2: "SKU-1002"}
STOCK: Final = 20


def is_beside(step: dict[str, Any]) -> bool:
    """Whether it happens beside the wire."""
    return "cabinet" in step or "wechat" in step


class Street:
    """Everything beside the server: the platform with its cabinets, and WeChat."""

    def __init__(self, app: App, platform: xiaomai.Xiaomai, wechat: WeChat) -> None:
        self._app = app
        self._side = app.cabinets
        self._platform = platform
        self._wechat = wechat

    async def open(self, *, is_filled: bool) -> None:
        """is_filled: 童趣乐园 has a cabinet with drinks behind both doors; else it stands loose."""
        for runner in self._app.runners:
            await runner.stop()
        base = f"http://127.0.0.1:{self._app.port}"
        self._platform.courier.url = f"{base}/cb/xiaomai/{xiaomai.ENDPOINT_ID}/events"
        self._platform.add_cabinet(CODE, doors=2, stock={})
        await self._side.goods.sync()
        if is_filled:
            await self._fill()

    async def _fill(self) -> None:
        fleet = self._side.fleet
        store = await fleet.create_store(STORE, by=SYSTEM)
        made = await fleet.create_device(
            vendor="xiaomai", code=CODE, name="一号柜", doors=(1, 2), by=SYSTEM
        )
        await fleet.bind(made.id, store.id, by=SYSTEM)
        places = [
            Place(door_no=door, layer=1, slot=slot, sku=sku, stock=STOCK, capacity=STOCK)
            for door in (1, 2)
            for slot, sku in SHELF.items()
        ]
        await self._side.stock.want_planogram(made.id, places, by=SYSTEM, key="first")
        await self.settle()
        self._platform.cabinet(CODE).tell_all()
        await self.settle()

    async def act(self, step: dict[str, Any]) -> None:
        if "cabinet" in step:
            self._shop(step)
        elif step["wechat"] == "confirms":
            score = self._wechat.pay.score
            (waiting,) = [each for each in score.all.values() if each.state == "CREATED"]
            score.confirm(waiting, waiting.created.openid)
            await self._app.scores.refresh(waiting.created.out_order_no)
        else:
            self._wechat.pay.pay(self._wechat.pay.orders.find({"out_trade_no": step["number"]}))
            await self._app.payments.refresh(step["number"], payer_id=0)
        await self.settle()

    def _shop(self, step: dict[str, Any]) -> None:
        code = step["cabinet"]
        if "certainty" in step:
            plan = xiaomai.Plan(
                certainty=step["certainty"], candidates=step["takes"], reasons=("camera",)
            )
            self._platform.recognition.plan_next(code, plan)
        skus = [sku for sku, quantity in step["takes"].items() for _ in range(quantity)]
        self._platform.cabinet(code).shop(*skus, door_no=step["door_no"])

    async def pass_by(self, seconds: float) -> None:
        """The others' clocks go on like ours."""
        self._wechat.clock.advance(seconds)
        await self._platform.turn(seconds)
        await self.settle()

    async def settle(self) -> None:
        """What the server does by itself, until nothing is left to do."""
        for _ in range(3):
            await self._platform.idle()
            await self._side.inbox.work_due()
            await self._side.cabinets.run_due()
            await self._app.scores.push_due()
            await self._app.payments.settle_due()
            await self._app.outbox.deliver_due()


def line(step: dict[str, Any]) -> str:
    """As the page shows what happens beside the wire."""
    if "wechat" in step:
        verb = "confirms the order" if step["wechat"] == "confirms" else "pays"
        return f"(the buyer {verb} on WeChat's page)"
    taken = ", ".join(f"{quantity} × {sku}" for sku, quantity in step["takes"].items())
    certain = f", and the platform is {step['certainty']}" if "certainty" in step else ""
    return f"(at {step['cabinet']}, door {step['door_no']}: {taken or 'nothing'} taken{certain})"
