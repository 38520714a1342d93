"""A prompt in service, in a scene of its own: what is done with it, and what must hold whatever happens meanwhile."""

import json
import random
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from soak import prompts
from soak.processes import REFUSED, SECONDS, Process, forked
from soak.prompts import Seen
from soak.scene import Scene

ACTIONS = ("register", "promote", "roll_back", "fetch", "import", "export", "predict")
_CODE = {  # what an action runs
    "register": prompts.register,
    "promote": prompts.promote,
    "roll_back": prompts.roll_back,
    "fetch": prompts.fetch,
    "import": prompts.register,
    "export": prompts.export,
    "predict": prompts.predict,
}
_DECISIONS = {"register": "registered", "import": "registered", "promote": "promoted", "roll_back": "rolled_back"}
_TIMES = 3  # an undisturbed action is made so often to learn how long it takes


@dataclass
class Files:
    """What all cases share; made once, before lanes are forked.

    Attributes:
        folder: with the model files, images, an empty store, and what `vpt predict` writes if nothing disturbs it.
        logits: digest of a model file → of its logits.
        seconds: that each action takes.
        changes: of files that each action makes.
    """

    folder: Path
    logits: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    changes: dict[str, int] = field(default_factory=dict)

    def model(self, number: int) -> Path:
        return self.folder / f"{number}.vpt"

    @property
    def digests(self) -> list[str]:
        """Of the model files, in their order."""
        return list(self.logits)


class Shop:
    """A scene in which models are in service: one prompt in the store of the scene, and the same on another site."""

    def __init__(self, scene: Scene, files: Files):
        self.scene, self.files = scene, files
        self.out = scene.folder / "out"
        self.out.mkdir(exist_ok=True)
        self.site = scene.folder / "site"
        self.environment: dict[str, str] = {}  # more of it
        self._started = 0

    def start(self, action: str, at_site: bool = False, **given: Any) -> Process:
        """Start an action; `self.mark` is there as soon as it really begins."""
        self._started += 1
        self.mark = self.scene.folder / f"begun-{self._started}"
        environment = self._environment(at_site)
        code = partial(prompts.begun, _CODE[action], str(self.mark))
        return forked(code, given, environment, self.scene.folder / f"{self._started:03}-{action}.txt")

    def finish(self, action: str, **given: Any) -> bool:
        """Run an action to its end; if that is not a good one, that is a fault."""
        return self.scene.ended_well(self.start(action, **given), action)

    def look(self, at_site: bool = False) -> Seen:
        """What a reader sees, whose process is not disturbed. What is wrong with it is a fault."""
        self._started += 1
        to = self.scene.folder / f"seen-{self._started}.json"
        environment = self._environment(at_site)
        log = to.with_suffix(".txt")
        if not self.scene.ended_well(forked(prompts.look, {"to": str(to)}, environment, log), "a look at the prompt"):
            return Seen()
        seen = Seen(**json.loads(to.read_text()))
        self.scene.said += seen.said
        if seen.loaded and self.files.logits.get(seen.loaded[0]) != seen.loaded[1]:
            self.scene.said.append("the model in production gives other logits than its file did at first")
        return seen

    def _environment(self, at_site: bool) -> dict[str, str]:
        site = {"VPTLIB_STORE": str(self.site)} if at_site else {}
        return self.scene.environment() | self.environment | site

    # ---- what an action is called with ----

    def given(self, action: str, seen: Seen, draw: random.Random, turn: int) -> dict[str, Any]:
        """The arguments of an action; what it needs is done before, undisturbed."""
        if action == "register":
            return {"path": str(self.files.model(draw.randrange(prompts.MODELS)))}
        if action == "import":
            return {"path": str(self.files.model(draw.randrange(prompts.MODELS))), "at_site": True}
        if action == "promote":
            return {"version": draw.choice([n for n in seen.versions.values() if n != seen.production])}
        if action == "roll_back":
            return {"reason": f"turn {turn}"}
        if action == "fetch":
            ref = f"{prompts.NAME}/{draw.choice(list(seen.versions.values()))}"
            return {"ref": ref, "out": str(self.out / "fetched.vpt")}
        if action == "export":
            return {"out": str(self.out / "exported.vpt"), "seed": turn}
        images = str(self.files.folder / "images")
        return {"model": str(self.files.model(0)), "images": images, "out": str(self.out / "answers.csv")}

    def make_ready(self, action: str, seen: Seen) -> Seen:
        """What an action needs: two versions for a promotion, two that were in production for a roll-back."""
        if action in ("register", "import", "export", "predict"):
            return seen
        for number in range(2):
            if self.files.digests[number] not in seen.versions:
                self.finish("register", path=str(self.files.model(number)))
        seen = self.look()
        while action == "roll_back" and seen.previous is None and not self.scene.said:
            number = next(n for n in seen.versions.values() if n != seen.production)
            self.finish("promote", version=number)
            seen = self.look()
        return seen

    def temporary(self) -> list[str]:
        """Files that no finished command may leave."""
        folder = self.scene.folder
        places = (self.scene.store, self.site, self.out)
        rest = [path for place in places for path in place.rglob("*.part*")]
        rest += [path for place in places for name in ("temporary/*", "mlflow.db-*") for path in place.glob(name)]
        rest += [*self.out.glob("*.unfinished"), *(folder / "tmp").iterdir()]
        return sorted(str(path.relative_to(folder)) for path in rest)


# ---- what must hold ---------------------------------------------------------------------------------------------


