"""Stores and devices over REST, for the back office; each sees the stores it is kept to."""

from typing import Annotated, Final, Literal

import msgspec

from accounts.staff.permissions import Permission, allowed
from devices.fleet.messages import (
    Because,
    Bind,
    DeviceNew,
    DevicePatch,
    Maintenance,
    StoreNew,
    StorePatch,
    given,
)
from devices.fleet.model import (
    Binding,
    BindingState,
    Device,
    Link,
    Property,
    Service,
    Status,
    Store,
    StoreType,
)
from devices.fleet.service import Fleet
from devices.fleet.store import BINDING_SORTS, DevicesWanted, StoresWanted
from handlers.actors import by
from handlers.calls import ADMIN, PUBLIC, Call, Response
from handlers.routing import Route
from handlers.wire import Listing, Page, rfc3339, sorted_by
from payments.qr import QrOptions, qr_png

_READ_STORES: Final = ADMIN | allowed(Permission.STORES_READ)
_CHANGE_STORES: Final = ADMIN | allowed(Permission.STORES_CHANGE)
_READ: Final = ADMIN | allowed(Permission.DEVICES_READ)
_CHANGE: Final = ADMIN | allowed(Permission.DEVICES_CHANGE)

_STORE_SORTS: Final = ("id", "code", "name", "type", "property", "created_at", "updated_at")
_DEVICE_SORTS: Final = (
    "id", "code", "name", "store_id", "status", "link", "last_seen_at", "created_at", "updated_at",
)  # fmt: skip

Keyword = Annotated[str, msgspec.Meta(max_length=100)]


class StorePage(Page, frozen=True):
    """deleted: no, yes, or any for both. keyword: in the code, name, address or phone."""

    deleted: Literal["no", "yes", "any"] = "no"
    type: StoreType | None = None
    property: Property | None = None
    keyword: Keyword = ""


class DevicePage(Page, frozen=True):
    """store_id 0: of any store. keyword: in the code or name."""

    store_id: Annotated[int, msgspec.Meta(ge=0)] = 0
    vendor: Annotated[str, msgspec.Meta(max_length=16)] = ""
    status: Status | None = None
    service: Service | None = None
    link: Link | None = None
    keyword: Keyword = ""


class Sticker(QrOptions, frozen=True, kw_only=True):
    """As large and as robust as a sticker needs it."""

    size: Annotated[int, msgspec.Meta(ge=21, le=2000)] = 400
    level: Literal["L", "M", "Q", "H"] = "M"


class DoorSticker(Sticker, frozen=True, kw_only=True):
    door_no: Annotated[int, msgspec.Meta(ge=1, le=99)] = 1


class StoreOut(msgspec.Struct, frozen=True):
    """qr_code: of the store, from which one picks a door."""

    id: int
    code: str
    name: str
    type: StoreType
    property: Property
    address: str
    phone: str
    review_limit_fen: int | None
    qr_code: str
    deleted_at: str | None
    created_at: str
    updated_at: str


class DoorOut(msgspec.Struct, frozen=True):
    door_no: int
    qr_code: str


class DeviceOut(msgspec.Struct, frozen=True):
    """link: whether it is heard of. sale_lock: why it may not sell, "" for no reason."""

    id: int
    vendor: str
    code: str
    name: str
    store_id: int | None
    status: Status
    service: Service
    link: Link
    link_since: str
    last_seen_at: str | None
    sale_lock: str
    faults: int
    planogram_version: int
    qr_version: int
    doors: list[DoorOut]
    created_at: str
    updated_at: str


class BindingOut(msgspec.Struct, frozen=True):
    """A time in a store. problem: what the vendor said last, "" when all is well.

    In the state binding or unbinding the vendor was asked and it is not known what it did: the
    same wish again asks once more.
    """

    id: int
    device_id: int
    store_id: int
    state: BindingState
    begun_at: str
    bound_at: str | None
    bound_by: int
    unbound_at: str | None
    unbound_by: int
    reason: str
    problem: str


class DeviceWhereOut(DeviceOut, frozen=True):
    """binding: its time in the store where it stands."""

    binding: BindingOut | None


class LabelOut(msgspec.Struct, frozen=True):
    """store_name: "" where the cabinet stands in no store."""

    kind: Literal["door", "store"]
    name: str
    store_name: str
    door_no: int | None


def routes(fleet: Fleet) -> list[Route]:
    handlers = _Handlers(fleet)
    return [
        *_store_routes(handlers),
        *_device_routes(handlers),
        *_binding_routes(handlers),
        *_sticker_routes(handlers),
    ]


