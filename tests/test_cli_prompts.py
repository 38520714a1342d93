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
from watched import answered, in_production

from vptlib.cli import app
from vptlib.operations.answer_files import AnswerFile, Row
from vptlib.operations.export import export, read_report
from vptlib.operations.records import AnswerRecords
from vptlib.operations.registry import PromptRegistry


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


# ---- watching -----------------------------------------------------------------------------------------------------


@pytest.fixture
def cells(own_store, tmp_path):
    """A prompt in production; gives its record of answers."""
    in_production(tmp_path, "cells", n=1000)
    return AnswerRecords()


def test_the_status_is_a_line_for_each_prompt_and_sentences_for_those_that_are_not_fine(cells, tmp_path):
    in_production(tmp_path, "welds", n=1000)
    answered("cells", cells, 60, drawn=1.0)
    shown = run("prompts", "status")
    assert "Of 2 prompts, 1 should be looked at and 1 is fine." in shown
    assert re.search(r"welds +look +1 +\d{4}-\d\d-\d\d +0 ", shown)
    assert re.search(r"cells +fine +1 ", shown)
    assert "next  vpt serve" in shown
    assert "cells: Version 1" not in shown
    assert "cells: Version 1" in run("prompts", "status", "cells")
    assert "there is no prompt 'sells': did you mean 'cells'?" in run("prompts", "status", "sells", code=1)


def test_a_broken_limit_ends_the_command_with_1_after_the_page_is_written(cells, tmp_path):
    answered("cells", cells, 80, drawn=1.0, right=0.3)
    page = tmp_path / "status.html"
    shown = run("prompts", "status", "--page", page, code=1)
    assert "1 needs action" in shown
    assert "vpt report CONFIG.yaml" in shown
    assert "1 needs action" in page.read_text("utf-8")


def test_a_status_with_nothing_registered_or_a_damaged_record_is_a_sentence(own_store, tmp_path):
    assert run("prompts", "status") == "There is no prompt yet.\n"
    in_production(tmp_path, "cells")
    (own_store / "answers.db").write_bytes(b"no database at all " * 400)
    assert "move it away" in " ".join(run("prompts", "status", code=1).split())


def table(path, rows, heads="id,truth"):
    path.write_text("\n".join([heads, *rows]) + "\n", encoding="utf-8")
    return path


def test_checked_answers_of_the_service_are_taken_by_their_ids_and_count_once(cells, tmp_path):
    answered("cells", cells, 10, checked=0)
    ids = list(cells.frame("cells")["id"])
    file = table(tmp_path / "checked.csv", [f"{ids[0]},scratch", f"{ids[1].upper()}, good", f"{ids[2]},"])
    assert "2 checked answers of cells/1: 2 new; 1 row without a class." in run(
        "prompts", "checked", "cells", file, "--by", "chi"
    )
    assert "0 new, 2 recorded before" in run("prompts", "checked", "cells", file, "--by", "chi")
    frame = cells.frame("cells")
    assert frame["truth"].tolist()[:3] == ["scratch", "good", ""]
    assert set(frame["checked_by"]) == {"chi", ""}


def test_bad_rows_are_named_with_their_numbers_and_nothing_of_the_table_is_taken(cells, tmp_path):
    answered("cells", cells, 10, checked=0)
    ids = list(cells.frame("cells")["id"])
    rows = [f"{ids[0]},good", f"{ids[1]},scrach", f"{'f' * 32},good", f"{ids[0]},pit", "soon,good"]
    said = " ".join(run("prompts", "checked", "cells", table(tmp_path / "c.csv", rows), code=1).split())
    assert "row 3: truth is 'scrach': did you mean 'scratch'?" in said
    assert "row 4: cells gave no answer with the id 'ffff" in said
    assert "row 5: another row says 'good' of this answer" in said
    assert "row 6: cells gave no answer with the id 'soon'" in said
    assert (cells.frame("cells")["truth"] == "").all()
    many = [f"{ids[1]},scrach"] * 9
    assert "and 4 more rows" in " ".join(
        run("prompts", "checked", "cells", table(tmp_path / "d.csv", many), code=1).split()
    )


@pytest.mark.parametrize(
    ("heads", "words"),
    [
        ("id,class", "has no column 'truth'"),
        ("file,truth", "has no column 'answer'"),
    ],
)
def test_a_table_without_the_columns_is_refused(cells, tmp_path, heads, words):
    said = run("prompts", "checked", "cells", table(tmp_path / "c.csv", ["a,b"], heads), code=1)
    assert words in " ".join(said.split())


