"""vptlib.operations.registry: versions by name, decisions that are recorded, and a production that always loads."""

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import unicodedata
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from chains import parts_of, rewrite, text_of, with_hash
from mlflow.exceptions import MlflowException
from models import small_vit
from stored import change

from vptlib.errors import UserError
from vptlib.evidence.answers import Answers
from vptlib.operations import registry as registry_module
from vptlib.operations.artefact import Card, backbone_card, digest_of, read_artefact, write_artefact
from vptlib.operations.ledger import CHANGED, Fault, Ledger
from vptlib.operations.moments import moment
from vptlib.operations.registry import PromptRegistry, Refused
from vptlib.operations.standing import standing
from vptlib.paths import ROOT
from vptlib.study.connection import mlflow_client, open_store
from vptlib.tuning.backbones import preprocessing
from vptlib.tuning.methods import build_method

CLASSES = ("good", "scratch", "dent")
TRUTH = np.arange(12) % 3
LIMITS = {"accuracy": {"at_least": 0.9}}
REPORT = "ab" * 32


def answers(wrong: tuple[int, ...] = (), truth: np.ndarray = TRUTH) -> Answers:
    """All test images right but these, which are called the next class."""
    called = truth.copy()
    called[list(wrong)] = (called[list(wrong)] + 1) % len(CLASSES)
    return Answers(called[None], truth, CLASSES)


def made(path: Path, seed: int = 0, given: Answers | None = None, **about) -> Path:
    """A `.vpt` file of a linear probe on a small ViT."""
    torch.manual_seed(0)
    vit = small_vit()
    torch.manual_seed(seed)
    model = build_method("linear", vit, len(CLASSES))
    own = {
        "title": f"Solar cells {seed}",
        "method": "linear",
        "options": {},
        "class_names": CLASSES,
        "preprocessing": preprocessing(vit),
        "backbone": backbone_card(vit, "small", "drawn", "CC0"),
        "recipe": {"seed": seed, "steps": 60},
        "data": {"task": "cells", "fingerprint": "f", "test_images": 12},
        "limits": LIMITS,
        "lineage": {"run_id": "r1", "run_key": "k1", "report": REPORT, "notebook": "n.ipynb"},
    }
    write_artefact(path, model, Card(**(own | about)), given or answers())
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    """Three files of the same prompt: the first has three images wrong, the second one, the third none."""
    folder = tmp_path_factory.mktemp("files")
    return [made(folder / f"{k}.vpt", k, answers(tuple(range(wrong)))) for k, wrong in enumerate((3, 1, 0))]


@pytest.fixture
def registry(own_store) -> PromptRegistry:
    return PromptRegistry()


@dataclass
class Result:
    passed: bool
    kind: str = "accuracy"

    def plain(self) -> dict:
        return {"kind": self.kind, "passed": self.passed}


def passes(*given) -> list[Result]:
    return [Result(True)]


def fails(*given) -> list[Result]:
    return [Result(True), Result(False, "miss_rate")]


def promoted(registry: PromptRegistry, files: list[Path]) -> None:
    """Versions 1, 2, …, each promoted after the one before."""
    for number, file in enumerate(files, 1):
        registry.register(file, "cells", "ann")
        registry.promote("cells", number, "bob", gates=passes)


