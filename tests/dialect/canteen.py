"""A canteen with six stalls behind a running server, and people with old clients."""

from typing import Any

import pytest
from sqlalchemy import text

from queueing.model import Actor
from server.app import App
from simulators.faults import Fault
from simulators.wechat import WeChat
from sql.transaction import Tx
from tests.clock import Clock
from tests.dialect.phones import Answer, Fields, Frames, Phone, Posts
from tests.fixtures_app import ADMIN

WAYS = ("form", "multipart", "json", "frames", "encoded frames")
# Every way on one database, and on the other the two that differ most: what comes in is the same
# from there on.
COMBINATIONS = [
    *[pytest.param(("sqlite", way), id=f"sqlite-{way}") for way in WAYS],
    *[
        pytest.param(("mariadb", way), id=f"mariadb-{way}", marks=pytest.mark.mariadb)
        for way in ("form", "encoded frames")
    ],
]

MENU = ("牛肉拉面", "刀削面", "拌面")
# Name, months, who sells there, the code that is asked for at the sign-up.
STALLS: tuple[tuple[str, int, str, str], ...] = (
    ("兰州拉面", 3, "chen", ""),
    ("dumplings", 0, "sun", ""),
    ("rice", 2, "", ""),
    ("noodles", 0, "", ""),
    ("tea", 2, "", "4711"),
    ("soup", 1, "", "0815"),
)

Rows = dict[str, list[tuple[Any, ...]]]


class Canteen:
    def __init__(self, app: App, wechat: WeChat, clock: Clock, way: str = "form") -> None:
        self.app = app
        self.wechat = wechat
        self.clock = clock
        self.way = way
        self.keys: dict[str, str] = {}
        self._phones: dict[str, Phone] = {}
        self._codes = 0

    async def open(self) -> None:
        lapsed = []
        for number, (name, months, seller, code) in enumerate(STALLS, start=1):
            phone = f"1380000000{number}"
            menu = MENU if number == 1 else ()
            values = {"name": name, "phone": phone, "claim_code": code, "menu": menu}
            is_lapsed = bool(seller) and not months
            if is_lapsed:
                # Signed up last month, with one month.
                self.clock.advance(days=-30)
            stall = await self.app.stalls.create(
                values, months=months + is_lapsed, by=Actor("admin")
            )
            if seller:
                await self._sign_up(seller, phone)
            if is_lapsed:
                self.clock.advance(days=30)
                lapsed.append(stall.id)
            if number == 1:
                await self.app.stalls.change(stall.id, {"person": "陈"})
        # The server's own job may have seen the month turn, and charged before we ask for it.
        await self.app.stalls.charge_months()
        for stall_id in lapsed:
            assert (await self.app.stalls.get(stall_id)).balance_months == 0

    async def _sign_up(self, seller: str, phone: str) -> None:
        opened = await self.app.people.sign_in("seller", self.code(seller))
        by = Actor("seller", opened.session.account_id, opened.session.id)
        await self.app.stalls.sign_up(by, phone=phone)

    async def close(self) -> None:
        for phone in self._phones.values():
            await phone.close()

    def code(self, openid: str) -> str:
        """A fresh code of wx.login."""
        self._codes += 1
        return f"sim:{openid}:{self._codes}"

    # ------------------------------------------------------------ asking

    async def phone(self, who: str) -> Phone:
        """This person's client; "" for one that belongs to nobody."""
        if who not in self._phones:
            self._phones[who] = await self._new_phone()
        return self._phones[who]

    async def _new_phone(self) -> Phone:
        if "frames" not in self.way:
            return Posts(self.app.port, self.way)
        is_plain = self.way == "frames"
        path = "/ws" if len(self._phones) % 2 else "/"
        return await Frames.connect(self.app.port, path=path, is_plain=is_plain)

    async def ask(self, who: str, query: str, **fields: Any) -> Answer:
        """As one who has signed in."""
        return await self.send(who, {"query": query, **fields})

    async def send(self, who: str, fields: Fields) -> Answer:
        phone = await self.phone(who)
        if fields.get("query") != "login" and isinstance(phone, Posts) and who:
            fields = {"sessionKey": self.keys[who], **fields}
        answer = await phone.ask(fields)
        if fields.get("query") == "login" and "sessionKey" in answer:
            self.keys[who] = answer["sessionKey"]
        return answer

    async def sign_in(self, who: str) -> str:
        """Sign in: known sellers at the sellers' mini-program, others at the diners'."""
        fields = {"query": "login", "code": self.code(who)}
        if who in {"chen", "sun", "lin"}:
            fields["isseller"] = "yes"
        answer = await self.send(who, fields)
        assert "sessionKey" in answer, answer
        return self.keys[who]

    async def admin(self) -> str:
        await self.sign_in(ADMIN)
        return ADMIN

    async def posts(self) -> Posts:
        """A client for what is not asked as an ordinary query."""
        phone = await self.phone("")
        assert isinstance(phone, Posts)
        return phone

    async def fetch(self) -> int:
        """A number of the first stall, some time after the last."""
        self.clock.advance(seconds=2)
        answer = await self.ask("chen", "fetch")
        assert answer["fetchSuccess"] == "success", answer
        number = answer["marchSn"]
        assert isinstance(number, int)
        return number

    # ------------------------------------------------------------ the world around

    def fail(self, endpoint: str, kind: Any, errcode: int = -1) -> None:
        """Let WeChat fail once."""
        self.wechat.faults.add(Fault(endpoint=endpoint, kind=kind, errcode=errcode))

    async def hold_the_jobs(self) -> None:
        """Let nothing but requests change a table from now on."""
        for runner in self.app.runners:
            await runner.stop()

    async def rows(self) -> Rows:
        """Every row of every table; when a session was used last is no state."""
        await self.app.sessions.flush()
        return await self.app.db.read(_all_rows)


_TABLES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
    "mysql": "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()",
}


def _all_rows(tx: Tx) -> Rows:
    """Of the tables that are there, whatever is declared."""
    names = [row[0] for row in tx.execute(text(_TABLES[tx.dialect]))]
    return {name: _rows_of(tx, name) for name in sorted(names)}


def _rows_of(tx: Tx, name: str) -> list[tuple[Any, ...]]:
    rows = tx.execute(text(f"SELECT * FROM `{name}`")).mappings()
    kept = [tuple(value for key, value in row.items() if key != "used_at") for row in rows]
    return sorted(kept, key=repr)
