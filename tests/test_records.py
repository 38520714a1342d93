"""The record of answers: whole rows whatever happens, from several processes and threads at once."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from vptlib.errors import UserError
from vptlib.operations.records import TABLE, AnswerRecords, Checked, Given

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def given(number=0, **changes):
    about = {
        "id": f"{number:032x}",
        "at": NOON + timedelta(minutes=number),
        "task": "cells",
        "version": 1,
        "digest": "a" * 64,
        "answer": "good",
        "probability": 0.75,
        "ask_a_person": "no",
    }
    return Given(**about | changes)


@pytest.fixture
def records(tmp_path):
    return AnswerRecords(tmp_path / "answers.db")


def test_an_answer_comes_back_as_it_was_given(records):
    coordinates = np.array([1.5, -2.25], dtype=np.float16)
    one = given(3, drawn=True, coordinates=coordinates, ask_a_person="yes", source=TABLE)
    records.add([given(9, version=None, digest="b" * 64), one])
    frame = records.frame("cells")
    assert list(frame["id"]) == [one.id, f"{9:032x}"], "in the order of time"
    row = frame.iloc[0]
    assert row["at"] == one.at
    for name in ("task", "version", "digest", "answer", "probability", "ask_a_person", "drawn", "source"):
        assert row[name] == getattr(one, name), name
    assert row["coordinates"].dtype == np.float16
    assert row["coordinates"].tolist() == coordinates.tolist()
    assert frame["version"].isna().tolist() == [False, True]
    assert frame["coordinates"].tolist()[1] is None
    assert (frame["truth"] == "").all()
    assert frame["checked_at"].isna().all()
    assert len(records.frame("cells", "b" * 64)) == 1
    assert records.frame("other").empty


def test_nothing_recorded_is_an_empty_table_with_the_same_columns_and_makes_no_file(records):
    empty = records.frame("cells")
    assert not records.path.exists()
    records.add([given()])
    assert list(empty.columns) == list(records.frame("cells").columns)
    assert [str(kind) for kind in empty.dtypes] == [str(kind) for kind in records.frame("cells").dtypes]


def test_the_same_answer_twice_is_recorded_once(records):
    records.add([given(), given()])
    records.add([given()])
    assert len(records.frame("cells")) == 1


def test_the_last_check_counts_and_what_was_said_before_is_kept(records):
    records.add([given(0), given(1)])
    assert records.check(given(0).id, "scratch", "aki", NOON)
    assert not records.check(given(0).id, "scratch", "aki"), "said already"
    assert records.check(given(0).id, "good", "ben", NOON + timedelta(hours=1))
    frame = records.frame("cells")
    assert frame["truth"].tolist() == ["good", ""]
    assert frame["checked_by"].tolist() == ["ben", ""]
    assert frame["checked_at"][0] == NOON + timedelta(hours=1)
    assert frame["truths"].tolist() == [2, 0]


def test_answers_and_checks_are_taken_together_or_not_at_all(records):
    known = Checked(given(0).id, "good", "aki", NOON)
    with pytest.raises(UserError, match="no answer with the id"):
        records.take([given(0)], [known, Checked("f" * 32, "good", "aki", NOON)])
    assert records.frame("cells").empty
    assert records.take([given(0)], [known]) == 1
    assert records.take([given(0)], [known]) == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"id": "A" * 32}, "is no id of an answer"),
        ({"id": "ab"}, "is no id of an answer"),
        ({"at": datetime(2026, 3, 1)}, "has no time zone"),
        ({"probability": float("nan")}, "must be from 0 to 1"),
        ({"ask_a_person": "maybe"}, "maybe"),
        ({"task": " "}, "task is ' '"),
        ({"coordinates": np.zeros((2, 2))}, "must be one row"),
    ],
)
def test_what_cannot_be_an_answer_is_refused(changes, words):
    with pytest.raises(UserError, match=words):
        given(**changes)


def test_prompts_are_found_by_the_ids_of_their_answers(records):
    assert records.tasks() == []
    assert records.task_of("0" * 32) is None
    records.add([given(number, task="solar" if number % 2 else "cells") for number in range(1200)])
    assert records.tasks() == ["cells", "solar"]
    ids = [given(number).id for number in range(1300)]
    assert records.tasks_of(ids) == {id: "solar" if int(id, 16) % 2 else "cells" for id in ids[:1200]}
    assert records.task_of(ids[1]) == "solar"


def test_a_table_may_say_later_that_an_answer_was_drawn_and_nobody_may_take_that_back(records):
    records.add([given(0), given(1, source=TABLE)])
    records.add([given(0, drawn=True), given(1, source=TABLE, drawn=True)])
    assert records.frame("cells")["drawn"].tolist() == [False, True]
    records.add([given(1, source=TABLE)])
    assert records.frame("cells")["drawn"].tolist() == [False, True]


# ---- many at once -------------------------------------------------------------------------------------------------

_WRITER = """
import sys
from datetime import UTC, datetime
from vptlib.operations.records import AnswerRecords, Given
path, who, rows, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
records, now = AnswerRecords(path), datetime.now(UTC)
print("begun", flush=True)
for start in range(0, rows, size):
    records.add([Given(f"{who:08x}{n:024x}", now, "cells", who, "d" * 64, "good", 0.5, "no")
                 for n in range(start, start + size)])
