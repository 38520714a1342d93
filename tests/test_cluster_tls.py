"""A scheduler behind certificates, on loopback, by the commands of docs/cluster/safety.md: strangers are refused."""

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest
from distributed import Client
from distributed.security import Security

from vptlib.paths import repository

PAGE = (repository() / "docs/cluster/safety.md").read_text("utf-8")
BLOCKS = re.findall(r"^```bash\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
BIN = Path(sys.executable).parent
PATIENCE = 60  # seconds for a process to do what it should, on a busy machine
SOON = 3  # seconds for a client to be let in or not


def block(start: str) -> str:
    """The commands of the page in which a line starts like this."""
    (found,) = (text for text in BLOCKS if re.search(rf"^{re.escape(start)}", text, re.MULTILINE))
    return found


def free_port() -> int:
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return any_port.getsockname()[1]


def environment(**more: str) -> dict[str, str]:
    """As in a terminal with the environment of these tests, without settings of Dask."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("DASK_", "MLFLOW_"))}
    return plain | {"INNER": "127.0.0.1", "SCHEDULER": "127.0.0.1"} | more


class Running:
    """Commands of the page as a process of their own, which says what it does in a file."""

    def __init__(self, commands: str, folder: Path, said: Path):
        self.said = said
        with said.open("w") as file:
            self.process = subprocess.Popen(
                ["bash", "-euc", commands],
                cwd=folder,
                env=environment(DASK_TEMPORARY_DIRECTORY=str(folder), HOME=str(folder)),
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def text(self) -> str:
        return self.said.read_text()

    def wait_for(self, words: str) -> None:
        end = time.monotonic() + PATIENCE
        while words not in self.text():
            assert self.process.poll() is None and time.monotonic() < end, self.text()
            time.sleep(0.05)

    def stop(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):  # the whole group: a nanny has a worker below it
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(10)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue


@pytest.fixture(scope="module")
def authorities(tmp_path_factory):
    """Two folders, each with an authority and certificates as the page makes them."""
    folders = [tmp_path_factory.mktemp(name) for name in ("ours", "theirs")]
    for folder in folders:
        made = subprocess.run(["bash", "-euc", block("umask 077")], cwd=folder, capture_output=True, text=True)
        assert made.returncode == 0, made.stderr
    return folders


@pytest.fixture(scope="module")
def scheduler(authorities):
    """The address of a scheduler with one worker, both started as on the page."""
    ours, _ = authorities
    port = str(free_port())
    started = []
    try:
        for start, words in (("dask scheduler", "Scheduler at:"), ("dask worker", "Registered to:")):
            started.append(Running(activated(start, port), ours, ours / f"{start[5:]}.txt"))
            started[-1].wait_for(words)
        yield f"tls://127.0.0.1:{port}"
    finally:
        for running in reversed(started):
            running.stop()


def activated(start: str, port: str) -> str:
    """Commands of the page, with another port, and with those programs that belong to this environment."""
    text = block(start).replace("127.0.0.1:8787", "127.0.0.1:0").replace("8786", port)
    return f'export PATH="{BIN}:$PATH"\n{text}'


def answer(address: str, **files: Path) -> int:
    """What a task gives whose client has these files.

    Raises:
        Exception: the client is not let in.
    """
    security = Security(require_encryption=address.startswith("tls"), **{key: str(path) for key, path in files.items()})
    with Client(address, security=security, timeout=SOON, set_as_default=False) as client:
        return client.submit(sum, [20, 22]).result(timeout=PATIENCE)


def pair(folder: Path, role: str = "client") -> dict[str, Path]:
    """The certificate and the key of a client."""
    return {"tls_client_cert": folder / f"tls/{role}.pem", "tls_client_key": folder / f"tls/{role}-key.pem"}


def test_a_client_with_a_certificate_gets_its_answer(scheduler, authorities):
    ours, _ = authorities
    assert answer(scheduler, tls_ca_file=ours / "tls/ca.pem", **pair(ours)) == 42


ASK = """
from distributed import Client

with Client("{}", timeout=30) as client:
    print(client.submit(sum, [1, 2]).result())
"""


def test_the_settings_of_the_page_are_enough_for_a_client(scheduler, authorities):
    """In a process of its own, because Dask reads its settings when it is imported."""
    ours, _ = authorities
    (ours / "ask.py").write_text(ASK.format(scheduler))
    commands = f"{block('export DASK_DISTRIBUTED__COMM__TLS__CA_FILE')}{BIN}/python ask.py"
    done = subprocess.run(
        ["bash", "-euc", commands], cwd=ours, env=environment(), capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.stdout == "3\n", done.stderr


def test_a_plain_client_is_refused(scheduler):
    with pytest.raises(OSError):
        answer(scheduler.replace("tls://", "tcp://"))


def test_a_client_with_a_certificate_of_another_authority_is_refused(scheduler, authorities):
    ours, theirs = authorities
    with pytest.raises(OSError):
        answer(scheduler, tls_ca_file=ours / "tls/ca.pem", **pair(theirs))


def test_a_client_refuses_a_scheduler_of_another_authority(scheduler, authorities):
    _, theirs = authorities
    with pytest.raises(OSError):
        answer(scheduler, tls_ca_file=theirs / "tls/ca.pem", **pair(theirs))


def refusal(address: str, certificate: dict[str, Path]) -> str:
    """What the scheduler itself says to a client that trusts it blindly; "" if it talks to it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate:
        context.load_cert_chain(certificate["tls_client_cert"], certificate["tls_client_key"])
    host, _, port = address.removeprefix("tls://").partition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as plain:
        try:
            with context.wrap_socket(plain) as secured:
                return "" if secured.recv(1) else "closed"
        except ssl.SSLError as error:
            return error.reason or "refused"


def test_it_is_the_scheduler_that_refuses_and_not_the_good_will_of_the_client(scheduler, authorities):
    ours, theirs = authorities
    assert "CERTIFICATE_REQUIRED" in refusal(scheduler, {})
    assert "ALERT" in refusal(scheduler, pair(theirs))
    assert refusal(scheduler, pair(ours)) == ""


def test_a_role_is_a_name_only(scheduler, authorities):
    """The page warns of it: with any certificate of the authority one is a client."""
    ours, _ = authorities
    assert answer(scheduler, tls_ca_file=ours / "tls/ca.pem", **pair(ours, "worker")) == 42


def test_a_worker_without_a_certificate_is_refused(scheduler, authorities, tmp_path):
    ours, _ = authorities
    command = f"{BIN}/dask worker {scheduler} --no-nanny --nthreads 1 --death-timeout 2 --tls-ca-file {ours}/tls/ca.pem"
    stranger = Running(command, tmp_path, tmp_path / "said.txt")
    try:
        assert stranger.process.wait(PATIENCE) != 0 and "Registered to:" not in stranger.text()
    finally:
        stranger.stop()
    with Client(scheduler, security=security_of(ours), timeout=SOON, set_as_default=False) as client:
        assert len(client.scheduler_info()["workers"]) == 1


def security_of(folder: Path) -> Security:
    files = {key: str(path) for key, path in {"tls_ca_file": folder / "tls/ca.pem", **pair(folder)}.items()}
    return Security(require_encryption=True, **files)


def test_keys_are_readable_by_their_owner_only(authorities):
    ours, _ = authorities
    keys = sorted((ours / "tls").glob("*-key.pem"))
    assert len(keys) == 4 and all(path.stat().st_mode & 0o077 == 0 for path in keys)


def test_the_page_opens_no_port_to_all_addresses():
    commands = "".join(BLOCKS)
    assert "0.0.0.0" not in commands and "--jupyter" not in commands
    assert all("--dashboard-address 127.0.0.1:" in text for text in BLOCKS if re.search(r"^dask ", text, re.MULTILINE))


def test_every_link_of_the_page_leads_to_a_file():
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", PAGE)
    assert links and [link for link in links if not (repository() / "docs/cluster" / link).exists()] == []