def _store_routes(handlers: "_Handlers") -> list[Route]:
    area, at = "admin: stores", "/api/v1/admin/stores"
    one = f"{at}/{{store_id}}"
    return [
        Route(
            "GET",
            at,
            handlers.stores,
            query=StorePage,
            returns=Listing[StoreOut],
            who=_READ_STORES,
            area=area,
            summary="The stores one sees",
        ),
        Route(
            "POST",
            at,
            handlers.create_store,
            body=StoreNew,
            returns=StoreOut,
            status=201,
            who=_CHANGE_STORES,
            idempotent=True,
            area=area,
            summary="Make a store",
            errors=("stores.code_taken", "stores.out_of_scope"),
        ),
        Route(
            "GET",
            one,
            handlers.store,
            returns=StoreOut,
            who=_READ_STORES,
            area=area,
            summary="A store, also a deleted one",
            errors=("stores.not_found",),
        ),
        Route(
            "PATCH",
            one,
            handlers.change_store,
            body=StorePatch,
            returns=StoreOut,
            who=_CHANGE_STORES,
            area=area,
            summary="Change a store; its code stays while devices stand in it",
            errors=("stores.not_found", "stores.deleted", "stores.code_taken", "stores.in_use"),
        ),
        Route(
            "DELETE",
            one,
            handlers.delete_store,
            query=Because,
            returns=StoreOut,
            who=_CHANGE_STORES,
            area=area,
            summary="Delete a store no device stands in; it keeps its history",
            errors=("stores.not_found", "stores.in_use"),
        ),
        Route(
            "POST",
            f"{one}/restore",
            handlers.restore_store,
            body=Because,
            returns=StoreOut,
            who=_CHANGE_STORES,
            area=area,
            summary="Take a deletion back",
            errors=("stores.not_found",),
        ),
    ]


def _device_routes(handlers: "_Handlers") -> list[Route]:
    area, at = "admin: devices", "/api/v1/admin/devices"
    one = f"{at}/{{device_id}}"
    found = ("devices.not_found",)
    return [
        Route(
            "GET",
            at,
            handlers.devices,
            query=DevicePage,
            returns=Listing[DeviceOut],
            who=_READ,
            area=area,
            summary="The devices of the stores one sees",
        ),
        Route(
            "POST",
            at,
            handlers.create_device,
            body=DeviceNew,
            returns=DeviceOut,
            status=201,
            who=_CHANGE,
            idempotent=True,
            area=area,
            summary="Make a device known, to be bound to a store",
            errors=("devices.code_taken", "devices.vendor_not_set", "stores.out_of_scope"),
        ),
        Route(
            "GET",
            one,
            handlers.device,
            returns=DeviceWhereOut,
            who=_READ,
            area=area,
            summary="A device and where it stands",
            errors=found,
            etag=handlers.device_etag,
        ),
        Route(
            "PATCH",
            one,
            handlers.change_device,
            body=DevicePatch,
            returns=DeviceOut,
            who=_CHANGE,
            area=area,
            summary="Give a device another name or other doors",
            errors=(*found, "devices.retired", "devices.bound"),
        ),
        Route(
            "POST",
            f"{one}/maintenance",
            handlers.maintain,
            body=Maintenance,
            returns=DeviceOut,
            who=_CHANGE,
            area=area,
            summary="Put a device into maintenance, or take it out",
            errors=(*found, "devices.retired"),
        ),
        Route(
            "POST",
            f"{one}/retire",
            handlers.retire,
            body=Because,
            returns=DeviceOut,
            who=_CHANGE,
            area=area,
            summary="Take a device out of use that stands in no store",
            errors=(*found, "devices.bound"),
        ),
        Route(
            "POST",
            f"{one}/restore",
            handlers.restore_device,
            body=Because,
            returns=DeviceOut,
            who=_CHANGE,
            area=area,
            summary="Take a retirement back",
            errors=found,
        ),
    ]


def _binding_routes(handlers: "_Handlers") -> list[Route]:
    area, one = "admin: devices", "/api/v1/admin/devices/{device_id}"
    vendor = ("devices.binding_refused", "devices.binding_unclear", "devices.vendor_not_set")
    common = (
        "devices.not_found",
        "devices.retired",
        "devices.busy",
        "idempotency.key_reused",
        *vendor,
    )
    return [
        Route(
            "POST",
            f"{one}/bind",
            handlers.bind,
            body=Bind,
            returns=DeviceOut,
            who=_CHANGE,
            idempotent=True,
            area=area,
            summary="Put a device into a store, out of the one it stands in",
            description="May be repeated: what was begun and not answered is carried on.",
            errors=(*common, "devices.binding_underway", "stores.not_found", "stores.deleted"),
        ),
        Route(
            "POST",
            f"{one}/unbind",
            handlers.unbind,
            body=Because,
            returns=DeviceOut,
            who=_CHANGE,
            idempotent=True,
            area=area,
            summary="Take a device out of its store",
            description="May be repeated: what was begun and not answered is carried on.",
            errors=(*common, "devices.not_bound"),
        ),
        Route(
            "GET",
            f"{one}/bindings",
            handlers.bindings,
            query=Page,
            returns=Listing[BindingOut],
            who=_READ,
            area=area,
            summary="Where a device stood, the latest first",
            errors=("devices.not_found",),
        ),
    ]


