"""The page for operators: each command, figure, name and file in it is the real one."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, cast

import pytest
import typer
import yaml
from exported import exported
from typer.main import get_command

from vptlib.cli import app
from vptlib.evidence.limits import Limit, fewest_images, read_limits
from vptlib.operations.records import AnswerRecords, Given
from vptlib.operations.registry import PromptRegistry
from vptlib.operations.service.metrics import Metrics
from vptlib.operations.service.settings import Settings
from vptlib.paths import repository

UsageError = cast(
    "type[Exception]", typer.BadParameter.__mro__[1]
)  # typer brings a click of its own, and does not give this name
DOCS = repository() / "docs"
PAGE = (DOCS / "operators.md").read_text("utf-8")
CONTAINERFILE = (DOCS / "service" / "Containerfile").read_text("utf-8")


def blocks(language: str) -> list[str]:
    """The code blocks of a language; "" is for those of commands alone."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return [text for known, text in found if known == language]


def commands() -> Iterator[str]:
    """All commands of the page, without `vpt` itself."""
    for block in blocks(""):
        yield from (line.removeprefix("vpt ") for line in block.splitlines())
    prose = re.sub(r"^```.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL)
    yield from re.findall(r"`vpt ([^`]+)`", prose)
    yield from re.findall(r"^ExecStart=\S+/vpt (.*)$", PAGE, re.MULTILINE)
    yield from re.findall(r" vpt vpt (.*)$", PAGE, re.MULTILINE)
    yield containers_command()


def containers_command() -> str:
    words = re.findall(r'^CMD (\[".*"\])$', CONTAINERFILE, re.MULTILINE)
    assert len(words) == 1
    name, *rest = yaml.safe_load(words[0])
    assert name == "vpt"
    return shlex.join(rest)


def tried(line: str) -> Any:
    """The context of the command that a line names, its words read as for a run of it, but not run.

    Raises:
        UsageError: there is no such command or option, or one that it needs is missing.
    """
    command: Any = get_command(app)
    words, name = shlex.split(line), "vpt"
    context = typer.Context(command, info_name=name)
    while words and hasattr(command, "resolve_command"):
        name, command, words = command.resolve_command(context, words)
        context = typer.Context(command, parent=context, info_name=name)
    return command.make_context(name, words, context.parent) if words else context  # without words it is only named


def test_every_command_of_the_page_can_be_given_as_it_is_written():
    faults, lines = [], list(commands())
    for line in lines:
        try:
            tried(line)
        except UsageError as error:
            faults.append(f"vpt {line}: {error}")
    assert faults == [] and len(lines) > 30


@pytest.mark.parametrize(
    "line", ["prompts promot cells 3", "prompts promote cells 3 --forced", "prompts roll-back cells", "promts list"]
)
def test_a_command_that_cannot_be_given_is_found(line):
    with pytest.raises(UsageError):
        tried(line)


def test_every_option_of_the_service_and_of_tokens_is_on_the_page():
    missing = [
        name
        for line in ("serve", "tokens add", "tokens remove", "tokens list", "prompts checked", "prompts status")
        for option in tried(line).command.params
        for name in option.opts
        if name.startswith("--") and name not in ("--help", "--by") and name not in PAGE
    ]
    assert missing == []


def test_the_numbers_of_images_are_those_that_limits_need():
    rows = re.findall(r"^\| ([\d.]+) % \| ([\d,]+) \|$", PAGE, re.MULTILINE)
    shown = {float(share) / 100: int(images.replace(",", "")) for share, images in rows}
    assert shown == {share: fewest_images(Limit("miss_rate", ("scratch",), share)) for share in shown}
    assert len(shown) == 6


def test_the_limits_of_the_page_can_be_read():
    first, *_ = (found for text in blocks("yaml") if "limits" in (found := yaml.safe_load(text)))
    assert [limit.kind for limit in read_limits(first["limits"])] == ["miss_rate", "false_alarm_rate", "accuracy"]


def test_the_alarms_stand_on_figures_that_the_service_has():
    metrics = Metrics()
    given = metrics.text().decode()
    of_desk = (repository() / "vptlib/operations/service/metrics.py").read_text()  # counted only while tasks are there
    parsed = [yaml.safe_load(text) for text in blocks("yaml")]
    rules = [rule for found in parsed for group in found.get("groups", ()) for rule in group["rules"]]
    names = {name for rule in rules for name in re.findall(r"\bvpt_\w+", rule["expr"])}
    unknown = {
        name for name in names if not re.search(rf"^# HELP {name.removesuffix('_bucket')} ", given, re.MULTILINE)
    }
    assert len(rules) >= 6 and all(f'"{name}"' in of_desk for name in unknown)
    reasons = set(re.findall(r'reason="(\w+)"', PAGE))
    code = "".join(path.read_text() for path in (repository() / "vptlib/operations/service").glob("*.py"))
    assert reasons and all(f'"{reason}"' in code for reason in reasons)


def test_sizes_are_those_that_were_measured():
    measured = " ".join((repository() / "reports/benchmarks/operations.md").read_text().split())
    text = PAGE.partition("### How large a machine")[2]
    line = text.partition("each has a backbone")[0]
    sizes = [" ".join(size.split()) for size in re.findall(r"[\d.]+\s[MG]B", line)]
    assert len(sizes) == 4 and all(size in measured for size in sizes)
    assert f"bodies of {Settings().most_bytes // 2**20} MB" in PAGE
    assert f"up to {Settings().most_bytes_held // 2**20} MB" in " ".join(text.split())


def test_every_file_that_the_page_links_to_is_there():
    links = re.findall(r"\]\(([^)#]+)\)", PAGE)
    assert links and all((DOCS / link).exists() for link in links if "://" not in link)


def test_a_backup_that_was_made_as_on_the_page_holds_all(own_store, tmp_path, monkeypatch):
    registry = PromptRegistry()
    version = registry.register(exported(tmp_path / "cells.vpt").path, "cells", "maker")
    moment = datetime(2026, 3, 3, tzinfo=UTC)
    records = AnswerRecords()
    records.add([Given("0" * 32, moment, "cells", 1, version.digest, "pit", 0.7, "yes")])  # still in SQLite's log
    (own_store / "tokens.yaml").write_text("tokens: []\n")
    (block,) = (text for text in blocks("bash") if "$BACKUP" in text)
    backup = tmp_path / "a backup"
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        env=os.environ | {"VPTLIB_STORE": str(own_store), "BACKUP": str(backup)},
        check=True,
        timeout=60,
    )
    records.close()
    monkeypatch.setenv("VPTLIB_STORE", str(backup))
    shutil.rmtree(own_store / "artifacts")
    restored = PromptRegistry()
    assert restored.verify("cells") == [] and restored.fetch("cells/1").is_relative_to(backup)
    assert len(AnswerRecords().frame("cells")) == 1 and (backup / "tokens.yaml").exists()


