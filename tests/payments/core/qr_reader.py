"""Reads a QR code back out of a PNG, as a phone does, by ISO/IEC 18004: versions 1 to 6, bytes.

It shares nothing with what draws them. Nothing is corrected: one wrong module is an error.
"""

import io
from collections.abc import Callable

from PIL import Image, ImageChops

# (blocks, data codewords in each), by version and level.
BLOCKS: dict[tuple[int, str], list[tuple[int, int]]] = {
    (1, "L"): [(1, 19)],
    (1, "M"): [(1, 16)],
    (1, "Q"): [(1, 13)],
    (1, "H"): [(1, 9)],
    (2, "L"): [(1, 34)],
    (2, "M"): [(1, 28)],
    (2, "Q"): [(1, 22)],
    (2, "H"): [(1, 16)],
    (3, "L"): [(1, 55)],
    (3, "M"): [(1, 44)],
    (3, "Q"): [(2, 17)],
    (3, "H"): [(2, 13)],
    (4, "L"): [(1, 80)],
    (4, "M"): [(2, 32)],
    (4, "Q"): [(2, 24)],
    (4, "H"): [(4, 9)],
    (5, "L"): [(1, 108)],
    (5, "M"): [(2, 43)],
    (5, "Q"): [(2, 15), (2, 16)],
    (5, "H"): [(2, 11), (2, 12)],
    (6, "L"): [(2, 68)],
    (6, "M"): [(4, 27)],
    (6, "Q"): [(4, 19)],
    (6, "H"): [(4, 15)],
}
LEVELS = {0b01: "L", 0b00: "M", 0b11: "Q", 0b10: "H"}
MASKS: tuple[Callable[[int, int], bool], ...] = (
    lambda r, c: (r + c) % 2 == 0,
    lambda r, _: r % 2 == 0,
    lambda _, c: c % 3 == 0,
    lambda r, c: (r + c) % 3 == 0,
    lambda r, c: (r // 2 + c // 3) % 2 == 0,
    lambda r, c: r * c % 2 + r * c % 3 == 0,
    lambda r, c: (r * c % 2 + r * c % 3) % 2 == 0,
    lambda r, c: ((r + c) % 2 + r * c % 3) % 2 == 0,
)

Modules = list[list[int]]


def read_qr(png: bytes, *, dark: tuple[int, int, int] = (0, 0, 0)) -> tuple[str, str]:
    """The text and the level. dark: the colour of the modules that count as 1."""
    modules = _modules(png, dark)
    size = len(modules)
    bits = 0
    cells = [(8, c) for c in (0, 1, 2, 3, 4, 5, 7, 8)] + [(r, 8) for r in (7, 5, 4, 3, 2, 1, 0)]
    for row, column in cells:
        bits = bits << 1 | modules[row][column]
    bits ^= 0b101010000010010
    level, mask = LEVELS[bits >> 13], MASKS[bits >> 10 & 0b111]
    stream = []
    for row, column in _path(size):
        stream.append(modules[row][column] ^ int(mask(row, column)))
    words = [_number(stream[at : at + 8]) for at in range(0, len(stream) // 8 * 8, 8)]
    return _text(_data(words, BLOCKS[(size - 17) // 4, level])), level


def _modules(png: bytes, dark: tuple[int, int, int]) -> Modules:
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    width, height = picture.size
    # Of each pixel, how far it is from the dark colour: the whole picture at once, for it may be
    # two thousand pixels wide.
    red, green, blue = ImageChops.difference(picture, Image.new("RGB", picture.size, dark)).split()
    far = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    is_dark = far.point([1] + [0] * 255).tobytes()
    pixels = [is_dark[at : at + width] for at in range(0, width * height, width)]
    top = next(y for y, line in enumerate(pixels) if any(line))
    left = pixels[top].index(1)
    # The finder's upper edge is seven modules wide.
    pitch = pixels[top][left:].index(0) // 7
    size = (width - 2 * left) // pitch
    return [
        [pixels[top + r * pitch + pitch // 2][left + c * pitch + pitch // 2] for c in range(size)]
        for r in range(size)
    ]


def _path(size: int) -> list[tuple[int, int]]:
    """Where the bits are: in pairs of columns from the right, up and down in turn."""
    found, upward, right = [], True, size - 1
    while right > 0:
        if right == 6:
            right -= 1
        rows = range(size - 1, -1, -1) if upward else range(size)
        for row in rows:
            found += [(row, c) for c in (right, right - 1) if not _is_pattern(row, c, size)]
        upward, right = not upward, right - 2
    return found


def _is_pattern(row: int, column: int, size: int) -> bool:
    corner = (
        (row < 9 and column < 9)
        or (row < 9 and column >= size - 8)
        or (row >= size - 8 and column < 9)
    )
    centre = size - 7
    aligned = size > 21 and abs(row - centre) <= 2 and abs(column - centre) <= 2
    return corner or aligned or row == 6 or column == 6


def _data(words: list[int], blocks: list[tuple[int, int]]) -> list[int]:
    lengths = [length for count, length in blocks for _ in range(count)]
    found: list[list[int]] = [[] for _ in lengths]
    taken = iter(words)
    for at in range(max(lengths)):
        for block, length in zip(found, lengths, strict=True):
            if at < length:
                block.append(next(taken))
    return [word for block in found for word in block]


def _text(data: list[int]) -> str:
    bits = [word >> shift & 1 for word in data for shift in range(7, -1, -1)]
    assert _number(bits[:4]) == 0b0100, "not written as bytes"
    length = _number(bits[4:12])
    raw = bytes(_number(bits[12 + 8 * at : 20 + 8 * at]) for at in range(length))
    return raw.decode()


def _number(bits: list[int]) -> int:
    value = 0
    for bit in bits:
        value = value << 1 | bit
    return value
