"""`vpt prompts` and `vpt predict` as somebody types them: from a report to answers, and what answered when."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from studies import study
from test_export import report_of
from typer.testing import CliRunner

from vptlib.cli import app
from vptlib.operations.export import export, read_report


def run(*arguments, code=0):
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture
def files(own_store, tmp_path):
    """Two models of one report, in files."""
    made = study(methods=("linear", "vpt-deep", "full"), sizes=(40,), seeds=(0, 1, 2))
    made.run(progress=False)
    limits = {"accuracy": {"at_least": 0.02}}
    report = read_report(report_of(tmp_path / "report", made, asked={"limits": limits}))
    return {
        method: export(report, tmp_path / f"{method}.vpt", method, seed=0).path for method in ("linear", "vpt-deep")
    }


def test_a_version_is_registered_tested_promoted_rolled_back_and_found_again(files, tmp_path):
    assert "digits/1 is registered" in run(
        "prompts", "register", files["linear"], "digits", "--tag", "site=京都", "--by", "aki"
    )
    run("prompts", "register", files["vpt-deep"], "digits", "--by", "aki")
    assert "holds" in run("prompts", "promote", "digits", 1, "--by", "ben")
    first = json.loads(json.dumps(run("prompts", "history", "digits")))
    run("prompts", "promote", "digits", 2, "--by", "ben")
    listed = run("prompts", "list")
    assert re.search(r"digits/2\s+production", listed)
    assert re.search(r"digits/1\s+previous", listed)
    assert "site: 京都" in listed
    assert "digits/1 is in production again" in run("prompts", "roll-back", "digits", "--by", "chi", "--reason", "odd")
    history = run("prompts", "history", "digits")
    assert len(history.splitlines()) > len(first.splitlines())
    for word in ("registered", "promoted", "rolled back", "aki", "ben", "chi", "odd"):
        assert word in history
    now = run("prompts", "as-of", "digits", _a_moment_ago())
    assert "digits/1" in now
    assert "chi" in now
    assert "nothing was in production" in run("prompts", "as-of", "digits", "2001-01-01T00:00+00:00")
    assert "whole" in run("prompts", "verify")
    run("prompts", "fetch", "digits@production", tmp_path / "back.vpt")
    assert (tmp_path / "back.vpt").read_bytes() == files["linear"].read_bytes()
    assert "vpt-deep" in run("prompts", "diff", "digits/1", "digits/2")
    assert "Linear probe" in run("prompts", "show", "digits")
    assert "digits/1" in run("prompts", "search", "--tag", "site=京都")


def _a_moment_ago():
    from datetime import UTC, datetime

    return datetime.now(UTC).isoformat()


def test_a_gate_that_does_not_hold_refuses_and_a_forced_promotion_needs_a_reason(files, tmp_path):
    run("prompts", "register", files["linear"], "digits")
    config = tmp_path / "strict.yaml"
    config.write_text("tasks: [digits]\nlimits: {accuracy: {at_least: 0.999}}\n")
    assert "0.999" in run("prompts", "limits", "digits", config, "--reason", "the new standard")
    refused = run("prompts", "promote", "digits", 1, code=1)
    assert "FAILS" in refused
    assert "or force it with a reason" in refused
    assert "reason" in run("prompts", "promote", "digits", 1, "--force", code=1)
    assert "(forced)" in run("prompts", "promote", "digits", 1, "--force", "--reason", "line stands still")
    assert "forced" in run("prompts", "history", "digits")
    assert "refused" in run("prompts", "history", "digits")


def test_who_registers_may_not_promote_where_two_people_are_required(files):
    run("prompts", "register", files["linear"], "digits", "--by", "aki")
    run("prompts", "limits", "digits", "--two-people", "--by", "chi")
    assert "aki" in run("prompts", "promote", "digits", 1, "--by", "aki", code=1)
    run("prompts", "promote", "digits", 1, "--by", "ben")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("promote", "nothing", 1), "there is no prompt 'nothing'"),
        (("register", "gone.vpt", "digits"), "there is no file at gone.vpt"),
        (("search", "--tag", "site"), "--tag 'site' must be NAME=TEXT"),
        (("as-of", "nothing", "yesterday"), "nothing"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(own_store, arguments, words):
    assert words in run("prompts", *arguments, code=1)


def test_new_images_are_answered_from_the_command_line(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path("new")
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(5):
        Image.fromarray(random.integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(folder / f"写真{number}.png")
    shown = run("predict", files["linear"], folder)
    assert "写真0.png" in shown
    said = run("predict", files["linear"], folder, "--out", tmp_path / "answers.csv")
    assert "answers.csv" in said
    with open(tmp_path / "answers.csv", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5
    shares = [sum(float(value) for name, value in row.items() if name.startswith("p: ")) for row in rows]
    assert shares == pytest.approx([1] * 5, abs=1e-4)
    assert (tmp_path / "answers.html").is_file()


def test_a_backbone_from_a_file_of_ones_own_is_named_wherever_it_is_needed(own_store, tmp_path):
    weights = tmp_path / "own.safetensors"
    torch.manual_seed(0)
    vit = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=0)
    save_file(vit.state_dict(), weights, metadata={"architecture": "vit_tiny_patch16_224"})
    made = study(methods=("linear", "vpt-deep", "full"), sizes=(40,), backbone=f"file:{weights}", image_size=32)
    made.run(progress=False)
    limits = {"accuracy": {"at_least": 0.01}}
    folder, model = report_of(tmp_path / "report", made, asked={"limits": limits}), tmp_path / "m.vpt"
    run("export", folder, model, "--method", "linear")
    assert str(tmp_path) not in (tmp_path / "m.vpt.md").read_text()
    image = tmp_path / "a.png"
    Image.fromarray(np.zeros((20, 30, 3), dtype=np.uint8)).save(image)
    assert "(own.safetensors): say where that file is with --backbone" in run("predict", model, image, code=1)
    run("predict", model, image, "--backbone", f"file:{weights}")
    run("prompts", "register", model, "digits")
    assert "FAILS" in run("prompts", "promote", "digits", 1, code=1)
    run("prompts", "promote", "digits", 1, "--backbone", f"file:{weights}")
