"""Random SIGKILLs: processes are killed, started again until they end, and the result must be the undisturbed one.

Each part is a function of a case's number. Its row says how many kills met a living process ("kills"), how many of them
left its children to themselves ("alone"), how long the last child took to end ("slowest"), and what went wrong
("faults").
"""

import json
import random
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from soak import actions
from soak.ledger import Ledger
from soak.processes import GRACE, Process, outlived
from soak.scene import Scene

Row = dict[str, Any]
EARLIER = "<html>the earlier one</html>"


class Case:
    """One case of a part: its scene, its draw and its row."""

    def __init__(self, folder: Path, draw: random.Random):
        shutil.rmtree(folder, ignore_errors=True)
        self.scene, self.draw = Scene(folder), draw
        self.kills = self.alone = 0
        self.slowest = 0.0

    def kill(self, process: Process, group: bool) -> bool:
        """Kill it, if it is still there, and find who outlives it."""
        process.kill(group)
        return self.was_killed(process, group)

    def was_killed(self, process: Process, group: bool) -> bool:
        """Count a kill that met a living process. What ended before by itself must have ended well."""
        if process.code != -9:
            self.scene.ended_well(process, "a process before its kill")
            return False
        self.kills += 1
        self.alone += not group
        left, took = outlived(process.mark, process.pid)
        self.slowest = max(self.slowest, took)
        if left:
            self.scene.said.append(f"outlived the kill by {GRACE} s: {left}")
        return True

    def kill_somewhere(self, action: str, seconds: float, changes: int, **arguments: Any) -> bool:
        """Start an action and kill it at a random moment, or at a random change of a file."""
        group = self.draw.random() < 0.4
        if changes and self.draw.random() < 0.5:
            at = self.draw.randrange(changes)
            after = self.draw.random() < 0.5
            process = self.scene.start(action, **arguments, kill_at=at, kill_after=after, kill_group=group)
            process.wait(seconds * 20 + 20)
        else:
            process = self.scene.start(action, **arguments)
            process.wait(self.draw.uniform(0, 1.05 * seconds))
        return self.kill(process, group)

    def row(self) -> Row:
        """What the ledger keeps."""
        self.scene.clear()
        return {
            "kills": self.kills,
            "alone": self.alone,
            "slowest": round(self.slowest, 2),
            "faults": self.scene.said,
        }


