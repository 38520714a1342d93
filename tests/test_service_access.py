"""Tokens: what is kept of them, who may enter, what a damaged file does, and how often each may ask."""

import os
import re
import stat
from datetime import UTC, datetime, timedelta
from threading import Thread

import pytest
import yaml

from vptlib.errors import UserError
from vptlib.operations.service import access as access_module
from vptlib.operations.service.access import ANYBODY, Access, Pace, Stranger, add_token, read_tokens, remove_token


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store" / "tokens.yaml"


def reason(access, header):
    with pytest.raises(Stranger) as raised:
        access.caller(header)
    return raised.value.reason


def change(path, **values):
    """Write other values of the first token."""
    plain = yaml.safe_load(path.read_text())
    plain["tokens"][0] |= values
    path.write_text(yaml.safe_dump(plain))


# ---- the file -----------------------------------------------------------------------------------------------------


def test_a_token_has_256_random_bits_and_only_its_digest_is_kept(path):
    one, two = (add_token(path, name, ["ask"], [], 90) for name in ("camera", "desk"))
    assert one != two and re.fullmatch(r"vpt_[\w-]{43}", one)
    assert one not in path.read_text() and one.removeprefix("vpt_") not in path.read_text()
    assert [token.name for token in read_tokens(path)] == ["camera", "desk"]


def test_only_the_owner_may_read_the_file(path):
    before = os.umask(0)
    try:
        add_token(path, "camera", ["ask"], [], 90)
        remove_token(path, "camera")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_token_has_roles_tasks_and_an_end(path):
    add_token(path, "camera", ["check", "ask", "ask"], ["cells"], 7)
    (token,) = read_tokens(path)
    assert token.roles == ("ask", "check") and token.tasks == ("cells",) and not token.is_expired
    assert abs(token.expires - datetime.now(UTC) - timedelta(7)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"name": "camera"}, "has a token already"),
        ({"name": " "}, "will not do"),
        ({"name": "a\nb"}, "will not do"),
        ({"name": ANYBODY}, "will not do"),
        ({"roles": ["aks"]}, "did you mean 'ask'"),
        ({"days": 0}, "--days is 0"),
        ({"days": 10**9}, "--days is 1000000000"),
    ],
)
def test_a_token_that_makes_no_sense_is_refused_and_nothing_changes(path, values, words):
    add_token(path, "camera", ["ask"], [], 90)
    before = path.read_bytes()
    with pytest.raises(UserError, match=words):
        add_token(path, **{"name": "new", "roles": ["ask"], "tasks": [], "days": 90} | values)
    assert path.read_bytes() == before


def test_a_token_that_is_not_there_cannot_be_removed(path):
    add_token(path, "camera", ["ask"], [], 90)
    with pytest.raises(UserError, match="did you mean 'camera'"):
        remove_token(path, "camra")
    assert remove_token(path, "camera") == [] and read_tokens(path) == []


