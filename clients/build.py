"""Assemble web/board, web/home and web/h5 from their sources, with nothing but Python.

    python clients/build.py [--into web]

The modules of a page become one file, so that a wall screen on weak Wi-Fi fetches
one script and never half of an update. Every local file a page names carries a
mark of its content, so that a browser keeps it until it changes. The same
sources always give the same bytes; a test compares web/ with a fresh build.
"""

import argparse
import hashlib
import re
import shutil
from pathlib import Path

CLIENTS = Path(__file__).resolve().parent
IMPORT = re.compile(r'^import \{[^}]*\} from "\./([a-z_]+\.js)";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?=const |let |class |function |async function )", re.MULTILINE)
LEFT_OVER = re.compile(r"^(import|export)\b.*$", re.MULTILINE)
TOP_NAME = re.compile(
    r"^(?:async )?(?:const|let|class|function\*?) ([A-Za-z_$][\w$]*)", re.MULTILINE
)
LOCAL_LINK = re.compile(r'\b((?:href|src)=")((?:/home/)?([a-z_]+\.(?:js|css|svg)))"')


class BuildError(Exception):
    """A source does something this build does not understand."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Assemble web/board, web/home and web/h5.")
    parser.add_argument("--into", type=Path, default=CLIENTS.parent / "web")
    build(parser.parse_args().into)


def build(web: Path) -> None:
    """Write web/board, web/home and web/h5 anew; what was in them before is gone."""
    board = {
        "board.js": bundle(CLIENTS / "board", "main.js").encode(),
        **read(CLIENTS / "board", "board.css", "icon.svg"),
    }
    for clip in sorted((CLIENTS / "board" / "voice").rglob("*.ogg")):
        board[clip.relative_to(CLIENTS / "board").as_posix()] = clip.read_bytes()
    home = read(CLIENTS / "home", "home.js", "home.css", "icon.svg")
    renew = {
        "renew.js": bundle(CLIENTS / "renew", "main.js").encode(),
        **read(CLIENTS / "renew", "renew.css", "icon.svg"),
    }
    for name, files in (("board", board), ("home", home), ("renew", renew)):
        files["index.html"] = page(name, files)
    cabinet = read(CLIENTS / "cabinet", "cabinet.js")
    # It looks as the front page does, and takes its files.
    cabinet["index.html"] = page("cabinet", {**home, **cabinet})
    h5 = {f"renew/{name}": content for name, content in renew.items()}
    h5 |= {f"cabinet/{name}": content for name, content in cabinet.items()}
    h5["index.html"] = page("h5", home)
    for name, files in (("board", board), ("home", home), ("h5", h5)):
        write(web / name, files)


def page(name: str, files: dict[str, bytes]) -> bytes:
    source = (CLIENTS / name / "index.html").read_text(encoding="utf-8")
    return stamp(source, files).encode()


def read(folder: Path, *names: str) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names}


def bundle(folder: Path, entry: str) -> str:
    """One module out of `entry` and all it imports, each after what it needs."""
    parts: dict[str, str] = {}
    owners: dict[str, str] = {}

    def visit(name: str) -> None:
        if name in parts:
            return
        source = (folder / name).read_text(encoding="utf-8")
        for needed in IMPORT.findall(source):
            visit(needed)
        body = EXPORT.sub("", IMPORT.sub("", source)).strip()
        if left := LEFT_OVER.search(body):
            raise BuildError(f"{name}: cannot bundle {left[0]!r}")
        for top in TOP_NAME.findall(body):
            if owners.setdefault(top, name) != name:
                raise BuildError(f"{top} is named in both {owners[top]} and {name}")
        parts[name] = body

    visit(entry)
    head = f"// Assembled by clients/build.py from clients/{folder.name}/; edit it there.\n"
    return head + "".join(f"\n// ---- {name} ----\n\n{body}\n" for name, body in parts.items())


def stamp(source: str, files: dict[str, bytes]) -> str:
    """Give each local file a page names a mark of its content."""

    def marked(link: re.Match[str]) -> str:
        return f'{link[1]}{link[2]}?v={hashlib.sha256(files[link[3]]).hexdigest()[:10]}"'

    return LOCAL_LINK.sub(marked, source)


def write(folder: Path, files: dict[str, bytes]) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    for name, content in sorted(files.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


if __name__ == "__main__":
    main()
