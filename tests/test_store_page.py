"""docs/cluster/store.md and docs/cluster/compose.yaml say the same, and the numbers of the page are so."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from vptlib.bench import servers
from vptlib.study import claims, outages

CLUSTER = Path(__file__).resolve().parent.parent / "docs" / "cluster"
PAGE = (CLUSTER / "store.md").read_text()
COMPOSE = yaml.safe_load((CLUSTER / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)


def commands() -> list[str]:
    """The commands of the page, one line each."""
    return [line for block in blocks("bash") for line in block.replace("\\\n ", "").splitlines()]


def settings_of(text: str) -> dict[str, str]:
    """The lines NAME=VALUE or NAME = VALUE of a text."""
    return dict(re.findall(r"^\s*(\w+) ?= ?(.*)$", text, re.MULTILINE))


def script_of(service: str) -> str:
    return SERVICES[service]["command"][-1].replace("$$", "$")


def options_of(command: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z-]+) (\"[^\"]*\"|\S+)", command))


def test_the_server_has_the_same_settings():
    page = settings_of(next(block for block in blocks("ini") if "MLFLOW_BACKEND" in block))
    given = SERVICES["server"]["environment"]
    assert given == {name: page[name] for name in given} and len(given) >= 5
    others = page.keys() - given.keys()
    assert others == {"MLFLOW_BACKEND_STORE_URI", "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"}
    head = (CLUSTER / "compose.yaml").read_text().split("x-mlflow")[0]
    for name in ("MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"):
        assert f"#   {name}={page[name]}\n" in head, "in passwords.env"


@pytest.mark.parametrize("name", ["default_permission", "admin_username", "authorization_function"])
def test_accounts_have_the_same_rights(name):
    page = settings_of(next(block for block in blocks("ini") if "[mlflow]" in block))
    assert settings_of(script_of("server"))[name] == page[name]


def test_databases_users_and_ports_are_the_same():
    page = settings_of(next(block for block in blocks("ini") if "MLFLOW_BACKEND" in block))["MLFLOW_BACKEND_STORE_URI"]
    scheme, user, port, name = re.fullmatch(r"(.*)://(\w+):[^@]*@127.0.0.1:(\d+)/(\w+)", page).groups()
    database = SERVICES["database"]["environment"]
    assert (database["POSTGRES_USER"], database["POSTGRES_DB"]) == (user, name)
    for service in ("server", "tables"):
        assert f"{scheme}://{user}:$POSTGRES_PASSWORD@database:{port}/{name}" in script_of(service)
    created = re.findall(r"createdb .* (\w+)$", "\n".join(commands()), re.MULTILINE)
    assert created == [name, "users", "restored"]
    assert COMPOSE["configs"]["users"]["content"] == f"CREATE DATABASE users OWNER {user};"
    assert "/users\n" in script_of("server")


def test_the_server_is_started_by_the_same_command():
    behind, open_to_all = [line for line in commands() if "mlflow server" in line]
    (contained,) = [line for line in script_of("server").splitlines() if "mlflow server" in line]
    wanted = options_of(open_to_all)
    assert wanted.pop("uvicorn-opts")  # containers have a proxy for TLS
    assert options_of(contained) == wanted
    plain = {name: value for name, value in wanted.items() if name != "allowed-hosts"}
    assert options_of(behind) == plain | {"host": "127.0.0.1"}
    assert SERVICES["server"]["ports"] == [f"127.0.0.1:{wanted['port']}:{wanted['port']}"]


def test_tables_and_index_are_made_once_before_the_server_starts():
    (upgrade, again) = [line for line in commands() if "mlflow db upgrade" in line]
    assert upgrade == again and script_of("tables").startswith("mlflow db upgrade ")
    assert SERVICES["server"]["depends_on"] == {"tables": {"condition": "service_completed_successfully"}}
    (index,) = [options_of(line)["command"] for line in commands() if "CREATE INDEX" in line]
    assert options_of(script_of("index"))["command"] == index == f'"{servers.INDEX}"'


@pytest.mark.parametrize("service", ["tables", "index", "server"])
def test_the_scripts_of_the_containers_can_be_read_by_a_shell(service):
    done = subprocess.run(["sh", "-n"], input=script_of(service), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_same_packages_are_installed():
    (install,) = [line for line in commands() if "pip install" in line and "--upgrade" not in line]
    assert install.split("pip install ")[1] in COMPOSE["x-mlflow"]["build"]["dockerfile_inline"]
    pinned = re.search(r"^mlflow==(\S+)$", (CLUSTER.parent.parent / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned and f"mlflow[auth]=={pinned[1]}" in install


def test_the_connections_are_counted_as_the_page_says():
    settings = settings_of(next(block for block in blocks("ini") if "MLFLOW_BACKEND" in block))
    pool = int(settings["MLFLOW_SQLALCHEMYSTORE_POOL_SIZE"]) + int(settings["MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW"])
    workers = int(options_of(next(line for line in commands() if "mlflow server" in line))["workers"])
    most = workers * 3 * pool + 3
    assert f"{workers} × 3 × (4 + 2) + 3 = {most}." in PAGE
    limit = int(re.search(r"CONNECTION LIMIT (\d+)", PAGE)[1])
    assert most <= limit <= 100 - 3
    assert servers.WORKERS * 3 * (servers.POOL + servers.OVERFLOW) + 3 <= servers.MOST_CONNECTIONS


def test_the_waiting_times_of_the_page_are_those_of_the_programs():
    assert outages.SECONDS == 600 and "ten minutes" in PAGE and f"`{outages.SETTING}` seconds" in PAGE
    assert claims.EXPIRY == 120 and "two minutes after its last sign of life" in PAGE


def test_no_password_of_the_page_is_one_that_somebody_could_use():
    given = re.findall(r"(?:PASSWORD[ =]'?|PASSWORD=|vptlib:|\"password\": \")([\w$-]+)", PAGE)
    assert len(given) >= 5 and all(one.startswith(("change-me", "$")) for one in given)