def test_tokens_that_are_added_at_the_same_time_are_all_kept(path):
    names = [f"camera {number}" for number in range(12)]
    threads = [Thread(target=add_token, args=(path, name, ["ask"], [], 90)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(token.name for token in read_tokens(path)) == sorted(names)


# ---- the door -----------------------------------------------------------------------------------------------------


def test_without_a_file_anybody_may_do_everything(path):
    access = Access(path)
    caller = access.caller(None)
    assert access.is_open and caller.name == ANYBODY and "operate" in caller.roles and caller.sees("cells")


def test_a_token_opens_and_gives_its_roles_and_tasks(path):
    token = add_token(path, "camera", ["ask"], ["cells"], 90)
    access = Access(path)
    for header in (f"Bearer {token}", f"bearer  {token} "):
        caller = access.caller(header)
        assert caller.name == "camera" and caller.roles == ("ask",)
        assert caller.sees("cells") and not caller.sees("photos")


def test_what_is_no_valid_token_opens_nothing(path):
    token = add_token(path, "camera", ["ask"], [], 90)
    access = Access(path)
    assert reason(access, None) == reason(access, "") == reason(access, "Bearer ") == "missing"
    assert reason(access, f"Basic {token}") == reason(access, token) == "missing"
    for wrong in (token[:-1], token + "x", token.upper(), read_tokens(path)[0].sha256, "x" * 10**6, "\x00", "ключ"):
        assert reason(access, f"Bearer {wrong}") == "unknown"
    change(path, expires=datetime.now(UTC) - timedelta(seconds=1))
    assert reason(access, f"Bearer {token}") == "expired"


def test_every_token_is_compared_in_constant_time(path, monkeypatch):
    tokens = [add_token(path, f"camera {number}", ["ask"], [], 90) for number in range(3)]
    compared = []
    monkeypatch.setattr(access_module.hmac, "compare_digest", lambda one, other: compared.append(one) or one == other)
    assert Access(path).caller(f"Bearer {tokens[0]}").name == "camera 0"
    assert len(compared) == 3


def test_added_and_removed_tokens_count_at_once(path):
    access = Access(path)
    assert access.is_open
    token = add_token(path, "camera", ["ask"], [], 90)
    assert not access.is_open and reason(access, None) == "missing"
    assert access.caller(f"Bearer {token}").name == "camera"
    remove_token(path, "camera")
    assert reason(access, f"Bearer {token}") == "unknown"


DAMAGE = {
    "no YAML": b"tokens: [",
    "no UTF-8": b"\xff\xfe\x00",
    "empty": b"",
    "a list": b"[]",
    "another key": b"tokens: []\nopen: true\n",
    "half a token": b"tokens: [{name: camera}]",
    "an unknown role": None,
    "no time zone": None,
    "a name twice": None,
    "too long": b"tokens: []\n" + b"#" * 2**20,
    "python": b"!!python/object/apply:os.system ['true']",
}


def damage(path, kind):
    if DAMAGE[kind] is not None:
        path.write_bytes(DAMAGE[kind])
    elif kind == "a name twice":
        plain = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({"tokens": 2 * plain["tokens"]}))
    else:
        change(path, **{"an unknown role": {"roles": ["king"]}, "no time zone": {"expires": "2999-01-01T00:00"}}[kind])


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_closes_the_door_until_it_is_repaired(path, kind):
    token = add_token(path, "camera", ["ask"], [], 90)
    access, good = Access(path), path.read_bytes()
    assert access.caller(f"Bearer {token}")
    damage(path, kind)
    for header in (f"Bearer {token}", None):
        with pytest.raises(UserError, match="damaged"):
            access.caller(header)
    assert not access.is_open
    with pytest.raises(UserError, match="damaged"):
        Access(path)
    path.write_bytes(good)
    assert access.caller(f"Bearer {token}").name == "camera"


def test_no_hash_of_a_damaged_file_is_in_the_message(path):
    add_token(path, "camera", ["ask"], [], 90)
    change(path, sha256="SECRET" + "0" * 60)
    with pytest.raises(UserError) as raised:
        Access(path)
    assert "SECRET" not in str(raised.value)


def test_a_file_that_others_may_write_closes_the_door(path):
    token = add_token(path, "camera", ["ask"], [], 90)
    access = Access(path)
    path.chmod(0o620)
    with pytest.raises(UserError, match="chmod 600"):
        access.caller(f"Bearer {token}")
    path.chmod(0o600)
    assert access.caller(f"Bearer {token}")


def test_a_file_that_has_gone_closes_the_door_and_does_not_open_it(path):
    token = add_token(path, "camera", ["ask"], [], 90)
    access, good = Access(path), path.read_bytes()
    path.unlink()
    for header in (f"Bearer {token}", None):
        with pytest.raises(UserError, match="has gone"):
            access.caller(header)
    assert not access.is_open
    path.write_bytes(good)
    path.chmod(0o600)
    assert access.caller(f"Bearer {token}").name == "camera"


# ---- how often ----------------------------------------------------------------------------------------------------


def test_a_pace_allows_a_burst_and_then_so_many_a_second():
    now = [0.0]
    pace = Pace(per_second=2, at_once=3, clock=lambda: now[0])
    assert [pace.wait("camera") for _ in range(3)] == [0, 0, 0]
    assert pace.wait("camera") == pytest.approx(0.5)
    assert pace.wait("other") == 0
    now[0] += 0.5
    assert pace.wait("camera") == 0 and pace.wait("camera") > 0
    now[0] += 3600
    assert [pace.wait("camera") > 0 for _ in range(4)] == [False, False, False, True]


def test_many_addresses_do_not_fill_the_memory():
    pace = Pace(1, 1)
    for number in range(30_000):
        pace.wait(number)
    assert len(pace) <= 10_000
