"""A film of an order, and the reason to refuse one."""

import msgspec

from devices.model import CabinetError
from devices.vendors.port import VideoSlice

PENDING, READY, FAILED = "pending", "ready", "failed"


class VideoMissing(CabinetError):
    code = "cabinet_order.video_missing"
    title = "There is no film of this order"


class Film(msgspec.Struct, frozen=True):
    """state: pending, ready, none, failed, or "" where nothing was said of it. slices: while it is
    ready; their addresses are the platform's and hold for a while."""

    state: str
    slices: tuple[VideoSlice, ...] = ()
