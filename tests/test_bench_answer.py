"""vptlib.bench.answer: both ways try the same, the textbook way keeps nothing, and the ratios are computed right.

No time is tested.
"""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from models import draw_images, small_vit
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vptlib.bench import __main__ as program
from vptlib.bench import answer
from vptlib.prompting import vit
from vptlib.prompting.vit import PromptedViT
from vptlib.study.artefacts import TRIED, artefact
from vptlib.study.plan import Cell
from vptlib.study.published_rules import published_settings
from vptlib.tuning.training import FrozenFeatures

# 16 training and 4 validation images in a pass; the first two settings of each grid are tried
TINY = answer.Experiment(
    task="digits", labelled=20, image_size=28, depth=1, epochs=2, batch=8, candidates=2, test_images=40
)
STEPS, FINAL_STEPS = 4, 5


@pytest.mark.usefixtures("own_store")
def test_all_ways_are_made_and_two_of_them_try_the_same_settings_and_reach_the_same_accuracies():
    made = {way: answer.made_here(way, TINY) for way in answer.WAYS}
    theirs, ours, early = (each.runs.set_index("method") for each in made.values())
    study = TINY.study()
    for method in TINY.methods:
        tried = answer.tried_by_textbook(study, Cell(method, 20, 0))
        stored = json.loads(artefact(ours["run_id"][method], TRIED).read_text())
        assert list(tried) == published_settings(method, 8, 2) and len(tried) == 2
        assert {setting.label: accuracy for setting, (accuracy, _) in tried.items()} == pytest.approx(stored)
        best = max(tried, key=lambda setting: (tried[setting][0], -tried[setting][1]))
        assert best.label == ours["chosen"][method] == theirs["chosen"][method]
        apart = np.count_nonzero(ours["correct"][method] != theirs["correct"][method])
        assert apart <= 1 and len(theirs["correct"][method]) == 40
    assert early["chosen"]["linear"].startswith("strength") and early["last_step"]["full"] <= FINAL_STEPS
    table = answer.by_method(made)
    assert len(table) == 9 and len(answer.by_way(made)) == 3
    assert set(table["holds 0"][table["way"] == answer.SAME]) == {"yes"}


def test_the_textbook_way_sends_each_image_through_the_whole_backbone_at_each_step(monkeypatch):
    """Counted where images enter; the fast forms and kept features must not be used at all."""
    seen, blocks = [], []
    plain, textbook = answer.build_method, vit.textbook_blocks

    def watched(*given, **options):
        model = plain(*given, **options)
        model.vit.patch_embed.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
        return model

    def forbidden(*_):
        raise AssertionError("not the textbook way")

    monkeypatch.setattr(answer, "build_method", watched)
    monkeypatch.setattr(vit, "textbook_blocks", lambda *given: blocks.append(1) or textbook(*given))
    for name in ("fast_blocks", "carried_blocks"):
        monkeypatch.setattr(vit, name, forbidden)
    monkeypatch.setattr(FrozenFeatures, "__init__", forbidden)
    study = TINY.study()
    for method in ("linear", "vpt-deep", "full"):
        seen.clear()
        answer.textbook_runs(replace(study, methods=(method,)))
        tried = 2 * (STEPS * 8 + 4)
        assert sum(seen) == tried + FINAL_STEPS * 8 + 40, method
        assert len(blocks) == (len(seen) if method == "vpt-deep" else 0)
        blocks.clear()


def test_a_model_of_the_textbook_way_keeps_no_stem_and_has_the_published_options():
    study, setting = TINY.study(), published_settings("vpt-deep", 8, 1)[0]
    deep = answer.textbook_model(study, Cell("vpt-deep", 20, 0), setting)
    assert isinstance(deep.net, PromptedViT) and not deep.net.uses_fast_form and deep.net.dropout.p == 0.1
    assert deep.net.num_prompts == setting.num_prompts
    linear = answer.textbook_model(study, Cell("linear", 20, 0), published_settings("linear", 8, 1)[0])
    assert not linear.stem_is_frozen and linear.trainable_parameters == sum(p.numel() for p in linear.head.parameters())


def test_our_own_rules_have_the_same_images_and_the_same_largest_number_of_steps():
    published, own = TINY.study(), TINY.study(answer.DONE)
    assert own.most_steps == FINAL_STEPS
    for name in ("task", "methods", "sizes", "seeds", "image_size", "depth", "batch_size", "test_images"):
        assert getattr(own, name) == getattr(published, name)


