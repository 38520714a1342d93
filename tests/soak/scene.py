"""The folder of one case: a store, a cache, images and temporary files of its own, and what must hold in them."""

import json
import os
import random
import re
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from soak import actions
from soak.processes import FINISHED, SECONDS, Process, afresh, forked


@dataclass
class Scene:
    """What one case uses.

    Attributes:
        folder: of the case, with all else in it.
        store, images: where these are now; both may be moved between two kills.
        said: what went wrong so far, a sentence each.
    """

    folder: Path
    store: Path = field(init=False)
    images: Path = field(init=False)
    said: list[str] = field(default_factory=list)
    started: int = 0

    def __post_init__(self):
        self.store, self.images = self.folder / "store", self.folder / "images"
        for name in ("tmp", "cache"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        kept = Path(os.environ["SOAK_BACKBONE"])  # 88 MB, made once
        if not (self.folder / "cache" / kept.name).exists():
            (self.folder / "cache" / kept.name).symlink_to(kept)

    def environment(self) -> dict[str, str]:
        """For the processes of this case."""
        return {
            "VPTLIB_STORE": str(self.store),
            "VPTLIB_CACHE": str(self.folder / "cache"),
            "TMPDIR": str(self.folder / "tmp"),
            "OMP_NUM_THREADS": "1",
        }

    def start(self, action: str, fresh: bool = False, **arguments: Any) -> Process:
        """Start an action in a fork of this process, or in a new Python."""
        self.started += 1
        log = self.folder / f"{self.started:02}-{action}.txt"
        if fresh:
            return afresh("soak.actions", [action, json.dumps(arguments)], self.environment(), log)
        return forked(actions.ACTIONS[action], arguments, self.environment(), log)

    def finish(self, action: str, **arguments: Any) -> bool:
        """Run an action to its end, and say whether it ended well; if not, that is a fault."""
        return self.ended_well(self.start(action, **arguments), action)

    def ended_well(self, process: Process, action: str) -> bool:
        """Wait for a process that nobody kills; a failure and a hang are faults."""
        if not process.wait(SECONDS):
            process.kill(group=True)
            self.said.append(f"{action} hung for {SECONDS} s: {process.said()}")
        elif process.code != FINISHED:
            self.said.append(f"{action} ended with {process.code}: {process.said()}")
        return process.code == FINISHED

    # ---- what happens between two kills ----

    def move_store(self) -> None:
        """The store gets another name."""
        if self.store.exists():
            self.store = self.store.rename(self.folder / f"store-{self.started}")

    def move_images(self) -> None:
        """The images get another folder."""
        self.images = self.images.rename(self.folder / f"images-{self.started}")

    def damage_artefact(self, draw: random.Random) -> str:
        """A file of a run is cut, emptied or lost; gives the run's identifier, or ""."""
        found = sorted(path for path in self.store.glob("artifacts/*/artifacts/*") if path.is_file())
        if not found:
            return ""
        path = draw.choice(found)
        _damage(path, draw)
        return path.parts[-3]

    def damage_cache(self, draw: random.Random) -> None:
        """A file of decoded images is cut, emptied or lost."""
        found = sorted(path for path in (self.folder / "cache" / "decoded").glob("*") if path.is_file())
        if found:
            _damage(draw.choice(found), draw)

    # ---- what must hold ----

    def finished(self) -> dict[str, str]:
        """The finished runs in the database and their keys, read without MLflow."""
        return {run: key for run, key, status in self._runs() if status == "FINISHED"}

    def state_faults(self) -> list[str]:
        """What a store may not have after a study has ended."""
        found = self._runs()
        keys = [key for _, key, status in found if status == "FINISHED"]
        said = [f"{len(keys) - len(set(keys))} runs are there twice"] if len(keys) != len(set(keys)) else []
        unfinished = [status for *_, status in found if status != "FINISHED"]
        said += [f"{len(unfinished)} runs are left {unfinished[0]}"] if unfinished else []
        known = {run for run, *_ in found}
        folders = [path.name for path in self.store.glob("artifacts/*") if path.name not in known]
        said += [f"artefacts of no run are left: {folders[0]}"] if folders else []
        return said + self.temporary_faults()

    def temporary_faults(self) -> list[str]:
        """Files that only a process that has work may have."""
        rest = [path for name in ("checkpoints", "temporary", "claims") for path in self.store.glob(f"{name}/*")]
        rest += [path for path in self.store.rglob("*.part")] + list(self.folder.glob("tmp/*"))
        # what Jupyter and Chromium put into the system's temporary folder is left to the system
        rest = [path for path in rest if not re.fullmatch(r"tmp\w+\.json|playwright[-_].*", path.name)]
        rest += list(self.folder.glob("cache/**/*.part"))
        rest = [path for path in dict.fromkeys(rest) if path.suffix != ".lock"]
        return [f"temporary files are left: {_names(rest, self.folder)}"] if rest else []

    def _runs(self) -> list[tuple[str, str, str]]:
        """Identifier, key and status of each run that was not deleted."""
        file = self.store / "mlflow.db"
        if not file.exists():
            return []
        query = (
            "SELECT r.run_uuid, t.value, r.status FROM runs r LEFT JOIN tags t ON t.run_uuid = r.run_uuid "
            "AND t.key = 'key' WHERE r.lifecycle_stage = 'active'"
        )
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30)) as database:
            try:
                return database.execute(query).fetchall()
            except sqlite3.OperationalError:  # half made: no tables yet
                return []

    def clear(self) -> None:
        """Remove the folder, unless something went wrong in it."""
        if not self.said:
            shutil.rmtree(self.folder, ignore_errors=True)


def _damage(path: Path, draw: random.Random) -> None:
    size = path.stat().st_size
    way = draw.choice(("cut", "cut", "emptied", "lost"))
    if way == "lost":
        path.unlink()
    else:
        os.truncate(path, draw.randrange(size) if way == "cut" and size else 0)


def _names(paths: list[Path], folder: Path) -> str:
    return ", ".join(sorted(str(path.relative_to(folder)) for path in paths)[:4])
