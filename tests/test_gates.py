"""What an artefact must show before it may be promoted, on planted answers whose true verdict is known."""

import copy
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from exported import exported, small_backbone
from models import bright_and_dark, small_vit
from planted import planted_answers
from scipy.stats import norm

from vptlib.data.preparing import ImageSet
from vptlib.data.tasks import Task
from vptlib.errors import UserError
from vptlib.evidence.answers import Answers
from vptlib.evidence.limits import GATE_KINDS, MAP_CHECKS, MAPS
from vptlib.evidence.no_worse import compare, probability
from vptlib.explanations.maps import EXPLANATIONS
from vptlib.operations import gates
from vptlib.operations.artefact import load_model
from vptlib.operations.gates import GateResult, gates_for, measured_for
from vptlib.tuning.methods import build_method
from vptlib.tuning.training import Recipe, fit

NAMES = ("scratch", "fine")
ACCURATE = {"accuracy": {"at_least": 0.9}}


def answered(right: np.ndarray, **about) -> Answers:
    """One training's answers to images that are scratches and fine plates by turns."""
    truth = np.arange(len(right)) % 2
    return Answers(np.where(right, truth, 1 - truth)[None], truth, NAMES, **about)


def share_right(wrong: int, images: int, **about) -> Answers:
    return answered(np.arange(images) >= wrong, **about)


def artefact(answers: Answers, digest: str = "new", measured: dict | None = None, fingerprint: str | None = "f"):
    """What gates read of an artefact."""
    card = SimpleNamespace(
        class_names=answers.class_names,
        data={"fingerprint": fingerprint},
        measured={} if measured is None else json.loads(json.dumps(measured)),
        preprocessing=SimpleNamespace(size=28),
    )
    return SimpleNamespace(digest=digest, card=card, answers=answers)


@pytest.fixture
def canaries(monkeypatch):
    """The canaries sing, unless a test puts a reason here."""
    why: list[str] = []

    def check(model, artefact):
        if why:
            raise UserError(why[0])

    monkeypatch.setattr(gates, "check_canaries", check)
    return why


@pytest.fixture
def results(canaries):
    """Results by kind, of a promotion with the model at hand."""

    def of(candidate, limits, production=None, **about) -> dict[str, GateResult]:
        model = build_method("linear", small_vit(), 2).eval()
        return {each.kind: each for each in gates_for(candidate, production, limits, model, **about)}

    return of


# ---- always -----------------------------------------------------------------------------------------------------


def test_a_promotion_without_limits_does_not_pass(results):
    for none in ({}, None):
        found = results(artefact(share_right(0, 400)), none)
        assert not found["limits"].passed and found["limits"].statement.code == "gate_no_limits"
    assert "limits" not in results(artefact(share_right(0, 400)), ACCURATE)


def test_canaries_that_are_not_reproduced_fail_with_the_reason(results, canaries):
    assert results(artefact(share_right(0, 400)), ACCURATE)["canaries"].passed
    canaries.append("answer 3 differs.")
    found = results(artefact(share_right(0, 400)), ACCURATE | {"latency": {"at_most": 1e9}})
    assert not found["canaries"].passed and found["canaries"].statement.values == {"why": "answer 3 differs."}
    assert not found["latency"].passed and found["latency"].statement.code == "gate_latency_unknown"
    assert found["accuracy"].passed


def test_a_file_passes_with_its_own_model_and_fails_with_another_one(tmp_path):
    card = {"measured": {"robustness": [{"corruption": "blur", "severity": 3, "predictions": [0, 1, 2] * 10}]}}
    ours = exported(tmp_path / "a.vpt", **card)
    model, limits = load_model(ours, small_backbone()), {"accuracy": {"at_least": 0.5}} | robust(0.8, "blur", 3)
    assert all(each.passed for each in gates_for(ours, ours, limits, model))
    other = load_model(exported(tmp_path / "b.vpt", seed=1), small_backbone())
    assert [each.kind for each in gates_for(ours, ours, limits, other) if not each.passed] == ["canaries"]


def test_without_a_model_it_is_loaded_and_a_backbone_that_is_not_here_fails_the_canaries(monkeypatch, canaries):
    asked = []

    def load(artefact):
        asked.append(artefact)
        raise UserError("the backbone is not on this machine.")

    monkeypatch.setattr(gates, "load_backbone_of", load)
    candidate = artefact(share_right(0, 400))
    first, *_ = gates_for(candidate, None, ACCURATE)
    assert asked == [candidate] and (first.kind, first.passed) == ("canaries", False)
    assert "not on this machine" in first.statement.values["why"]