def test_the_time_of_ended_children_counts():
    before = answer.core_seconds_used()
    subprocess.run([sys.executable, "-c", "sum(range(10**7))"], check=True)
    assert answer.core_seconds_used() > before + 0.05


# ---- the tables -------------------------------------------------------------------------------------------------


def planted(seconds: float, core_seconds: float, wrong: int, of_method: float) -> answer.Made:
    """The experiment with these costs; so many of the first of 100 test images are wrong."""
    row = {"n": 20, "seed": 0, "correct": np.arange(100) >= wrong, "accuracy": 1 - wrong / 100, "tried": 2}
    row |= {"core_seconds": of_method, "chosen": "lr 1"}
    return answer.Made(seconds, core_seconds, pd.DataFrame([row | {"method": m} for m in ("linear", "full")]))


MADE = {
    answer.TEXTBOOK: planted(200.0, 300.0, 10, 60.0),
    answer.SAME: planted(80.0, 90.0, 10, 45.0),
    answer.EARLY: planted(60.0, 60.0, 40, 6.0),
}


def test_ratios_are_ours_to_the_textbook():
    table = answer.bounds(MADE).set_index("case")
    assert list(table["measured"])[:4] == ["0.40", "0.30", "0.30", "0.20"]
    assert list(table["target"])[:4] == ["0.35", "0.35", "–", "–"]
    assert list(table["met"])[:4] == ["no", "yes", "–", "–"]
    ways = answer.by_way(MADE).set_index("way")
    assert ways.loc[answer.SAME].to_dict() == {"minutes": "1.33", "core-minutes": "1.50", "cores in use": "1.12"}


def test_a_difference_is_ours_less_the_textbooks_with_an_interval_that_holds_0_or_not():
    table = answer.by_method(MADE).set_index(["method", "way"])
    same, early = (table.loc["full", way] for way in (answer.SAME, answer.EARLY))
    assert (same["difference"], same["holds 0"], same["÷ textbook"]) == ("+0.0", "yes", "0.75")
    assert (early["difference"], early["holds 0"], early["÷ textbook"]) == ("-30.0", "no", "0.10")
    low, high = map(float, early["95 % interval"].split(" to "))
    assert -41 < low < -35 < -25 < high < -19  # 1.96 standard errors of 30 of 100 are 9 points
    assert table.loc["full", answer.TEXTBOOK]["difference"] == "–"


def test_the_page_is_made_on_request_only(tmp_path, monkeypatch):
    (tmp_path / "reports").mkdir()
    monkeypatch.setattr(answer, "alone", lambda way, *_: MADE[way])
    monkeypatch.setattr(program, "repository", lambda: tmp_path)
    monkeypatch.setattr(sys, "argv", ["bench", "answer"])
    program.main()
    (page,) = (tmp_path / "reports" / "benchmarks").glob("answer*.md")
    assert "answer" in program.ON_REQUEST and "python -m vptlib.bench answer" in page.read_text()
    assert "| time, our way, same rules ÷ textbook | 0.40 | 0.35 | no |" in page.read_text()


# ---- operations of the papers' experiment -----------------------------------------------------------------------


@pytest.mark.parametrize("prompts", [1, 40])
def test_operations_of_the_textbook_form_are_those_that_a_step_multiplies(prompts):
    batch, width = 4, 16
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": width, "depth": 3}
    model = PromptedViT(small_vit(num_classes=5, **sizes), prompts, fast=False).train()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(draw_images(batch, 32)).sum().backward()
    counted = counter.get_total_flops() - 3 * 2 * batch * width * 5  # the head's
    assert answer.textbook_step_flops(3, width, 17, prompts, batch, 3 * 8 * 8) == pytest.approx(counted, rel=0.05)


def test_the_papers_experiment_is_mostly_prompt_tuning_so_its_share_is_near_that_of_the_fast_form():
    depth, width, tokens, numbers = answer.PAPERS
    lengths = (1, 5, 10, 50, 100, 200)
    fast = sum(answer.fast_step_flops(depth, width, tokens, count, 1, numbers) for count in lengths)
    textbook = sum(answer.textbook_step_flops(depth, width, tokens, count, 1, numbers) for count in lengths)
    assert 0.65 < fast / textbook < 0.75
    assert answer.share_for_papers() == pytest.approx(fast / textbook, abs=0.03)
