"""The cabinets as one stands before them: what is in them, and what hands do there."""

from typing import Any

import httpx
import msgspec

from simulators.shoppers.web import ask


class Door(msgspec.Struct, frozen=True):
    """qr: what its sticker says."""

    code: str
    door_no: int
    qr: str


class Street:
    """url, token: of the control API of the simulated platform, from its introduction."""

    def __init__(self, http: httpx.AsyncClient, url: str, token: str) -> None:
        self._http = http
        self._url = url.rstrip("/")
        self._headers = {"X-Sim-Token": token}

    async def doors(self) -> list[Door]:
        """Those that have a sticker. Raises LinkLostError."""
        found = await self._ask("GET", "devices")
        return [
            Door(device["device_code"], int(number), token)
            for device in found["devices"]
            for number, token in sorted(device["qr_tokens"].items())
            if token
        ]

    async def goods(self, door: Door) -> dict[str, tuple[int, int]]:
        """By SKU: how many there are, and the price at their place."""
        found: dict[str, tuple[int, int]] = {}
        for slot in (await self._device(door))["slots"]:
            if slot["door_no"] == door.door_no:
                before = found.get(slot["sku"], (0, 0))[0]
                found[slot["sku"]] = (before + slot["stock"], slot["price_fen"])
        return found

    async def is_unlocked_for(self, door: Door, session_no: str) -> bool:
        device = await self._device(door)
        mine = device["doors"][door.door_no - 1]
        return bool(mine["lock"] == "unlocked" and mine["session_no"] == session_no)

    async def do(self, door: Door, verb: str, **what: object) -> None:
        """pull, take, put or close. Raises RefusedError for what is physically impossible."""
        body = {"door_no": door.door_no, **what}
        await self._ask("POST", f"devices/{door.code}/{verb}", body)

    async def _device(self, door: Door) -> Any:
        return await self._ask("GET", f"devices/{door.code}")

    async def _ask(self, method: str, path: str, body: object = None) -> Any:
        return await ask(self._http, method, f"{self._url}/{path}", body, self._headers)
