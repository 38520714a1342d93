"""The tables of a soak: printed at its end, and each page written to reports/benchmarks when all of it is measured."""

import os
import platform
from collections import Counter
from importlib.metadata import version
from typing import Any

from soak import cluster, fuzz, kills, operations, service, shop, speed
from soak.ledger import Ledger
from soak.processes import GRACE

TITLES = {
    "study": "a study, alone or two at once; store and images moved, files cut, between kills",
    "workers": "a study with two workers, in new processes",
    "creation": "the making of a store",
    "check": "`vpt data check`",
    "report": "a whole report",
    "swap": "the last step of a report: its folder takes the place of the earlier one",
}


def page(ledger: Ledger, name: str) -> str:
    """One of the `PAGES`, from what is in the ledger."""
    title, command, _, sections = PAGES[name]
    found = [text for section in sections if (text := section(ledger))]
    return "\n\n".join([f"# {title}\n\n{_machine()}", *found, f"Repeat with {command}."]) + "\n"


def faults(ledger: Ledger) -> list[str]:
    """What went wrong, the same thing once: the part, how often, and what."""
    found: dict[tuple[str, str], int] = {}
    for part in (*kills.PARTS, *operations.PARTS, *cluster.PARTS, *fuzz.KINDS, *speed.PARTS, *service.PARTS):
        for row in ledger.rows(part):
            for said in row["faults"]:
                key = part, said.splitlines()[-1][:200]
                found[key] = found.get(key, 0) + 1
    return [f"{part}: {count} × {said}" for (part, said), count in found.items()]


def _machine() -> str:
    return (
        f"{platform.machine()} CPU, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"torch {version('torch')}, mlflow {version('mlflow')}, Pillow {version('pillow')}."
    )


def _kills(ledger: Ledger) -> str:
    rows, total = [], 0
    for part in kills.PARTS:
        cases = ledger.rows(part)
        if not cases:
            continue
        total += (killed := _sum(cases, "kills"))
        wrong = sum(bool(case["faults"]) for case in cases)
        slowest = max(case["slowest"] for case in cases)
        rows.append([TITLES[part], len(cases), killed, _sum(cases, "alone"), f"{slowest:.1f}", wrong])
    if not rows:
        return ""
    heads = ["killed", "cases", "kills", "of the parent alone", "its children ended within, s", "cases with a fault"]
    return (
        f"## {total} kills\n\nSIGKILL at a random moment, or just before or after a random change of a file, to a "
        "process alone or to its group; only kills that met a living process count. Then the same command is given "
        "again until it ends. A case has no fault if the table of runs (accuracy, predictions, learning rate, rates "
        "tried, steps) is that of an undisturbed store, every run is there once, no run that was finished is made "
        f"again, no run is left unfinished, no temporary file is left (what Jupyter and Chromium put into the "
        f"system's own folder aside), no child lives {GRACE} s after its parent, and a page or a report is at every "
        f"moment the earlier one or the new one.\n\n{_table(heads, rows)}"
    )


ACTIONS = {
    "register": "`vpt prompts register`",
    "promote": "a promotion",
    "roll_back": "`vpt prompts roll-back`",
    "fetch": "`vpt prompts fetch`",
    "import": "`vpt prompts register` of a file from another site",
    "export": "the writing of a model file",
    "predict": "`vpt predict`",
}


def _operations(ledger: Ledger) -> str:
    parts = (_killed_actions, _several_writers, _shortages, _damaged_files)
    found = [text for part in parts if (text := part(ledger))]
    return "\n\n".join(["## Models in service", *found]) if found else ""


def _killed_actions(ledger: Ledger) -> str:
    cases = ledger.rows("prompts")
    if not cases:
        return ""
    by = sum((Counter(case["by"]) for case in cases), Counter())
    rows = [[ACTIONS[action], by[action]] for action in shop.ACTIONS]
    wrong = sum(bool(case["faults"]) for case in cases)
    return (
        f"{by.total()} kills in {len(cases)} cases; {wrong} cases with a fault. After each kill a reader looks, and "
        "then the same command is given again. There is no fault if no decision is lost or there twice, the chain of "
        "decisions verifies, every version that is listed has the file that was registered, what is in production is "
        "what the ledger says and gives the same logits bit for bit, a file that is written is the earlier one or the "
        "new one, the answers of `vpt predict` are byte for byte those of an undisturbed one, and no temporary file is "
        f"left.\n\n{_table(['killed', 'kills'], rows)}"
    )


def _several_writers(ledger: Ledger) -> str:
    rows = []
    for count in (2, 4):
        cases = [case for case in ledger.rows("writers") if case["writers"] == count]
        if cases:
            wrong = sum(bool(case["faults"]) for case in cases)
            rows.append([count, len(cases), _sum(cases, "decisions"), _sum(cases, "kills"), wrong])
    heads = ["writers at once", "cases", "decisions confirmed", "writers killed", "cases with a fault"]
    text = "Several processes decide about one prompt. Every decision that was confirmed must be in the chain, once."
    return f"{text}\n\n{_table(heads, rows)}" if rows else ""


