"""Pictures of stalls: checked by what they are, drawn anew, kept under names of ours.

Drawing anew drops whatever else a file may hold (a script behind the last pixel, the place
where the photograph was taken).
"""

import asyncio
import hashlib
import io
import os
import warnings
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from queueing.stalls.model import BadPicture, PictureTooLarge

SIZE_MAX = 512 * 1024
# Larger than any phone's photograph; a bomb is refused before it is unpacked.
PIXELS_MAX = 50_000_000
# What a list of stalls shows at most, on a dense screen.
SIDE_MAX = 1200
FORMATS = ("PNG", "JPEG", "WEBP", "GIF")

# Every pixel count below is ours to judge.
Image.MAX_IMAGE_PIXELS = PIXELS_MAX


class Pictures:
    """A folder of pictures, served under /media/."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # One at a time: unpacking takes memory.
        self._drawing = asyncio.Lock()

    async def keep(self, data: bytes, *, name: str) -> str:
        """Check, draw anew and store a picture; the name of its file.

        The name ends in a digest of the content, so a new picture has a new address.
        Raises BadPicture, PictureTooLarge.
        """
        if len(data) > SIZE_MAX:
            raise PictureTooLarge
        async with self._drawing:
            drawn = await asyncio.to_thread(redraw, data)
            return await asyncio.to_thread(self._store, name, drawn)

    async def keep_as(self, data: bytes, *, name: str) -> str:
        """As keep, under the very name, for a picture that stays. Raises BadPicture."""
        async with self._drawing:
            drawn = await asyncio.to_thread(redraw, data)
            return await asyncio.to_thread(self._write, f"{name}.png", drawn)

    def find(self, name: str) -> str | None:
        """The file of that name, if there is one."""
        return f"{name}.png" if (self.folder / f"{name}.png").is_file() else None

    def _store(self, name: str, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()[:16]
        return self._write(f"{name}-{digest}.png", data)

    def _write(self, file_name: str, data: bytes) -> str:
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f".{file_name}.{os.getpid()}.part"
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.folder / file_name)
        return file_name


def redraw(data: bytes) -> bytes:
    """The picture as a PNG of at most SIDE_MAX pixels a side. Raises BadPicture."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
                opened.load()
                upright = ImageOps.exif_transpose(opened)
            upright.thumbnail((SIDE_MAX, SIDE_MAX))
            kind = "RGBA" if "A" in upright.getbands() or "transparency" in upright.info else "RGB"
            out = io.BytesIO()
            upright.convert(kind).save(out, "PNG", optimize=True)
    except (
        UnidentifiedImageError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
        OSError,
        SyntaxError,
        ValueError,
    ) as error:
        raise BadPicture from error
    return out.getvalue()