print("done", flush=True)
"""


def writer(path, who, rows, size):
    command = [sys.executable, "-c", _WRITER, str(path), str(who), str(rows), str(size)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_processes_write_at_once_and_no_row_is_lost(records):
    running = [writer(records.path, who, 600, 3) for who in (1, 2)]
    seen = 0
    while any(process.poll() is None for process in running):
        now = len(records.frame("cells"))
        assert now >= seen, "a reader in between sees what was there, and more"
        seen = now
    assert [process.returncode for process in running] == [0, 0]
    assert records.frame("cells").groupby("version").size().tolist() == [600, 600]


def test_several_may_begin_the_record_at_the_same_moment(tmp_path):
    many, said = threading.Barrier(6), []

    def begin(who):
        for number in range(25):
            many.wait(30)
            own = AnswerRecords(tmp_path / f"{number}.db")
            try:
                own.frame("cells")
                own.add([given(who)])
            except UserError as error:
                said.append(str(error))
            own.close()

    threads = [threading.Thread(target=begin, args=(who,)) for who in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == []
    assert [len(AnswerRecords(tmp_path / f"{number}.db").frame("cells")) for number in range(25)] == [6] * 25


def test_a_process_that_is_killed_leaves_whole_calls_of_add(records):
    process = writer(records.path, 7, 10**7, 10)
    assert process.stdout.readline() == "begun\n"
    deadline = time.monotonic() + 30
    while not records.frame("cells").shape[0] and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = len(records.frame("cells"))
    assert left > 0
    assert left % 10 == 0
    with sqlite3.connect(records.path) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
    records.add([given()])
    assert len(records.frame("cells")) == left + 1


def test_threads_share_one_object(records):
    def work(who):
        for number in range(50):
            records.add([given(1000 * who + number, version=who)])

    threads = [threading.Thread(target=work, args=(who,)) for who in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert records.frame("cells").groupby("version").size().tolist() == [50] * 4


def test_a_forked_process_takes_a_connection_of_its_own(records):
    records.add([given(0)])
    child = os.fork()
    if not child:
        try:
            records.add([given(1)])
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    records.add([given(2)])
    assert len(records.frame("cells")) == 3


# ---- what may be wrong with the file ------------------------------------------------------------------------------


def test_a_damaged_file_is_named_and_moving_it_away_helps(records):
    records.path.write_bytes(b"no database at all " * 400)
    for use in (lambda: records.frame("cells"), lambda: records.add([given()])):
        with pytest.raises(UserError, match=rf"{records.path} is damaged .*move it away.*Answers go on"):
            use()
    records.path.rename(records.path.with_name("away.db"))
    records.add([given()])
    assert len(records.frame("cells")) == 1


def test_pages_that_were_overwritten_are_damage_too(records):
    records.add([given(number) for number in range(500)])
    records.close()
    raw = bytearray(records.path.read_bytes())
    raw[4096:] = b"\x5a" * (len(raw) - 4096)
    records.path.write_bytes(raw)
    with pytest.raises(UserError, match="is damaged"):
        records.frame("cells")


def test_a_file_that_is_moved_away_while_it_is_used_is_begun_again(records, tmp_path):
    records.add([given(0)])
    records.path.rename(tmp_path / "away.db")
    records.add([given(1)])
    assert [int(id, 16) for id in records.frame("cells")["id"]] == [1]


def test_a_file_of_a_newer_version_is_refused_and_left_as_it_is(records):
    records.add([given()])
    records.close()
    with sqlite3.connect(records.path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(UserError, match="written by a newer vptlib"):
        records.add([given(1)])
    with pytest.raises(UserError, match="written by a newer vptlib"):
        records.frame("cells")


def test_a_database_of_another_program_is_refused(records):
    with sqlite3.connect(records.path) as database:
        database.execute("CREATE TABLE runs (id)")
    database.close()
    before = records.path.read_bytes()
    with pytest.raises(UserError, match="a database of another program"):
        records.add([given()])
    assert records.path.read_bytes() == before


def test_a_full_disk_is_said_and_leaves_what_was_there(records, monkeypatch):
    def small(*arguments, connect=sqlite3.connect, **options):
        database = connect(*arguments, **options)
        database.execute("PRAGMA max_page_count = 30")
        return database

    monkeypatch.setattr(sqlite3, "connect", small)
    records.add([given(0)])
    with pytest.raises(UserError, match="is full: free some space"):
        records.add([given(number) for number in range(1, 3000)])
    assert len(records.frame("cells")) == 1
    records.add([given(1)])


_WITHOUT_ROOM = """
import resource, signal, sys
from datetime import UTC, datetime
from vptlib.errors import UserError
from vptlib.operations.records import AnswerRecords, Given
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    AnswerRecords(sys.argv[1]).add(
        [Given(f"{n:032x}", datetime.now(UTC), "cells", 1, "d" * 64, "good", 0.5, "no") for n in range(20_000)])
except UserError as error:
    print(error)
"""


def test_a_disk_that_fails_is_not_called_a_damaged_file(records):
    command = [sys.executable, "-c", _WITHOUT_ROOM, str(records.path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "the disk fails (disk I/O error)" in said or "is full: free some space" in said


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be opened"):
        AnswerRecords(tmp_path / "file" / "answers.db").add([given()])


def test_a_file_that_another_program_holds_is_said(records, monkeypatch):
    monkeypatch.setattr("vptlib.operations.records.SECONDS_TO_WAIT", 0.05)
    records.add([given()])
    records.close()
    with sqlite3.connect(records.path, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UserError, match="is locked by another program"):
            records.add([given(1)])
        other.execute("ROLLBACK")
    other.close()
    records.add([given(1)])
