"""The soak of a cluster finds what it looks for: each fault is planted once.

A share of its moments takes minutes. In tests/test_cluster_faults.py and tests/test_postgres.py the same things are
killed, once each.
"""

import copy
import json
import os
import random
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from soak import cluster, page
from soak.cluster import CLAIMS, KINDS, Disturbed, Kind, Moment, Studies, faults_of, moments
from soak.ledger import Ledger
from soak.processes import FINISHED, FOREIGN, REFUSED
from soak.scene import Scene
from soak.site import Clock, strays

ROWS = [{"method": "linear", "n": 8, "accuracy": 0.5}, {"method": "linear", "n": 16, "accuracy": 0.75}]
RUNS = [("vptlib", "a", "FINISHED"), ("vptlib", "b", "FINISHED")]


# ---- planted results ----------------------------------------------------------------------------------------------


def test_the_undisturbed_table_has_no_fault():
    assert list(faults_of(copy.deepcopy(ROWS), ROWS, RUNS)) == []


@pytest.mark.parametrize(
    ("rows", "runs", "fault"),
    [
        ([ROWS[0], ROWS[1] | {"accuracy": 0.7500001}], RUNS, "the table differs: accuracy: 0.7500001 instead of 0.75"),
        (ROWS[:1], RUNS, "the table differs: 1 rows instead of 2"),
        (ROWS, [*RUNS, ("vptlib", "b", "FINISHED")], "1 runs are there twice"),
        (ROWS, RUNS[:1], "1 runs are stored instead of 2"),
        (ROWS, [*RUNS, ("vptlib", "c", "RUNNING")], "1 runs are left RUNNING"),
        (ROWS, [*RUNS, (CLAIMS, "a", "RUNNING")], "1 claims are left"),
    ],
)
def test_a_changed_number_a_double_a_half_run_and_a_claim_are_found(rows, runs, fault):
    assert list(faults_of(rows, ROWS, runs)) == [fault]


@pytest.mark.parametrize("name", ["tmp/upload", "store/temporary/0a/test.json", "store/checkpoints/k-0.01.pt"])
def test_a_temporary_file_of_a_machine_is_found(tmp_path, monkeypatch, name):
    (tmp_path / "b.safetensors").touch()
    monkeypatch.setenv("SOAK_BACKBONE", str(tmp_path / "b.safetensors"))
    scene = Scene(tmp_path / "machine")
    assert scene.temporary_faults() == []
    (scene.folder / name).parent.mkdir(parents=True, exist_ok=True)
    (scene.folder / name).touch()
    assert [said.partition(":")[0] for said in scene.temporary_faults()] == ["temporary files are left"]


def test_a_process_that_nobody_looks_after_is_found():
    mark = f"SOAK_TEST={os.getpid()}-{time.monotonic_ns()}"
    own = dict([mark.split("=")]) | os.environ
    child = subprocess.Popen(["sleep", "60"], env=own)
    assert strays(mark, seconds=0) == []
    child.kill()
    child.wait()
    subprocess.run(["sh", "-c", "sleep 61 > /dev/null & echo $! > /dev/null"], env=own, check=True)
    (found,) = strays(mark, seconds=0)
    assert found.strip() == "sleep 61"
    subprocess.run(["sh", "-c", f"kill $(grep -l {mark} /proc/[0-9]*/environ | cut -d/ -f3)"], check=False)


# ---- planted studies ----------------------------------------------------------------------------------------------


@dataclass
class Ending:
    """A study that has ended, or is killed."""

    code: int | None
    printed: str = "Error: no worker answers: start one."

    def ended(self) -> bool:
        return self.code is not None

    def kill(self, group: bool) -> None:
        self.code = -9

    def said(self) -> str:
        return self.printed


@dataclass
class Quiet:
    """A site where nothing is started."""

    study: Ending | None = None
    desk: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(environment=dict, folder=Path()))
    server: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(address="", running=True))
    cluster: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(address=""))
    troubles: list[str] = field(default_factory=list)

    def heal(self, everything: bool = False) -> None:
        pass

    def is_well(self) -> bool:
        return True


@pytest.fixture
def made(monkeypatch):
    """A study whose attempts end as they are given to it."""

    def make(*endings: Ending, coming=()) -> Disturbed:
        attempts = iter(endings)
        monkeypatch.setattr(cluster, "afresh", lambda *_: next(attempts))
        monkeypatch.setattr(cluster, "judged", lambda *_: [])
        return Studies(Quiet(), Path(), [], iter(coming), time.monotonic() + 60).one(7)

    return make


def test_a_study_that_was_killed_or_ends_in_a_sentence_is_given_again(made):
    about = made(Ending(-9), Ending(REFUSED), Ending(FINISHED))
    assert (about.said, about.refused) == ([], 1)


