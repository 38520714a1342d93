"""Processes end with the one that started them, and what ran out is said in a sentence."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from joblib.externals.loky.process_executor import BrokenProcessPool, TerminatedWorkerError

from vptlib.errors import UserError
from vptlib.shortages import DISK, MEMORY, WORKER, sentence_of, shortage, shortages_said
from vptlib.study import make_runs, runner
from vptlib.study.published_rules import EQUAL
from vptlib.study.study import Study

SECONDS_TO_END = 10.0


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not collected yet does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def all_end(pids: list[int]) -> bool:
    until = time.monotonic() + SECONDS_TO_END
    while any(map(is_alive, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    return not any(map(is_alive, pids))


# ---- processes ----------------------------------------------------------------------------------------------------

# The workers print their numbers, and would go on for a minute.
PARENT = """
import os, threading, time
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from vptlib.processes import worker_options

def work(number):
    os.write(1, f"{os.getpid()}\\n".encode())
    time.sleep(60)

def in_executor():
    pool = get_reusable_executor(max_workers=2, **worker_options())
    [future.result() for future in [pool.submit(work, number) for number in range(2)]]

def in_parallel():
    Parallel(n_jobs=2, **worker_options())(delayed(work)(number) for number in range(2))

def in_thread():
    threading.Thread(target=in_executor).start()
    time.sleep(60)
"""


@pytest.mark.parametrize("how", ["in_executor", "in_parallel", "in_thread"])
def test_workers_end_with_a_parent_that_is_killed(how):
    with subprocess.Popen([sys.executable, "-c", f"{PARENT}\n{how}()"], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        workers = [int(parent.stdout.readline()) for _ in range(2)]
        assert all(map(is_alive, workers))
        parent.kill()
        parent.wait()
        assert all_end(workers)


def test_a_worker_whose_parent_has_ended_before_it_looks_ends_at_once():
    code = "import time; from vptlib.processes import end_with; end_with(2**22 + 1, by_signal=True); time.sleep(60)"
    begun = time.monotonic()
    assert subprocess.run([sys.executable, "-c", code], timeout=50).returncode == 1
    assert time.monotonic() - begun < 40


COMMAND = """
import signal, time
{before}
from vptlib.cli import app, main, reported_in_a_sentence

@app.command()
@reported_in_a_sentence
def wait():
    print("begun", flush=True)
    time.sleep({seconds})