@pytest.fixture(scope="module")
def template(tmp_path_factory, files, empty_database) -> Path:
    """A store with versions 1, 2 and 3, each promoted after the one before. It is made once, and copied."""
    folder = tmp_path_factory.mktemp("template")
    shutil.copy(empty_database, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("VPTLIB_STORE", str(folder))
        patched.delenv("MLFLOW_TRACKING_URI", raising=False)
        promoted(PromptRegistry(), files)
    return folder


@pytest.fixture
def three(own_store, template) -> None:
    """Versions 1, 2 and 3 in the store of this test."""
    shutil.copytree(template, own_store, dirs_exist_ok=True)


def aliases(name: str = "cells") -> dict[str, int]:
    return {alias: int(number) for alias, number in mlflow_client().get_registered_model(name).aliases.items()}


def stored(version) -> Path:
    return open_store().folder / "prompts" / f"{version.digest}.vpt"


# ---- registering ------------------------------------------------------------------------------------------------


def test_a_registered_file_is_a_version_with_its_lineage_and_tags(registry, files):
    tags = {"site": "Nürnberg", "product": "セル", "approver": "Bob"}
    version = registry.register(files[0], "cells", "ann", tags)
    assert (version.ref, version.number, version.by, version.title) == ("cells/1", 1, "ann", "Solar cells 0")
    assert (version.method, version.backbone, version.task, version.tags) == ("linear", "small", "cells", tags)
    assert version.lineage == {"run_id": "r1", "run_key": "k1", "report": REPORT, "notebook": "n.ipynb"}
    assert version.digest == digest_of(files[0]) and version.bytes == files[0].stat().st_size
    assert (version.roles, version.retired, version.limits) == (("candidate",), False, LIMITS)
    assert registry.version("cells/1") == registry.version("cells@candidate") == version
    assert registry.fetch("cells/1").read_bytes() == files[0].read_bytes()
    (entry,) = registry.history("cells")
    assert (entry.kind, entry.version, entry.report, entry.digest) == ("registered", 1, REPORT, version.digest)


def test_mlflow_shows_the_version_with_its_tags_and_no_ledger_as_a_prompt(registry, files):
    registry.register(files[0], "cells", "ann", {"site": "Kyoto"})
    (shown,) = mlflow_client().search_model_versions("tags.site = 'Kyoto'")
    assert (shown.name, int(shown.version), shown.tags["sha256"]) == ("cells", 1, digest_of(files[0]))
    assert aliases() == {"candidate": 1}
    assert [version.ref for version in registry.versions()] == ["cells/1"]


def test_the_same_file_registered_twice_is_the_same_version(registry, files, capsys):
    first = registry.register(files[0], "cells", "ann", {"site": "a"})
    assert capsys.readouterr().err == ""
    assert registry.register(files[0], "cells", "bob", {"site": "b"}) == first
    assert "This file is cells/1 already: nothing new was registered." in capsys.readouterr().err
    assert len(registry.history("cells")) == 1
    assert registry.register(files[0], "wafers", "bob").ref == "wafers/1", "another prompt may have it too"


def test_a_file_that_is_cut_is_refused_and_nothing_is_made(registry, files, tmp_path):
    cut = tmp_path / "cut.vpt"
    cut.write_bytes(files[0].read_bytes()[:-7])
    with pytest.raises(UserError, match=r"cut\.vpt"):
        registry.register(cut, "cells", "ann")
    assert list(Ledger().chains()) == [] and mlflow_client().search_registered_models() == []


def test_a_file_that_changes_while_it_is_read_is_refused(registry, files, tmp_path, monkeypatch):
    path = tmp_path / "moving.vpt"
    shutil.copy(files[0], path)

    def read(given):
        artefact = read_artefact(given)
        shutil.copy(files[1], path)
        return artefact

    monkeypatch.setattr(registry_module, "read_artefact", read)
    with pytest.raises(UserError, match=r"moving\.vpt was changed while it was read"):
        registry.register(path, "cells", "ann")
    assert list(Ledger().chains()) == [] and not list((open_store().folder / "prompts").iterdir())


GOOD_NAMES = ["cells", "太陽電池 3号機", "ガラス・検査", "naïve_v2.1", "Straße (alt)", "3", "a--b", "x" * 100]
BAD_NAMES = {
    "": "is empty",
    "  ": "is empty",
    "..": "begins or ends with",
    ".hidden": "begins or ends with",
    "cells ": "begins or ends with",
    "../cells": "has '/'",
    "a/b": "has '/'",
    "a\\b": "has '",
    "a\0b": "has '",
    "a\nb": "has '",
    "a\u202eb": "has '",
    "a\u3000b": "has '",
    "a@production": "has '@'",
    "it's": 'has "\'"',
    'a"b': "has '\"'",
    "a:b": "has ':'",
    "a\ud800": "has '",
    "x" * 101: "has 101 characters",
    "ﷺ" * 30: "has 30 characters",
    "a／b": "cannot be told from",
    "cells.ledger": "cannot be told from",
    "cells.LEDGER": "cannot be told from",
}


def test_names_of_any_language_work(registry, files):
    for name in GOOD_NAMES:
        assert registry.register(files[0], name, "ann").name == name
        registry.promote(name, 1, "bob", gates=passes)
        assert registry.version(f"{name}@production").ref == f"{name}/1"
        assert registry.production(name).is_file() and aliases(name) == {"production": 1}
    assert [version.name for version in registry.versions()] == sorted(GOOD_NAMES)


@pytest.mark.parametrize(("name", "why"), BAD_NAMES.items(), ids=map(ascii, BAD_NAMES))
def test_names_that_lead_elsewhere_or_are_not_seen_are_refused(registry, files, name, why):
    with pytest.raises(UserError, match=why):
        registry.register(files[0], name, "ann")


def test_a_name_that_differs_only_by_case_or_unicode_form_is_refused(registry, files):
    registry.register(files[0], "glas ガ", "ann")
    for other in ("GLAS ガ", "glas カ\u3099", "glas ｶﾞ", "ｇｌａｓ ガ"):
        with pytest.raises(UserError, match="differs from 'glas ガ' only by case or Unicode form"):
            registry.register(files[1], other, "ann")
    assert [version.ref for version in registry.versions()] == ["glas ガ/1"]


def test_a_name_is_found_in_the_other_form_of_the_same_characters(registry, files):
    registry.register(files[0], "ガラス", "ann")
    assert registry.version(unicodedata.normalize("NFD", "ガラス/1")).ref == "ガラス/1"
    with pytest.raises(UserError, match="there is no prompt 'ｶﾞﾗｽ': did you mean 'ガラス'"):
        registry.version("ｶﾞﾗｽ/1")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"by": " "}, "by is empty: say who decides"),
        ({"tags": {"a b": "x"}}, "a tag is named 'a b'"),
        ({"tags": {"site": 3}}, "the tag site is 3"),
        ({"tags": {"site": "x" * 2001}}, "has 2,001 characters"),
    ],
)
def test_a_registration_without_a_person_or_with_odd_tags_is_refused(registry, files, given, why):
    with pytest.raises(UserError, match=why):
        registry.register(files[0], "cells", **({"by": "ann"} | given))


def test_a_card_whose_limits_cannot_be_is_refused(registry, tmp_path):
    odd = made(tmp_path / "odd.vpt", limits={"speed": {"at_least": 3}})
    with pytest.raises(UserError, match="limits has no 'speed'"):
        registry.register(odd, "cells", "ann")


def test_a_model_of_another_program_keeps_its_name(registry, files):
    mlflow_client().create_registered_model("cells")
    with pytest.raises(UserError, match="has a model 'cells' that is no prompt of vptlib: take another name"):
        registry.register(files[0], "cells", "ann")
    assert list(Ledger().chains()) == []


