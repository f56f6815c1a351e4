"""What must hold when everything has come to its end: four books that say the same.

The cabinets know what was taken; the platform knows what it was told to confirm; WeChat knows
what it has moved; the ERP knows what was sold; and there is our ledger.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import msgspec

from payments.ledger.model import GATEWAY, SUSPENSE, TICKET_REDEEMED, Asset, hold_of
from payments.ledger.store import balance
from sql.database import Tx
from tests.cabinets.day import Day
from tests.cabinets.town import Town

FINAL = {"paid", "no_purchase", "rejected", "not_opened"}
ENDED = {"paid", "unpaid", "waived", "empty"}
PICTURED = ("door_sessions", "cabinet_orders", "order_revisions", "order_charges",
            "ledger_journals", "cabinet_exceptions", "sales", "stock_moves", "alerts")  # fmt: skip


class Books:
    """All rows of ours at one moment, and the others' books beside them."""

    def __init__(self, town: Town, rows: dict[str, list[dict[str, Any]]]) -> None:
        self.town = town
        self.world = town.world
        self.sessions = rows["door_sessions"]
        self.orders = rows["cabinet_orders"]
        self.charges = rows["order_charges"]
        self.sales = rows["sales"]
        self.inbox = rows["callback_inbox"]
        self.outbox = rows["outbox"]
        self.exceptions = rows["cabinet_exceptions"]
        self.complaints = rows["complaints"]
        self.moves = rows["stock_moves"]
        self.layouts = {
            (row["device_id"], row["version"]): row
            for row in rows["planograms"]
            if row["state"] == "put"
        }
        self.chains: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for order in self.orders:
            self.chains[order["related_no"] or order["no"]].append(order)

    @classmethod
    async def read(cls, town: Town) -> Books:
        names = ("door_sessions", "cabinet_orders", "order_charges", "sales", "callback_inbox",
                 "outbox", "cabinet_exceptions", "complaints", "stock_moves",
                 "planograms")  # fmt: skip
        return cls(town, {name: await town.rows(name) for name in names})

    # ------------------------------------------------------------ what never may be otherwise

    def invariants(self) -> None:
        """At any moment, whatever has happened."""
        main: Counter[int] = Counter()
        for order in self.orders:
            net = order["paid_fen"] - order["refunded_fen"]
            assert net >= 0, order
            assert net <= order["due_fen"] or order["state"] in {"review", "charging"}, order
            if order["session_key"] is not None:
                main[order["session_key"]] += 1
        assert all(count == 1 for count in main.values()), main
        known = {session["no"] for session in self.sessions}
        asked = {each.asked.session_no for each in self.world.xiaomai.openings.values()}
        assert asked <= known, "an unlocked door without a session"
        assert {row["state"] for row in self.inbox} <= {"new", "done", "quarantined", "dead"}

    def all_is_over(self) -> None:
        """Nothing waits any more: no event, no parcel, no session, nothing on the desk."""
        self.invariants()
        assert {row["state"] for row in self.inbox} <= {"done", "quarantined"}, Counter(
            (row["state"], row["outcome"]) for row in self.inbox
        )
        waiting = [row for row in self.outbox if row["state"] == "waiting"]
        assert not waiting, waiting
        over = {session["no"]: session["state"] for session in self.sessions}
        assert set(over.values()) <= FINAL, Counter(over.values())
        undecided = [row for row in self.exceptions if row["open_key"]]
        assert not undecided, undecided
        assert {row["state"] for row in self.complaints} <= {"refunded", "refused"}
        assert {order["state"] for order in self.orders} <= ENDED - {"unpaid"}
        assert {charge["state"] for charge in self.charges} <= {"done", "failed", "cancelled"}

    # ------------------------------------------------------------ against the others

    def platform_agrees(self, day: Day) -> None:
        """Each order of the platform is ours, comes to what was taken, and was confirmed so."""
        mains = {order["vendor_order_no"]: order for order in self.orders}
        given_up = {row["id"] for row in self.outbox if row["state"] == "dead"}
        for said in self.world.xiaomai.books():
            number = said["wheat_order_no"]
            main = mains.get(number)
            if main is None or main["session_id"] is None:
                assert not said["session_no"], f"{said} is not here"
                continue
            chain = self.chains[main["no"]]
            due = sum(order["due_fen"] for order in chain)
            net = sum(order["paid_fen"] - order["refunded_fen"] for order in chain)
            assert due == net, chain
            worth = self._worth(main["session_id"], said["taken"])
            assert due == max(0, worth - day.desk.off_fen[number]), (said, worth, chain)
            if said["result"] is None or (said["due_fen"], said["net_paid_fen"]) != (due, net):
                assert given_up, (said, chain)

    def _worth(self, session_id: int, taken: Mapping[str, int]) -> int:
        """At the prices of the layout that the cabinet had when its door was asked for."""
        session = next(each for each in self.sessions if each["id"] == session_id)
        layout = self.layouts[session["device_id"], session["planogram_version"]]
        prices = {slot["sku"]: slot["price_fen"] for slot in msgspec.json.decode(layout["slots"])}
        assert msgspec.json.decode(session["prices"]) == prices, session
        return sum(prices[sku] * count for sku, count in taken.items())

    def layouts_agree(self) -> None:
        """What the cabinets show costs what is charged, which is what the ERP says or once said."""
        for code, device_id in self.town.cabinets.items():
            version = max(version for device, version in self.layouts if device == device_id)
            slots = msgspec.json.decode(self.layouts[device_id, version]["slots"])
            ours = {(slot["door_no"], slot["sku"]): slot["price_fen"] for slot in slots}
            cabinet = self.town.cabinet(code)
            assert cabinet.planogram_version == version
            shown = {(slot.door_no, slot.sku): slot.price_fen for slot in cabinet.slots}
            assert shown == ours, code

    async def goods_agree(self) -> None:
        """The platform has the goods as the ERP has them, by way of us."""
        sold = self.world.erp.books.goods
        for row in await self.town.rows("goods"):
            theirs = self.world.xiaomai.goods[row["sku"]]
            prices = {row["price_fen"], theirs.price_fen, sold[row["sku"]].price_fen}
            assert len(prices) == 1, row

    async def ledger_agrees(self) -> tuple[int, int]:
        """Tickets redeemed and fen moved are those of the charges; (tickets, fen)."""
        tickets = fen = 0
        for charge in self.charges:
            if charge["state"] != "done":
                continue
            sign = 1 if charge["kind"] == "capture" else -1
            if charge["means"] == "ticket":
                assert charge["tickets"] == 5 * charge["amount_fen"]
                tickets += sign * charge["tickets"]
            else:
                fen += sign * charge["amount_fen"]
        net = sum(order["paid_fen"] - order["refunded_fen"] for order in self.orders)
        assert net * 5 == tickets + fen * 5
        accounts = {session["account_id"] for session in self.sessions}
        redeemed, gateway, suspense, held = await self.town.app.db.read(_balances, accounts)
        assert (redeemed, suspense, held) == (tickets, 0, 0)
        theirs = self.world.wechat.pay.ledger.sums().values()
        assert -gateway == sum(one.paid_fen - one.refunded_fen for one in theirs) == fen
        assert await self.town.app.books.check() == []
        return tickets, fen

    def erp_agrees(self, tickets: int, fen: int) -> None:
        """What the ERP has received, day by day, is what was sold, and the sum of all orders."""
        ours: dict[str, Counter[str]] = defaultdict(Counter)
        for sale in self.sales:
            text = str(sale["day"])
            of_day = ours[f"{text[:4]}-{text[4:6]}-{text[6:]}"]
            of_day["lines"] += 1
            of_day["tickets"] += sale["tickets"]
            of_day["amount_fen"] += sale["amount_fen"]
            of_day[f"{sale['paid_by']}_fen"] += sale["amount_fen"]
        theirs = self.world.erp.books.totals()
        assert theirs.keys() == ours.keys(), (theirs, ours)
        for date, sums in theirs.items():
            assert sums == {name: ours[date][name] for name in sums}, date
        assert sum(each["tickets"] for each in theirs.values()) == tickets
        assert sum(each["wechat_fen"] for each in theirs.values()) == fen

    async def shelves_agree(self, day: Day) -> None:
        """What is counted is there, but for what left without an order, of which a person knows,
        since somebody has counted."""
        gone: Counter[tuple[str, int, str]] = Counter()
        with_order = {order["session_id"] for order in self.orders}
        lost = {each["no"] for each in self.sessions if each["id"] not in with_order}
        doors = {each.asked.session_no: each.asked for each in self.world.xiaomai.openings.values()}
        for shopper in day.shoppers:
            for no in lost & shopper.bags.keys():
                assert not +shopper.bags[no] or no in self._on_desk(), f"{no} is unpaid for"
                door = doors[no].device_code, doors[no].door_no
                for sku, count in shopper.bags[no].items():
                    if not self._was_counted(no, sku):
                        gone[*door, sku] += count
        moved: Counter[tuple[int, int, str]] = Counter()
        for move in self.moves:
            moved[move["device_id"], move["door_no"], move["sku"]] += move["delta"]
        for row in await self.town.rows("door_stock"):
            assert moved[row["device_id"], row["door_no"], row["sku"]] == row["quantity"], row
            code = next(c for c, number in day.town.cabinets.items() if number == row["device_id"])
            there = self.town.cabinet(code).stock(row["sku"], row["door_no"])
            assert row["quantity"] - gone[code, row["door_no"], row["sku"]] == there, row

    def _was_counted(self, session_no: str, sku: str) -> bool:
        """Whether somebody has filled up the same shelf after this session."""
        numbers = {session["no"]: session for session in self.sessions}
        mine = numbers[session_no]
        door = mine["device_id"], mine["door_no"]
        return any(
            (move["device_id"], move["door_no"], move["sku"]) == (*door, sku)
            and move["ref"] in numbers
            and numbers[move["ref"]]["id"] > mine["id"]
            for move in self.moves
        )

    def _on_desk(self) -> set[str]:
        """The sessions that are or were on the exception desk."""
        ids = {row["session_id"] for row in self.exceptions}
        return {session["no"] for session in self.sessions if session["id"] in ids}

    async def replays(self) -> None:
        """Working the whole inbox once more changes nothing."""
        before = {name: await self.town.rows(name) for name in PICTURED}
        await self.town.app.cabinets.inbox.replay()
        await self.town.work()
        for name, rows in before.items():
            changed = [row for row in await self.town.rows(name) if row not in rows]
            assert not changed, (name, changed)


def _balances(tx: Tx, accounts: set[int]) -> tuple[int, int, int, int]:
    return (
        balance(tx, TICKET_REDEEMED, Asset.TICKET),
        balance(tx, GATEWAY, Asset.CNY),
        balance(tx, SUSPENSE, Asset.CNY),
        sum(balance(tx, hold_of(one, "cabinet"), Asset.TICKET) for one in accounts),
    )


async def agree(town: Town, day: Day) -> dict[str, int]:
    """All of it; the figures."""
    books = await Books.read(town)
    books.all_is_over()
    books.platform_agrees(day)
    books.layouts_agree()
    await books.goods_agree()
    tickets, fen = await books.ledger_agrees()
    books.erp_agrees(tickets, fen)
    await books.shelves_agree(day)
    await books.replays()
    return {"sessions": len(books.sessions), "orders": len(books.orders), "tickets": tickets,
            "fen": fen}  # fmt: skip
