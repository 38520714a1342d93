"""The command of the soak.

PYTHONPATH=tests python -m soak                      all of it; goes on where an earlier call was stopped
PYTHONPATH=tests python -m soak study images         some parts
PYTHONPATH=tests python -m soak --share 0.02         a fiftieth of the cases
PYTHONPATH=tests python -m soak --replay FILE        one case that failed, again
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from soak import actions, cluster, fuzz, kills, operations, page, service, shop, speed
from soak.ledger import Ledger
from vptlib.paths import repository

# Cases of each part in the whole soak. A case has one kill to five.
CASES = {"study": 40, "workers": 10, "creation": 30, "check": 20, "report": 6, "swap": 20}
CASES |= operations.CASES | cluster.PARTS
INPUTS = 10_000  # of each kind
# What is one case: how many files or runs it has, or how many seconds; and what makes it.
AMOUNTS = speed.PARTS | service.PARTS
RUN = dict.fromkeys(speed.PARTS, speed.run_part) | dict.fromkeys(service.PARTS, service.run_part)


def main() -> int:
    """Run the parts and print the table; 0 if nothing went wrong."""
    given = _arguments()
    ledger, folder = Ledger(given.folder, given.seed), given.folder / "scenes"
    os.environ["SOAK_BACKBONE"] = str(backbone())
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    if given.replay:
        return _replay(json.loads(given.replay.read_text()), folder)
    wanted = {part: _count(part, given.share) for part in given.parts or _all_parts()}
    if given.fresh or not any(_left(ledger, part, count) for part, count in wanted.items()):
        for part in wanted:
            ledger.forget(part)
    until = time.monotonic() + 60 * given.minutes
    undisturbed, files = kills.Undisturbed(folder / "undisturbed"), cache(lambda: made_ready(folder))
    for part, count in wanted.items():
        if part in fuzz.KINDS:
            fuzz.load(part)
            _in_lanes(part, ledger, count, given.lanes, until, lambda k, p=part: fuzz.run_chunk(p, k, ledger))
        elif part in kills.PARTS:
            lanes = 1 if part in ("workers", "report") else given.lanes
            if ledger.missing(part, count):
                prepare(part, undisturbed)
            _in_lanes(
                part,
                ledger,
                count,
                lanes,
                until,
                lambda k, p=part: kills.run_case(p, k, ledger, folder, undisturbed),
            )
        elif part in operations.PARTS:
            lanes = 1 if part in operations.ALONE else given.lanes
            if ledger.missing(part, count):
                files()  # before the lanes are forked
            _in_lanes(
                part,
                ledger,
                count,
                lanes,
                until,
                lambda k, p=part: operations.run_case(p, k, ledger, folder, files()),
            )
        elif part in cluster.PARTS:
            cluster.run(ledger, count, until, given.folder)
        elif ledger.missing(part, 1) and time.monotonic() < until:
            print(f"{part} ...", flush=True)
            actions.load_libraries()
            RUN[part](part, count, ledger, folder)
    return _conclude(ledger, wanted, given)


def _conclude(ledger: Ledger, wanted: dict[str, int], given: argparse.Namespace) -> int:
    wrong = page.faults(ledger)
    left = [part for part, count in wanted.items() if _left(ledger, part, count)]
    measured = {part for part in wanted if part not in left} if given.share == 1 else set()
    for name, (_, _, parts, _) in page.PAGES.items():
        if not wanted.keys() & set(parts):
            continue
        text = page.page(ledger, name)
        print(f"\n{text}")
        if measured.issuperset(part for part in parts if part in _all_parts()):
            (repository() / "reports" / "benchmarks" / name).write_text(text)
    print("\n".join(wrong) or "Nothing went wrong.")
    if wrong:
        print(f"Each case that failed is in {given.folder / 'faults'}; try one again with --replay FILE.")
    if left:
        print(f"The time was up; the same command goes on with {', '.join(left)}.")
    return 1 if wrong else 0


def prepare(part: str, undisturbed: kills.Undisturbed) -> None:
    """Make before the lanes are forked what their cases compare with."""
    print(f"{part}: an undisturbed one first ...", flush=True)
    actions.load_libraries()
    if part in ("study", "workers"):
        undisturbed.of("creation")
        undisturbed.table()
    else:
        undisturbed.of(part)


def made_ready(folder: Path) -> shop.Files:
    """Make what the cases of models in service share."""
    print("models in service: each action undisturbed first ...", flush=True)
    return shop.made(folder / "operations")


def _in_lanes(part: str, ledger: Ledger, count: int, lanes: int, until: float, run: Callable[[int], object]) -> None:
    """Run the missing cases of a part in forks of this process, side by side, and print how far they are."""
    missing = ledger.missing(part, count)
    children = [_lane(missing[lane::lanes], until, run) for lane in range(min(lanes, len(missing)))]
    while children:
        time.sleep(0.2)
        children = [pid for pid in children if not os.waitpid(pid, os.WNOHANG)[0]]
        left = ledger.missing(part, count)
        wrong = sum(bool(row["faults"]) for row in ledger.rows(part))
        print(f"\r{part}: {count - len(left)} of {count}, {wrong} with a fault", end="", flush=True)
    print(flush=True)


def _lane(numbers: list[int], until: float, run: Callable[[int], object]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        for number in numbers:
            if time.monotonic() > until:
                break
            run(number)
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _replay(about: dict, folder: Path) -> int:
    """One case again: an input raises what it raised, a kill or a disturbed study prints what went wrong."""
    if about["part"] in fuzz.KINDS:
        fuzz.replay(about)
        print("This input is read as it should be.")
        return 0
    part, number, again = about["part"], about["number"], Ledger(folder / "replayed", about["seed"])
    if part in cluster.PARTS:
        wrong = cluster.replay(about, again)
        print("\n".join(wrong) or "Nothing went wrong this time.")
        return 1 if wrong else 0
    if part in operations.PARTS:
        row = operations.run_case(part, number, again, folder / "replayed", made_ready(folder))
    else:
        undisturbed = kills.Undisturbed(folder / "undisturbed")
        prepare(part, undisturbed)
        row = kills.run_case(part, number, again, folder / "replayed", undisturbed)
    print(json.dumps(row, indent=1))
    return 1 if row["faults"] else 0


def _all_parts() -> list[str]:
    return [
        *kills.PARTS,
        *operations.PARTS,
        *cluster.PARTS,
        *(kind for kind in fuzz.KINDS if fuzz.available(kind)),
        *AMOUNTS,
    ]


def _count(part: str, share: float) -> int:
    """How many cases, chunks, files, runs or seconds a share of the soak has."""
    if part in fuzz.KINDS:
        return math.ceil(share * INPUTS / fuzz.CHUNK)
    return math.ceil(share * (CASES | AMOUNTS)[part])


def _left(ledger: Ledger, part: str, count: int) -> list[int]:
    return ledger.missing(part, 1 if part in AMOUNTS else count)


def backbone() -> Path:
    from vptlib.tuning.backbones import embedded_file

    return embedded_file()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m soak", description="Random kills, strange inputs, large amounts.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(_all_parts())} (by default all)")
    parser.add_argument("--share", type=float, default=1.0, help="of the cases of the whole soak (1.0)")
    parser.add_argument("--seed", type=int, default=0, help="of all cases (0)")
    parser.add_argument("--minutes", type=float, default=150.0, help="after which no case is begun (150)")
    parser.add_argument("--lanes", type=int, default=os.cpu_count() or 1, help="cases at the same time")
    parser.add_argument("--folder", type=Path, default=repository() / "build" / "soak", help="for the results")
    parser.add_argument("--fresh", action="store_true", help="forget earlier results")
    parser.add_argument("--replay", type=Path, help="a file of build/soak/faults")
    given = parser.parse_args()
    given.folder = given.folder.resolve()
    unknown = [part for part in given.parts if part not in _all_parts()]
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}: take one of {', '.join(_all_parts())}.")
    return given


if __name__ == "__main__":
    raise SystemExit(main())
