"""The soak in small, and that it finds what it looks for: each fault is planted once."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from soak import actions, fuzz, kills, page
from soak.kills import Case, Undisturbed
from soak.ledger import Ledger
from soak.processes import FINISHED, FOREIGN, forked, outlived
from soak.scene import Scene

SHARE = {"study": 2, "creation": 2, "check": 1, "swap": 3}  # cases


@pytest.fixture(scope="module")
def backbone(tmp_path_factory) -> Path:
    """A file that stands in for the backbone where no study is run."""
    path = tmp_path_factory.mktemp("backbone") / "b.safetensors"
    path.write_bytes(b"")
    os.environ["SOAK_BACKBONE"] = str(path)
    return path


@pytest.fixture
def scene(tmp_path, backbone) -> Scene:
    return Scene(tmp_path / "scene")


# ---- the share ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_share_of_the_kills_changes_nothing(tmp_path):
    """In a process of its own, because forks of one with threads may hang."""
    program = (
        "import os\nfrom pathlib import Path\n"
        "from soak import __main__ as soak, kills\nfrom soak.ledger import Ledger\n"
        "os.environ['SOAK_BACKBONE'] = str(soak.backbone())\n"
        f"ledger, folder = Ledger(Path({str(tmp_path)!r}) / 'rows', 1), Path({str(tmp_path)!r})\n"
        "undisturbed = kills.Undisturbed(folder / 'undisturbed')\n"
        f"for part, count in {SHARE}.items():\n"
        "    soak.prepare(part, undisturbed)\n"
        "    for number in range(count):\n"
        "        print(part, number, kills.run_case(part, number, ledger, folder, undisturbed))\n"
    )
    here = str(Path(__file__).parent)
    env = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"} | {"PYTHONPATH": here}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [row for part in SHARE for row in Ledger(tmp_path / "rows", 1).rows(part)]
    assert len(rows) == sum(SHARE.values()) and sum(row["kills"] for row in rows) >= 10, done.stdout
    assert [said for row in rows for said in row["faults"]] == []


@pytest.mark.parametrize("part", fuzz.KINDS)
def test_a_share_of_the_strange_inputs_is_read_or_refused(part):
    kind = fuzz.KINDS[part]
    judged = list(fuzz.judge(kind.module, seed=99, count=40, most=kind.most))
    assert [one.number for one in judged] == list(range(40))
    assert [one.said for one in judged if one.kind != "fine"] == []


# ---- planted inputs -----------------------------------------------------------------------------------------------

PLANTED = """
import os, signal, time

def cases(seed, count):
    yield from range(seed, seed + count)

def check(case, folder):
    (folder / "seen").write_text(str(case))
    if case == 12:
        raise KeyError("strange")
    if case == 13:
        while True:
            time.sleep(1)
    if case == 14:
        os.kill(os.getpid(), signal.SIGKILL)
    if case == 15:
        b"x" * (300 << 20)
    if case == 16:
        bytearray(8 << 30)