def _shortages(ledger: Ledger) -> str:
    rows = []
    for title in (kind.title for kind in operations.SHORTAGES.values()):
        cases = [case for case in ledger.rows("shortages") if case["shortage"] == title]
        if cases:
            wrong = sum(bool(case["faults"]) for case in cases)
            rows.append([title, _sum(cases, "done"), _sum(cases, "refused"), wrong])
    heads = ["what is missing", "actions done all the same", "refused in a sentence", "cases with a fault"]
    text = "What is refused must leave nothing half visible, and the same command must go on when nothing is missing."
    return f"{text}\n\n{_table(heads, rows)}" if rows else ""


def _damaged_files(ledger: Ledger) -> str:
    cases = ledger.rows("damage")
    if not cases:
        return ""
    names = ("flips", "refused", "harmless", "silent")
    heads = ["changed model files", "refused in a sentence", "nothing another", "another model, card or test, unseen"]
    return (
        "One to four bytes of a model file are changed. The registry refused each of these files, because it has their "
        f"SHA-256; this is what reading the file by itself does.\n\n{_table(heads, [[_sum(cases, n) for n in names]])}"
    )


def _fuzz(ledger: Ledger) -> str:
    rows = []
    for part, kind in fuzz.KINDS.items():
        chunks = ledger.rows(part)
        if not chunks:
            continue
        counts = [_sum(chunks, name) for name in ("inputs", "foreign", "hang", "memory", "died")]
        most, slowest = (max(chunk[name] for chunk in chunks) for name in ("megabytes", "slowest"))
        rows.append([kind.title, f"{counts[0]:,}", *counts[1:], f"{most:.0f} of {kind.most}", f"{slowest:.1f}"])
    if not rows:
        return ""
    heads = ["inputs", "tried", "foreign exceptions", "hangs", "too much memory", "process lost"]
    heads += ["most memory, MB", "slowest, s"]
    return (
        "## Strange inputs\n\nEach is read in a process that is watched. It must be read as it is for a user, or "
        "refused in one sentence (`UserError`) that names it; any other exception, and any result that breaks what the "
        f"reader promises, is foreign. An input hangs if it takes more than {fuzz.SECONDS} s. Memory is the largest "
        f"resident memory while it is read, above that of its process before.\n\n{_table(heads, rows)}"
    )


def _speed(ledger: Ledger) -> str:
    rows = []
    for part, title, limit in (
        ("check-speed", f"`vpt data check` of {{:,}} JPEG files of {speed.SIDE} px", speed.SECONDS_TO_CHECK),
        ("open-speed", "opening a study in a store of {:,} runs", speed.SECONDS_TO_OPEN),
    ):
        for row in ledger.rows(part):
            met = "yes" if row["seconds"] <= limit else "no"
            rows.append([title.format(row["count"]), f"{row['seconds']:.1f}", limit, met])
    if not rows:
        return ""
    return (
        "## Large amounts\n\nThe check is the whole command. The study's images and backbone are loaded before its "
        "store is opened, in a process that has not opened one; the median of five.\n\n"
        + _table(["what", "seconds", "target", "met"], rows)
    )


def _sum(rows: list[dict[str, Any]], name: str) -> int:
    return sum(row[name] for row in rows)


def _table(heads: list[str], rows: list[list]) -> str:
    lines = [heads, ["---"] * len(heads), *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


# File in reports/benchmarks → title, how to make it again, its parts, and its sections.
PAGES = {
    "reliability.md": (
        "What kills, strange files and large amounts do",
        "`make soak`",
        (*kills.PARTS, *fuzz.KINDS, *speed.PARTS),
        (_kills, _fuzz, _speed),
    ),
    "reliability_of_models.md": (
        "What kills, other writers, full disks and damage do to registered models",
        f"`PYTHONPATH=tests python -m soak {' '.join(operations.PARTS)}` (part of `make soak`)",
        tuple(operations.PARTS),
        (_operations,),
    ),
    "reliability_of_service.md": (
        "What hostile clients do to the service",
        f"`PYTHONPATH=tests python -m soak {' '.join(service.PARTS)}` (part of `make soak`)",
        tuple(service.PARTS),
        (service.section,),
    ),
    "reliability_of_cluster.md": (
        "What kills, cuts, full disks and wrong clocks do to a study on a cluster",
        f"`PYTHONPATH=tests python -m soak {' '.join(cluster.PARTS)}` (part of `make soak`)",
        tuple(cluster.PARTS),
        (cluster.section,),
    ),
}
