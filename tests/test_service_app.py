"""The endpoints, asked in this process: answers, who may what, limits, what the log and the metrics have."""

import io
import json
import logging
import re
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from desks import CLASSES, IMAGE, FakeDesk, FakeRecords, asking, bearer, code, figure, send, serving

from vptlib.errors import UserError
from vptlib.operations.service import logs
from vptlib.operations.service.app import drawn
from vptlib.operations.service.desk import NoAnswer, Stopping, TooMuchAtOnce, UnknownTask
from vptlib.operations.service.keeping import Keeper
from vptlib.operations.service.metrics import Metrics

TOKENS = {
    "camera": (["ask"], ["cells"]),
    "expert": (["check"], []),
    "boss": (["ask", "check", "operate"], []),
}


@pytest.fixture
def client(tmp_path):
    with asking(tmp_path) as client:
        yield client


@pytest.fixture
def guarded(tmp_path):
    with asking(tmp_path, TOKENS) as client:
        yield client


@pytest.fixture
def log():
    """What the service writes, line by line."""
    stream = io.StringIO()
    everything = logging.getLogger()
    handlers, levels = everything.handlers, (everything.level, logs.LOGGER.level)
    logs.set_up(stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    everything.handlers = handlers
    everything.setLevel(levels[0])
    logs.LOGGER.setLevel(levels[1])


# ---- answers ------------------------------------------------------------------------------------------------------


def test_an_image_gets_an_answer_and_the_answer_is_recorded(client):
    given = send(client).json()
    assert (given["task"], given["version"], given["answer"], given["ask_a_person"]) == ("cells", 3, "scratch", "no")
    assert list(given["probabilities"]) == list(CLASSES) and given["problem"] == ""
    assert re.fullmatch("[0-9a-f]{32}", given["id"])
    truth = client.post(f"/v1/answers/{given['id']}/truth", json={"class": "pit"})
    assert truth.json() == {"id": given["id"], "task": "cells", "class": "pit"}
    (kept,) = client.records.given
    assert (kept.id, kept.answer, kept.drawn) == (given["id"], "scratch", given["check"])
    assert client.records.checked == [(given["id"], "pit", "anybody")]


def test_the_tasks_are_listed_with_what_answers_them(client):
    found = client.get("/v1/tasks").json()
    assert [task["name"] for task in found["tasks"]] == ["cells", "photos"] and found["may_check"] is True
    assert found["tasks"][0]["classes"] == list(CLASSES) and found["tasks"][0]["threshold"] == 0.8


@pytest.mark.parametrize("kind", ["image/jpeg", "IMAGE/PNG; q=1", "application/octet-stream", "image/x-sony-arw"])
def test_any_kind_of_image_is_read(client, kind):
    assert send(client, **{"Content-Type": kind}).status_code == 200


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain", "image/"])
def test_what_is_sent_as_no_image_is_not_read(client, kind):
    assert code(send(client, **{"Content-Type": kind})) == (415, "content_type")
    assert not client.desk.asked


def test_bytes_that_are_no_image_are_refused_in_a_sentence(client):
    for body in (b"", b"no image"):
        assert code(send(client, body=body)) == (422, "image")
    assert figure(client.metrics, "vpt_answer_seconds_count", task="cells", outcome="unreadable") == 1


@pytest.mark.parametrize(
    ("failure", "expected", "outcome"),
    [
        (UnknownTask("gone"), (404, "no_such_task"), "gone"),
        (TooMuchAtOnce("full"), (503, "busy"), "busy"),
        (Stopping("stopping"), (503, "stopping"), "stopping"),
        (NoAnswer("/srv/secret/model.vpt is away"), (503, "no_answer"), "failed"),
        (RuntimeError("/srv/secret/model.vpt"), (500, "unexpected"), "failed"),
    ],
)
def test_a_failure_of_the_desk_has_its_status(client, failure, expected, outcome):
    client.desk.fails = failure
    response = send(client)
    assert code(response) == expected
    assert ("Retry-After" in response.headers) == (expected[0] == 503)
    assert "secret" not in response.text
    assert figure(client.metrics, "vpt_answer_seconds_count", task="cells", outcome=outcome) == 1


def test_an_answer_that_takes_too_long_is_given_up(tmp_path):
    desk = FakeDesk()
    desk.waits = 5
    with asking(tmp_path, desk=desk, answer_seconds=0.05) as client:
        response = send(client)
    assert code(response) == (503, "slow_answer") and int(response.headers["Retry-After"]) > 0


NAMES = [
    "..", "../cells", "..%2f..%2fetc%2fpasswd", "%2e%2e%2fcells", "cells%2f", "cells%00", "%00", "cells%0a", "сells",
    "ｃells", "cells%20", "CELLS", "cells%ff", "%", "a" * 10_000, "%F0%9F%8D%95" * 2000, "cells;photos", "cells?x", ".",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_weird_name_is_not_found_and_becomes_no_label(client, name):
    response = send(client, name)
    assert code(response)[0] in (404, 405) and not client.desk.asked
    assert "etc" not in response.text and b"aaaa" not in client.get("/metrics").content


# ---- truths -------------------------------------------------------------------------------------------------------


def test_a_truth_needs_an_answer_that_was_given_and_a_class_of_its_task(client):
    id = send(client).json()["id"]
    for wrong in ("0" * 32, id.upper(), id[:-1], "..%2f" + id, "x"):
        assert code(client.post(f"/v1/answers/{wrong}/truth", json={"class": "pit"}))[0] == 404
    assert code(client.post(f"/v1/answers/{id}/truth", json={"class": "crack"})) == (422, "class")
    assert not client.records.checked


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"class": 1}', b'{"class": ""}', b'{"class": "pit", "by": "me"}'])
def test_a_truth_that_is_no_json_of_that_form_is_refused(client, body):
    id = send(client).json()["id"]
    response = client.post(f"/v1/answers/{id}/truth", content=body, headers={"Content-Type": "application/json"})
    assert code(response) == (422, "body")


def test_a_truth_can_follow_its_answer_at_once(client):
    for _ in range(20):
        id = send(client).json()["id"]
        assert client.post(f"/v1/answers/{id}/truth", json={"class": "good"}).status_code == 200


def test_a_truth_about_an_answer_that_could_not_be_recorded_yet_is_to_be_sent_again(client):
    client.records.full = True
    path = f"/v1/answers/{send(client).json()['id']}/truth"
    assert code(client.post(path, json={"class": "good"})) == (503, "records")
    client.records.full = False
    assert client.post(path, json={"class": "good"}).status_code in (200, 503)  # 503 until it is tried again
    time.sleep(1.5)
    assert client.post(path, json={"class": "good"}).status_code == 200


def test_a_truth_has_the_name_of_the_token_and_its_task_must_be_seen(guarded):
    id = send(guarded, "photos", token=guarded.token["boss"]).json()["id"]
    path, body = f"/v1/answers/{id}/truth", {"class": "good"}
    assert code(guarded.post(path, json=body, headers=bearer(guarded.token["camera"]))) == (403, "role")
    assert guarded.post(path, json=body, headers=bearer(guarded.token["expert"])).status_code == 200
    assert guarded.records.checked == [(id, "good", "expert")]


def test_a_truth_about_a_task_that_the_token_may_not_see_is_about_nothing(tmp_path):
    with asking(tmp_path, {"boss": (["ask"], []), "expert": (["check"], ["cells"])}) as client:
        id = send(client, "photos", token=client.token["boss"]).json()["id"]
        headers = bearer(client.token["expert"])
        hidden, absent = (
            client.post(f"/v1/answers/{one}/truth", json={"class": "good"}, headers=headers) for one in (id, "0" * 32)
        )
        assert hidden.status_code == 404 and hidden.content == absent.content


def test_answers_are_drawn_at_random_by_their_id_alone():
    ids = [f"{number:032x}" for number in range(20_000)]
    share = sum(drawn(id, 0.05) for id in ids) / len(ids)
    assert 0.045 < share < 0.055
    assert not any(drawn(id, 0) for id in ids) and all(drawn(id, 1) for id in ids)
    assert all(drawn(id, 0.5) for id in ids if drawn(id, 0.05))


# ---- who may what -------------------------------------------------------------------------------------------------


def test_missing_unknown_and_expired_tokens_get_the_same_answer(guarded, log):
    text = guarded.path.read_text()
    found = [guarded.get("/v1/tasks", headers=headers) for headers in ({}, bearer("vpt_wrong"))]
    guarded.path.write_text(re.sub(r"expires: \d+", "expires: 1999", text))
    found.append(guarded.get("/v1/tasks", headers=bearer(guarded.token["camera"])))
    assert {code(response) for response in found} == {(401, "token")}
    assert len({response.content for response in found}) == 1
    assert all(response.headers["WWW-Authenticate"].startswith("Bearer") for response in found)
    assert [line["why"] for line in log()] == ["missing", "unknown", "expired"]


@pytest.mark.parametrize(
    ("method", "path", "may"),
    [
        ("GET", "/v1/tasks", {"camera", "boss"}),
        ("POST", "/v1/tasks/cells/answers", {"camera", "boss"}),
        ("POST", "/v1/answers/0/truth", {"expert", "boss"}),
        ("POST", "/v1/refresh", {"boss"}),
        ("GET", "/metrics", {"boss"}),
    ],
)
def test_every_endpoint_needs_its_role(guarded, method, path, may):
    assert code(guarded.request(method, path)) == (401, "token")
    refused = {
        name
        for name, token in guarded.token.items()
        if guarded.request(method, path, headers=bearer(token)).status_code == 403
    }
    assert refused == set(TOKENS) - may


def test_a_task_that_the_token_may_not_see_is_as_if_it_were_not_there(guarded):
    token = guarded.token["camera"]
    hidden, absent = (send(guarded, name, token=token) for name in ("photos", "nothing"))
    assert code(hidden) == (404, "no_such_task") and hidden.content == absent.content
    assert [task["name"] for task in guarded.get("/v1/tasks", headers=bearer(token)).json()["tasks"]] == ["cells"]


def test_a_token_is_checked_before_anything_of_the_request_is_read(guarded):
    for path in ("/v1/tasks/cells/answers", "/v1/answers/0/truth"):
        for body in (b"{", b"x" * 10**6):
            assert code(guarded.post(path, content=body)) == (401, "token")


def test_a_damaged_file_of_tokens_closes_every_door(guarded, log):
    guarded.path.write_text("tokens: [")
    for token in (None, guarded.token["boss"]):
        assert code(send(guarded, token=token)) == (503, "closed")
    assert code(guarded.get("/readyz")) == (503, "closed")
    assert "damaged" in log()[0]["why"]


def test_probes_and_the_page_need_no_token(guarded):
    assert guarded.get("/healthz").json() == {"alive": True}
    assert guarded.get("/readyz").json() == {"ready": True}
    assert guarded.get("/openapi.json").status_code == guarded.get("/").status_code == 200


def test_why_a_version_does_not_answer_is_for_operators_only(tmp_path):
    desk = FakeDesk("cells")
    desk.tasks["cells"] = serving("cells", problem="/srv/store/4.vpt is damaged")
    with asking(tmp_path, TOKENS, desk) as client:
        one, other = (
            client.get("/v1/tasks", headers=bearer(client.token[name])).json()["tasks"][0]["problem"]
            for name in ("camera", "boss")
        )
    assert "/srv" not in one and one and "/srv" in other


# ---- browsers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "192.168.0.7:8000", ""])
def test_without_tokens_another_name_of_this_machine_is_refused(client, host):
    for path in ("/", "/v1/tasks", "/metrics", "/openapi.json"):
        assert code(client.get(path, headers={"Host": host})) == (421, "host")
    assert code(send(client, Host=host)) == (421, "host")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST:80"])
def test_the_names_of_this_machine_are_right(client, host):
    assert client.get("/v1/tasks", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:3000", "http://localhost"])
def test_without_tokens_no_page_of_another_place_may_post(client, origin):
    assert code(send(client, Origin=origin)) == (403, "origin") and not client.desk.asked
    assert client.post("/v1/refresh", headers={"Origin": origin}).status_code == 403
    assert send(client, Origin="http://localhost:8000").status_code == 200


def test_with_tokens_the_service_has_any_name(guarded):
    headers = {"Host": "vision.example", "Origin": "https://elsewhere.example"}
    assert send(guarded, token=guarded.token["camera"], **headers).status_code == 200


def test_no_other_site_is_allowed_to_read(client):
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    for response in (client.options("/v1/refresh", headers=headers), client.get("/v1/tasks", headers=headers)):
        assert not [name for name in response.headers if name.startswith("access-control")]


def test_the_page_runs_nothing_else_and_answers_are_not_kept(client):
    page, answer = client.get("/"), send(client)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "script-src 'sha256-" in page.headers["Content-Security-Policy"]
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    for response in (page, answer, client.get("/nothing")):
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-store"
        assert len(response.headers.get_list("Content-Security-Policy")) == 1


# ---- limits -------------------------------------------------------------------------------------------------------


def test_a_body_that_is_too_large_is_refused_by_its_length_and_while_it_comes(tmp_path):
    with asking(tmp_path, most_bytes=1000) as client:
        assert send(client, body=IMAGE.ljust(1000)).status_code == 200
        assert code(send(client, body=IMAGE.ljust(1001))) == (413, "too_large")
        parts = (b"x" * 100 for _ in range(11))
        assert code(send(client, body=parts)) == (413, "too_large")
        assert code(send(client, **{"Content-Length": "9" * 400})) == (413, "too_large")
    assert client.load.bytes == 0


def test_a_truth_is_small(client):
    body = json.dumps({"class": "x" * 100_000})
    response = client.post("/v1/answers/0/truth", content=body, headers={"Content-Type": "application/json"})
    assert code(response) == (413, "too_large")


def test_all_requests_together_have_a_limit_of_memory(tmp_path):
    with asking(tmp_path, most_bytes_held=1000) as client:
        assert code(send(client, body=b"x" * 1001)) == (503, "busy")
        assert send(client).status_code == 200 and client.load.bytes == 0


def test_who_asks_too_often_waits_and_others_do_not(tmp_path):
    with asking(tmp_path, TOKENS, asks_per_second=0.1, asks_at_once=3) as client:
        camera, boss = client.token["camera"], client.token["boss"]
        found = [send(client, token=camera) for _ in range(4)]
        assert [response.status_code for response in found] == [200, 200, 200, 429]
        assert code(found[-1]) == (429, "too_often") and 9 <= int(found[-1].headers["Retry-After"]) <= 11
        assert send(client, token=boss).status_code == 200
        assert [client.get("/v1/tasks").status_code for _ in range(4)] == [401, 401, 401, 429]
        assert client.get("/healthz").status_code == 200


def test_without_tokens_an_address_has_a_pace(tmp_path):
    with asking(tmp_path, asks_per_second=0.1, asks_at_once=2) as client:
        assert [send(client).status_code for _ in range(3)] == [200, 200, 429]


# ---- readiness ----------------------------------------------------------------------------------------------------


def test_a_service_that_stops_takes_no_more_and_says_so(client):
    client.load.stopping = True
    assert code(client.get("/readyz")) == (503, "stopping")
    assert code(send(client)) == (503, "stopping") and not client.desk.asked
    assert client.get("/healthz").status_code == 200


def test_a_desk_without_tasks_is_not_ready(client):
    client.desk.ready = False
    assert code(client.get("/readyz")) == (503, "not_ready")


def test_a_refresh_names_what_changed_and_a_failed_one_gives_no_details(client):
    assert client.post("/v1/refresh").json() == {"changed": ["cells", "photos"]}
    client.desk.fails = UserError("the server at /srv/secret is away")
    response = client.post("/v1/refresh")
    assert code(response) == (503, "not_refreshed") and "secret" not in response.text


# ---- what is written ----------------------------------------------------------------------------------------------


def test_the_log_has_a_line_a_request_and_no_secret_no_image_and_no_path(guarded, log):
    secret, token = "s3cr3t-name", guarded.token["camera"]
    image = b"\x89PNG" + b"PLANTED-PIXELS" * 100
    send(guarded, "cells", image, token, **{"X-File": secret, "Cookie": secret})
    guarded.get(f"/v1/tasks?token={secret}", headers=bearer(token))
    guarded.get(f"/{secret}/{secret}.png")
    guarded.request(secret.upper(), "/v1/tasks")
    send(guarded, secret, image, token)
    guarded.get("/v1/tasks", headers=bearer(secret))
    guarded.get("/v1/tasks", headers={"Host": secret})
    lines = log()
    text = json.dumps(lines)
    for planted in (secret, secret.upper(), token, token[4:20], "PLANTED", ".png", "?"):
        assert planted not in text
    assert len(lines) == 7 and all(line["event"] == "request" and line["ms"] >= 0 for line in lines)
    first = {"method": "POST", "route": "/v1/tasks/{name}/answers", "status": 200, "task": "cells", "version": 3}
    assert {name: lines[0][name] for name in first} == first and lines[0]["token"] == "camera"
    assert [line["route"] for line in lines[2:4]] == ["none", "/v1/tasks"] and lines[3]["method"] == "other"


def test_an_unexpected_failure_is_in_the_log_with_its_traceback_but_without_passwords(client, log, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2-hunter2")
    client.desk.fails = RuntimeError("cannot reach https://me:pa55word@store.example with hunter2-hunter2")
    response = send(client)
    assert code(response) == (500, "unexpected") and "store.example" not in response.text
    failure, request = log()
    assert "RuntimeError" in failure["traceback"] and "in answer" in failure["traceback"]
    assert "pa55word" not in failure["traceback"] and "hunter2" not in failure["traceback"]
    assert failure["request"] == request["request"] == response.headers["X-Request-Id"]
    assert request["status"] == 500


def test_a_token_in_a_failure_is_not_in_the_log(guarded, log):
    token = guarded.token["boss"]
    guarded.desk.fails = RuntimeError(f"Bearer {token}, and more")
    assert send(guarded, token=token).status_code == 500
    text = json.dumps(log())
    assert "and more" in text and token not in text and "vpt_" not in text


def test_the_metrics_count_answers_refusals_and_what_answers_now(client):
    send(client)
    send(client, "nothing")
    metrics = client.metrics
    assert figure(metrics, "vpt_answers_total", task="cells", version="3", **{"class": "scratch"}) == 1
    assert figure(metrics, "vpt_answer_seconds_count", task="cells", outcome="answered") == 1
    assert figure(metrics, "vpt_refused_total", reason="no_such_task") == 1
    assert figure(metrics, "vpt_asked_for_a_person_total", task="cells", ask_a_person="no") == 1
    assert figure(metrics, "vpt_images_in_flight") == 0 and figure(metrics, "vpt_queue_images") == 0
    about = {"task": "cells", "version": "3", "digest": "d" * 64, "method": "vpt-deep", "backbone": "small"}
    assert figure(metrics, "vpt_model_info", **about) == 1
    assert figure(metrics, "vpt_tasks_in_memory", backbone="small") == 2
    assert figure(metrics, "vpt_tasks_bytes", backbone="small") == 2000
    assert figure(metrics, "vpt_last_refresh_timestamp_seconds") == client.desk.looked.timestamp()
    metrics.passed(7)
    assert figure(metrics, "vpt_batch_images_sum") == 7
    response = client.get("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain") and b"vpt_answers_total" in response.content


def test_labels_do_not_grow_with_what_clients_send(client):
    send(client)
    before = len(client.get("/metrics").content.splitlines())
    for number in range(50):
        send(client, f"made-up-{number}")
        client.get(f"/{number}")
        client.request(f"VERB{number}", "/v1/tasks")
    assert len(client.get("/metrics").content.splitlines()) - before < 15


# ---- records ------------------------------------------------------------------------------------------------------


def keeper(records, metrics=None, **options):
    made = Keeper(records, metrics or Metrics(), **options)
    made.start()
    return made


def test_a_full_disk_stops_no_answer_and_nothing_is_lost_once_there_is_room(tmp_path, log):
    records = FakeRecords()
    records.full = True
    with asking(tmp_path, records=records) as client:
        ids = [send(client).json()["id"] for _ in range(5)]
        assert not records.given
        records.full = False
    assert [one.id for one in records.given] == ids
    assert figure(client.metrics, "vpt_records_lost_total") == 0
    assert sum("cannot be recorded" in line["event"] for line in log()) == 1


def test_what_cannot_be_recorded_to_the_end_is_counted(tmp_path, log):
    records = FakeRecords()
    records.full = True
    with asking(tmp_path, records=records) as client:
        assert [send(client).status_code for _ in range(5)] == [200] * 5
    assert figure(client.metrics, "vpt_records_lost_total") == 5
    assert log()[-1]["event"] == "answers not recorded"


def test_only_so_many_answers_wait_for_the_disk():
    records, metrics = FakeRecords(), Metrics()
    records.full = True
    made = keeper(records, metrics, most=3, pause=60)
    for number in range(5):
        made.add(number)
    assert not made.wait(5)
    made.stop()
    assert figure(metrics, "vpt_records_lost_total") == 5


def test_between_two_tries_to_write_there_is_a_pause_and_a_stop_tries_once_more():
    class Full(FakeRecords):
        def add(self, given):
            tries.append(given)
            raise OSError(28, "No space left on device")

    tries = []
    made = keeper(Full(), pause=60)
    made.add("one")
    assert not made.wait(5)
    time.sleep(0.2)
    assert len(tries) == 1
    made.stop()
    assert len(tries) == 2


def test_answers_are_written_many_at_once_and_none_is_repeated():
    class Slow(FakeRecords):
        def add(self, given):
            begun.set()
            go.wait(5)
            sizes.append(len(given))
            super().add(given)

    records, sizes, begun, go = Slow(), [], threading.Event(), threading.Event()
    made = keeper(records, at_once=40)
    made.add(0)
    begun.wait(5)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(made.add, range(1, 100)))
    go.set()
    assert made.wait(5)
    made.stop()
    assert sorted(records.given) == list(range(100)) and sizes == [1, 40, 40, 19]


@pytest.mark.parametrize("failure", [sqlite3.OperationalError("locked"), UserError("full"), OSError("full")])
def test_a_failure_that_may_pass_is_tried_again(failure):
    class Moody(FakeRecords):
        def add(self, given):
            tries.append(len(given))
            if len(tries) < 3:
                raise failure
            super().add(given)

    records, tries = Moody(), []
    made = keeper(records, pause=0.01)
    made.add("one")
    while len(tries) < 3:
        made.wait(0.05)
    made.stop()
    assert records.given == ["one"]


def test_a_batch_that_can_never_be_written_does_not_hold_up_those_after_it():
    class Picky(FakeRecords):
        def add(self, given):
            if "bad" in given:
                raise ValueError("never")
            super().add(given)

    records = Picky()
    made = keeper(records, at_once=1)
    for one in ("good", "bad", "fine"):
        made.add(one)
    assert made.wait(5)
    made.stop()
    assert records.given == ["good", "fine"]