# ---- finding ----------------------------------------------------------------------------------------------------


def test_versions_are_found_by_text_tags_method_backbone_task_and_person(registry, files, tmp_path):
    registry.register(files[0], "cells", "ann", {"site": "Kyoto", "product": "太陽"})
    registry.register(files[1], "cells", "bob", {"site": "Nürnberg"})
    registry.register(made(tmp_path / "x.vpt", data={"task": "wafers"}), "wafers", "ann")

    def refs(*args, **given):
        return [version.ref for version in registry.search(*args, **given)]

    assert refs() == ["cells/1", "cells/2", "wafers/1"]
    assert refs("KYOTO") == refs(tags={"site": "Kyoto"}) == ["cells/1"]
    assert refs("太陽") == refs("cells 0", tags={"product": "太陽"}) == ["cells/1"]
    assert refs("nu\u0308rnberg") == ["cells/2"]
    assert refs(digest_of(files[1])[:10]) == ["cells/2"]
    assert refs(task="wafers") == ["wafers/1"] and refs(by="bob") == ["cells/2"]
    assert refs(method="linear", backbone="small") == refs()
    assert refs(method="full") == refs(tags={"site": "Kyoto", "product": "x"}) == refs("nowhere") == []


WRONG_REFERENCES = {
    "cell/1": "there is no prompt 'cell': did you mean 'cells'",
    "cells/9": "cells has no version 9; the newest are 1: take one",
    "cells/x": "'cells/x' is no reference: write NAME/3",
    "cells/-1": "is no reference",
    "cells@prod": "has no role 'prod': did you mean 'production'",
    "cells": "nothing is in production of 'cells': promote a version",
    "cells@previous": "nothing is the previous version of 'cells'",
    "../cells/1": "has '/'",
}


def test_a_reference_to_nothing_names_what_there_is(registry, files):
    registry.register(files[0], "cells", "ann")
    for ref, why in WRONG_REFERENCES.items():
        with pytest.raises(UserError, match=why):
            registry.version(ref)


def test_an_empty_registry_says_how_to_begin(registry):
    assert registry.versions() == registry.search("x") == []
    with pytest.raises(UserError, match="there is no prompt 'cells': `vpt prompts register` makes one"):
        registry.versions("cells")


def test_files_that_were_tested_on_the_same_images_are_counted_once_each(registry, three, files, tmp_path):
    registry.register(files[0], "also cells", "ann")
    registry.register(made(tmp_path / "a.vpt", 5, data={"fingerprint": "f", "test_images": 13}), "cells", "ann")
    registry.register(made(tmp_path / "b.vpt", 6, data={}), "cells", "ann")
    registry.register(made(tmp_path / "c.vpt", 7, data={}), "cells", "ann")
    counts = [registry.tested_on_the_same_images("cells", number) for number in (1, 2, 3, 4, 5, 6)]
    assert counts == [2, 2, 2, 0, 0, 0]


# ---- the difference ---------------------------------------------------------------------------------------------


def test_the_difference_names_what_was_changed_and_which_answers_flipped(registry, files):
    for file in files:
        registry.register(file, "cells", "ann")
    found = registry.diff("cells/1", "cells/3")
    assert found.changed == {"recipe": {"seed": (0, 2)}}
    assert found.accuracy == (0.75, 1.0)
    assert found.flipped and found.flipped.images == (0, 1, 2)
    assert (found.flipped.gained, found.flipped.lost) == (3, 0)
    assert found.flipped.p_value == pytest.approx(0.25)  # 2 (1/2)^3
    scratch = found.classes[1]
    assert (scratch.name, scratch.recall, scratch.precision) == ("scratch", (0.75, 1.0), (0.75, 1.0))
    assert found.finding().plain() == {
        "code": "versions_compared", "first": "cells/1", "second": "cells/3", "flipped": 3, "gained": 3, "lost": 0,
        "p_value": pytest.approx(0.25),
    }  # fmt: skip


def test_every_part_of_the_card_is_compared(registry, files, tmp_path):
    registry.register(files[0], "cells", "ann")
    parts = {
        "grey": (0.0, 4095.0),
        "limits": {},
        "data": {"task": "cells", "more": 1},
    }
    registry.register(made(tmp_path / "b.vpt", **parts), "cells", "ann")
    changed = registry.diff("cells/1", "cells/2").changed
    assert changed["preprocessing"] == {"grey": (None, (0.0, 4095.0))}
    assert changed["limits"] == {"accuracy": ({"at_least": 0.9}, None)}
    assert changed["data"] == {"fingerprint": ("f", None), "test_images": (12, None), "more": (None, 1)}


@pytest.mark.parametrize(
    "about",
    [
        {"data": {"fingerprint": "g", "test_images": 12}},
        {"data": {"fingerprint": "f", "test_images": 13}},
        {"given": answers(truth=(TRUTH + 1) % 3)},
    ],
)
def test_answers_to_other_test_images_are_not_compared_one_by_one(registry, files, tmp_path, about):
    registry.register(files[0], "cells", "ann")
    registry.register(made(tmp_path / "b.vpt", 5, **about), "cells", "ann")
    found = registry.diff("cells/1", "cells/2")
    assert found.flipped is None and found.accuracy == (0.75, 1.0)
    assert found.finding().code == "versions_not_compared"


# ---- promoting --------------------------------------------------------------------------------------------------


