"""Files are written whole or not at all, and two folders change their names in one step."""

import os
import signal
import time

import pytest

from vptlib import paths
from vptlib.errors import UserError
from vptlib.paths import exchanged, lock_alone, whole_file, write_whole


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_that_cannot_be_written_whole_stays_as_it_was(tmp_path):
    write_whole(tmp_path / "a.json", "old")
    with pytest.raises(OSError, match="no more"), whole_file(tmp_path / "a.json") as part:
        part.write_text("ne")
        raise OSError("no more")
    assert (tmp_path / "a.json").read_text() == "old" and names(tmp_path) == ["a.json"]


def killed_while_writing(path):
    child = os.fork()
    if child == 0:
        with whole_file(path) as part:
            part.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_what_a_killed_process_left_is_removed_by_the_next_one_and_no_more(tmp_path):
    killed_while_writing(tmp_path / "a.json")
    killed_while_writing(tmp_path / "b.json")
    assert len(names(tmp_path)) == 2
    with whole_file(tmp_path / "a.json") as living:  # it writes at the same time
        write_whole(tmp_path / "a.json", "new")
        assert (tmp_path / "a.json").read_text() == "new"
        living.write_text("newer")
    assert (tmp_path / "a.json").read_text() == "newer"
    assert [name.split(".")[0] for name in names(tmp_path)] == ["a", "b"]


def test_two_folders_change_their_names_or_none_does(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    done = exchanged(tmp_path / "a", tmp_path / "b")
    assert names(tmp_path / "a") == (["b"] if done else ["a"])
    assert not exchanged(tmp_path / "a", tmp_path / "missing") and (tmp_path / "a").is_dir()


def test_a_name_as_long_as_a_disk_allows_can_be_written(tmp_path):
    write_whole(tmp_path / f"{'検' * 83}.json", "all of it")
    assert len(names(tmp_path)) == 1


def test_a_lock_that_a_killed_process_left_to_its_child_is_waited_for(tmp_path):
    """Its child has the lock from the fork until it is another program; here it lives half a second."""
    told, tell = os.pipe()
    if (killed := os.fork()) == 0:
        lock_alone(os.open(tmp_path, os.O_RDONLY), "is held")
        if os.fork() == 0:
            os.write(tell, b".")
            time.sleep(0.5)
            os._exit(0)
        os.read(told, 1)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(killed, 0)
    lock_alone(os.open(tmp_path, os.O_RDONLY), "is held")


def test_a_lock_that_another_holds_is_refused_with_the_complaint(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "SECONDS_OF_A_DEAD_LOCK", 0.1)
    lock_alone(held := os.open(tmp_path, os.O_RDONLY), "is held")
    with pytest.raises(UserError, match="is held"):
        lock_alone(os.open(tmp_path, os.O_RDONLY), "is held")
    os.close(held)
    lock_alone(os.open(tmp_path, os.O_RDONLY), "is held")