"""


def test_each_kind_of_bad_end_is_found_and_belongs_to_its_input(tmp_path, monkeypatch):
    (tmp_path / "fuzz_planted.py").write_text(PLANTED)
    monkeypatch.syspath_prepend(str(tmp_path))
    judged = {one.number: one for one in fuzz.judge("fuzz_planted", seed=10, count=9, seconds=2, most=200)}
    found = {number: one.kind for number, one in judged.items()}
    assert found == {0: "fine", 1: "fine", 2: "foreign", 3: "hang", 4: "died", 5: "memory", 6: "foreign"} | {
        7: "fine",
        8: "fine",
    }
    assert "KeyError: 'strange'" in judged[2].said and "MemoryError" in judged[6].said
    assert judged[5].megabytes > 290 and judged[0].megabytes < 50


def test_a_fault_is_counted_and_can_be_replayed(tmp_path, monkeypatch):
    (tmp_path / "fuzz_small.py").write_text(PLANTED.replace("case == 12", "case % 100 == 12"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(fuzz.KINDS, "yaml", fuzz.Kind("fuzz_small", "planted"))
    monkeypatch.setattr(fuzz, "seed_of", lambda seed, chunk: 1000 + chunk)
    ledger = Ledger(tmp_path / "rows", 0)
    row = fuzz.run_chunk("yaml", 2, ledger)
    assert (row["inputs"], row["foreign"], row["hang"]) == (fuzz.CHUNK, 3, 0)
    assert row["faults"] == ["foreign: KeyError: 'strange'"]
    assert page.faults(ledger) == ["yaml: 1 × foreign: KeyError: 'strange'"]
    assert "| planted | 250 | 3 | 0 | 0 | 0 |" in page.page(ledger)
    kept = sorted((tmp_path / "rows" / "faults").iterdir())
    assert [path.name for path in kept] == ["yaml-510.json", "yaml-610.json", "yaml-710.json"]
    with pytest.raises(KeyError, match="strange"):
        fuzz.replay(json.loads(kept[0].read_text()))


# ---- planted kills ------------------------------------------------------------------------------------------------


def write(path: Path) -> None:
    """Writes a file in place, which a kill in between leaves empty."""
    path.write_text("whole")


@pytest.mark.parametrize(("after", "left"), [(False, None), (True, "")])
def test_a_process_kills_itself_before_or_after_a_change(tmp_path, after, left):
    path = tmp_path / "file.txt"
    process = forked(write, {"path": path, "kill_at": 0, "kill_after": after}, {}, tmp_path / "log")
    assert process.wait(20) and process.code == -signal.SIGKILL
    assert (path.read_text() if path.exists() else None) == left


def test_an_undisturbed_process_counts_its_changes(tmp_path):
    count = tmp_path / "count"
    process = forked(write, {"path": tmp_path / "file", "count_to": count}, {}, tmp_path / "log")
    assert process.wait(20) and process.code == FINISHED and count.read_text() == "1"


def test_a_failure_is_a_fault_with_its_last_words(scene):
    assert not scene.ended_well(forked(write, {"path": None}, {}, scene.folder / "log"), "writing")
    assert scene.said[0].startswith(f"writing ended with {FOREIGN}") and "AttributeError" in scene.said[0]


@pytest.mark.parametrize("group", [False, True])
def test_a_child_that_outlives_its_parent_is_found(tmp_path, group):
    process = forked(actions.sleep_with_child, {"seconds": 60}, {}, tmp_path / "log")
    time.sleep(0.5)
    process.kill(group)
    left, _ = outlived(process.mark, process.pid, seconds=0.3)
    assert len(left) == (0 if group else 1)
    assert outlived(process.mark, process.pid, seconds=5)[0] == [], "and it is ended"


def test_a_process_that_ended_before_its_kill_is_no_kill(tmp_path, backbone):
    case = Case(tmp_path / "case", random.Random(0))
    process = forked(write, {"path": tmp_path / "file"}, {}, tmp_path / "log")
    process.wait(20)
    assert not case.kill(process, group=False)
    assert case.row() == {"kills": 0, "alone": 0, "slowest": 0.0, "faults": []}


def test_what_a_report_or_a_store_may_not_be_is_found(scene):
    kills.prepare("swap", scene)
    out = scene.folder / "out"
    assert said_of(scene) == []
    (out / "index.html").write_text("<html>ha")
    assert "neither the earlier one nor the new one" in said_of(scene)[0]
    (out / "index.html").unlink()
    out.rmdir()
    assert said_of(scene) == ["after the kill there is no report under its name until the next start"]
    (scene.store / "temporary" / "0a").mkdir(parents=True)
    (scene.store / "artifacts" / "f00").mkdir(parents=True)
    assert scene.state_faults() == [
        "artefacts of no run are left: f00",
        "temporary files are left: store/temporary/0a",
    ]


def said_of(scene: Scene) -> list[str]:
    scene.said.clear()
    kills.judge_folder(scene)
    return list(scene.said)


def test_an_action_that_fails_by_itself_stops_the_soak(tmp_path, backbone, monkeypatch):
    monkeypatch.setitem(actions.ACTIONS, "creation", lambda: 1 / 0)
    with pytest.raises(RuntimeError, match="creation fails even if nothing disturbs it"):
        Undisturbed(tmp_path).of("creation")


# ---- the ledger ---------------------------------------------------------------------------------------------------


def test_a_stopped_soak_goes_on(tmp_path):
    ledger = Ledger(tmp_path, seed=3)
    ledger.add("study", 1, kills=2)
    with (tmp_path / "study.jsonl").open("a") as file:
        file.write('{"seed": 3, "num')  # cut off by a kill
    assert ledger.missing("study", 3) == [0, 2]
    assert Ledger(tmp_path, seed=4).missing("study", 2) == [0, 1]
    ledger.add("creation", 0, kills=1)
    ledger.forget("study")
    assert ledger.missing("study", 2) == [0, 1] and ledger.missing("creation", 1) == []
    assert ledger.random("study", 5).random() == Ledger(tmp_path, 3).random("study", 5).random()


def test_the_page_gives_figures_but_no_date_and_no_path(tmp_path):
    ledger = Ledger(tmp_path, 0)
    assert ledger.missing("study", 1) == [0] and "## " not in page.page(ledger)
    ledger.add("study", 0, kills=4, alone=3, slowest=0.21, faults=[])
    ledger.add("study", 1, kills=2, alone=0, slowest=0.4, faults=["lost /x"])
    ledger.add("check-speed", 0, count=50_000, seconds=61.04, faults=[])
    text = page.page(ledger)
    assert "## 6 kills" in text and "| 2 | 6 | 3 | 0.4 | 1 |" in text
    assert "| `vpt data check` of 50,000 JPEG files of 224 px | 61.0 | 60 | no |" in text
    assert str(tmp_path) not in text and "/x" not in text