def _sticker_routes(handlers: "_Handlers") -> list[Route]:
    one = "/api/v1/admin/devices/{device_id}"
    return [
        Route(
            "GET",
            "/api/v1/cabinets/{qr:text}",
            handlers.label,
            returns=LabelOut,
            who=PUBLIC,
            area="cabinets",
            summary="What a code is of, for the page that an ordinary scanner opens",
            errors=("cabinets.qr_invalid",),
        ),
        Route(
            "GET",
            "/api/v1/admin/stores/{store_id}/qr.png",
            handlers.store_qr,
            query=Sticker,
            who=_READ_STORES,
            area="admin: stores",
            summary="The code that lets one pick a door of the store",
            errors=("stores.not_found",),
            media_type="image/png",
        ),
        Route(
            "GET",
            f"{one}/qr.png",
            handlers.door_qr,
            query=DoorSticker,
            who=_READ,
            area="admin: devices",
            summary="The code of a door",
            errors=("devices.not_found", "devices.door_not_found"),
            media_type="image/png",
        ),
        Route(
            "POST",
            f"{one}/replace-qr",
            handlers.replace_qr,
            body=Because,
            returns=DeviceOut,
            who=_CHANGE,
            idempotent=True,
            area="admin: devices",
            summary="Make the codes of a device void and give it new ones",
            errors=("devices.not_found", "devices.retired", "idempotency.key_reused"),
        ),
    ]