# ---- the container ----------------------------------------------------------------------------------------------


def copied() -> list[str]:
    return [
        source
        for line in re.findall(r"^COPY (.*)$", CONTAINERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    ]  # fmt: skip


def test_the_container_copies_files_that_are_there_and_not_shut_out():
    ignored = (DOCS / "service" / "Containerfile.dockerignore").read_text().splitlines()
    assert "vptlib" in copied() and all((repository() / source).exists() for source in copied())
    assert [source for source in copied() if f"!{source}" not in ignored] == []


def test_the_container_has_no_root_and_writes_to_its_volumes_only():
    stages = CONTAINERFILE.partition("\nUSER ")
    assert stages[2].startswith("vpt\n") and "pip install" in stages[0]
    folders = re.findall(r"VPTLIB_(?:STORE|CACHE)=(/\S+)", CONTAINERFILE)
    (volumes,) = re.findall(r"^VOLUME (\[.*\])$", CONTAINERFILE, re.MULTILINE)
    assert len(folders) == 2 and yaml.safe_load(volumes) == folders
    run = next(text for text in blocks("bash") if "--read-only" in text)
    assert all(f":{folder}" in run for folder in folders) and "HOME=/tmp" in CONTAINERFILE and "--tmpfs /tmp" in run


def test_the_containers_port_and_packages_are_the_real_ones():
    assert tried(containers_command()).params["port"] == 8000
    assert "EXPOSE 8000" in CONTAINERFILE and ":8000/healthz" in CONTAINERFILE
    extras = re.search(r'"\.\[([\w,]+)\]"', CONTAINERFILE)
    assert extras is not None
    settings = (repository() / "pyproject.toml").read_text()
    assert all(f"\n{extra} = [" in settings for extra in extras[1].split(","))


def test_the_page_stays_short():
    assert (DOCS / "operators.md").stat().st_size < 20_000