def test_a_promotion_is_recorded_with_its_gates_and_is_in_production(registry, files):
    registry.register(files[0], "cells", "ann")
    entry = registry.promote("cells", 1, "bob", gates=passes, reason="pilot is over")
    assert (entry.kind, entry.version, entry.by, entry.reason) == ("promoted", 1, "bob", "pilot is over")
    assert entry.gates == [{"kind": "accuracy", "passed": True}] and entry.report == REPORT
    assert registry.production("cells").read_bytes() == files[0].read_bytes()
    assert registry.version("cells").roles == ("production",) and aliases() == {"production": 1}


def test_gates_get_the_file_what_is_in_production_and_the_limits(registry, files):
    seen = []

    def gates(artefact, production, limits):
        seen.append((artefact.card.title, production and production.card.title, limits))
        return [Result(True)]

    for number, file in enumerate(files[:2], 1):
        registry.register(file, "cells", "ann")
        registry.promote("cells", number, "bob", gates=gates)
    assert seen == [("Solar cells 0", None, LIMITS), ("Solar cells 1", "Solar cells 0", LIMITS)]


def test_a_version_that_fails_a_gate_is_refused_and_that_is_recorded(registry, files):
    promoted(registry, files[:1])
    registry.register(files[1], "cells", "ann")
    with pytest.raises(Refused, match=r"cells/2 was not promoted, because 1 gate of 2 failed \(miss_rate\)") as refused:
        registry.promote("cells", 2, "bob", gates=fails)
    assert refused.value.entry == registry.history("cells")[-1]
    assert refused.value.entry.kind == "refused" and len(refused.value.entry.gates) == 2
    assert registry.version("cells").number == 1 and registry.version("cells@candidate").number == 2


def test_force_needs_a_reason_and_is_marked(registry, files):
    registry.register(files[0], "cells", "ann")
    with pytest.raises(UserError, match="reason is empty: say why"):
        registry.promote("cells", 1, "bob", gates=fails, force=True)
    entry = registry.promote("cells", 1, "bob", gates=fails, force=True, reason="the line stands still")
    assert (entry.kind, entry.reason) == ("forced", "the line stands still")
    assert [gate["passed"] for gate in entry.gates] == [True, False]
    assert registry.version("cells").number == 1


def test_force_where_all_gates_pass_is_a_promotion(registry, files):
    registry.register(files[0], "cells", "ann")
    assert registry.promote("cells", 1, "bob", gates=passes, force=True, reason="hurry").kind == "promoted"


def test_a_gate_that_breaks_promotes_nothing(registry, files):
    registry.register(files[0], "cells", "ann")
    with pytest.raises(ZeroDivisionError):
        registry.promote("cells", 1, "bob", gates=lambda *given: 1 / 0)
    assert len(registry.history("cells")) == 1


def test_where_two_people_are_needed_nobody_promotes_his_own(registry, files):
    registry.register(files[0], "cells", "ann")
    registry.set_limits("cells", LIMITS, "carl", two_people=True)
    for by, force in (("ann", False), ("ann", True), (" Ann ", False), ("ＡＮＮ", False)):
        with pytest.raises(Refused, match="registered it, and two people are needed: let another person"):
            registry.promote("cells", 1, by, gates=passes, force=force, reason="hurry")
    registry.set_limits("cells", {}, "carl")
    with pytest.raises(Refused):  # other limits leave that as it was
        registry.promote("cells", 1, "ann", gates=passes)
    assert registry.promote("cells", 1, "bob", gates=passes).kind == "promoted"


def test_what_is_in_production_is_not_promoted_twice(registry, files, capsys):
    promoted(registry, files[:1])
    entry = registry.promote("cells", 1, "bob", gates=fails)
    assert entry.kind == "promoted" and len(registry.history("cells")) == 2
    assert "cells/1 is in production already." in capsys.readouterr().err


def test_a_decision_that_others_overtake_sees_the_new_limits_and_production(registry, files):
    registry.register(files[0], "cells", "ann")
    registry.register(files[1], "cells", "ann")
    seen = []

    def gates(artefact, production, limits):
        if not seen:
            registry.promote("cells", 1, "carl", gates=passes)
            registry.set_limits("cells", {"accuracy": {"at_least": 0.99}}, "carl")
        seen.append((production and production.card.title, limits["accuracy"]["at_least"]))
        return [Result(limits["accuracy"]["at_least"] < 0.95)]

    with pytest.raises(Refused):
        registry.promote("cells", 2, "bob", gates=gates)
    assert seen == [(None, 0.9), ("Solar cells 0", 0.99)]
    assert registry.version("cells").number == 1


# ---- limits -----------------------------------------------------------------------------------------------------


def test_the_first_card_sets_the_limits_and_later_changes_are_entries(registry, files, tmp_path):
    registry.register(files[0], "cells", "ann")
    registry.register(made(tmp_path / "lax.vpt", 9, limits={"accuracy": {"at_least": 0.1}}), "cells", "ann")
    assert registry.limits("cells") == LIMITS
    stricter = {"miss_rate": [{"class": "scratch", "at_most": 0.02}]}
    entry = registry.set_limits("cells", stricter, "bob", reason="a recall")
    assert (entry.kind, entry.about) == ("limits_set", {"limits": stricter, "two_people": False})
    assert registry.limits("cells") == stricter


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"speed": {}}, "limits has no 'speed'"),
        ({"recall": {"class": "scrach", "at_least": 0.9}}, "class 'scrach' that there is not: did you mean 'scratch'"),
        ([], "must be a mapping"),
    ],
)
def test_limits_that_would_never_be_tested_are_refused(registry, files, limits, why):
    registry.register(files[0], "cells", "ann")
    with pytest.raises(UserError, match=why):
        registry.set_limits("cells", limits, "bob")
    assert registry.limits("cells") == LIMITS


