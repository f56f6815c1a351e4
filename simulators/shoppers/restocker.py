"""Somebody with a trolley: opens what runs low as staff, fills it up and says what was counted."""

import asyncio
import secrets
from typing import Any

import httpx

from simulators.rush.links import LinkLostError, RefusedError
from simulators.shoppers.notes import Notes
from simulators.shoppers.street import Door, Street
from simulators.shoppers.web import ask

LOW = 2
FULL = 8
LOOK_EVERY_S = 0.25
UNLOCKS_WITHIN_S = 30.0


class Restocker:
    """token: of a staff account that may open devices and count goods."""

    def __init__(
        self, http: httpx.AsyncClient, base_url: str, token: str, street: Street, notes: Notes
    ) -> None:
        self._http, self._street, self._notes = http, street, notes
        self._api = base_url.rstrip("/") + "/api/v1/admin"
        self._headers = {"Authorization": f"Bearer {token}"}

    async def round(self) -> None:
        """Fill up whatever runs low; what cannot be done now is for the next round."""
        try:
            ids = await self._device_ids()
            for door in await self._street.doors():
                stock = {sku: n for sku, (n, _) in (await self._street.goods(door)).items()}
                if door.code in ids and any(n <= LOW for n in stock.values()):
                    await self._fill(ids[door.code], door)
        except RefusedError as refused:
            self._notes.refuse(f"restock:{refused.code}")
        except LinkLostError:
            self._notes.count("given_up")

    async def _device_ids(self) -> dict[str, int]:
        found = await self._ask("GET", "/devices?status=bound&page_size=100")
        return {each["code"]: each["id"] for each in found["items"]}

    async def _fill(self, device_id: int, door: Door) -> None:
        body = {"door_no": door.door_no, "purpose": "restock"}
        session = await self._ask("POST", f"/devices/{device_id}/open", body)
        for _ in range(int(UNLOCKS_WITHIN_S / LOOK_EVERY_S)):
            if await self._street.is_unlocked_for(door, session["no"]):
                break
            await asyncio.sleep(LOOK_EVERY_S)
        await self._street.do(door, "pull")
        try:
            await self._put_and_count(device_id, door, session["id"])
        finally:
            await self._street.do(door, "close")
        self._notes.count("restocked")

    async def _put_and_count(self, device_id: int, door: Door, session_id: int) -> None:
        """Counted while the door is open: nobody takes anything in between."""
        for sku, (stock, _) in (await self._street.goods(door)).items():
            if stock < FULL:
                await self._street.do(door, "put", sku=sku, quantity=FULL - stock)
        counts = [
            {"sku": sku, "quantity": stock}
            for sku, (stock, _) in (await self._street.goods(door)).items()
        ]
        body = {"door_no": door.door_no, "session_id": session_id, "counts": counts}
        await self._ask("POST", f"/devices/{device_id}/stock-count", body)

    async def _ask(self, method: str, path: str, body: object = None) -> Any:
        headers = self._headers | {"Idempotency-Key": secrets.token_hex(16)}
        return await ask(self._http, method, self._api + path, body, headers)