def given_again(shop: Shop, action: str, given: dict[str, Any], before: Seen, after: Seen) -> Seen:
    """The same command completes what was cut off. What is seen then."""
    was_done = len(after.entries) > len(before.entries) and after.aliases == after.roles
    again = shop.start(action, **given)
    again.wait(SECONDS)
    goes_on = action == "roll_back" and was_done  # nothing of it was left to do, so this is the next roll-back
    if not (goes_on and again.code == REFUSED):
        shop.scene.ended_well(again, f"{action} again, after its kill")
    last = shop.look(at_site=action == "import")
    if not goes_on:
        judge_entries(shop, action, given, before, last, ended=True)
    judge_file(shop, action, None, ended=True)
    if last.aliases != last.roles:
        shop.scene.said.append(f"after {action} the aliases are {last.aliases}, not {last.roles}")
    if left := shop.temporary():
        shop.scene.said.append(f"after {action} temporary files are left: {left[:3]}")
    return last


def judge_entries(
    shop: Shop, action: str, given: dict[str, Any], before: Seen, after: Seen, ended: bool = False
) -> None:
    """No decision is lost; at most the one of this action is new, and if the action has ended it is there once."""
    new = after.entries[len(before.entries) :]
    if after.hashes[: len(before.entries)] != before.hashes:
        shop.scene.said.append(f"{action} changed or lost earlier entries")
    kinds = [entry["kind"] for entry in new]
    if kinds and kinds != [_DECISIONS.get(action)]:
        shop.scene.said.append(f"{action} added {kinds}")
    if not ended or action not in _DECISIONS:
        return
    digest = _digest_of(shop, given) if "path" in given else None
    if len(kinds) != (0 if digest in before.versions else 1):
        shop.scene.said.append(f"{action}, given again, added {kinds}")
    wanted = {"promote": given.get("version"), "roll_back": before.previous}.get(action, before.production)
    if after.production != wanted:
        shop.scene.said.append(f"after {action} {after.production} is in production, not {wanted}")
    if digest and digest not in after.versions:
        shop.scene.said.append("a registered file is not listed")


def _digest_of(shop: Shop, given: dict[str, Any]) -> str:
    return shop.files.digests[int(Path(given["path"]).stem)]


_OUT = {"fetch": "fetched.vpt", "export": "exported.vpt", "predict": "answers.csv"}


def whole_file(shop: Shop, action: str) -> bytes | None:
    """What is under the name that an action writes."""
    path = shop.out / _OUT.get(action, "")
    return path.read_bytes() if path.is_file() else None


def judge_file(shop: Shop, action: str, earlier: bytes | None, ended: bool) -> None:
    """The file is the earlier one or the new one, whole; after an undisturbed end it is the new one."""
    if action not in _OUT:
        return
    found = whole_file(shop, action)
    if found == earlier and not ended:
        return
    problem = "there is no file" if found is None else _problem_of(shop, action, found)
    if problem:
        shop.scene.said.append(f"{action}: {problem}")


def _problem_of(shop: Shop, action: str, found: bytes) -> str:
    from vptlib.errors import UserError
    from vptlib.operations.artefact import read_artefact

    path = shop.out / _OUT[action]
    if action == "predict":
        sheet, wanted = path.with_suffix(".html"), shop.files.folder / "answers"
        same = found == wanted.with_suffix(".csv").read_bytes()
        return "" if same and sheet.read_bytes() == wanted.with_suffix(".html").read_bytes() else "other bytes"
    try:
        read = read_artefact(path)
    except UserError as error:
        return f"the file is not whole: {error}"
    return "" if action == "export" or read.digest in shop.files.digests else "the file is none of the registered ones"


# ---- what there is before ---------------------------------------------------------------------------------------


def made(folder: Path, times: int = _TIMES, database: Path | None = None) -> Files:
    """The files that all cases share, and how long each action takes. Call it before the lanes are forked."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    prompts.load_libraries(folder, database)
    scene = Scene(folder / "scene")
    files = Files(folder / "files")
    shop = Shop(scene, files)
    prompts.make_files(files.folder)
    _fork(scene, prompts.logits, folder=str(files.folder), to=str(folder / "logits.json"))
    files.logits = json.loads((folder / "logits.json").read_text())
    for place in (files.folder / "store", scene.store, shop.site):
        shutil.copytree(folder / "store", place)
    _measure(shop, times)
    for path in shop.out.glob("answers.*"):
        shutil.copy(path, files.folder)
    if scene.said:
        raise RuntimeError(f"an action fails even if nothing disturbs it: {scene.said[0]}")
    return files


def _fork(scene: Scene, code: Callable[..., None], **given: Any) -> None:
    scene.ended_well(forked(code, given, scene.environment(), scene.folder / "log"), code.__name__)


def _measure(shop: Shop, times: int) -> None:
    """Learn how long each action takes from its beginning, and how many changes of files it makes."""
    draw, count = random.Random(0), shop.scene.folder / "changes.txt"
    for action in ACTIONS:
        seconds = []
        for turn in range(times):
            seen = shop.make_ready(action, shop.look())
            given = shop.given(action, seen, draw, turn)
            if action in ("register", "import"):
                given |= {"path": str(shop.files.model(2 + turn))}
            if action == "predict":
                (shop.out / "answers.csv").unlink(missing_ok=True)
            shop.finish(action, **given, count_to=count)
            seconds.append(time.time() - shop.mark.stat().st_mtime)
        shop.files.seconds[action] = statistics.median(seconds)
        shop.files.changes[action] = int(count.read_text()) if count.exists() else 1