def test_a_study_that_ends_in_another_way_is_a_fault(made):
    for ending in (Ending(FOREIGN, "Traceback: KeyError"), Ending(REFUSED, "Traceback\nError: one")):
        said = made(ending).said
        assert said[0].startswith(f"the study ended with {ending.code}, and not with one sentence: Traceback")


def test_a_study_that_is_refused_for_ever_or_hangs_is_a_fault(made, monkeypatch):
    assert "it is not given again: Error: no worker" in made(*[Ending(REFUSED)] * 30).said[0]
    monkeypatch.setattr(cluster, "HANGS", 0.1)
    hanging = Ending(None)
    assert made(hanging).said[0].startswith("the study does not end") and hanging.code == -9


def test_a_moment_waits_until_there_is_something_to_hit(made, monkeypatch):
    hits = iter([None, None, "the worker"])

    def strike(site, draw):
        if hit := next(hits):
            site.study.code = FINISHED
        return hit

    monkeypatch.setitem(KINDS, "making", Kind("planted", strike))
    about = made(Ending(None), coming=[Moment(3, "making", 0.0, random.Random())])
    assert [(moment.number, moment.hit) for moment in about.met] == [(3, "the worker")]


def test_the_same_seed_draws_the_same_moments(tmp_path):
    drawn = [[(each.kind, each.wait) for each in moments(Ledger(tmp_path, s), [4, 9], list(KINDS))] for s in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    kinds = {each.kind for each in moments(Ledger(tmp_path, 0), list(range(100)), list(KINDS))}
    assert kinds == set(KINDS)


# ---- clocks, rows and the page ------------------------------------------------------------------------------------


def test_a_clock_jumps_in_a_process_that_runs(tmp_path):
    clock = Clock(tmp_path / "clock")
    program = "import time\nfor _ in range(2):\n    input()\n    print(time.time(), time.time_ns() / 1e9, flush=True)"
    env = os.environ | clock.environment()
    with subprocess.Popen(
        [sys.executable, "-c", program], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin and child.stdout
        for wrong in (0.0, -7200.0):
            clock.set_wrong(wrong)
            print(file=child.stdin, flush=True)
            off = [float(text) - time.time() for text in child.stdout.readline().split()]
            assert off == pytest.approx([wrong, wrong], abs=30)
    assert clock.file.read_bytes() == struct.pack("d", -7200.0)


def test_rows_have_the_verdict_of_their_study_and_the_page_counts_them(tmp_path):
    ledger = Ledger(tmp_path, 0)
    assert cluster.section(ledger) == ""
    fine, wrong = Disturbed(0), Disturbed(1, said=["1 claims are left"], refused=2)
    fine.met = [moment(0, "server"), moment(1, "pause")]
    wrong.met = [moment(2, "server")]
    for about in (fine, wrong):
        cluster.keep(ledger, about)
    assert [row["verdict"] for row in ledger.rows("cluster")] == ["fine", "fine", "fault"]
    assert page.faults(ledger) == ["cluster: 1 × 1 claims are left"]
    text = page.page(ledger, "reliability_of_cluster.md")
    assert "## 3 moments in 2 studies" in text and "| the MLflow server is killed | 2 | 1 |" in text
    assert "| a machine is cut off from the network | not to be had here |" in text
    assert "Studies with a fault: 1. 2 times" in text and str(tmp_path) not in text
    assert (tmp_path / "faults" / "cluster-2.json").exists()


def test_the_moments_of_a_study_with_a_fault_come_again(tmp_path, monkeypatch):
    """Those of the whole study, in their order, and not those of an earlier call."""
    wrong = Disturbed(1, met=[moment(7, "server"), moment(4, "pause")], said=["1 claims are left"])
    cluster.keep(Ledger(tmp_path, 0), wrong)
    (kept,) = (tmp_path / "faults").iterdir()
    came, again = [], Ledger(tmp_path / "again", 0)

    def on_a_site(ledger, numbers, until, folder):
        came.append(numbers)
        said = ["1 claims are left"] if len(came) == 1 else []
        cluster.keep(ledger, Disturbed(0, met=[moment(number, "server") for number in numbers], said=said))

    monkeypatch.setattr(cluster, "_on_a_site", on_a_site)
    assert cluster.replay(json.loads(kept.read_text()), again) == ["1 claims are left"]
    assert cluster.replay(json.loads(kept.read_text()), again) == []
    assert came == [[7, 4], [7, 4]]


def moment(number: int, kind: str) -> Moment:
    return Moment(number, kind, 0.0, random.Random(), at=1.0, hit="SIGKILL")