main()
"""


@pytest.mark.parametrize(
    ("number", "before", "code"),
    [
        (signal.SIGTERM, "", 143),
        (signal.SIGINT, "signal.signal(signal.SIGINT, signal.default_int_handler)", 130),
        (signal.SIGHUP, "", 129),
        (signal.SIGHUP, "signal.signal(signal.SIGHUP, signal.SIG_IGN)", 0),  # as under nohup
    ],
)
def test_a_signal_to_end_is_heard_like_ctrl_c(number, before, code):
    program = COMMAND.format(before=before, seconds=2 if code == 0 else 60)
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program, "wait"], stdout=pipe, stderr=pipe, text=True) as command:
        assert command.stdout and command.stderr and command.stdout.readline() == "begun\n"
        command.send_signal(number)
        said = command.stderr.read()
    assert command.returncode == code
    stopped = "Stopped. What is finished is kept: the same command goes on from there.\n"
    assert said == (stopped if code else "")


# ---- sentences ----------------------------------------------------------------------------------------------------


def caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), MEMORY),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), MEMORY),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"), MEMORY),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."), MEMORY),
        (RuntimeError("can't start new thread"), MEMORY),
        (RuntimeError("std::bad_alloc"), MEMORY),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object: Cannot allocate memory"), MEMORY),
        (caused(BrokenProcessPool("A task has failed to un-serialize."), Exception("MemoryError")), MEMORY),
        (BrokenProcessPool("A task has failed to un-serialize."), WORKER),
        (TerminatedWorkerError("A worker process … was unexpectedly terminated. {SIGKILL(-9)}"), WORKER),
        (OSError(errno.ENOSPC, "No space left on device"), DISK),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), DISK),
        (RuntimeError("PytorchStreamWriter failed writing file data/3: file write failed"), DISK),
        (RuntimeError("(sqlite3.OperationalError) database or disk is full"), DISK),
        (caused(RuntimeError("unexpected pos 64 vs 0"), OSError(errno.ENOSPC, "No space left")), DISK),
        (ValueError("unexpected"), ""),
        (OSError(errno.ENOENT, "No such file or directory"), ""),
        (UserError("memory of the past: out of memory"), ""),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_ran_out_is_recognised_in_whatever_is_raised(error, kind):
    assert shortage(error) == kind
    assert bool(sentence_of(error)) == bool(kind)


def test_the_sentence_says_what_happened_and_what_to_do():
    killed = TerminatedWorkerError("unexpectedly terminated … The exit codes of the workers are {SIGKILL(-9)}")
    said = sentence_of(killed, jobs=4)
    assert said.startswith(
        "a worker process was ended from outside (SIGKILL), most often because memory ran out with 4 runs at the same "
        "time: close other programs, set VPTLIB_JOBS=1, or take a smaller batch_size or image_size;"
    )
    assert "finished runs are kept" in said and "\n" not in said
    assert "VPTLIB_JOBS" not in sentence_of(MemoryError(), jobs=1)
    full = OSError(errno.ENOSPC, "No space left on device", "place/run.pt")
    assert sentence_of(full).startswith("no space left on device at place/run.pt: free some space there")


def test_other_errors_stay_as_they_are():
    with pytest.raises(ZeroDivisionError), shortages_said():
        _ = 1 // 0
    with pytest.raises(UserError, match=r"^its own$"), shortages_said():
        raise UserError("its own")


# ---- studies ------------------------------------------------------------------------------------------------------


def study() -> Study:
    grid = {"methods": ("linear",), "sizes": (40, 60), "seeds": (0,), "rules": EQUAL, "steps": 3, "batch_size": 8}
    return Study("digits", image_size=14, depth=1, num_prompts=2, test_images=30, **grid)


def ended_once(plan, cell, rates, deadline=None):
    """A run whose process is killed at the first attempt of all."""
    mark = Path(os.environ["VPTLIB_STORE"]) / "killed"
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return runner.run_alone(plan, cell, rates, deadline)
    os.kill(os.getpid(), signal.SIGKILL)


def always_short(plan, cell, rates, deadline=None):
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes.")


def full_disk(*_):
    raise RuntimeError("PytorchStreamWriter failed writing file data/3: file write failed")


@pytest.mark.slow
def test_a_run_whose_worker_was_killed_is_made_again_with_fewer_at_the_same_time(own_store, monkeypatch):
    monkeypatch.setattr(make_runs, "run_alone", ended_once)
    assert len(study().run(progress=False, jobs=2)) == 2
    assert (own_store / "killed").is_file()


def test_a_study_without_memory_ends_with_a_sentence_also_when_a_run_is_alone(own_store, monkeypatch):
    monkeypatch.setattr(make_runs, "run_alone", always_short)
    with pytest.raises(UserError, match=r"^memory ran out with 1 run at the same time: close other programs, or take"):
        study().run(progress=False, jobs=2)
    assert not list((own_store / "claims").glob("*.claim")) and len(study().missing()) == 2


@pytest.mark.parametrize("step", ["fit", "evaluate"])
def test_a_full_disk_ends_a_study_with_a_sentence_and_stores_nothing(own_store, monkeypatch, step):
    monkeypatch.setattr(runner, step, full_disk)
    with pytest.raises(UserError, match=r"^no space left on device: free some space"):
        study().run(progress=False, jobs=1)
    assert len(study().missing()) == 2
