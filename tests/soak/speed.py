"""Large amounts: the check of 50,000 JPEG files, and the opening of a store that holds 10,000 runs."""

import json
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from PIL import Image

from soak import actions
from soak.ledger import Ledger
from soak.scene import Scene

FILES, SIDE, SECONDS_TO_CHECK = 50_000, 224, 60
RUNS, SECONDS_TO_OPEN = 10_000, 2
PARTS = {"check-speed": FILES, "open-speed": RUNS}


def run_part(part: str, count: int, ledger: Ledger, folder: Path) -> dict[str, Any]:
    """Measure one of `PARTS` with this many files or runs, and keep the row."""
    scene = Scene(folder / part)
    measure = check_files if part == "check-speed" else open_store
    seconds = measure(scene, count)
    row = {"count": count, "seconds": round(seconds, 2), "faults": scene.said}
    ledger.add(part, 0, **row)
    scene.clear()
    return row


# ---- the check ----------------------------------------------------------------------------------------------------


def check_files(scene: Scene, count: int) -> float:
    """Seconds of the whole command `vpt data check`, its start and its page included."""
    chunks = range(0, count, 500)
    Parallel(n_jobs=-1)(delayed(_draw)(scene.images, start, min(start + 500, count)) for start in chunks)
    command = [sys.executable, "-m", "vptlib", "data", "check", str(scene.images), "--out"]
    begun = time.perf_counter()
    done = subprocess.run(
        [*command, str(scene.folder / "page.html")],
        env=scene.environment() | {"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - begun
    if done.returncode:
        scene.said.append(f"the check of {count} files ended with {done.returncode}: {done.stderr[-500:]}")
    return seconds


def _draw(folder: Path, start: int, stop: int) -> None:
    for number in range(start, stop):
        coarse = np.random.default_rng(number).integers(0, 255, (7, 7, 3), dtype=np.uint8)
        path = folder / ("odd", "even")[number % 2] / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(path, quality=85)


# ---- the store ----------------------------------------------------------------------------------------------------


def open_store(scene: Scene, count: int) -> float:
    """Seconds, the median of five new processes, until a study in a store of `count` runs has found what is missing."""
    actions.draw_images(scene.images)
    scene.finish("study", images=str(scene.images))
    for _ in range(count // len(scene.finished())):
        _double(scene)
    results = scene.folder / "seconds.json"
    seconds = []
    for _ in range(5):
        if scene.finish("time_to_open", images=str(scene.images), to=str(results)):
            seconds.append(json.loads(results.read_text()))
    return statistics.median(seconds or [float("inf")])


def _double(scene: Scene) -> None:
    """Copy the study's own runs once more, under other keys, as if it had been run with other settings."""
    with closing(sqlite3.connect(scene.store / "mlflow.db")) as database:
        own = database.execute("SELECT run_uuid FROM runs WHERE lifecycle_stage = 'active' ORDER BY rowid LIMIT 8")
        for (run,) in own.fetchall():
            new = uuid.uuid4().hex
            for table in ("runs", "params", "metrics", "latest_metrics", "tags"):
                columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
                chosen = ", ".join(f"replace({name}, '{run}', '{new}')" if _is_text(name) else name for name in columns)
                database.execute(f"INSERT INTO {table} SELECT {chosen} FROM {table} WHERE run_uuid = ?", (run,))
            database.execute("UPDATE tags SET value = ? WHERE run_uuid = ? AND key = 'key'", (uuid.uuid4().hex, new))
            for folder in scene.store.glob(f"artifacts/{run}"):
                shutil.copytree(folder, folder.with_name(new))
        database.commit()


def _is_text(column: str) -> bool:
    return column in ("run_uuid", "artifact_uri")
