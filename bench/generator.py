"""The load generator from Python: building it, writing its plans, reading its results."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from bench.machine import BUILD, LOAD_CORE, pinned
from bench.process import program

SOURCES = Path(__file__).resolve().parent / "load"
CFLAGS = ["-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror"]

Figures = dict[str, float]
Option = str | float | bool


class LoadFailed(Exception):
    """The generator gave up; its last line says why."""


def build() -> Path:
    """Compile the generator unless it is newer than its sources. Raises NotInstalled."""
    binary = BUILD / "load"
    sources = sorted(SOURCES.glob("*.c"))
    newest = max(path.stat().st_mtime for path in SOURCES.iterdir())
    if binary.exists() and binary.stat().st_mtime > newest:
        return binary
    BUILD.mkdir(parents=True, exist_ok=True)
    command = [program("gcc"), *CFLAGS, "-o", str(binary), *map(str, sources)]
    subprocess.run(command, check=True)
    return binary


def line(**fields: str | int | Sequence[str]) -> str:
    """One line of a plan (bench/load/plan.c names the fields); a list repeats its field."""
    parts: list[str] = []
    for name, value in fields.items():
        values = [value] if isinstance(value, str | int) else value
        parts.extend(f"{name}={one}" for one in values)
    return "\t".join(parts)


def posts(said: Iterable[tuple[Mapping[str, str], str]]) -> str:
    """The end of a line: bodies that are each posted once, with headers of their own."""
    parts: list[str] = []
    for headers, body in said:
        parts += [f"beside={name}: {value}" for name, value in headers.items()]
        parts.append(f"body={body}")
    return "\t".join(parts)


def run(
    mode: str,
    port: int,
    plan: Iterable[str],
    *,
    publishers: Iterable[str] = (),
    timeout_s: float = 300.0,
    **options: Option,
) -> Figures:
    """Run one measurement to its end. Raises LoadFailed."""
    with started(mode, port, plan, publishers=publishers, **options) as load:
        load.await_ready()
        return load.result(timeout_s)


class Load:
    """A generator at work."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def await_ready(self) -> Figures:
        """Wait until all are connected and signed in."""
        return self._read_line()

    def go_on(self) -> None:
        """The word a generator with hold=True waits for."""
        stdin = _pipe(self._process.stdin)
        stdin.write("go\n")
        stdin.flush()

    def result(self, timeout_s: float = 300.0) -> Figures:
        figures = self._read_line()
        self._process.wait(timeout_s)
        complaint = _pipe(self._process.stderr).read().strip()
        if complaint:
            print(f"  {complaint}", file=sys.stderr)
        return figures

    def _read_line(self) -> Figures:
        text = _pipe(self._process.stdout).readline()
        if not text:
            errors = _pipe(self._process.stderr).read().strip()
            raise LoadFailed(errors.splitlines()[-1] if errors else "no word from the generator")
        figures: dict[str, float | str] = json.loads(text)
        return {name: value for name, value in figures.items() if isinstance(value, int | float)}


@contextmanager
def started(
    mode: str,
    port: int,
    plan: Iterable[str],
    *,
    publishers: Iterable[str] = (),
    **options: Option,
) -> Iterator[Load]:
    """A generator that has been started; ended at the latest when the block is left."""
    binary = build()
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        command = [str(binary), mode, f"--port={port}"]
        command += [f"--plan={_written(Path(folder) / 'plan', plan)}"]
        said = list(publishers)
        if said:
            command += [f"--publishers={_written(Path(folder) / 'publishers', said)}"]
        command += list(_as_arguments(options))
        process = subprocess.Popen(
            pinned(LOAD_CORE, command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield Load(process)
        finally:
            process.kill()
            process.communicate()


def _written(path: Path, lines: Iterable[str]) -> Path:
    path.write_text("".join(f"{text}\n" for text in lines))
    return path


def _as_arguments(options: dict[str, Option]) -> Iterator[str]:
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            yield flag
        elif value is not False:
            yield f"{flag}={value}"


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
