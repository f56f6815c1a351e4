"""The machine: which core is whose, what a process takes, where things are built."""

import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Databases lie here too: on a disk, not on a memory file system, so that a commit costs what it
# costs.
BUILD = ROOT / "var" / "bench"

_CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = _CORES[0]
LOAD_CORE = _CORES[1 % len(_CORES)]


def pinned(core: int, command: list[str]) -> list[str]:
    return ["taskset", "--cpu-list", str(core), *command]


def description() -> str:
    """Enough to judge figures by, nothing that names the machine."""
    shared = "" if len(_CORES) > 1 else "; server and generator had to share one core"
    return (
        f"{len(_CORES)} cores ({_model()}), Linux {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}, server pinned to one core, "
        f"generator to another{shared}"
    )


def _model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def family(pid: int) -> list[int]:
    """The process and all its descendants (nginx works in a child)."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            fields = _stat(int(folder.name))
            if fields:
                parents[int(folder.name)] = int(fields[1])
    found = [pid]
    for member in found:
        found.extend(child for child, parent in parents.items() if parent == member)
    return found


def rss_kib(pid: int) -> float:
    """Memory in use by the process and its descendants, in KiB."""
    page_kib = os.sysconf("SC_PAGE_SIZE") / 1024
    pages = 0
    for member in family(pid):
        try:
            pages += int(Path(f"/proc/{member}/statm").read_text().split()[1])
        except OSError:
            continue
    return pages * page_kib


def cpu_s(pid: int) -> float:
    """Processor time of the process and its descendants."""
    ticks = 0
    for member in family(pid):
        fields = _stat(member)
        if fields:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


class Watch:
    """What everybody else on these cores takes while something is measured."""

    def __init__(self, servers: Sequence[int]) -> None:
        self._servers = servers
        self._begun = time.monotonic()
        self._all_s = _busy_s()
        self._ours_s = self._ours()

    def others(self) -> float:
        """Their share of the cores, from 0 to 1."""
        others_s = (_busy_s() - self._all_s) - (self._ours() - self._ours_s)
        wall_s = (time.monotonic() - self._begun) * len(_CORES)
        return max(0.0, others_s / wall_s)

    def _ours(self) -> float:
        times = os.times()
        mine_s = times.user + times.system + times.children_user + times.children_system
        return mine_s + sum(map(cpu_s, self._servers))


def _busy_s() -> float:
    """Time the cores have spent in programs, without that of interrupts, which nobody is billed."""
    ticks = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name.removeprefix("cpu").isdecimal() and int(name.removeprefix("cpu")) in _CORES:
            ticks += sum(map(int, fields[:3]))
    return ticks / os.sysconf("SC_CLK_TCK")


def settle(pid: int, *, timeout_s: float = 15.0) -> None:
    """Wait until a server has done with the clients of the last measurement."""
    deadline = time.monotonic() + timeout_s
    before = cpu_s(pid)
    while time.monotonic() < deadline:
        time.sleep(0.25)
        after = cpu_s(pid)
        if after - before <= 0.02:
            return
        before = after
    print("  (a server did not come to rest)", file=sys.stderr)


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name, which may hold blanks."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
