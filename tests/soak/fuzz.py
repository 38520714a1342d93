"""Invented inputs, each read in a process that is watched: for time, memory, and exceptions that no user may see.

`tests/fuzz_<kind>.py` invents them (`cases(seed, count)`) and judges what became of each (`check(case)`, or
`check(case, folder)` with a folder for its files). A kind is cut into chunks; a chunk is the unit that is kept.
"""

import inspect
import itertools
import json
import os
import resource
import select
import shutil
import signal
import statistics
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from soak.ledger import Ledger
from vptlib.data.memory import MOST_BYTES

CHUNK = 250
SECONDS = 20  # an input that takes longer hangs
ROOM = 4 << 30  # bytes of address space beyond which a process gets a MemoryError, to save the machine


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes:
        module: what invents and judges it.
        title: what is read.
        most: megabytes that one input may take, above what its process has.
    """

    module: str
    title: str
    most: int = 256


KINDS = {
    "yaml": Kind("fuzz_yaml", "YAML files of a report"),
    "tables": Kind("fuzz_tables", "tables of paths and labels"),
    "lists": Kind("fuzz_lists", "list files"),
    "prompt-files": Kind("fuzz_promptfile", "prompt files"),
    "images": Kind("fuzz_images", "image files", most=MOST_BYTES // 2**20 + 256),
}


@dataclass
class Judged:
    """What became of one input: "fine", "foreign", "hang", "memory" or "died", and what was said or raised."""

    number: int
    kind: str
    seconds: float = 0.0
    megabytes: float = 0.0
    said: str = ""


def available(part: str) -> bool:
    """Whether the inputs of this part can be invented."""
    return (Path(__file__).parents[1] / f"{KINDS[part].module}.py").exists()


def load(part: str) -> None:
    """Import what a part needs, and invent one input, before forks are made."""
    next(import_module(KINDS[part].module).cases(0, 1))


def run_chunk(part: str, chunk: int, ledger: Ledger) -> dict[str, Any]:
    """Judge a chunk of inputs and keep the sum, and each fault."""
    judged = list(judge(KINDS[part].module, seed_of(ledger.seed, chunk), CHUNK, most=KINDS[part].most))
    faults = [one for one in judged if one.kind != "fine"]
    for one in faults:
        about = {"module": KINDS[part].module, "chunk": chunk, "kind": one.kind, "said": one.said}
        about |= {"case": repr(_case(KINDS[part].module, seed_of(ledger.seed, chunk), one.number))[:3000]}
        ledger.add_fault(part, chunk * CHUNK + one.number, **about)
    row = {
        "inputs": len(judged),
        **{kind: sum(one.kind == kind for one in judged) for kind in ("foreign", "hang", "memory", "died")},
        "megabytes": round(max(one.megabytes for one in judged), 1),
        "median_ms": round(1000 * statistics.median(one.seconds for one in judged), 2),
        "slowest": round(max(one.seconds for one in judged), 2),
        "faults": sorted({f"{one.kind}: {one.said.strip().splitlines()[-1][:160]}" for one in faults if one.said}),
    }
    ledger.add(part, chunk, **row)
    return row


def seed_of(seed: int, chunk: int) -> int:
    """The seed of a chunk's inputs."""
    return 10_000 * seed + chunk


def judge(module: str, seed: int, count: int, seconds: float = SECONDS, most: float = 256) -> Iterator[Judged]:
    """Judge inputs, each in a process that can be lost; `most` as in `Kind`."""
    start = 0
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        while start < count:
            for one in _until_lost(module, seed, count, start, folder, seconds, most):
                start = one.number + 1
                yield one
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def replay(about: dict[str, Any]) -> None:
    """Read the input of a kept fault once more, in this process; what it raises is raised."""
    chunk = about["chunk"]
    case = _case(about["module"], seed_of(about["seed"], chunk), about["number"] - chunk * CHUNK)
    with tempfile.TemporaryDirectory() as folder:
        _check(import_module(about["module"]), case, Path(folder))


# ---- the watching process -----------------------------------------------------------------------------------------


def _until_lost(
    module: str, seed: int, count: int, start: int, folder: Path, seconds: float, most: float
) -> Iterator[Judged]:
    """Judge inputs in one process until it is done, or lost in one of them; that one is the last."""
    inside, outside = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(inside)
            _judge_all(module, seed, count, start, folder, most, outside)
        finally:
            os._exit(0)
    os.close(outside)
    at, lost = start, ""
    with os.fdopen(inside, "rb", buffering=0) as pipe:
        for line in _lines(pipe, seconds):
            if line is None:
                lost = "hang"
                os.kill(pid, signal.SIGKILL)
                break
            one = Judged(**json.loads(line))
            at = one.number + 1
            yield one
    _, status = os.waitpid(pid, 0)
    if at < count:
        code = os.waitstatus_to_exitcode(status)
        said = f"no answer for {seconds:g} s" if lost else f"its process ended with {code}"
        yield Judged(at, lost or "died", seconds if lost else 0.0, 0.0, said)


def _lines(pipe: Any, seconds: float) -> Iterator[bytes | None]:
    """The lines that come through a pipe; None where none comes in time."""
    rest = b""
    while True:
        ready, _, _ = select.select([pipe], [], [], seconds)
        if not ready:
            yield None
            return
        got = pipe.read(65536)
        if not got:
            return
        *whole, rest = (rest + got).split(b"\n")
        yield from whole


# ---- the watched process ------------------------------------------------------------------------------------------


def _judge_all(module: str, seed: int, count: int, start: int, folder: Path, most: float, to: int) -> None:
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for target in (0, 1, 2):
        os.dup2(nothing, target)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    room = _kilobytes("VmSize") * 1024 + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    loaded = import_module(module)
    for number, case in itertools.islice(enumerate(loaded.cases(seed, count)), start, None):
        one = _judged(loaded, number, case, folder, most)
        os.write(to, json.dumps(vars(one)).encode() + b"\n")


def _judged(module: Any, number: int, case: Any, folder: Path, most: float) -> Judged:
    before = _reset_peaks()
    begun, kind, said = time.perf_counter(), "fine", ""
    try:
        _check(module, case, folder)
    except BaseException:
        kind, said = "foreign", traceback.format_exc()[-1500:]
    took = time.perf_counter() - begun
    megabytes = max((_kilobytes("VmHWM", pid) - before[pid]) / 1024 for pid in before)
    if kind == "fine" and megabytes > most:
        kind, said = "memory", f"it took {megabytes:.0f} MB, more than {most:g}"
    return Judged(number, kind, took, max(0.0, megabytes), said)


def _check(module: Any, case: Any, folder: Path) -> None:
    wants_folder = len(inspect.signature(module.check).parameters) > 1
    module.check(case, folder) if wants_folder else module.check(case)


def _case(module: str, seed: int, number: int) -> Any:
    return next(itertools.islice(import_module(module).cases(seed, CHUNK), number, None))


def _reset_peaks() -> dict[int, int]:
    """Forget the largest memory of this process and of its children so far; the present one of each, in kilobytes."""
    me = os.getpid()
    present = {}
    for pid in (me, *map(int, Path(f"/proc/{me}/task/{me}/children").read_text().split())):
        with suppress(OSError):  # a child that has just ended
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        present[pid] = _kilobytes("VmRSS", pid)
    return present


def _kilobytes(name: str, pid: int | str = "self") -> int:
    """A figure of the memory of a process; 0 if it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
    return 0