# ---- rolling back, retiring -------------------------------------------------------------------------------------


def test_a_roll_back_puts_back_what_was_before_and_a_second_one_goes_further(registry, three, files, capsys):
    assert (registry.version("cells").number, registry.version("cells@previous").number) == (3, 2)
    entry = registry.roll_back("cells", "ann", "false alarms")
    assert (entry.kind, entry.version, entry.about) == ("rolled_back", 2, {"from": 3})
    assert aliases() == {"production": 2, "previous": 1}
    registry.roll_back("cells", "ann", "false alarms")
    assert registry.version("cells").number == 1
    with pytest.raises(UserError, match="nothing was in production for 'cells' before: promote another"):
        registry.roll_back("cells", "ann", "false alarms")
    assert capsys.readouterr().err == ""


def test_a_roll_back_may_name_a_version_that_was_in_production(registry, three, files, tmp_path):
    registry.roll_back("cells", "ann", "bad", to=1)
    assert registry.version("cells").number == 1
    registry.roll_back("cells", "ann", "it was not that bad", to=3)
    assert (registry.version("cells").number, registry.version("cells@previous").number) == (3, 1)
    registry.register(made(tmp_path / "new.vpt", 7), "cells", "ann")
    for to, why in (
        (4, "cells/4 was never in production: promote it"),
        (3, "in production already"),
        (9, "no version"),
    ):
        with pytest.raises(UserError, match=why):
            registry.roll_back("cells", "ann", "x", to=to)


def test_no_roll_back_without_a_reason_or_to_a_damaged_file(registry, three, files):
    with pytest.raises(UserError, match="reason is empty"):
        registry.roll_back("cells", "ann", "")
    stored(registry.version("cells/2")).write_bytes(b"swapped")
    with pytest.raises(UserError, match=r"the file of cells/2, .*, is not the one that was registered"):
        registry.roll_back("cells", "ann", "bad")
    registry.roll_back("cells", "ann", "bad", to=1)
    assert registry.version("cells").number == 1


def test_a_retired_version_is_never_used_again(registry, three, files):
    registry.retire("cells", 2, "ann", "licence")
    assert registry.version("cells/2").retired and registry.version("cells@previous").number == 1
    with pytest.raises(UserError, match="cells/2 is retired"):
        registry.promote("cells", 2, "bob", gates=passes)
    with pytest.raises(UserError, match="cells/2 is retired"):
        registry.roll_back("cells", "ann", "x", to=2)
    with pytest.raises(UserError, match="cells/2 is retired"):
        registry.retire("cells", 2, "ann", "again")
    registry.retire("cells", 3, "ann", "licence")
    with pytest.raises(UserError, match="nothing is in production of 'cells'"):
        registry.production("cells")
    assert aliases() == {"previous": 1}
    registry.roll_back("cells", "ann", "go on with the first")
    assert registry.version("cells").number == 1


def test_the_candidate_is_the_newest_version_that_was_never_in_production(registry, files):
    registry.register(files[0], "cells", "ann")
    registry.register(files[1], "cells", "ann")
    registry.promote("cells", 1, "bob", gates=passes)
    assert registry.version("cells@candidate").number == 2
    registry.promote("cells", 2, "bob", gates=passes)
    registry.roll_back("cells", "bob", "bad")
    with pytest.raises(UserError, match="nothing is a candidate of 'cells': register one"):
        registry.version("cells@candidate")
    assert aliases() == {"production": 1}


# ---- what answered when -----------------------------------------------------------------------------------------


def test_what_answered_at_a_moment_is_told_with_the_entry_that_put_it_there(registry, three, files):
    registry.roll_back("cells", "ann", "bad")
    registry.retire("cells", 2, "ann", "bad too")
    history = registry.history("cells")
    by_kind = [(entry.kind, registry.as_of("cells", entry.at)) for entry in history]
    in_production = [found.version and found.version.number for _, found in by_kind]
    assert in_production == [None, 1, 1, 2, 2, 3, 2, None]
    put_by = [found.entry and found.entry.number for _, found in by_kind]
    assert put_by == [None, 2, 2, 4, 4, 6, 7, 8]
    assert registry.as_of("cells", history[1].at - timedelta(microseconds=1)).version is None
    assert registry.as_of("cells", history[5].at.isoformat()).version.roles == ("production",)
    assert registry.as_of("cells", history[0].at - timedelta(days=99)).entry is None


def test_the_future_is_not_told(registry, files):
    promoted(registry, files[:1])
    with pytest.raises(UserError, match="is still to come"):
        registry.as_of("cells", datetime.now(UTC) + timedelta(minutes=5))


