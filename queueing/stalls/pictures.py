"""Pictures of stalls: checked by what they are, drawn anew, kept under names of ours.

Drawing anew drops whatever else a file may hold (a script behind the last pixel, the place
where the photograph was taken).
"""

import asyncio
import contextlib
import hashlib
import io
import os
from pathlib import Path

from PIL import Image, ImageOps

from queueing.stalls.model import BadPicture, PictureTooLarge

SIZE_MAX = 512 * 1024
# More than a photograph of SIZE_MAX holds; what unpacks to more is a bomb, and is refused by
# its head. Four bytes a pixel are what one picture may take of memory.
PIXELS_MAX = 16_000_000
# A progressive JPEG goes over the whole picture again with each scan; encoders make ten or so.
SCANS_MAX = 50
START_OF_SCAN = b"\xff\xda"
# What a list of stalls shows at most, on a dense screen.
SIDE_MAX = 1200
# Of a photograph: no difference to the eye, a tenth of a PNG's size.
QUALITY = 85
# A file is written in a moment; the folder may be shared with other processes.
PART_AGE_S = 3600
FORMATS = ("PNG", "JPEG", "WEBP", "GIF")

# Every pixel count is ours to judge; Pillow would warn besides.
Image.MAX_IMAGE_PIXELS = None


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
            return await asyncio.to_thread(self._keep, data, name)

    async def keep_as(self, data: bytes, *, name: str) -> str:
        """As keep, under the very name, for a picture that stays. Raises BadPicture."""
        async with self._drawing:
            return await asyncio.to_thread(self._keep_as, data, name)

    async def drop(self, file_name: str) -> None:
        """Remove a picture that is shown no more, if it is there."""
        await asyncio.to_thread((self.folder / file_name).unlink, missing_ok=True)

    def find(self, name: str) -> str | None:
        """The file that keep_as stored under the name, if there is one."""
        return f"{name}.png" if (self.folder / f"{name}.png").is_file() else None

    def _keep(self, data: bytes, name: str) -> str:
        picture = opened(data)
        suffix = "png" if picture.mode == "RGBA" else "jpg"
        drawn = drawn_as_png(picture) if suffix == "png" else drawn_as_jpeg(picture)
        digest = hashlib.sha256(drawn).hexdigest()[:16]
        return self._write(f"{name}-{digest}.{suffix}", drawn)

    def _keep_as(self, data: bytes, name: str) -> str:
        return self._write(f"{name}.png", drawn_as_png(opened(data)))

    def _write(self, file_name: str, data: bytes) -> str:
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f".{file_name}.{os.getpid()}.part"
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self._tidy(before=part.stat().st_mtime - PART_AGE_S)
        part.replace(self.folder / file_name)
        return file_name

    def _tidy(self, *, before: float) -> None:
        """Remove what processes left that were killed while writing."""
        for part in self.folder.glob(".*.part"):
            with contextlib.suppress(FileNotFoundError):  # Another process has just done it.
                if part.stat().st_mtime < before:
                    part.unlink()


def opened(data: bytes) -> Image.Image:
    """The picture in a file, upright, RGBA or RGB, at most SIDE_MAX a side. Raises BadPicture."""
    try:
        return _unpacked(data)
    except BadPicture:
        raise
    except Exception as error:
        # Pillow's readers say in many ways that a file is not what it claims to be, and which
        # ones is not documented: OSError, SyntaxError, ValueError, struct.error, EOFError…
        raise BadPicture from error


def _unpacked(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data), formats=FORMATS) as file:
        too_many_scans = file.format == "JPEG" and data.count(START_OF_SCAN) > SCANS_MAX
        if file.width * file.height > PIXELS_MAX or too_many_scans:
            raise BadPicture
        # A JPEG can be unpacked to half its sides and less at once.
        file.draft("RGB", (SIDE_MAX, SIDE_MAX))
        file.load()
        has_holes = "A" in file.getbands() or "transparency" in file.info
        mode = "RGBA" if has_holes else "RGB"
        picture = file if file.mode == mode else file.convert(mode)
        picture.thumbnail((SIDE_MAX, SIDE_MAX))
        picture = ImageOps.exif_transpose(picture)
    # What a file says about itself (comments, colours, places) would be written again.
    picture.info.clear()
    return picture


def drawn_as_png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return out.getvalue()


def drawn_as_jpeg(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=QUALITY, optimize=True, progressive=True)
    return out.getvalue()
