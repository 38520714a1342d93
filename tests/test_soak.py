"""The soak in small, and that it finds what it looks for: each fault is planted once."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from exported import exported
from soak import __main__ as main
from soak import actions, damaged, fuzz, kills, page, prompts
from soak.kills import Case, Undisturbed
from soak.ledger import Ledger
from soak.processes import FINISHED, FOREIGN, forked, outlived
from soak.prompts import Seen
from soak.scene import Scene
from soak.shop import Files, Shop, judge_entries, judge_file
from soak.shortages import is_one_sentence

from vptlib.errors import UserError
from vptlib.operations.registry import PromptRegistry

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


@pytest.mark.slow
def test_a_share_of_what_happens_to_models_in_service_harms_nothing(tmp_path, empty_database):
    """Four kills, several writers, files that cannot grow, changed bits; in a process of its own, as above."""
    program = (
        "import json, random, sys\nfrom pathlib import Path\n"
        "from soak import operations, shop, shortages\nfrom soak.kills import Case\n"
        f"folder = Path({str(tmp_path)!r})\ndatabase = Path({str(empty_database)!r})\n"
        "files = shop.made(folder / 'made', 1, database)\n"
        "shortages.mounted = lambda *words: False\n"
        "def case(name):\n    return Case(folder / name, random.Random(name))\n"
        "rows = [operations.kills(case('kills'), files, turns=4)]\n"
        "rows += [operations.writers(case('writers'), files, rounds=2)]\n"
        "short = case('short')\n"
        "rows += [shortages.shortage(short, shop.Shop(short.scene, files), 'disk', tries=3)]\n"
        "rows += [operations.damage(case('damage'), files, flips=15)]\n"
        "(folder / 'rows.json').write_text(json.dumps(rows))\n"
    )
    here = str(Path(__file__).parent)
    (tmp_path / "b.safetensors").touch()
    own = {"PYTHONPATH": here, "SOAK_BACKBONE": str(tmp_path / "b.safetensors")}
    env = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"} | own
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = json.loads((tmp_path / "rows.json").read_text())
    killed, written, short, damage = rows
    assert killed["kills"] >= 1 and written["decisions"] > 0 and short["refused"] >= 1 and damage["refused"] > 5
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
    assert "| planted | 250 | 3 | 0 | 0 | 0 |" in page.page(ledger, "reliability.md")
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


# ---- planted faults of models in service --------------------------------------------------------------------------


@pytest.fixture
def cells(scene) -> Shop:
    """A shop without any process: what is seen in it is planted."""
    files = Files(scene.folder / "files", logits={f"d{k}": f"l{k}" for k in range(9)})
    return Shop(scene, files)


def seen_with(*kinds: str) -> Seen:
    """Entries, each about the version of its number."""
    entries = [{"hash": f"h{k}", "kind": kind, "version": k, "digest": f"d{k}"} for k, kind in enumerate(kinds)]
    return Seen(entries, production=0)


BEFORE = seen_with("registered", "promoted")


@pytest.mark.parametrize(
    ("action", "after", "why"),
    [
        ("promote", seen_with("registered"), "changed or lost earlier entries"),
        ("promote", seen_with("registered", "promoted", "promoted"), ""),
        ("fetch", seen_with("registered", "promoted", "promoted"), "fetch added ['promoted']"),
        ("promote", seen_with("registered", "promoted", "rolled_back"), "promote added ['rolled_back']"),
        ("promote", seen_with("registered", "promoted", "promoted", "promoted"), "promote added"),
    ],
)
def test_a_decision_that_is_lost_or_of_another_kind_is_found(cells, action, after, why):
    judge_entries(cells, action, {}, BEFORE, after)
    assert cells.scene.said == [] if not why else why in cells.scene.said[0]


def test_a_decision_that_was_not_completed_or_names_another_version_is_found(cells):
    judge_entries(cells, "promote", {"version": 2}, BEFORE, BEFORE, ended=True)
    promoted = Seen(seen_with("registered", "promoted", "promoted").entries, production=1)
    judge_entries(cells, "promote", {"version": 2}, BEFORE, promoted, ended=True)
    judge_entries(cells, "register", {"path": "5.vpt"}, BEFORE, BEFORE, ended=True)
    said = "; ".join(cells.scene.said)
    assert "promote, given again, added []" in said and "after promote 1 is in production, not 2" in said
    assert "register, given again, added []" in said and "a registered file is not listed" in said


def test_half_a_file_and_what_is_left_of_one_are_found(cells):
    (cells.out / "exported.vpt").write_bytes(b"half")
    judge_file(cells, "export", b"half", ended=False)
    assert cells.scene.said == [], "it is the earlier one"
    judge_file(cells, "export", b"earlier", ended=False)
    judge_file(cells, "fetch", None, ended=True)
    assert "the file is not whole" in cells.scene.said[0] and cells.scene.said[1] == "fetch: there is no file"
    (cells.out / "exported.1.part").touch()
    (cells.out / "answers.csv.unfinished").touch()
    assert cells.temporary() == ["out/answers.csv.unfinished", "out/exported.1.part"]


def test_a_reader_finds_lost_files_other_files_and_a_production_that_is_no_more(tmp_path, own_store, monkeypatch):
    for seed in (0, 1):
        prompts.register(str(exported(tmp_path / f"{seed}.vpt", seed=seed).path))
    prompts.promote(1)
    assert seen_by(tmp_path).said == []
    first, second = (PromptRegistry().fetch(f"cells/{number}") for number in (1, 2))
    swapped = first.read_bytes()
    shutil.copy(second, first)
    with pytest.raises(UserError, match="not the one that was registered"):
        seen_by(tmp_path)
    first.write_bytes(swapped)
    monkeypatch.setattr("vptlib.operations.standing.Standing.production", 2)
    assert "2 is in production, but the ledger says 1" in seen_by(tmp_path).said[0]


def seen_by(folder: Path) -> Seen:
    prompts.look(str(folder / "seen.json"))
    return Seen(**json.loads((folder / "seen.json").read_text()))


@pytest.mark.parametrize(
    ("printed", "one"),
    [
        ("answering: 1\nError: the disk is full: make room.", True),
        ("Error: one\nError: two", False),
        ("Traceback (most recent call last)\nError: one", False),
        ("Error: unexpected failure (OSError: no)", False),
        ("", False),
    ],
)
def test_a_failure_is_one_sentence_that_was_foreseen(printed, one):
    assert is_one_sentence(printed) == one


def test_a_changed_file_that_is_read_as_another_model_or_given_by_the_registry_is_found(
    tmp_path, own_store, monkeypatch
):
    reads = iter([{"logits": 1, "card": 2}, {"logits": 1, "card": 3}, {"logits": 1, "card": 2}])
    monkeypatch.setattr(damaged, "all_of", lambda path: next(reads))  # at last a foreign one: StopIteration
    kept = own_store / "artifacts" / "prompts" / "kept.vpt"
    monkeypatch.setattr("vptlib.operations.registry.PromptRegistry.fetch", lambda self, ref: kept)
    damaged.flip("linear", 0.0, 3, str(tmp_path), str(tmp_path / "found.json"))
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["silent"], found["harmless"], found["refused"]) == (1, 1, 0)
    said = "; ".join(found["said"])
    assert "silent: another card" in said and "foreign: StopIteration" in said
    assert "the registry gave the changed file" in said and "the registry gave a file that had changed places" in said


def test_the_page_counts_kills_by_action_and_shortages_by_kind(tmp_path):
    ledger = Ledger(tmp_path, 0)
    row = {"kills": 3, "alone": 0, "slowest": 0, "faults": []}
    ledger.add("prompts", 0, **row, by={"fetch": 2, "predict": 1})
    ledger.add("prompts", 1, **row | {"faults": ["lost"]}, by={"fetch": 1})
    ledger.add("writers", 0, **row, writers=4, decisions=37, refused=[])
    ledger.add("shortages", 0, **row, shortage="the disk is full", done=1, refused=5)
    ledger.add("damage", 0, **row, flips=40, refused=30, harmless=8, silent=2)
    text = page.page(ledger, "reliability_of_models.md")
    assert "4 kills in 2 cases; 1 cases with a fault" in text and "| `vpt prompts fetch` | 3 |" in text
    assert "| 4 | 1 | 37 | 3 | 0 |" in text and "| the disk is full | 1 | 5 | 0 |" in text
    assert "| 40 | 30 | 8 | 2 |" in text and page.faults(ledger) == ["prompts: 1 × lost"]


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
    assert ledger.missing("study", 1) == [0] and all("## " not in page.page(ledger, name) for name in page.PAGES)
    ledger.add("study", 0, kills=4, alone=3, slowest=0.21, faults=[])
    ledger.add("study", 1, kills=2, alone=0, slowest=0.4, faults=["lost /x"])
    ledger.add("check-speed", 0, count=50_000, seconds=61.04, faults=[])
    text = page.page(ledger, "reliability.md")
    assert "## 6 kills" in text and "| 2 | 6 | 3 | 0.4 | 1 |" in text
    assert "| `vpt data check` of 50,000 JPEG files of 224 px | 61.0 | 60 | no |" in text
    assert str(tmp_path) not in text and "/x" not in text


def test_every_part_is_on_one_page():
    parts = [part for _, _, parts, _ in page.PAGES.values() for part in parts]
    assert sorted(parts) == sorted({*main.CASES, *fuzz.KINDS, *main.AMOUNTS})