@pytest.fixture
def in_berlin(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.delenv("TZ")
    time.tzset()


MOMENTS = {
    "2026-10-25T00:30Z": ("2026-10-25T00:30+00:00", "UTC+00:00", True, "once"),
    "2026-05-04 12:00+09:00": ("2026-05-04T03:00+00:00", "UTC+09:00", True, "once"),
    "2026-05-04 12:00": ("2026-05-04T10:00+00:00", "CEST (UTC+02:00)", False, "once"),
    "2026-05-04": ("2026-05-03T22:00+00:00", "CEST (UTC+02:00)", False, "once"),
    "2026-01-04T12:00": ("2026-01-04T11:00+00:00", "CET (UTC+01:00)", False, "once"),
    "2026-10-25T02:30": ("2026-10-25T00:30+00:00", "CEST (UTC+02:00)", False, "twice"),
    "2026-10-25 02:30 Europe/Berlin": ("2026-10-25T00:30+00:00", "Europe/Berlin", True, "twice"),
    "2026-10-25 02:30 Asia/Tokyo": ("2026-10-24T17:30+00:00", "Asia/Tokyo", True, "once"),
    "2026-03-29T02:30": ("2026-03-29T01:30+00:00", "CET (UTC+01:00)", False, "skipped"),
}


@pytest.mark.parametrize(("given", "wanted"), MOMENTS.items(), ids=MOMENTS)
def test_a_moment_is_taken_with_its_zone_and_the_answer_says_which(in_berlin, given, wanted):
    found = moment(given)
    at, zone, is_given, hour = wanted
    assert (found.at, found.given, found.hour) == (datetime.fromisoformat(at), is_given, hour)
    assert found.zone == zone or hour == "skipped"
    assert found.finding().code == "moment_taken"


def test_who_sets_fold_means_the_second_of_two_hours(in_berlin):
    found = moment(datetime(2026, 10, 25, 2, 30, fold=1))
    assert (found.at, found.hour) == (datetime(2026, 10, 25, 1, 30, tzinfo=UTC), "once")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("yesterday", "'yesterday' is no moment"),
        ("2026-05-04 12:00 Mars/Base", "there is no time zone 'Mars/Base'"),
        ("2026-05-04 12:00+02:00 Europe/Berlin", "leave one out"),
        ("2026-05-04 12:00 ../../etc/passwd", "there is no time zone"),
        ("0001-01-01 00:00 Asia/Tokyo", "too far away"),
        (3, "must be a date and a time"),
    ],
)
def test_what_is_no_moment_is_refused(given, why):
    with pytest.raises(UserError, match=why):
        moment(given)


# ---- faults: files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["changed", "swapped", "gone"])
def test_a_file_that_is_not_the_registered_one_is_named_and_heals_when_it_is_registered_again(registry, files, how):
    promoted(registry, files[:2])
    path = registry.production("cells")
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(files[0].read_bytes() if how == "swapped" else path.read_bytes()[:-1] + b"?")
    why = "gone" if how == "gone" else "not the one that was registered"
    with pytest.raises(UserError, match=rf"the file of cells/2, .*{path.name}, is {why}: register the same file again"):
        registry.production("cells")
    assert registry.register(files[1], "cells", "ann").ref == "cells/2"
    assert registry.production("cells").read_bytes() == files[1].read_bytes()


def test_a_store_that_was_moved_keeps_its_prompts(registry, three, files, tmp_path, monkeypatch, own_store):
    shutil.move(own_store, tmp_path / "moved")
    monkeypatch.setenv("VPTLIB_STORE", str(tmp_path / "moved"))
    path = PromptRegistry().production("cells")
    assert path.is_relative_to(tmp_path / "moved") and path.read_bytes() == files[2].read_bytes()
    assert not registry.verify("cells") and len(registry.versions()) == 3


# ---- faults: the ledger -----------------------------------------------------------------------------------------


def test_a_changed_promotion_is_no_silent_roll_back(registry, three, files, own_store):
    rewrite(own_store, 6, with_hash(parts_of(own_store, 6) | {"version": 1}))
    assert registry.verify("cells") == [Fault(CHANGED, 6)]
    with pytest.raises(UserError, match="what is in production for 'cells' is in doubt, because entry 6"):
        registry.production("cells")
    with pytest.raises(UserError, match="in doubt: name the version"):
        registry.roll_back("cells", "ann", "who did that?")
    with pytest.raises(UserError, match="the limits of 'cells' are in doubt"):
        registry.limits("cells")
    registry.roll_back("cells", "ann", "who did that?", to=2)
    assert registry.version("cells").number == 2 and registry.verify("cells") == [Fault(CHANGED, 6)]


def test_a_removed_promotion_is_no_silent_roll_back(registry, three, files):
    mlflow_client().delete_model_version("cells.ledger", "6")
    with pytest.raises(UserError, match="in doubt, because entry 6 of its ledger was changed or removed"):
        registry.production("cells")
    with pytest.raises(UserError, match="the limits of 'cells' are in doubt"):
        registry.promote("cells", 3, "bob", gates=passes)
    registry.set_limits("cells", LIMITS, "bob")
    registry.promote("cells", 3, "bob", gates=passes)
    assert registry.version("cells").number == 3


def test_a_fault_before_the_last_promotion_puts_nothing_in_doubt(registry, three, files, own_store):
    times = [entry.at for entry in registry.history("cells")]
    rewrite(own_store, 3, text_of(own_store, 3).replace('"ann"', '"eve"'))
    assert registry.production("cells").read_bytes() == files[2].read_bytes()
    assert registry.as_of("cells", times[0]).version is None
    with pytest.raises(UserError, match="in doubt, because entry 3"):
        registry.as_of("cells", times[1] + timedelta(microseconds=1))
    with pytest.raises(UserError, match="version 2; the newest are 1, 3"):
        registry.version("cells/2")
    assert registry.register(files[1], "cells", "ann").ref == "cells/2", "its file gives it back"


# ---- faults: several at once, and killed ones -------------------------------------------------------------------

