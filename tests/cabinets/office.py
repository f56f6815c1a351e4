"""The desk: who decides what the machine does not, and has seen every video."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from simulators.xiaomai.orders import Order
from tests.cabinets.world import GOODS, Person, Refused

if TYPE_CHECKING:
    from tests.cabinets.day import Day


class Desk:
    """Who decides what the machine does not, and has seen every video.

    decided: what orders come to by a decision that is not about what was taken, by the
    platform's number.
    """

    def __init__(self, day: Day) -> None:
        self.day = day
        self.off_fen: Counter[str] = Counter()
        self.given_up: set[str] = set()
        self.nothing_taken: set[str] = set()

    @property
    def boss(self) -> Person:
        return self.day.town.boss

    @property
    def colleague(self) -> Person:
        return self.day.town.colleague

    async def work(self, *, is_last: bool = False) -> int:
        """Decide about everything that is open; how much there was. is_last: nothing is left."""
        found = await self.boss.all_of("/admin/exceptions?is_open=true")
        for each in sorted(found, key=lambda one: int(one["id"])):
            if is_last or self.day.rng.random() < 0.5:
                await self._decide(each, is_last=is_last)
        return len(found)

    async def _decide(self, exception: Any, *, is_last: bool) -> None:
        at = f"/admin/exceptions/{exception['id']}"
        for verb, body in await self._rulings(exception, is_last=is_last):
            try:
                await self.boss.ask("POST", f"{at}/{verb}", {"reason": "as was seen", **body})
            except Refused as refusal:
                # It has solved itself meanwhile, or there is another way to decide it.
                if refusal.status not in {404, 409, 422}:
                    raise
                self.day.seen[refusal.code] += 1
                continue
            self.day.seen[f"{exception['kind']} {verb}"] += 1
            self._note(exception, verb)
            return

    async def _rulings(self, exception: Any, *, is_last: bool) -> list[tuple[str, dict[str, Any]]]:
        kind, session_id = exception["kind"], exception["session_id"]
        if exception["order_id"] is not None and kind != "delivery":
            return await self._of_order(exception["order_id"])
        if kind == "delivery":
            # The platform can do without a word of ours; the ERP is to have all that was sold.
            may_go = is_last and exception["text"].startswith("cabinet.confirm ")
            return [("reject" if may_go else "approve", {}), ("close", {})]
        if kind == "no_session":
            return [("approve", {}), ("close", {})]
        if kind == "offline" or session_id is None:
            return [("reject", {}), ("close", {})] if is_last else []
        no = await self._no_of(session_id)
        if self.day.order_of(no) is not None and not is_last:
            return [("reject", {})]
        # Whoever has seen the video knows that no order will come.
        return [("approve", {}), ("reject", {}), ("close", {})] if is_last else []

    async def _of_order(self, order_id: int) -> list[tuple[str, dict[str, Any]]]:
        detail = await self.boss.ask("GET", f"/admin/cabinet-orders/{order_id}")
        order = self.day.order_no(detail["vendor_order_no"] or "")
        taken = {} if order is None else order.taken
        items = [{"sku": sku, "quantity": n} for sku, n in taken.items() if n > 0]
        return [("approve", {"items": items}), ("reject", {}), ("close", {})]

    async def _no_of(self, session_id: int) -> str:
        found = await self.boss.all_of("/admin/door-sessions")
        return str(next(each["no"] for each in found if each["id"] == session_id))

    def _note(self, exception: Any, verb: str) -> None:
        if exception["kind"] == "delivery" and verb != "approve":
            self.given_up.add(exception["subject"])

    # ------------------------------------------------------------ of its own accord

    async def clear_up(self) -> int:
        """Decide whatever is there, and put right what is wrong; how much there was."""
        left = await self.work(is_last=True)
        left += await self.hear_complaints(is_last=True)
        return left + await self.mind_orders(share=0, is_last=True)

    async def mind_cabinets(self) -> None:
        """Let those sell again that were away for too long, and are back."""
        for code, device_id in self.day.town.cabinets.items():
            at = f"/admin/devices/{device_id}"
            live = await self.boss.ask("GET", f"{at}/live")
            if live["sale_lock"] and self.day.cabinet(code).is_online:
                await self._try(
                    self.boss, "POST", f"{at}/unlock", {"reason": "is back"}, "unlocked"
                )

    async def mind_orders(self, *, share: float, is_last: bool = False) -> int:
        """Put right what was seen wrong (how many); now and then send money back."""
        wrong = 0
        for seen in await self.boss.all_of("/admin/cabinet-orders?state=paid"):
            order = self.day.order_no(seen["vendor_order_no"] or "")
            if order is None or seen["kind"] == "supplement":
                continue
            if not is_last and self.day.rng.random() < 0.7:
                # Nobody looks at every film each time.
                continue
            if not await self._is_right(seen, order, doubt=0 if is_last else share):
                wrong += 1
            elif self.day.rng.random() < share and seen["due_fen"] > 1:
                await self._send_back(seen, order)
        return wrong

    async def _is_right(self, seen: Any, order: Order, *, doubt: float) -> bool:
        """Whether it was: if not, what was taken is said now, as long as it is as it was seen.

        doubt: how often somebody is wrong about it who decides at the same time.
        """
        at = f"/admin/cabinet-orders/{seen['id']}"
        detail = await self.boss.ask("GET", at)
        said: Counter[str] = Counter()
        for each in detail["chain"]:
            for line in each["lines"]:
                said[line["sku"]] += line["quantity"]
        taken = Counter({sku: n for sku, n in order.taken.items() if n > 0})
        is_right = +said == taken
        others = Counter(taken)
        if self.day.rng.random() < doubt:
            others[self.day.rng.choice(GOODS).sku] += 1
        if not is_right or others != taken:
            await self._correct(at, detail["version"], taken, others)
        return is_right

    async def _correct(
        self, at: str, version: int, taken: Counter[str], others: Counter[str]
    ) -> None:
        """Two at once, who have looked at the same: one is heard."""
        wishes = [
            self._try(person, "POST", f"{at}/corrections", _correction(items, version), "corrected")
            for person, items in ((self.boss, taken), (self.colleague, others))
        ]
        assert sum(await asyncio.gather(*wishes)) <= 1

    async def _send_back(self, seen: Any, order: Order) -> None:
        fen = self.day.rng.randint(1, seen["due_fen"])
        at = f"/admin/cabinet-orders/{seen['id']}/refunds"
        body = {"reason": "it was warm", "amount_fen": fen}
        if await self._try(self.boss, "POST", at, body, "refunded"):
            self.off_fen[order.wheat_order_no] += fen

    # ------------------------------------------------------------ complaints

    async def hear_complaints(self, *, is_last: bool = False) -> int:
        """Give some money back, or none; how many complaints there were."""
        found = await self.boss.all_of("/admin/complaints?state=open")
        for each in found:
            if is_last or self.day.rng.random() < 0.5:
                await self._hear(each)
        return len(found)

    async def _hear(self, complaint: Any) -> None:
        """Two at once, each with an own mind: one is heard."""
        order = await self.boss.ask("GET", f"/admin/cabinet-orders/{complaint['order_id']}")
        fen = self.day.rng.choice((0, self.day.rng.randint(0, order["due_fen"])))
        at = f"/admin/complaints/{complaint['id']}"
        wishes = [
            self._try(person, "POST", f"{at}/resolve", _resolution(amount), "heard")
            for person, amount in ((self.boss, fen), (self.colleague, 0))
        ]
        await asyncio.gather(*wishes)
        # Whose word counts, the book of complaints knows; an answer may have been lost.
        now = await self.boss.ask("GET", at)
        assert now["refund_fen"] in {0, fen}
        self.off_fen[order["vendor_order_no"]] += now["refund_fen"]

    async def _try(self, person: Person, method: str, path: str, body: Any, what: str) -> bool:
        try:
            await person.ask(method, path, body)
        except Refused as refusal:
            if refusal.status not in {404, 409, 422}:
                raise
            self.day.seen[refusal.code] += 1
            return False
        self.day.seen[what] += 1
        return True


def _correction(items: Counter[str], version: int) -> dict[str, Any]:
    listed = [{"sku": sku, "quantity": quantity} for sku, quantity in items.items()]
    return {"items": listed, "version": version, "reason": "the video shows it"}


def _resolution(refund_fen: int) -> dict[str, Any]:
    return {"reason": "as was seen"} | ({"refund_fen": refund_fen} if refund_fen else {})