def test_a_changed_list_of_classes_does_not_pass(results):
    ours = artefact(share_right(0, 400))
    assert results(ours, ACCURATE)["classes"].statement.code == "gate_first_classes"
    assert results(ours, ACCURATE, artefact(share_right(9, 400), "old"))["classes"].passed
    other = replace(share_right(0, 400), class_names=("dent", "fine"))
    found = results(ours, ACCURATE, artefact(other, "old"))["classes"]
    assert not found.passed and found.statement.values == {"added": ["scratch"], "removed": ["dent"]}
    turned = replace(share_right(0, 400), class_names=NAMES[::-1])
    assert not results(ours, ACCURATE, artefact(turned, "old"))["classes"].passed


def test_earlier_tests_on_the_same_images_inform_and_fail_nothing(results):
    found = results(artefact(share_right(0, 400)), ACCURATE, tested_before=12)["test_reuse"]
    assert found.passed and found.statement.values == {"times": 12, "images": 400}


# ---- rates ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong, images, passed, inner",
    [(20, 400, True, "limit_met"), (0, 28, False, "limit_open"), (80, 400, False, "limit_not_met")],
)
def test_a_rate_passes_only_if_it_is_shown(results, wrong, images, passed, inner):
    found = results(artefact(share_right(wrong, images)), ACCURATE)["accuracy"]
    assert found.passed is passed and found.statement.values["finding"].code == inner
    assert found.statement.values["limit"] == 0.9


def test_every_limit_has_a_result_also_of_a_class_that_is_not_there(results):
    limits = {"recall": [{"class": "scratch", "at_least": 0.9}, {"class": "dent", "at_least": 0.9}]}
    candidate = artefact(share_right(0, 400))
    model = build_method("linear", small_vit(), 2).eval()
    recalls = [each for each in gates_for(candidate, None, limits, model) if each.kind == "recall"]
    assert [each.passed for each in recalls] == [True, False]
    assert recalls[1].statement.values == {"kind": "recall", "names": ["dent"]}


def test_every_kind_that_may_be_written_has_a_gate_and_nothing_is_passed_over(results):
    limits = NO_WORSE | MAP_LIMIT | robust(0.8) | {"calibration_error": {"at_most": 0.05}, "latency": {"at_most": 1e9}}
    found = results(artefact(share_right(0, 400)), limits | ACCURATE)
    assert list(found) == ["canaries", "classes", "accuracy", *limits, "test_reuse"]
    assert set(GATE_KINDS) == set(limits)