FORK = multiprocessing.get_context("fork")


def in_processes(*calls) -> list[int | None]:
    """Each call in a process of its own, all at once; their exit codes."""
    mlflow_client()
    workers = [FORK.Process(target=call) for call in calls]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    return [worker.exitcode for worker in workers]


def test_processes_that_register_at_once_make_each_file_one_version(registry, files):
    def register(order):
        for k in order:
            PromptRegistry().register(files[k], "cells", f"worker {order}")

    assert (
        in_processes(*[lambda order=order: register(order) for order in ((0, 1, 2), (0, 2, 1), (2, 1, 0))]) == [0] * 3
    )
    assert {version.digest for version in registry.versions("cells")} == set(map(digest_of, files))
    assert len(registry.history("cells")) == 3 and not registry.verify("cells")


def test_processes_that_promote_at_once_leave_one_in_production(registry, files):
    for file in files:
        registry.register(file, "cells", "ann")

    def promote(number):
        PromptRegistry().promote("cells", number, f"worker {number}", gates=passes)

    assert in_processes(*[lambda number=number: promote(number) for number in (1, 2, 3)]) == [0] * 3
    history = registry.history("cells")
    assert sorted(entry.version for entry in history[3:]) == [1, 2, 3] and not registry.verify("cells")
    assert registry.version("cells").number == history[-1].version
    registry.production("cells")
    assert aliases()["production"] == history[-1].version


