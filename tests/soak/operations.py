"""Models in service: kills, several writers, shortages and damaged files.

Each part is a function of a case. Its row says what was tried and what went wrong ("faults").
"""

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from soak import damaged, prompts, shortages
from soak.kills import Case, kept_case
from soak.ledger import Ledger
from soak.processes import SECONDS, Process, forked
from soak.prompts import Seen
from soak.scene import Scene
from soak.shop import ACTIONS, Files, Shop, given_again, judge_entries, judge_file, whole_file

Row = dict[str, Any]
TURNS = 9  # kills of a case


# ---- kills ------------------------------------------------------------------------------------------------------


def kills(case: Case, files: Files, turns: int = TURNS) -> Row:
    """Actions are killed in any order, each of them once before one is killed twice; the same command follows."""
    draw, shop = case.draw, Shop(case.scene, files)
    shutil.copytree(files.folder / "store", case.scene.store)
    shutil.copytree(files.folder / "store", shop.site)
    by: Counter[str] = Counter()
    order = (draw.sample(ACTIONS, len(ACTIONS)) + draw.sample(ACTIONS, len(ACTIONS)))[:turns]
    seen = Seen()
    for turn, action in enumerate(order):
        if action == "export" and draw.random() < 0.5:
            shop.finish("export", out=str(shop.out / "exported.vpt"), seed=100)
        seen = shop.make_ready(action, seen)
        if case.scene.said:
            break
        seen, killed = _killed_once(case, shop, action, seen, turn)
        by[action] += killed
    return case.row() | {"by": by}


def _killed_once(case: Case, shop: Shop, action: str, seen: Seen, turn: int) -> tuple[Seen, bool]:
    """Kill an action, look, and give the same command again. What is seen then, and whether it was killed."""
    at_site = action == "import"
    given, whole = shop.given(action, seen, case.draw, turn), whole_file(shop, action)
    before = shop.look(at_site) if at_site else seen
    killed = _kill(case, shop, action, given)
    after = shop.look(at_site)
    judge_entries(shop, action, given, before, after, ended=not killed)
    judge_file(shop, action, whole, ended=not killed)
    if killed:
        after = given_again(shop, action, given, before, after)
    return seen if at_site else after, killed


def _kill(case: Case, shop: Shop, action: str, given: Row) -> bool:
    """At a random moment between its beginning and its usual end, or at a random change of a file."""
    draw, group = case.draw, case.draw.random() < 0.4
    if draw.random() < 0.3:
        at, after = draw.randrange(shop.files.changes[action]), draw.random() < 0.5
        process = shop.start(action, **given, kill_at=at, kill_after=after, kill_group=group)
        process.wait(SECONDS)
    else:
        process = shop.start(action, **given)
        until = time.monotonic() + SECONDS
        while not (shop.mark.exists() or process.ended()) and time.monotonic() < until:
            time.sleep(0.001)
        process.wait(draw.uniform(0, shop.files.seconds[action]))
    return case.kill(process, group)


# ---- several writers --------------------------------------------------------------------------------------------


def writers(case: Case, files: Files, rounds: int = 10) -> Row:
    """Two or four processes decide about one prompt at once; sometimes one of them is killed."""
    scene, draw, shop = case.scene, case.draw, Shop(case.scene, files)
    shutil.copytree(files.folder / "store", scene.store)
    for number in range(2):
        shop.finish("register", path=str(files.model(number)))
    before, count = shop.look(), case.draw.choice((2, 4))
    own = [[str(files.model(2 + k))] for k in range(count)]
    shared = [str(files.model(number)) for number in (6, 7)]
    logs = [scene.folder / f"writer-{k}.jsonl" for k in range(count)]
    running = [_writer(scene, f"{draw.random()} w{k}", own[k], shared, rounds, logs[k]) for k in range(count)]
    killed = draw.random() < 0.3
    if killed:
        running[0].wait(draw.uniform(0.2, 4))
        killed = case.kill(running[0], group=True)
    for process in running[killed:]:
        scene.ended_well(process, "one of several writers")
    ends = [json.loads(line) for log in logs for line in log.read_text().splitlines() if line.endswith("}")]
    after = shop.look()
    refused = [end["refused"] for end in ends if "refused" in end]
    _judge_writers(shop, before, after, ends, killed)
    return case.row() | {"writers": count, "decisions": len(ends) - len(refused), "refused": refused}


def _writer(scene: Scene, seed: str, own: list[str], shared: list[str], rounds: int, log: Path) -> Process:
    log.touch()
    given = {"seed": seed, "own": own, "shared": shared, "rounds": rounds, "to": str(log)}
    return forked(prompts.decide, given, scene.environment(), log.with_suffix(".txt"))


# What one of several writers may be refused, in a sentence of its own.
_ALLOWED = ("nothing was in production", "is in production already", "was never in production")


def _judge_writers(shop: Shop, before: Seen, after: Seen, ends: list[Row], killed: bool) -> None:
    """Every decision that was confirmed is in the chain once, and a killed writer has added one more at most."""
    said, hashes = shop.scene.said, after.hashes
    confirmed = {end["hash"] for end in ends if "hash" in end}
    if lost := confirmed - set(hashes):
        said.append(f"{len(lost)} confirmed decisions are lost")
    if any(after.versions.get(end["digest"]) != end["number"] for end in ends if "digest" in end):
        said.append("a confirmed version is lost, or has another number")
    if hashes[: len(before.hashes)] != before.hashes:
        said.append("earlier entries are changed or lost")
    added = [entry for entry in after.entries[len(before.entries) :] if entry["kind"] != "registered"]
    if len({entry["hash"] for entry in added} - confirmed) > killed:
        said.append("there are decisions that nobody has made")
    said += [f"refused: {end['refused']}" for end in ends if not _may_be(end.get("refused", _ALLOWED[0]))]


def _may_be(sentence: str) -> bool:
    return any(part in sentence for part in _ALLOWED)


# ---- damaged files ----------------------------------------------------------------------------------------------

METHODS = ("vpt-deep", "linear", "vpt-shallow", "lora", "bias", "full", "knn")
FLIPS = 40  # of a case


def damage(case: Case, files: Files, flips: int = FLIPS) -> Row:
    """Bits of a model file are changed. It is refused, or it is in every respect the file that it was."""
    scene, to = case.scene, case.scene.folder / "found.json"
    given = {"method": case.draw.choice(METHODS), "seed": case.draw.random(), "flips": flips, "to": str(to)}
    process = forked(damaged.flip, given | {"folder": str(scene.folder)}, scene.environment(), scene.folder / "log")
    if not scene.ended_well(process, "the reading of damaged files"):
        return case.row() | dict.fromkeys(("flips", "refused", "harmless", "silent"), 0)
    found = json.loads(to.read_text())
    scene.said += found.pop("said")
    return case.row() | found


# ---- all parts --------------------------------------------------------------------------------------------------

SHORTAGES = shortages.SHORTAGES
PARTS: dict[str, Callable[[Case, Files], Row]] = {
    "prompts": kills,
    "writers": writers,
    "shortages": lambda case, files: shortages.shortage(case, Shop(case.scene, files)),
    "damage": damage,
}
CASES = {"prompts": 40, "writers": 20, "shortages": 40, "damage": 20}
ALONE = ("writers",)  # its cases are not made side by side


def run_case(part: str, number: int, ledger: Ledger, folder: Path, files: Files) -> Row:
    """As `soak.kills.kept_case`."""
    return kept_case(PARTS[part], part, number, ledger, folder, files)
