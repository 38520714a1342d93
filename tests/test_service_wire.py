"""The service on real sockets: slow and broken clients, too many of them, HTTPS, and its orderly end."""

import json
import socket
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager

import pytest
from desks import IMAGE, FakeDesk, FakeRecords, figure

from vptlib.errors import UserError
from vptlib.operations.service import wire
from vptlib.operations.service.access import Access
from vptlib.operations.service.app import create_app
from vptlib.operations.service.guard import Load
from vptlib.operations.service.metrics import Metrics
from vptlib.operations.service.settings import Settings

QUICK = {"header_seconds": 0.5, "read_seconds": 0.5}


class Running:
    """A service in a thread, on a port of its own."""

    def __init__(self, folder, patience=10.0, pair=(None, None), **settings):
        limits = Settings(**settings)
        self.desk, self.metrics, self.load = FakeDesk(), Metrics(), Load()
        app = create_app(self.desk, Access(folder / "tokens.yaml"), limits, FakeRecords(), self.metrics, self.load)
        self.server = wire.Server(wire.configured(app, limits, self.metrics.refuse, *pair), self.load, patience)
        listening = wire.bound("127.0.0.1", 0)
        listening.listen()
        self.port = listening.getsockname()[1]
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listening]}, daemon=True)
        self.thread.start()

    def end(self):
        self.server.handle_exit(15, None)
        self.thread.join(20)
        assert not self.thread.is_alive()


@contextmanager
def running(folder, **options):
    made = Running(folder, **options)
    try:
        yield made
    finally:
        made.end()


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A service that waits only half a second."""
    with running(tmp_path_factory.mktemp("quick"), most_bytes=10**6, **QUICK) as made:
        yield made


@contextmanager
def connection(service):
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as made:
        yield made


def head(path="/v1/tasks/cells/answers", method="POST", **headers):
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Content-Type: image/png"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def reply(sock):
    """Status, headers and JSON of the next response, or None if the connection ends first."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (part := sock.recv(65536)):
            return None
        data += part
    start, _, body = data.partition(b"\r\n\r\n")
    lines = start.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    while len(body) < int(headers["content-length"]):
        body += sock.recv(65536)
    return int(lines[0].split()[1]), headers, json.loads(body)