class Killer:
    """Ends this process at the k-th step: before or after a call of MLflow's client, or of what writes files."""

    MLFLOW = (
        "create_registered_model", "create_model_version", "set_registered_model_tag", "set_registered_model_alias",
        "delete_registered_model_alias", "search_registered_models",
    )  # fmt: skip
    FILES = ((os, "fsync"), (shutil, "copyfile"), (Path, "replace"))

    def __init__(self, step: int):
        self.left = step

    def count(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def wrapped(self, function):
        def call(*args, **options):
            self.count()
            found = function(*args, **options)
            self.count()
            return found

        return call

    def arm(self) -> None:
        from mlflow import MlflowClient

        for owner, name in [*((MlflowClient, name) for name in self.MLFLOW), *self.FILES]:
            setattr(owner, name, self.wrapped(getattr(owner, name)))


def killed_at(step: int, call) -> bool:
    """Run a call in a process that kills itself at a step; whether it came to that."""

    def run():
        Killer(step).arm()
        call()

    (code,) = in_processes(run)
    assert code in (0, -signal.SIGKILL)
    return code != 0


def assert_sound(registry, files, versions: int) -> None:
    """The chain verifies, every version that is shown is whole, and production loads."""
    assert not registry.verify("cells")
    shown = registry.versions("cells")
    assert len(shown) in (versions, versions + 1)
    for version in shown:
        assert read_artefact(registry.fetch(version.ref)).digest == version.digest
    assert read_artefact(registry.production("cells")).digest in map(digest_of, files)


@pytest.mark.slow
def test_a_kill_at_any_step_of_a_registration_leaves_nothing_half_made(registry, files):
    promoted(registry, files[:1])
    step, killed = 0, True
    while killed:
        step += 1
        name = f"new {step}"
        killed = killed_at(step, lambda name=name: PromptRegistry().register(files[1], name, "ann"))
        assert_sound(registry, files, 1)
        for version in registry.search(name):
            assert read_artefact(registry.fetch(version.ref)).digest == version.digest
        version = registry.register(files[1], name, "ann")
        assert version.ref == f"{name}/1" and len(registry.history(name)) == 1 and not registry.verify(name)
        assert aliases(name) == {"candidate": 1}
        stored(version).unlink()
    assert step > 12


@pytest.mark.slow
def test_a_kill_at_any_step_of_a_promotion_and_a_roll_back_leaves_production_whole(registry, files):
    promoted(registry, files[:2])
    registry.register(files[2], "cells", "ann")
    step, killed = 0, True
    while killed:
        step += 1
        reason = f"bad {step}"
        killed = False
        for call, before, after in (
            (lambda: PromptRegistry().promote("cells", 3, "bob", gates=passes), 2, 3),
            (lambda reason=reason: PromptRegistry().roll_back("cells", "bob", reason), 3, 2),
        ):
            killed |= killed_at(step, call)
            assert registry.version("cells").number in (before, after)
            assert_sound(registry, files, 3)
            if aliases()["production"] != after:  # that one is set last
                call()
            assert (registry.version("cells").number, aliases()["production"]) == (after, after)
    assert step > 8


def test_a_kill_at_random_moments_leaves_production_whole(registry, three, files):
    random.seed(7)

    def work():
        while True:
            PromptRegistry().roll_back("cells", "ann", str(random.random()), to=2)
            PromptRegistry().promote("cells", 3, "bob", gates=passes)

    for _ in range(4):
        worker = FORK.Process(target=work)
        worker.start()
        time.sleep(random.uniform(0.1, 0.5))
        worker.kill()
        worker.join(30)
        assert_sound(registry, files, 3)
    if registry.version("cells").number != 3:
        registry.promote("cells", 3, "bob", gates=passes)
    registry.roll_back("cells", "ann", "the end", to=1)
    assert aliases()["production"] == 1


def test_a_roll_back_that_was_cut_off_does_not_go_back_twice(registry, three, files, capsys, monkeypatch):

    def dies(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("mlflow.MlflowClient.set_registered_model_alias", dies)
        with pytest.raises(KeyboardInterrupt):
            registry.roll_back("cells", "ann", "bad")
    assert aliases()["production"] == 3
    registry.production("cells")
    entry = registry.roll_back("cells", "ann", "bad")
    assert entry.version == 2 and registry.version("cells").number == 2 and aliases()["production"] == 2
    assert "was recorded before, and was cut off: it is completed" in capsys.readouterr().err


def test_aliases_that_were_left_behind_or_set_by_hand_are_put_right(registry, three, files):
    mlflow_client().set_registered_model_alias("cells", "production", "1")
    mlflow_client().set_registered_model_alias("cells", "candidate", "2")
    mlflow_client().set_registered_model_alias("cells", "champion", "2")
    assert registry.production("cells").read_bytes() == files[2].read_bytes(), "the ledger is believed"
    assert aliases() == {"production": 3, "previous": 2, "champion": 2}


def test_a_decision_holds_where_the_aliases_cannot_be_set(registry, three, files, capsys, monkeypatch):
    def fails_to_set(*given):
        raise MlflowException("UNIQUE constraint failed")

    with monkeypatch.context() as patched:
        patched.setattr("mlflow.MlflowClient.set_registered_model_alias", fails_to_set)
        assert registry.roll_back("cells", "ann", "bad").version == 2
    assert registry.version("cells").number == 2 and aliases()["production"] == 3
    assert "recorded, but MLflow's aliases of 'cells' do not follow yet" in capsys.readouterr().err
    registry.roll_back("cells", "ann", "bad")
    assert registry.version("cells").number == 2 and aliases()["production"] == 2, "completed, not gone further back"


# ---- a server ---------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path, empty_database, own_store, monkeypatch):
    """Starts and stops an MLflow server on one address, whose files stay."""
    shutil.copy(empty_database, tmp_path / "server.db")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    running = Server(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", running.start())
    yield running
    running.stop()


class Server:
    def __init__(self, folder: Path):
        self.folder, self.port, self.process = folder, 20_000 + os.getpid() % 20_000, None

    def start(self) -> str:
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/server.db"]
        command += ["--artifacts-destination", str(self.folder / "kept")]
        with (self.folder / "log").open("a") as log:
            own = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # it starts sooner
            self.process = subprocess.Popen(command, cwd=ROOT, env=own, stdout=log, stderr=log, start_new_session=True)
        address = f"http://127.0.0.1:{self.port}"
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=1)
                return address
            except OSError:
                assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
                time.sleep(0.2)
        raise AssertionError((self.folder / "log").read_text()[-2000:])

    def stop(self) -> None:
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)
            self.process = None


@pytest.mark.slow
def test_a_server_keeps_files_and_ledger_and_comes_back(server, files, own_store, capsys):
    registry = PromptRegistry()
    registry.register(files[0], "太陽電池", "ann", {"site": "京都"})
    registry.promote("太陽電池", 1, "bob", gates=passes)
    registry.register(files[1], "太陽電池", "ann")
    registry.promote("太陽電池", 2, "bob", gates=passes)
    path = registry.production("太陽電池")
    assert path.is_relative_to(own_store / "fetched") and path.read_bytes() == files[1].read_bytes()
    assert [version.ref for version in registry.search("京都")] == ["太陽電池/1"]
    assert aliases("太陽電池") == {"production": 2, "previous": 1} and not registry.verify("太陽電池")
    inode = path.stat().st_ino
    assert registry.production("太陽電池").stat().st_ino == inode, "fetched once"
    path.write_bytes(b"swapped")
    assert registry.production("太陽電池").read_bytes() == files[1].read_bytes()
    assert "was changed since it was fetched: it is fetched again" in capsys.readouterr().err

    server.stop()
    for ask in (registry.production, registry.history, lambda name: registry.roll_back(name, "ann", "bad")):
        with pytest.raises(UserError, match="does not answer: start it"):
            ask("太陽電池")
    server.start()
    registry.roll_back("太陽電池", "ann", "bad")
    assert registry.version("太陽電池").number == 1 and len(registry.history("太陽電池")) == 5

    shutil.rmtree(own_store / "fetched")
    (damaged,) = (server.folder / "kept").rglob(f"{digest_of(files[0])}.vpt")
    damaged.write_bytes(b"swapped")
    with pytest.raises(UserError, match=r"the file of 太陽電池/1, .*, is not the one that was registered"):
        registry.production("太陽電池")
    registry.register(files[0], "太陽電池", "ann")
    assert registry.production("太陽電池").read_bytes() == files[0].read_bytes()


# ---- the whole at once ------------------------------------------------------------------------------------------


def test_what_stands_is_the_same_however_often_it_is_read(registry, three, files, own_store):
    first = standing(registry.history("cells"))
    change(own_store / "mlflow.db", "DELETE FROM registered_model_aliases")
    assert standing(PromptRegistry().history("cells")) == first
    assert registry.version("cells").number == 3


def test_files_of_versions_stay_when_left_overs_of_runs_are_removed_and_parts_of_killed_ones_go(registry, files):
    from studies import study

    version = registry.register(files[0], "cells", "aki")
    path = registry.fetch(version.ref)
    (path.parent / "abc.12345678.999-ffff.part").write_bytes(b"cut off")
    study(methods=("linear",), sizes=(40,), seeds=(0,)).run(progress=False)
    assert registry.fetch(version.ref) == path
    registry.register(files[1], "cells", "aki")
    assert sorted(path.parent.glob("*.part")) == []
