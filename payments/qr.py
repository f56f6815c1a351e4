"""A code_url as a picture that a phone reads (S1-36: the options and their defaults)."""

import io
from typing import Annotated, Literal

import msgspec
import segno
from msgspec import Meta
from PIL import Image

Colour = Annotated[str, Meta(pattern=r"^#[0-9a-fA-F]{6}(?!\n)$")]

# Light modules around the code, without which a camera does not find it.
QUIET = 4


class QrOptions(msgspec.Struct, frozen=True, kw_only=True):
    """size: width and height in pixels; a code that needs more of them gets more."""

    size: Annotated[int, Meta(ge=21, le=2000)] = 100
    level: Literal["L", "M", "Q", "H"] = "L"
    background: Colour = "#ffffff"
    foreground: Colour = "#000000"


DEFAULTS = QrOptions()


def qr_png(text: str, options: QrOptions = DEFAULTS) -> bytes:
    """A PNG of the text, every module equally many whole pixels wide."""
    code = segno.make_qr(text, error=options.level, boost_error=False)
    modules, _ = code.symbol_size(border=QUIET)
    size = max(options.size, int(modules))
    drawn = io.BytesIO()
    code.save(
        drawn,
        kind="png",
        scale=int(size // modules),
        border=QUIET,
        dark=options.foreground,
        light=options.background,
    )
    return _centred(drawn, size, options.background)


def _centred(drawn: io.BytesIO, size: int, background: str) -> bytes:
    """What is left over when the modules have their pixels is margin."""
    code = Image.open(drawn).convert("RGB")
    picture = Image.new("RGB", (size, size), background)
    offset = (size - code.width) // 2
    picture.paste(code, (offset, offset))
    out = io.BytesIO()
    picture.save(out, format="PNG")
    return out.getvalue()