def test_a_bad_lot_stops_a_promotion_that_the_mean_of_all_images_would_pass(results):
    right = np.ones(400, dtype=bool)
    right[300:320] = False
    assert results(artefact(answered(right)), ACCURATE)["accuracy"].passed
    lots = answered(right, groups=np.arange(400) // 100, group_names=("a", "b", "c", "d"))
    found = results(artefact(lots), {"accuracy": {"at_least": 0.9, "every": "group"}})["accuracy"]
    assert not found.passed and found.statement.values["each_group"]
    assert found.statement.values["finding"].values["group"] == "d"


def test_a_result_can_be_kept_as_json(results):
    limits = ACCURATE | {"no_worse_than_production": {"by": 0.02}, "calibration_error": {"at_most": 0.05}}
    found = results(artefact(share_right(0, 400)), limits, artefact(share_right(9, 400), "old"))
    for each in found.values():
        assert json.loads(json.dumps(each.plain(), allow_nan=False))["finding"]["code"] == each.statement.code
    assert json.loads(json.dumps(found["accuracy"].plain()))["passed"] is True


# ---- no worse than production -----------------------------------------------------------------------------------

NO_WORSE = {"no_worse_than_production": {"by": 0.01}}


def two(accuracy: float, of_production: float, images: int, random, group: int = 1, of_groups: float = 0.0):
    """Answers of two models to the same images, which share half of what decides whether they are right."""
    groups = np.arange(images) // group
    found, common = [], np.sqrt(0.5) * random.standard_normal(images)
    for each in (accuracy, of_production):
        of_group = np.sqrt(of_groups) * random.standard_normal(groups[-1] + 1)[groups]
        own = np.sqrt(0.5 - of_groups) * random.standard_normal(images)
        right = common + of_group + own < norm.ppf(each)
        found.append(answered(right, groups=None if group == 1 else groups))
    return found


def shown(times: int, random=0, allowed=0.02, behind=0.02, **about) -> float:
    """How often a model that is so much behind is called no worse."""
    random = np.random.default_rng(random)
    pairs = (two(0.9 - behind, 0.9, random=random, **about) for _ in range(times))
    return float(np.mean([compare(*pair, allowed).is_shown for pair in pairs]))


def test_no_difference_in_299_images_shows_one_point_and_in_298_it_does_not():
    assert probability(0, 0, 299, 0.01) <= 0.05 < probability(0, 0, 298, 0.01)
    assert probability(0, 0, 299, 0.01) == pytest.approx(0.99**299, rel=1e-6)  # the most harmful: c alone, of 1 %


@pytest.mark.parametrize("images, allowed, only_second", [(24, 0.12, 0.12), (24, 0.12, 0.3), (30, 0.1, 0.2)])
def test_the_exact_probability_is_never_passed_at_the_edge(images, allowed, only_second):
    """All pairs of counts, weighed by their probability where the difference is just not allowed."""
    from scipy.stats import multinomial

    shares = [only_second - allowed, only_second, 1 - 2 * only_second + allowed]
    passes = 0.0
    for c in range(images + 1):
        for b in range(images + 1 - c):
            if probability(b, c, images, allowed) <= 0.05:
                passes += multinomial.pmf([b, c, images - b - c], images, shares)
    assert passes <= 0.0501


@pytest.mark.parametrize(
    "planted",
    [{"images": 400}, {"images": 100}, {"images": 400, "group": 10, "of_groups": 0.3}, {"images": 400, "group": 40}],
    ids=str,
)
def test_a_model_that_is_worse_by_all_that_is_allowed_passes_in_five_per_cent_of_tests_at_most(planted):
    assert shown(200, **planted) <= 0.09  # 5 % and chance: 18 of 200 come once in 200 draws


def test_power_grows_with_the_images_and_shrinks_with_groups():
    few, many = (shown(40, behind=0.0, allowed=0.03, images=images) for images in (200, 2000))
    in_groups = shown(40, behind=0.0, allowed=0.03, images=2000, group=100, of_groups=0.3)
    assert few <= 0.5 and many >= 0.9 and in_groups < many


def test_the_bound_is_near_that_of_the_normal_limit_where_images_are_many():
    random = np.random.default_rng(0)
    found = compare(*two(0.9, 0.9, 4000, random), 0.02)
    ahead = np.subtract(*(a.right[0].astype(int) for a in two(0.9, 0.9, 4000, np.random.default_rng(0))))
    assert found.difference == ahead.mean()
    assert found.bound == pytest.approx(ahead.mean() - 1.645 * ahead.std() / np.sqrt(4000), abs=0.001)
    assert found.is_shown == (found.bound >= -0.02)


def test_what_is_needed_would_do_if_the_rates_stay():
    right, before = np.ones(200, dtype=bool), np.ones(200, dtype=bool)
    right[:4], before[4:8] = False, False
    found = compare(answered(right), answered(before), 0.02)
    assert not found.is_shown and found.needed > 200
    times = int(np.ceil(1.1 * found.needed / 200))
    assert compare(answered(np.tile(right, times)), answered(np.tile(before, times)), 0.02).is_shown
    assert compare(answered(right), answered(np.ones(200, dtype=bool)), 0.01).needed is None


def test_mistakes_that_come_in_whole_groups_count_for_less():
    right = np.ones(1000, dtype=bool)
    right[:10] = False  # ten images of one group
    alone, groups = answered(right), np.arange(1000) // 10
    before = answered(np.ones(1000, dtype=bool))
    apart, together = compare(alone, before, 0.02), compare(replace(alone, groups=groups), before, 0.02)
    assert apart.is_shown and not together.is_shown
    assert together.bound < apart.bound and (apart.groups, together.groups) == (0, 100)


def test_two_models_without_any_difference_show_little_in_few_groups():
    same = share_right(10, 1000)
    assert compare(same, same, 0.01).is_shown
    lots = replace(same, groups=np.arange(1000) // 200)
    assert not compare(lots, lots, 0.01).is_shown  # nothing is known of how alike the images of a lot are


def test_the_comparison_with_production_is_a_gate(results):
    ours, worse = share_right(10, 2000), share_right(200, 2000)
    assert results(artefact(ours), NO_WORSE)["no_worse_than_production"].statement.code == "gate_no_production"
    found = results(artefact(ours), NO_WORSE, artefact(worse, "old"))["no_worse_than_production"]
    assert found.passed and found.statement.values["difference"] == pytest.approx(0.095)
    found = results(artefact(worse), NO_WORSE, artefact(ours, "old"))["no_worse_than_production"]
    assert not found.passed and found.statement.values["needed"] is None
    few = artefact(share_right(0, 20), "same")
    assert results(few, NO_WORSE, few)["no_worse_than_production"].statement.code == "gate_is_production"


@pytest.mark.parametrize(
    "production",
    [
        artefact(share_right(0, 500), "old"),
        artefact(share_right(0, 400), "old", fingerprint="g"),
        artefact(share_right(0, 400), "old", fingerprint=None),
        artefact(replace(share_right(0, 400), truth=np.zeros(400, dtype=int)), "old"),
    ],
    ids=["more images", "another task", "a task without a name", "other images"],
)
def test_other_test_images_cannot_be_compared_and_do_not_pass(results, production):
    found = results(artefact(share_right(0, 400)), NO_WORSE, production)["no_worse_than_production"]
    assert not found.passed and found.statement.code == "gate_other_test_images"
    without = results(artefact(share_right(0, 400), fingerprint=None), NO_WORSE, production)
    assert not without["no_worse_than_production"].passed


# ---- probabilities and time -------------------------------------------------------------------------------------


def test_probabilities_that_are_right_pass_and_those_that_are_too_sure_do_not(results):
    limits = {"calibration_error": {"at_most": 0.05}}
    good = planted_answers(4000, trainings=1, classes=2)
    sure = planted_answers(4000, trainings=1, classes=2, too_sure=3.0)
    assert results(artefact(good), limits)["calibration_error"].passed
    assert not results(artefact(sure), limits)["calibration_error"].passed
    few = planted_answers(60, trainings=1, classes=2)
    assert not results(artefact(few), limits)["calibration_error"].passed, "60 images show nothing so fine"


def test_without_probabilities_calibration_does_not_pass(results):
    found = results(artefact(share_right(0, 400)), {"calibration_error": {"at_most": 0.05}})["calibration_error"]
    assert not found.passed and found.statement.code == "gate_without_probabilities"


def test_latency_is_the_median_of_single_images_without_the_first_ones(results, monkeypatch):
    took = [9.0] * gates.WARM_UP + [0.010] * 11 + [5.0] * 10  # seconds; the median of 21 is among the eleven
    ticks = iter(np.cumsum([step for each in took for step in (1.0, each)]))
    monkeypatch.setattr(gates.time, "perf_counter", lambda: next(ticks))
    found = results(artefact(share_right(0, 400)), {"latency": {"at_most": 11}})["latency"]
    assert found.passed and found.statement.values["median"] == pytest.approx(10)
    assert found.statement.values["device"] == "CPU" and next(ticks, None) is None


def test_a_model_that_is_too_slow_does_not_pass(results, monkeypatch):
    monkeypatch.setattr(gates, "milliseconds_an_image", lambda model, size: float(size))
    assert not results(artefact(share_right(0, 400)), {"latency": {"at_most": 27.9}})["latency"].passed
    assert results(artefact(share_right(0, 400)), {"latency": {"at_most": 28}})["latency"].passed


# ---- what is measured at export ---------------------------------------------------------------------------------


def bright_task(count: int = 60) -> Task:
    """Grey images that are dark or bright by turns."""
    labels = np.arange(count) % 2
    noise = np.random.default_rng(0).integers(0, 40, (count, 28, 28, 3))
    images = ImageSet((60 + 120 * labels[:, None, None, None] + noise).astype(np.uint8), labels.astype(np.int64))
    about = ("own images", "classification", "", "")
    return Task("bright", "Bright or dark?", images, images, ("dark", "bright"), *about)


@pytest.fixture(scope="module")
def bright_model():
    """A model that tells bright images from dark ones."""
    torch.manual_seed(0)
    model = build_method("vpt-deep", small_vit(), 2, num_prompts=2)
    fit(model, bright_and_dark(64), None, Recipe(learning_rate=0.01, steps=40, batch_size=16))
    return model.cpu().eval()


def robust(at_least: float, corruption: str = "brightness", severity: int = 1) -> dict:
    return {"robustness": {"corruption": corruption, "severity": severity, "at_least": at_least}}


MAP_LIMIT = {"explanations": {"maps": "attention", "checks": ["differences", "depends_on_the_model"]}}


def test_what_no_limit_needs_is_not_measured(bright_model):
    assert measured_for(ACCURATE | NO_WORSE, bright_model, bright_task(), np.arange(60)) == {}


def test_answers_under_a_corruption_are_those_of_the_same_images_in_the_same_order(bright_model, results):
    items = np.random.default_rng(1).permutation(60)[:50]
    task = bright_task()
    limits = {"robustness": [{"corruption": "noise", "severity": 1, "at_least": least} for least in (0.8, 0.9)]}
    limits["robustness"].append({"corruption": "contrast", "severity": 5, "at_least": 0.8})
    measured = measured_for(limits, bright_model, task, items)
    assert [(each["corruption"], each["severity"]) for each in measured["robustness"]] == [
        ("noise", 1),
        ("contrast", 5),
    ]
    noisy, _ = (np.array(each["predictions"]) for each in measured["robustness"])
    truth = task.test.labels[items]
    assert (noisy == truth).all(), "a little noise does not turn night into day"
    clean = Answers(truth[None], truth, task.class_names)
    found = results(artefact(clean, measured=measured), robust(0.9, "noise"))["robustness"]
    assert found.passed and found.statement.values["finding"].code == "limit_met"


def test_a_model_that_a_corruption_misleads_does_not_pass(bright_model, results):
    task, items = bright_task(), np.arange(60)
    limits = robust(0.8, "brightness", 5)  # every image becomes bright
    measured = measured_for(limits, bright_model, task, items)
    truth = task.test.labels
    found = results(artefact(Answers(truth[None], truth, task.class_names), measured=measured), limits)["robustness"]
    assert not found.passed and found.statement.values["finding"].values["value"] == pytest.approx(0.5)
    assert found.statement.values["clean"] == 1.0


@pytest.mark.parametrize(
    "measured",
    [
        {},
        {"robustness": [{"corruption": "brightness", "severity": 2, "predictions": [0] * 400}]},
        {"robustness": [{"corruption": "brightness", "severity": 1, "predictions": [0] * 399}]},
        {"robustness": [{"corruption": "brightness", "severity": 1, "predictions": [7] * 400}]},
        {"robustness": [{"corruption": "brightness", "severity": 1, "predictions": [2**70] * 400}]},
        {"robustness": [{"corruption": "brightness", "severity": 1, "predictions": ["0"] * 400}]},
        {"robustness": "all well"},
    ],
    ids=["nothing", "other severity", "too few", "no class", "too large", "text", "no list"],
)
def test_a_measurement_that_is_missing_or_damaged_does_not_pass(results, measured):
    found = results(artefact(share_right(0, 400), measured=measured), robust(0.0))["robustness"]
    assert not found.passed and found.statement.code == "gate_not_measured"


def test_maps_are_checked_at_export_and_each_check_that_is_asked_for_must_be_passed(bright_model, results):
    measured = measured_for(MAP_LIMIT, bright_model, bright_task(), np.arange(60))
    (entry,) = measured["explanations"]
    assert set(entry["checks"]) == set(MAP_CHECKS) and entry["images"] == 16 and not entry["impossible"]
    for verdict, passed in ((True, True), (False, False), (None, False)):
        changed = copy.deepcopy(measured)
        changed["explanations"][0]["checks"] = {name: {"passed": True, "needed": None} for name in MAP_CHECKS}
        changed["explanations"][0]["checks"]["depends_on_the_model"] = {"passed": verdict, "needed": 40}
        found = results(artefact(share_right(0, 400), measured=changed), MAP_LIMIT)["explanations"]
        assert found.passed is passed
        names = {True: "passed", False: "failed", None: "undecided"}
        assert "depends_on_the_model" in found.statement.values[names[verdict]]
        assert found.statement.values["needed"] == (40 if verdict is None else None)


def test_maps_that_mark_nothing_fail_the_check_of_differences(bright_model, results, monkeypatch):
    monkeypatch.setattr(gates, "explain", lambda model, images, *_, **__: np.zeros((len(images), 28, 28), np.float32))
    limits = {"explanations": {"maps": "attention", "checks": ["differences"]}}
    measured = measured_for(limits, bright_model, bright_task(), np.arange(60))
    found = results(artefact(share_right(0, 400), measured=measured), limits)["explanations"]
    assert not found.passed and found.statement.values["failed"] == ["differences"]


def test_maps_that_a_model_cannot_have_do_not_pass_and_the_reason_is_kept(bright_model, results, monkeypatch):
    def refused(*_, **__):
        raise UserError("'attention' cannot follow this network.")

    monkeypatch.setattr(gates, "explain", refused)
    measured = measured_for(MAP_LIMIT, bright_model, bright_task(), np.arange(60))
    found = results(artefact(share_right(0, 400), measured=measured), MAP_LIMIT)["explanations"]
    assert not found.passed and "cannot follow" in found.statement.values["why"]
    assert not results(artefact(share_right(0, 400)), MAP_LIMIT)["explanations"].passed


def test_limits_name_every_kind_of_map_and_no_other():
    assert set(MAPS) == set(EXPLANATIONS)