def predicted(path, truths, drawn=None, threshold=0.6):
    """A table of `vpt predict`, to which people added columns."""
    shares = np.linspace(0.4, 0.99, len(truths)).astype(np.float32)
    rows = [
        Row(f"new/{k}.png", "good", float(p), "no" if p >= threshold else "yes", np.array([p, 1 - p, 0]), "")
        for k, p in enumerate(shares)
    ]
    AnswerFile(path).write(rows, ("good", "scratch", "pit"))
    with open(path, encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    for k, line in enumerate(lines):
        line["truth"] = truths[k]
        if drawn:
            line["drawn"] = drawn[k]
    with open(path, "w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    return path


def test_drawn_answers_that_wait_are_written_without_what_the_model_said_and_taken_back(cells, tmp_path):
    answered("cells", cells, 40, drawn=0.5, checked=0.5)
    frame = cells.frame("cells")
    waiting = frame[frame["drawn"] & (frame["truth"] == "")]
    table = tmp_path / "tocheck.csv"
    assert f"{len(waiting)} drawn answers of cells to check" in run("prompts", "to-check", "cells", table)
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == waiting["id"].tolist() and list(rows[0]) == [
        "id",
        "answered",
        "version",
        "truth",
    ]
    assert "is there already" in run("prompts", "to-check", "cells", table, code=1)
    table.write_text(table.read_text().replace(",1,\n", ",1,good\n"))
    assert f"{len(waiting)} checked answers of cells/1: {len(waiting)} new." in run(
        "prompts", "checked", "cells", table
    )
    assert "0 drawn answers" in run("prompts", "to-check", "cells", tmp_path / "none.csv")
    assert "there is no prompt 'sells'" in run("prompts", "to-check", "sells", tmp_path / "x.csv", code=1)
    assert not (tmp_path / "x.csv").exists()


def test_a_table_of_predict_is_taken_and_counts_for_limits_where_images_were_drawn(cells, tmp_path):
    truths, drawn = ["good"] * 5 + ["pit", "", ""], ["yes"] * 4 + ["no", "", "yes", "no"]
    said = run("prompts", "checked", "cells", predicted(tmp_path / "a.csv", truths, drawn), "--by", "chi")
    assert "6 checked answers of cells/1: 6 new; 2 rows without a class." in said
    assert "4 of them were drawn at random" in said
    frame = cells.frame("cells")
    assert len(frame) == 7, "a row that nobody checked and nobody drew is not recorded"
    assert frame["drawn"].sum() == 5
    assert set(frame["source"]) == {"table"}
    assert not any("png" in str(value) for value in frame.to_numpy().ravel())
    assert "0 new, 6 recorded before" in run("prompts", "checked", "cells", tmp_path / "a.csv", "--by", "chi")
    assert len(cells.frame("cells")) == 7


def test_a_table_of_predict_without_drawn_does_not_count_for_limits_and_says_so(cells, tmp_path):
    said = run("prompts", "checked", "cells", predicted(tmp_path / "a.csv", ["good"] * 4))
    assert "0 of them were drawn at random" in said
    assert not cells.frame("cells")["drawn"].any()
    later = run("prompts", "checked", "cells", predicted(tmp_path / "b.csv", ["good"] * 4, ["yes"] * 4))
    assert "drawn at random" not in later
    assert cells.frame("cells")["drawn"].all(), "whoever forgot the column may add it"
    assert len(cells.frame("cells")) == 4


def test_a_table_that_a_spreadsheet_saved_again_is_the_same_table(cells, tmp_path):
    run("prompts", "checked", "cells", predicted(tmp_path / "a.csv", ["good"] * 4), "--by", "chi")
    with open(tmp_path / "a.csv", encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    rows = [
        ";".join(
            [
                x["file"],
                x["answer"],
                f"{float(x['probability']):.5g}".replace(".", ","),
                x["ask_a_person"],
                "",
                x["truth"],
            ]
        )
        for x in lines
    ]
    saved = table(tmp_path / "b.csv", rows, "file;answer;probability;ask_a_person;problem;truth")
    assert "0 new, 4 recorded before" in run("prompts", "checked", "cells", saved, "--by", "chi")


def test_a_table_of_another_version_is_refused_until_that_version_is_named(cells, tmp_path):
    other = predicted(tmp_path / "a.csv", ["good"] * 4, threshold=0.9)
    said = " ".join(run("prompts", "checked", "cells", other, code=1).split())
    assert "cells/1 would not say 'yes' of a person here: name the version that answered" in said
    text = (tmp_path / "a.csv").read_text("utf-8-sig").replace("p: pit", "p: dent")
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    said = " ".join(run("prompts", "checked", "cells", other, code=1).split())
    assert "a model with other classes than cells/1" in said
    in_production(tmp_path, "cells", number=1)
    assert "of cells/1: 4 new" in run("prompts", "checked", "cells/1", predicted(tmp_path / "b.csv", ["good"] * 4))
    assert set(cells.frame("cells")["digest"]) == {PromptRegistry().version("cells/1").digest}
