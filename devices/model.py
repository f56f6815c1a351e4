"""What all of devices refuse with.

CabinetError
├── NotBound              the device stands in no store
├── DeviceOffline         nothing was heard of it for too long
├── DeviceLocked          it may not sell until a person has looked
├── DeviceInMaintenance   somebody works on it
└── those of its rooms: devices/fleet/model.py and the models beside it
"""


class CabinetError(Exception):
    """Base of the family."""

    code = "cabinets.error"
    title = "Cabinet error"


class NotBound(CabinetError):
    code = "devices.not_bound"
    title = "The device stands in no store"


class DeviceOffline(CabinetError):
    code = "devices.offline"
    title = "The cabinet is offline"


class DeviceLocked(CabinetError):
    code = "devices.locked"
    title = "The cabinet may not sell just now"


class DeviceInMaintenance(CabinetError):
    code = "devices.in_maintenance"
    title = "The cabinet is being looked after"