def is_closed(sock):
    """Whether the other side has ended the connection."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def ask(service, body=IMAGE):
    with connection(service) as sock:
        sock.sendall(head(Content_Length=len(body)) + body)
        return reply(sock)


# ---- slow clients -------------------------------------------------------------------------------------------------


def test_a_connection_that_sends_nothing_is_closed(quick):
    with connection(quick) as sock:
        assert reply(sock)[0] == 408 and is_closed(sock)


def test_headers_that_trickle_get_no_more_time(quick):
    with connection(quick) as sock:
        begin = time.monotonic()
        sent = 0
        try:
            for byte in head(X="y" * 1000):
                sock.sendall(bytes([byte]))
                sent += 1
                time.sleep(0.02)
        except OSError:
            pass
        assert sent < 500 and time.monotonic() - begin < 8
    assert figure(quick.metrics, "vpt_refused_total", reason="slow_headers") >= 1


def test_a_second_request_that_trickles_gets_no_more_time(quick):
    with connection(quick) as sock:
        sock.sendall(head("/healthz", "GET"))
        assert reply(sock)[0] == 200
        sock.sendall(b"GET /hea")
        found = reply(sock)
        assert found[0] == 408 and found[2]["error"]["code"] == "slow_headers" and is_closed(sock)


@pytest.mark.parametrize("headers", [{"Content_Length": 1000}, {"Transfer_Encoding": "chunked"}])
def test_a_body_that_trickles_is_given_up(quick, headers):
    with connection(quick) as sock:
        sock.sendall(head(**headers) + b"5\r\nhello\r\n")
        status, found, body = reply(sock)
        assert (status, body["error"]["code"], found["connection"]) == (408, "slow", "close") and is_closed(sock)
    assert quick.load.bytes == 0


def test_an_answer_may_take_longer_than_a_request(quick):
    quick.desk.waits = 1.2
    try:
        assert ask(quick)[0] == 200
    finally:
        quick.desk.waits = 0.0


# ---- large and broken requests ------------------------------------------------------------------------------------


def test_a_huge_body_is_refused_and_the_client_can_read_why(quick):
    with connection(quick) as sock:
        sock.sendall(head(Content_Length=1_500_000) + b"x" * 500_000)
        for _ in range(10):  # who sends does not read yet
            time.sleep(0.05)
            sock.sendall(b"x" * 100_000)
        assert reply(sock)[2]["error"]["code"] == "too_large"
    with connection(quick) as sock:
        sock.sendall(head(Content_Length=10**12))
        assert reply(sock)[0] == 413 and is_closed(sock)


def test_a_client_that_waits_for_a_yes_is_refused_before_it_sends(quick):
    with connection(quick) as sock:
        sock.sendall(head(Content_Length=10**9, Expect="100-continue"))
        assert reply(sock)[0] == 413 and is_closed(sock)
    with connection(quick) as sock:
        sock.sendall(head(Content_Length=len(IMAGE), Expect="100-continue"))
        assert sock.recv(1000).startswith(b"HTTP/1.1 100")
        sock.sendall(IMAGE)
        assert reply(sock)[0] == 200


def test_an_endless_chunked_body_is_refused(quick):
    part = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    with connection(quick) as sock:
        sock.sendall(head(Transfer_Encoding="chunked"))
        try:
            for _ in range(1000):
                sock.sendall(part)
        except OSError:
            return  # closed while we sent
        pytest.fail("65 MB were taken")


def test_what_follows_a_refused_body_is_no_further_request(quick):
    """Else an image could hold a request that a proxy in front has never seen."""
    inner = head("/v1/refresh")
    with connection(quick) as sock:
        sock.sendall(head("/nothing", Content_Length=len(inner) + 1) + inner)
        assert reply(sock)[0] == 404
        sock.settimeout(3)
        assert is_closed(sock)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01 hello",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 100_000,
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"G" * 200_000,
    ],
    ids=range(8),
)
def test_what_is_no_http_gets_an_error_in_the_one_form(quick, raw):
    with connection(quick) as sock:
        sock.sendall(raw)
        status, headers, body = reply(sock)
        assert status == 400 and headers["content-type"] == "application/json"
        assert body["error"]["code"] == "no_http" and is_closed(sock)
    assert ask(quick)[0] == 200


def test_a_client_that_leaves_disturbs_nobody(quick):
    for _ in range(20):
        with connection(quick) as sock:
            sock.sendall(head(Content_Length=1000) + b"half")
    assert ask(quick)[0] == 200
    end = time.monotonic() + 5
    while quick.load.bytes and time.monotonic() < end:
        time.sleep(0.05)
    assert quick.load.bytes == 0


def test_beyond_a_number_of_connections_further_ones_are_closed(tmp_path):
    with running(tmp_path, most_connections=3) as service:
        kept = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(3)]
        time.sleep(0.2)
        with connection(service) as sock:
            assert is_closed(sock)
        for sock in kept:
            sock.close()
        time.sleep(0.2)
        assert ask(service)[0] == 200


# ---- the end ------------------------------------------------------------------------------------------------------


def test_what_has_begun_is_answered_and_nothing_new_begins(tmp_path):
    with running(tmp_path) as service:
        service.desk.waits = 2.0
        with connection(service) as sock:
            sock.sendall(head(Content_Length=len(IMAGE)) + IMAGE)
            time.sleep(0.4)
            service.server.handle_exit(15, None)
            with connection(service) as other:
                other.sendall(head("/readyz", "GET"))
                assert reply(other)[2]["error"]["code"] == "stopping"
            assert ask(service)[2]["error"]["code"] == "stopping"
            assert reply(sock)[2]["answer"] == "scratch"
        service.thread.join(5)
        assert not service.thread.is_alive()


def test_patience_has_an_end_and_the_client_is_told(tmp_path):
    with running(tmp_path, patience=0.3) as service:
        service.desk.waits = 60.0
        with connection(service) as sock:
            sock.sendall(head(Content_Length=len(IMAGE)) + IMAGE)
            time.sleep(0.3)
            service.server.handle_exit(15, None)
            assert reply(sock)[2]["error"]["code"] == "stopping"


def test_a_second_signal_ends_it_at_once(tmp_path):
    with running(tmp_path, patience=600) as service:
        service.desk.waits = 60.0
        with connection(service) as sock:
            sock.sendall(head(Content_Length=len(IMAGE)) + IMAGE)
            time.sleep(0.3)
            service.server.handle_exit(2, None)
            service.server.handle_exit(2, None)
            service.thread.join(10)
            assert not service.thread.is_alive()


# ---- the address --------------------------------------------------------------------------------------------------


def test_a_taken_port_and_a_wrong_host_are_one_sentence(quick):
    with pytest.raises(UserError, match=f"port {quick.port} at 127.0.0.1 cannot be had"):
        wire.bound("127.0.0.1", quick.port)
    with pytest.raises(UserError, match="--host is 'nowhere-invalid'"):
        wire.bound("nowhere-invalid", 0)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A certificate of our own and its key."""
    folder = tmp_path_factory.mktemp("pair")
    paths = folder / "cert.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    more = ["-addext", "subjectAltName=DNS:localhost", "-out", str(paths[0]), "-keyout", str(paths[1])]
    subprocess.run([*command.split(), *more], check=True, capture_output=True)
    return tuple(map(str, paths))


def test_with_a_certificate_it_speaks_https(tmp_path, pair):
    with running(tmp_path, pair=pair, **QUICK) as service, connection(service) as sock:
        context = ssl.create_default_context(cafile=pair[0])
        with context.wrap_socket(sock, server_hostname="localhost") as secured:
            secured.sendall(head(Content_Length=len(IMAGE)) + IMAGE)
            assert reply(secured)[0] == 200


def test_a_certificate_that_cannot_be_used_is_one_sentence(tmp_path, pair):
    broken = tmp_path / "broken.pem"
    broken.write_text("nothing")
    for certificate, key in ((str(broken), pair[1]), (pair[0], str(tmp_path / "none.pem"))):
        with pytest.raises(UserError, match="cannot be used"):
            wire.configured(None, Settings(), print, certificate, key)