class Undisturbed:
    """What the actions give and take if nothing disturbs them; made once, in a folder of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._made: dict[str, tuple[Scene, float, int]] = {}
        self._table: dict[str, Any] = {}

    def of(self, action: str) -> tuple[Scene, float, int]:
        """The scene after an undisturbed action, the seconds that it took, and its changes of files."""
        if action not in self._made:
            self._made[action] = self._make(action)
        return self._made[action]

    def _make(self, action: str) -> tuple[Scene, float, int]:
        folder = self.folder / action
        shutil.rmtree(folder, ignore_errors=True)
        scene = Scene(folder)
        prepare(action, scene)
        count, begun = folder / "changes.txt", time.monotonic()
        scene.finish(action, **arguments_of(action, scene), count_to=count)
        seconds = time.monotonic() - begun
        if scene.said:
            raise RuntimeError(f"{action} fails even if nothing disturbs it: {scene.said[0]}")
        return scene, seconds, int(count.read_text())

    def table(self) -> dict[str, Any]:
        """The table of the tiny study."""
        if not self._table:
            self._table = table_of(self.of("study")[0])
        return self._table


def prepare(action: str, scene: Scene) -> None:
    """The images, the configuration, and the earlier page or report."""
    if action in ("study", "check") and not scene.images.exists():
        actions.draw_images(scene.images)
    if action == "check":
        (scene.folder / "page.html").write_text(EARLIER)
    if action in ("report", "swap"):
        (scene.folder / "tiny.yaml").write_text(actions.REPORT)
        (scene.folder / "out").mkdir(exist_ok=True)
        (scene.folder / "out" / "index.html").write_text(EARLIER)


def arguments_of(action: str, scene: Scene) -> dict[str, Any]:
    """What an action is called with in a scene."""
    if action == "study":
        return {"images": str(scene.images)}
    if action == "check":
        return {"images": str(scene.images), "page": str(scene.folder / "page.html")}
    if action in ("report", "swap"):
        return {"config": str(scene.folder / "tiny.yaml"), "out": str(scene.folder / "out")}
    return {}


def table_of(scene: Scene) -> dict[str, Any]:
    """The table that a user of this store sees, from a new process."""
    file = scene.folder / "table.json"
    if not scene.finish("table_of", images=str(scene.images), to=str(file)):
        return {"rows": [], "ids": []}
    return json.loads(file.read_text())


# ---- a study ----------------------------------------------------------------------------------------------------


def study(case: Case, undisturbed: Undisturbed) -> Row:
    """A study in one process, or two at once on one store; store and images are moved, files cut, between kills."""
    scene, draw = case.scene, case.draw
    _, seconds, changes = undisturbed.of("study")
    prepare("study", scene)
    if draw.random() < 0.8:  # else the kills also meet the making of the store
        shutil.copytree(undisturbed.of("creation")[0].store, scene.store)
    kept, damaged = {}, set()
    for turn in range(draw.randint(3, 6)):
        two = draw.random() < 0.25
        other = scene.start("study", images=str(scene.images)) if two else None
        part = 0.3 if turn else 1  # later ones have less to do
        case.kill_somewhere("study", part * seconds, int(part * changes), images=str(scene.images))
        if other:  # it goes on without the one that was killed
            scene.ended_well(other, "the other of two studies")
        kept |= scene.finished()
        damaged.add(disturb(scene, draw))
    kept = {run: key for run, key in kept.items() if run not in damaged}
    _judge_study(case, kept, undisturbed.table())
    return case.row()


def disturb(scene: Scene, draw: random.Random) -> str:
    """Perhaps move or damage something; gives the run that lost a file, or ""."""
    what = draw.choice(("nothing", "nothing", "store", "images", "artefact", "artefact", "cache", "cache"))
    if what == "store":
        scene.move_store()
    elif what == "images":
        scene.move_images()
    elif what == "cache":
        scene.damage_cache(draw)
    return scene.damage_artefact(draw) if what == "artefact" else ""


def _judge_study(case: Case, kept: dict[str, str], wanted: dict[str, Any], **how: Any) -> None:
    """The study ends, and its table is the undisturbed one; each run that was finished once is in it."""
    scene = case.scene
    if scene.finish("study", images=str(scene.images), **how):
        found = table_of(scene)
        if found["rows"] != wanted["rows"]:
            scene.said.append(f"the table differs: {difference(found['rows'], wanted['rows'])}")
        again = [key for run, key in kept.items() if run not in found["ids"]]
        if again:
            scene.said.append(f"{len(again)} finished runs were made again")
        scene.said += scene.state_faults()


def difference(found: list[dict], wanted: list[dict]) -> str:
    """Where the rows of two tables differ; "" if they do not."""
    if len(found) != len(wanted):
        return f"{len(found)} rows instead of {len(wanted)}"
    pairs = zip(found, wanted, strict=True)
    return "; ".join(f"{k}: {f[k]} instead of {w[k]}" for f, w in pairs for k in w if f[k] != w[k])[:400]


def workers(case: Case, undisturbed: Undisturbed) -> Row:
    """A study with two workers, in new processes: mostly the parent alone is killed, and its workers must end too."""
    scene, draw = case.scene, case.draw
    prepare("study", scene)
    shutil.copytree(undisturbed.of("creation")[0].store, scene.store)
    kept = {}
    for _ in range(3):
        process = scene.start("study", images=str(scene.images), jobs=2)
        process.wait(draw.choice((draw.uniform(0, 3), draw.uniform(3, 20))))
        case.kill(process, group=draw.random() < 0.3)
        kept |= scene.finished()
    _judge_study(case, kept, undisturbed.table(), jobs=2)
    return case.row()


# ---- the making of a store --------------------------------------------------------------------------------------


def creation(case: Case, undisturbed: Undisturbed) -> Row:
    """A store is killed while it is made, one to four times; then it opens."""
    _, seconds, changes = undisturbed.of("creation")
    for _ in range(case.draw.randint(1, 4)):
        case.kill_somewhere("creation", seconds, changes)
    if case.scene.finish("creation"):
        case.scene.said += case.scene.state_faults()
    return case.row()


# ---- the check of images ----------------------------------------------------------------------------------------


def check(case: Case, undisturbed: Undisturbed) -> Row:
    """A check is killed; its page stays the earlier one or is the new one. Then it ends. A few checks have workers."""
    scene, many = case.scene, case.draw.random() < 0.15
    whole, seconds, changes = undisturbed.of("check")
    if many:
        actions.draw_images(scene.images, of_a_class=550)
    prepare("check", scene)
    wanted = _page(whole)
    for _ in range(2):
        case.kill_somewhere("check", 15 if many else seconds, 0 if many else changes, **arguments_of("check", scene))
        if _page(scene) not in (EARLIER, wanted) and not (many and _page(scene).rstrip().endswith("</html>")):
            scene.said.append("after the kill the page is not the earlier one and not the new one")
    if scene.finish("check", **arguments_of("check", scene)):
        if _page(scene) != wanted and not (many and _page(scene).rstrip().endswith("</html>")):
            scene.said.append("the page differs from the undisturbed one")
        rest = [path.name for path in scene.folder.iterdir() if ".part" in path.name or path.name.startswith(".")]
        rest += [path.name for path in (scene.folder / "tmp").iterdir()]
        scene.said += [f"temporary files are left: {rest[:3]}"] if rest else []
    return case.row()


def _page(scene: Scene) -> str:
    file = scene.folder / "page.html"
    text = file.read_text().replace(str(scene.folder), "") if file.exists() else ""
    return re.sub(r'"cell-id=\w+"', "", text)  # drawn anew for each page


# ---- reports ----------------------------------------------------------------------------------------------------


def report(case: Case, undisturbed: Undisturbed) -> Row:
    """A whole report with its notebooks is killed twice at random moments; then it is made."""
    scene, draw = case.scene, case.draw
    whole, seconds, _ = undisturbed.of("report")
    prepare("report", scene)
    for _ in range(2):
        process = scene.start("report", **arguments_of("report", scene))
        process.wait(draw.uniform(0, seconds))
        case.kill(process, group=draw.random() < 0.3)
        judge_folder(scene)
    if scene.finish("report", **arguments_of("report", scene)):
        judge_folder(scene, only_new=True)
        found, wanted = (_summary(s.folder / "out") for s in (scene, whole))
        if found != wanted:
            scene.said.append("the summary differs from the undisturbed one")
        scene.said += scene.state_faults()
    return case.row()


def swap(case: Case, undisturbed: Undisturbed) -> Row:
    """The last step of a report, in which its folder takes the place of the earlier one, is killed at a change."""
    scene = case.scene
    _, seconds, changes = undisturbed.of("swap")
    prepare("swap", scene)
    for _ in range(2):
        group, after = case.draw.random() < 0.5, case.draw.random() < 0.5
        at = case.draw.randrange(changes)
        how = {"kill_at": at, "kill_after": after, "kill_group": group}
        process = scene.start("swap", **arguments_of("swap", scene), **how)
        process.wait(20 + 20 * seconds)
        case.kill(process, group)
        judge_folder(scene)
    if scene.finish("swap", **arguments_of("swap", scene)):
        judge_folder(scene, only_new=True)
    return case.row()


def judge_folder(scene: Scene, only_new: bool = False) -> None:
    """The report is the earlier one or the new one, never half; after an undisturbed end nothing else is left."""
    out = scene.folder / "out"
    names = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    text = (out / "index.html").read_text() if "index.html" in names else ""
    new = {"index.html", "notebooks", "summary.json"} <= set(names) and text.rstrip().endswith("</html>")
    earlier = names == ["index.html"] and text == EARLIER
    if not out.exists() and not only_new:
        scene.said.append("after the kill there is no report under its name until the next start")
    elif not (new and text != EARLIER) and not (earlier and not only_new):
        scene.said.append(f"the report is neither the earlier one nor the new one: {names}")
    hidden = [path.name for path in scene.folder.iterdir() if path.name.startswith(".")]
    if only_new and hidden:
        scene.said.append(f"hidden folders are left: {hidden}")


def _summary(out: Path) -> dict[str, Any]:
    """What `summary.json` finds, without costs, which are in seconds, and without identifiers of runs."""
    found = json.loads((out / "summary.json").read_text())
    names = ("task", "group", "backbone", "image_size", "methods", "runs", "curves", "crossover", "not_made")
    advice = {name: found["recommendation"][name] for name in ("choice_code", "choice", "confidence")}
    return {name: found[name] for name in names} | advice


PARTS: dict[str, Callable[[Case, Undisturbed], Row]] = {
    part.__name__: part for part in (study, workers, creation, check, report, swap)
}


def run_case(part: str, number: int, ledger: Ledger, folder: Path, undisturbed: Undisturbed) -> Row:
    """As `kept_case`."""
    return kept_case(PARTS[part], part, number, ledger, folder, undisturbed)


def kept_case(
    make: Callable[[Case, Any], Row], part: str, number: int, ledger: Ledger, folder: Path, given: Any
) -> Row:
    """Make one case of a part and keep its row, and its fault if it has one.

    Args:
        make: the part; `given` is what all of its cases share.
    """
    case = Case(folder / part / str(number), ledger.random(part, number))
    row = make(case, given)
    ledger.add(part, number, **row)
    if row["faults"]:
        ledger.add_fault(part, number, faults=row["faults"], folder=str(case.scene.folder))
    return row
