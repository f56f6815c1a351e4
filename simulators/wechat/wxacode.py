"""Mini-program codes (getwxacodeunlimit): the rules, and a picture that can be read back."""

import io
import math
import re

import msgspec
from PIL import Image, ImageDraw, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from simulators.wechat.errors import WeChatError

SCENE = re.compile(r"[0-9A-Za-z!#$&'()*+,/:;=?@\-._~]{1,32}")
WIDTH_MIN, WIDTH_MAX = 280, 1280
SCENE_MAX = 32

# The picture: one spoke a byte, the first holds the length; one ring a bit.
SPOKES = SCENE_MAX + 4
RINGS = 8
INNER, OUTER = 0.22, 0.46
# Drawn larger and scaled down, so that the rings are round and smooth.
SCALE = 2
INK = (20, 24, 28)
PAPER = (255, 255, 255)


class CodeRequest(msgspec.Struct):
    scene: str = ""
    page: str = ""
    check_path: bool = True
    env_version: str = "release"
    width: int = 430

    def check(self) -> None:
        """Raises WeChatError 40169, 41030, 40097. Whether the page exists is asked elsewhere."""
        if not SCENE.fullmatch(self.scene):
            raise WeChatError(40169)
        if self.page.startswith("/") or "?" in self.page:
            raise WeChatError(41030)
        if not WIDTH_MIN <= self.width <= WIDTH_MAX:
            raise WeChatError(40097, f"width must be {WIDTH_MIN} to {WIDTH_MAX}")
        if self.env_version not in ("release", "trial", "develop"):
            raise WeChatError(40097, "env_version")


def draw(request: CodeRequest) -> bytes:
    """A PNG whose spokes carry the scene; scene and page also stand in its text chunks."""
    size = request.width * SCALE
    image = Image.new("RGB", (size, size), PAPER)
    pen = ImageDraw.Draw(image)
    for spoke, byte in enumerate(_bytes_of(request.scene)):
        for ring in range(RINGS):
            if byte >> ring & 1:
                _draw_cell(pen, size, spoke, ring)
    _draw_middle(pen, size)
    return _png(image.resize((request.width, request.width), Image.Resampling.LANCZOS), request)


def read(picture: bytes) -> str:
    """The scene, from the picture's pixels alone. Raises ValueError when it holds none."""
    try:
        image = Image.open(io.BytesIO(picture)).convert("L")
    except UnidentifiedImageError as error:
        raise ValueError("not a picture") from error
    spokes = [_read_spoke(image, spoke) for spoke in range(SPOKES)]
    scene = bytes(spokes[1 : 1 + spokes[0]]).decode("ascii", "replace")
    if not SCENE.fullmatch(scene) or len(scene) != spokes[0]:
        raise ValueError("no scene in this picture")
    return scene


def _bytes_of(scene: str) -> bytes:
    return bytes([len(scene)]) + scene.encode("ascii")


def _read_spoke(image: Image.Image, spoke: int) -> int:
    byte = 0
    for ring in range(RINGS):
        x, y = _middle_of(image.width, spoke, ring)
        pixel = image.getpixel((round(x), round(y)))
        if isinstance(pixel, int | float) and pixel < 128:
            byte |= 1 << ring
    return byte


def _radius(size: int, ring: float) -> float:
    return size * (INNER + (OUTER - INNER) * ring / RINGS)


def _middle_of(size: int, spoke: int, ring: int) -> tuple[float, float]:
    angle, radius = 2 * math.pi * spoke / SPOKES, _radius(size, ring + 0.5)
    return size / 2 + radius * math.cos(angle), size / 2 + radius * math.sin(angle)


def _draw_cell(pen: ImageDraw.ImageDraw, size: int, spoke: int, ring: int) -> None:
    angle, half = 2 * math.pi * spoke / SPOKES, math.pi / SPOKES * 0.72
    corners = [
        (size / 2 + radius * math.cos(turn), size / 2 + radius * math.sin(turn))
        for radius, turn in (
            (_radius(size, ring), angle - half),
            (_radius(size, ring + 1), angle - half),
            (_radius(size, ring + 1), angle + half),
            (_radius(size, ring), angle + half),
        )
    ]
    pen.polygon(corners, fill=INK)


def _draw_middle(pen: ImageDraw.ImageDraw, size: int) -> None:
    middle, radius = size / 2, size * INNER * 0.8
    pen.ellipse((middle - radius, middle - radius, middle + radius, middle + radius), fill=INK)
    pen.text((middle, middle), "SIM", fill=PAPER, anchor="mm", font_size=size * 0.12)


def _png(image: Image.Image, request: CodeRequest) -> bytes:
    info = PngInfo()
    info.add_text("scene", request.scene)
    info.add_itxt("page", request.page)
    info.add_text("software", "WeChat simulator")
    out = io.BytesIO()
    image.save(out, "PNG", pnginfo=info)
    return out.getvalue()
