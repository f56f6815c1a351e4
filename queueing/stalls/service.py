"""What is done with stalls: look, sign up, change, renew, charge the month."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from queueing.model import SYSTEM, Actor, NotYourStall, Stall, StallDue, StallNotFound
from queueing.stalls import audited, store
from queueing.stalls.model import MonthEntry, Renewed
from queueing.stalls.pictures import Pictures
from queueing.store import load_stalls
from sql.database import Database, Tx
from sql.idempotency import fingerprint, once

log = logging.getLogger("callme.queueing")

# The page of the diner's mini-program that old and new clients open from a stall's code.
STALL_PAGE = "pages/qu/qu"

MakeCode = Callable[[str, str], Awaitable[bytes]]


class Defaults(msgspec.Struct, frozen=True):
    """Settings a new stall starts with."""

    pick: str = "cyclic"
    rest_s: int = 300
    double_tap_s: float = 1.5
    remind_after_s: int = 20
    release_after_min: int = 120


class Stalls:
    """The stalls and their accounts of months.

    make_code(scene, page): WeChat's mini-program code as a picture.
    sellers_changed: called when somebody became or ceased to be a stall's seller.
    """

    def __init__(
        self,
        db: Database,
        *,
        pictures: Pictures,
        make_code: MakeCode,
        defaults: Defaults,
        sellers_changed: Callable[[], None],
        base_url: str,
    ) -> None:
        self._db = db
        self._pictures = pictures
        self._make_code = make_code
        self._defaults = defaults
        self._sellers_changed = sellers_changed
        self._base_url = base_url

    def image_url(self, stall: Stall) -> str:
        """The address of the stall's picture, "" without one."""
        return f"{self._base_url}/media/{stall.image}" if stall.image else ""

    # Looking

    async def open_stalls(self) -> list[Stall]:
        """Stalls that have months left and are not disabled."""
        return (await self._db.read(store.list_stalls, open_only=True))[1]

    async def page(self, *, offset: int, most: int) -> tuple[int, list[Stall]]:
        """How many stalls there are, and some of them, for an administrator."""
        return await self._db.read(store.list_stalls, open_only=False, offset=offset, most=most)

    async def get(self, stall_id: int) -> Stall:
        """Raises StallNotFound."""
        stall = (await self._db.read(load_stalls, [stall_id])).get(stall_id)
        if stall is None:
            raise StallNotFound
        return stall

    async def of_seller(self, by: Actor) -> Stall:
        """The stall a seller runs. Raises NotYourStall."""
        stall_id = await self._db.read(store.stall_of_seller, by.account_id)
        if stall_id is None:
            raise NotYourStall
        return await self.get(stall_id)

    async def months(self, stall_id: int) -> list[MonthEntry]:
        """The stall's account of months, newest first."""
        return await self._db.read(store.month_entries, stall_id)

    # Changing

    async def create(self, values: Mapping[str, Any], *, months: int, by: Actor) -> Stall:
        """Make a stall; settings left out take the defaults. Raises PhoneTaken."""
        return await self._db.write(
            audited.create, self._complete(values), months=months, reason="first months", by=by
        )

    def _complete(self, values: Mapping[str, Any]) -> dict[str, Any]:
        blank = {"name": "", "person": "", "phone": "", "claim_code": "", "menu": ()}
        return {**blank, **msgspec.structs.asdict(self._defaults), **values}

    async def change(
        self, stall_id: int, values: Mapping[str, Any], *, by: Actor = SYSTEM
    ) -> Stall:
        """By an administrator. Raises StallNotFound, PhoneTaken."""
        return await self._db.write(audited.change, stall_id, values, by=by)

    async def change_own(self, by: Actor, values: Mapping[str, Any]) -> Stall:
        """By the stall's seller. Raises NotYourStall, StallDue."""
        stall = await self.of_seller(by)
        return await self._db.write(store.change_own_stall, stall.id, values, seller=by.account_id)

    async def sign_up(
        self, by: Actor, *, phone: str, name: str = "", person: str = "", code: str = ""
    ) -> Stall:
        """Become the seller of the stall with this phone.

        Raises ClaimRefused, StallDue, HasStall.
        """
        try:
            stall = await self._db.write(
                store.claim_stall,
                account_id=by.account_id,
                phone=phone,
                code=code,
                values={"name": name, "person": person},
            )
        finally:
            # Also when the answer to the commit was lost: it may have been done.
            self._sellers_changed()
        log.info("stall %d was signed up by account %d", stall.id, by.account_id)
        return stall

    async def release_sellers(self, stall_id: int, *, by: Actor = SYSTEM) -> Stall:
        """Take the stall back from its seller. Raises StallNotFound."""
        try:
            return await self._db.write(audited.release_sellers, stall_id, by=by)
        finally:
            self._sellers_changed()

    async def set_picture(self, by: Actor, data: bytes) -> Stall:
        """Give one's stall a picture in place of the one it had.

        Raises NotYourStall, StallDue, BadPicture, PictureTooLarge.
        """
        stall = await self.of_seller(by)
        if stall.balance_months <= 0:
            raise StallDue
        image = await self._pictures.keep(data, name=f"stall-{stall.id}")
        changed = await self.change_own(by, {"image": image})
        if stall.image and stall.image != image:
            await self._pictures.drop(stall.image)
        return changed

    async def code_url(self, by: Actor) -> str:
        """The address of the mini-program code of one's stall, made by WeChat once.

        Raises NotYourStall, BadPicture, and what make_code raises; nothing is kept then.
        """
        stall = await self.of_seller(by)
        name = f"code-{stall.id}"
        file = self._pictures.find(name)
        if file is None:
            picture = await self._make_code(f"sellerId={stall.id}", STALL_PAGE)
            file = await self._pictures.keep_as(picture, name=name)
        return f"{self._base_url}/media/{file}"

    # Months

    async def renew(
        self, stall_id: int, *, months: int, reason: str, by: Actor, key: str = ""
    ) -> Renewed:
        """Add months by hand, once per key. Raises StallNotFound, KeyReused."""
        mark = fingerprint("renew", stall_id, months, reason)
        scope = f"renew:{by.account_id}"
        answer = await self._db.write(once, scope, key, mark, _renew, stall_id, months, reason, by)
        return msgspec.json.decode(answer, type=Renewed)

    async def renew_by_phone(self, phone: str, *, months: int, by: Actor) -> Renewed:
        """The old dialect's renewal: an unknown phone makes the stall.

        The same renewal again within ten seconds adds nothing.
        """
        new = self._complete({"phone": phone, "menu": ("空",)})
        return await self._db.write(
            audited.renew_by_phone,
            phone=phone,
            months=months,
            by=by,
            reason="renewed in the mini-program",
            new=new,
        )

    async def charge_months(self) -> int:
        """Take the months that have begun from every stall; how many were taken.

        A transaction a stall: killed in between, the next run goes on where it stopped.
        """
        taken = 0
        for stall_id in await self._db.read(store.stalls_to_charge):
            taken += await self._db.write(store.charge_months, stall_id)
        return taken


def _renew(tx: Tx, stall_id: int, months: int, reason: str, by: Actor) -> str:
    """As audited.renew, its outcome as the text that a repeat of the key is answered with."""
    renewed = audited.renew(tx, stall_id, months=months, reason=reason, by=by)
    return msgspec.json.encode(renewed).decode()