class _Handlers:
    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    # Stores

    async def stores(self, call: Call) -> Listing[StoreOut]:
        page: StorePage = call.query
        total, found = await self._fleet.stores(
            StoresWanted(
                is_deleted={"no": False, "yes": True, "any": None}[page.deleted],
                type=page.type or "",
                property=page.property or "",
                keyword=page.keyword,
                sort=sorted_by(page, _STORE_SORTS),
            ),
            by=by(call),
            offset=(page.page - 1) * page.page_size,
            most=page.page_size,
        )
        return Listing([self._store(each) for each in found], total, page.page, page.page_size)

    async def create_store(self, call: Call) -> StoreOut:
        made = await self._fleet.create_store(
            given(call.body), by=by(call), key=call.idempotency_key
        )
        return self._store(made)

    async def store(self, call: Call) -> StoreOut:
        return self._store(await self._fleet.store(call.params["store_id"], by=by(call)))

    async def change_store(self, call: Call) -> StoreOut:
        asked: StorePatch = call.body
        changed = await self._fleet.change_store(
            call.params["store_id"], given(asked), by=by(call), reason=asked.reason
        )
        return self._store(changed)

    async def delete_store(self, call: Call) -> StoreOut:
        store_id, reason = call.params["store_id"], call.query.reason
        return self._store(await self._fleet.delete_store(store_id, by=by(call), reason=reason))

    async def restore_store(self, call: Call) -> StoreOut:
        store_id, reason = call.params["store_id"], call.body.reason
        return self._store(await self._fleet.restore_store(store_id, by=by(call), reason=reason))

    async def store_qr(self, call: Call) -> Response:
        store = await self._fleet.store(call.params["store_id"], by=by(call))
        return _picture(self._fleet.qr.store(store.id), call.query)

    # Devices

    async def devices(self, call: Call) -> Listing[DeviceOut]:
        page: DevicePage = call.query
        total, found = await self._fleet.devices(
            DevicesWanted(
                store_id=page.store_id,
                vendor=page.vendor,
                status=page.status or "",
                service=page.service or "",
                link=page.link or "",
                keyword=page.keyword,
                sort=sorted_by(page, _DEVICE_SORTS),
            ),
            by=by(call),
            offset=(page.page - 1) * page.page_size,
            most=page.page_size,
        )
        return Listing([self._device(each) for each in found], total, page.page, page.page_size)

    async def create_device(self, call: Call) -> DeviceOut:
        asked: DeviceNew = call.body
        made = await self._fleet.create_device(
            vendor=asked.vendor,
            code=asked.code,
            name=asked.name,
            doors=asked.doors,
            by=by(call),
            key=call.idempotency_key,
        )
        return self._device(made)

    async def device(self, call: Call) -> DeviceWhereOut:
        device, binding = await self._fleet.device_where(call.params["device_id"], by=by(call))
        shown = msgspec.structs.asdict(self._device(device))
        return DeviceWhereOut(**shown, binding=None if binding is None else _binding_out(binding))

    async def device_etag(self, call: Call) -> str:
        device = await self._fleet.device(call.params["device_id"], by=by(call))
        return f"{device.updated_at}-{device.version}-{device.last_seen_at}"

    async def change_device(self, call: Call) -> DeviceOut:
        asked: DevicePatch = call.body
        changed = await self._fleet.change_device(
            call.params["device_id"],
            name=asked.name,
            doors=asked.doors,
            by=by(call),
            reason=asked.reason,
        )
        return self._device(changed)

    async def maintain(self, call: Call) -> DeviceOut:
        asked: Maintenance = call.body
        service: Service = "maintenance" if asked.on else "open"
        changed = await self._fleet.set_service(
            call.params["device_id"], service, by=by(call), reason=asked.reason
        )
        return self._device(changed)

    async def retire(self, call: Call) -> DeviceOut:
        device_id, reason = call.params["device_id"], call.body.reason
        return self._device(await self._fleet.retire(device_id, by=by(call), reason=reason))

    async def restore_device(self, call: Call) -> DeviceOut:
        device_id, reason = call.params["device_id"], call.body.reason
        return self._device(await self._fleet.restore_device(device_id, by=by(call), reason=reason))

    async def bind(self, call: Call) -> DeviceOut:
        asked: Bind = call.body
        device_id = call.params["device_id"]
        bound = await self._fleet.bind(
            device_id,
            asked.store_id,
            by=by(call),
            reason=asked.reason,
            key=call.idempotency_key,
        )
        return self._device(bound)

    async def unbind(self, call: Call) -> DeviceOut:
        device_id, reason = call.params["device_id"], call.body.reason
        loose = await self._fleet.unbind(
            device_id, by=by(call), reason=reason, key=call.idempotency_key
        )
        return self._device(loose)

    async def bindings(self, call: Call) -> Listing[BindingOut]:
        page: Page = call.query
        total, found = await self._fleet.bindings(
            call.params["device_id"],
            by=by(call),
            sort=sorted_by(page, BINDING_SORTS, "-id"),
            offset=(page.page - 1) * page.page_size,
            most=page.page_size,
        )
        return Listing([_binding_out(each) for each in found], total, page.page, page.page_size)

    async def label(self, call: Call) -> LabelOut:
        label = await self._fleet.label(call.params["qr"])
        return LabelOut("store" if label.door_no is None else "door", label.name,
                        label.store_name, label.door_no)  # fmt: skip

    async def door_qr(self, call: Call) -> Response:
        device = await self._fleet.device(call.params["device_id"], by=by(call))
        return _picture(self._fleet.door_qr(device, call.query.door_no), call.query)

    async def replace_qr(self, call: Call) -> DeviceOut:
        device_id, reason = call.params["device_id"], call.body.reason
        replaced = await self._fleet.replace_qr(
            device_id, by=by(call), reason=reason, key=call.idempotency_key
        )
        return self._device(replaced)

    # Out

    def _store(self, store: Store) -> StoreOut:
        fields = msgspec.structs.asdict(store)
        for name in ("deleted_at", "created_at", "updated_at"):
            fields[name] = _time(fields[name])
        return StoreOut(**fields, qr_code=self._fleet.qr.store(store.id))

    def _device(self, device: Device) -> DeviceOut:
        doors = [DoorOut(n, self._fleet.door_qr(device, n)) for n in device.door_numbers]
        return DeviceOut(
            id=device.id,
            vendor=device.vendor,
            code=device.code,
            name=device.name,
            store_id=device.store_id,
            status=device.status,
            service=device.service,
            link=device.link,
            link_since=rfc3339(device.link_since),
            last_seen_at=_time(device.last_seen_at),
            sale_lock=device.sale_lock,
            faults=device.faults,
            planogram_version=device.planogram_version,
            qr_version=device.qr_version,
            doors=doors,
            created_at=rfc3339(device.created_at),
            updated_at=rfc3339(device.updated_at),
        )


def _binding_out(binding: Binding) -> BindingOut:
    fields = msgspec.structs.asdict(binding)
    del fields["open_key"]
    for name in ("begun_at", "bound_at", "unbound_at"):
        fields[name] = _time(fields[name])
    return BindingOut(**fields)


def _picture(text: str, options: QrOptions) -> Response:
    return Response(200, qr_png(text, options), (("Content-Type", "image/png"),))


def _time(at: int | None) -> str | None:
    return None if at is None else rfc3339(at)
