"""New answers against those to the test images: false alarms, planted drift, looks at fixed counts, what is said."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, chi2_contingency, energy_distance

from vptlib.errors import UserError
from vptlib.evidence.drift import ALPHA, BLOCK, LOOKS, MOST_BLOCKS, Sample, drift_of
from vptlib.evidence.similarity import frechet_distance

CLASSES = ("good", "scratch", "pit")
SPREAD = 0.7 ** np.arange(6)


def sample(count, seed=0, shift=0.0, spread=1.0, mix=(0.8, 0.15, 0.05), sure=0.9, **more):
    """Answers whose features, classes and probabilities are drawn."""
    random = np.random.default_rng([17, seed])
    points = random.normal(size=(count, len(SPREAD))) * SPREAD * spread
    points[:, 0] += shift
    confidence = random.beta(9, 10 * (1 - sure) * 9 / (10 * sure), count).round(2)  # many are tied
    answers = random.choice(3, count, p=mix)
    return Sample(answers, CLASSES, points.astype(np.float16), confidence, confidence < 0.7, **more)


def joined(*parts):
    """Samples one after the other."""
    names = ("answers", "coordinates", "confidence", "asked", "groups")
    values = {n: [getattr(part, n) for part in parts] for n in names}
    return Sample(class_names=CLASSES, **{n: None if v[0] is None else np.concatenate(v) for n, v in values.items()})


def at_look(count, reference, stream, seed=0):
    """The tests of the first block's look at so many answers, by kind."""
    look = next(one for one in drift_of(reference, stream, seed).blocks[0].looks if one.answers == count)
    return {test.kind: test for test in look.tests}


def codes(drift):
    return [finding.code for finding in drift.findings()]


TESTED = sample(300, seed=1000)


# ---- false alarms -------------------------------------------------------------------------------------------------


def at_most(share, times):
    """A count that a share of so many exceeds once in a thousand."""
    return int(binom.ppf(0.999, times, share))


@pytest.mark.parametrize("images", [8, 60])  # 8: hardly more than there are directions
def test_without_drift_probabilities_are_small_as_seldom_as_they_say(images):
    times, small = 200, dict.fromkeys(("features", "energy", "confidence", "classes", "asked"), 0)
    for seed in range(times):
        for kind, test in at_look(25, sample(images, seed), sample(25, seed + 500), seed).items():
            small[kind] += test.p <= 0.1
    assert all(count <= at_most(0.1, times) for count in small.values()), small
    assert small["features"] >= int(binom.ppf(0.001, times, 0.1))  # and not much more seldom


def test_without_drift_a_block_gives_a_false_alarm_as_seldom_as_promised():
    blocks = [block for seed in range(10) for block in drift_of(sample(60, seed), sample(1600, seed + 90), seed).blocks]
    assert len(blocks) == 80
    assert sum(block.found for block in blocks) <= at_most(ALPHA, 80)


def test_of_groups_that_differ_no_more_than_those_of_the_test_images_none_is_found():
    def of_lots(lots, size, seed):
        random = np.random.default_rng([3, seed])
        group = np.repeat(np.arange(lots), size)
        drawn = sample(lots * size, seed)
        return Sample(drawn.answers, CLASSES, drawn.coordinates + random.normal(0, 1, (lots, 6))[group], groups=group)

    small = {"by group": 0, "one by one": 0}
    for seed in range(20):
        old, new = of_lots(10, 20, seed), of_lots(5, 5, seed + 500)
        small["by group"] += at_look(25, old, new)["features"].p <= 0.1
        alone = [Sample(one.answers, CLASSES, one.coordinates) for one in (old, new)]
        small["one by one"] += at_look(25, *alone)["features"].p <= 0.1
    assert small["by group"] <= at_most(0.1, 20)
    assert small["one by one"] > 13  # so groups are needed


# ---- planted drift ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ({"shift": 0.6}, {"features", "energy"}),
        ({"spread": 1.5}, {"features", "energy"}),
        ({"mix": (0.5, 0.45, 0.05)}, {"classes"}),
        ({"sure": 0.75}, {"confidence", "asked"}),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_planted_drift_is_found_with_200_images_by_the_tests_that_it_concerns(change, kinds, seed):
    drift = drift_of(TESTED, sample(200, seed, **change))
    assert drift.found
    assert {test.kind for test in drift.look.tests if test.found} == kinds
    assert codes(drift) == ["drift_found", *(f"drift_{kind}" for kind in drift.findings()[0].values["tests"])]


def test_a_balanced_test_set_against_a_production_of_mostly_good_parts_is_found():
    drift = drift_of(sample(300, 5, mix=(0.5, 0.3, 0.2)), sample(200, mix=(0.8, 0.15, 0.05)))
    (classes,) = [test for test in drift.look.tests if test.kind == "classes"]
    assert classes.found
    name, before, now = classes.changes[0]
    assert name == "good"
    assert now - before == pytest.approx(0.3, abs=0.1)


def test_the_numbers_are_those_of_the_tests_own_definitions():
    stream = sample(200, shift=0.5)
    found = at_look(200, TESTED, stream)
    old, new = TESTED.coordinates.astype(float), stream.coordinates.astype(float)
    random, pool = np.random.default_rng(0), np.vstack([old, new])
    null = []
    for _ in range(200):
        order = random.permutation(len(pool))
        null.append(frechet_distance(pool[order[:300]], pool[order[300:]]))
    assert found["features"].ratio == pytest.approx(frechet_distance(old, new) / np.median(null), rel=0.1)
    assert found["confidence"].now == pytest.approx(stream.confidence.mean())
    assert found["asked"].before == pytest.approx(TESTED.asked.mean())
    table = [np.bincount(one.answers, minlength=3) for one in (TESTED, stream)]
    assert found["classes"].p == pytest.approx(chi2_contingency(table).pvalue, abs=0.1)


def test_the_energy_is_that_of_scipy_in_one_dimension():
    old, new = np.random.default_rng(1).normal(size=80), np.random.default_rng(2).normal(0.8, 1, 25)
    pool, nulls = np.concatenate([old, new]), []
    random = np.random.default_rng(0)
    for _ in range(400):
        order = random.permutation(pool)
        nulls.append(energy_distance(order[:80], order[80:]) ** 2)
    a, b = (Sample(np.zeros(len(x), int), CLASSES, x[:, None]) for x in (old, new))
    ratio = at_look(25, a, b)["energy"].ratio
    assert ratio == pytest.approx(energy_distance(old, new) ** 2 / np.median(nulls), rel=0.2)


def test_holm_takes_all_tests_of_a_look_together():
    for look in drift_of(TESTED, sample(200, shift=0.4)).blocks[0].looks:
        p = sorted(test.p for test in look.tests)
        adjusted = sorted(test.adjusted for test in look.tests)
        assert len(p) == 5
        assert adjusted[0] == pytest.approx(min(1, 5 * p[0]))
        assert adjusted == sorted(adjusted)
        assert all(a >= b for a, b in zip(adjusted, p, strict=True))


def test_the_shift_that_would_have_been_found_is_found_about_four_times_in_five():
    drift = drift_of(TESTED, sample(50, seed=1))
    assert not drift.found
    assert 0.2 < drift.shift < 1.5
    own = TESTED.coordinates[:, 0].astype(float).std(ddof=1)
    streams = [sample(50, seed + 40, shift=drift.shift * own) for seed in range(16)]
    found = sum(drift_of(sample(300, seed + 70), stream).look.found for seed, stream in enumerate(streams))
    assert binom.ppf(0.005, 16, 0.8) <= found


# ---- looks --------------------------------------------------------------------------------------------------------


def test_what_is_found_does_not_depend_on_when_somebody_looks():
    stream = joined(sample(320, 1), sample(200, 2, shift=0.7))
    whole = drift_of(TESTED, stream)
    for count in (24, 25, 99, 200, 226, 399, 450):
        early = drift_of(TESTED, stream.among(slice(count)))
        for before, after in zip(early.blocks, whole.blocks, strict=False):
            looks = before.looks[: len(after.looks)]
            assert looks == after.looks[: len(looks)]
            assert not before.found or after.found


def test_blocks_have_looks_at_fixed_counts_only():
    drift = drift_of(TESTED, sample(430))
    assert [(block.first, block.answers) for block in drift.blocks] == [(0, 200), (200, 200), (400, 30)]
    assert [[look.answers for look in block.looks] for block in drift.blocks] == [list(LOOKS), list(LOOKS), [25]]


def test_drift_lasts_until_a_whole_block_is_without_it():
    good, bad = sample(200, 1), sample(200, 2, shift=1.5)
    assert drift_of(TESTED, joined(good, bad)).since == 200
    assert drift_of(TESTED, joined(good, bad, bad)).since == 200
    assert drift_of(TESTED, joined(good, bad, sample(60, 4))).since == 200  # not cleared by a part of a block
    assert drift_of(TESTED, joined(good, bad, sample(24, 4))).found
    assert drift_of(TESTED, joined(good, bad, good)).since is None
    assert drift_of(TESTED, joined(bad, good, bad.among(slice(60)))).since == 400


def test_only_the_last_blocks_are_tested_and_drift_that_is_older_is_said_to_last_longer():
    one = Sample(np.zeros(40, int), CLASSES)
    two = Sample(np.ones((MOST_BLOCKS + 2) * BLOCK, int), CLASSES)
    drift = drift_of(one, two)
    assert len(drift.blocks) == MOST_BLOCKS
    assert drift.since == 2 * BLOCK
    assert drift.findings()[0].values["at_least"] is True
    assert drift_of(one, two.among(slice(400))).findings()[0].values["at_least"] is False


def test_the_same_answers_give_the_same_numbers_and_another_seed_others():
    stream = sample(60, shift=0.2)
    assert drift_of(TESTED, stream, 1) == drift_of(TESTED, stream, 1)
    assert drift_of(TESTED, stream, 1) != drift_of(TESTED, stream, 2)


def test_a_large_test_set_is_thinned_and_drift_is_still_found():
    large = sample(4000, 3)
    assert not drift_of(large, sample(200, 4)).found
    assert drift_of(large, sample(200, 4, shift=0.6)).found


# ---- what is said -------------------------------------------------------------------------------------------------


def test_too_few_answers_give_no_verdict():
    drift = drift_of(TESTED, sample(24, shift=9))
    assert (drift.found, drift.look, codes(drift)) == (False, None, ["drift_too_few"])
    assert drift.findings()[0].values == {"answers": 24, "needed": 25}
    assert codes(drift_of(TESTED, TESTED.among(slice(0)))) == ["drift_too_few"]


def test_nothing_found_says_how_large_a_shift_would_have_been_found():
    (finding,) = drift_of(TESTED, sample(200, seed=1)).findings()
    assert finding.code == "drift_not_found"
    assert finding.values["answers"] == 200
    fewer = drift_of(TESTED, sample(30, seed=1)).findings()[0].values
    assert fewer["answers"] == 25
    assert fewer["shift"] > finding.values["shift"]


def test_without_features_the_other_tests_remain_and_it_is_said():
    old = Sample(TESTED.answers, CLASSES, confidence=TESTED.confidence, asked=TESTED.asked)
    quiet = drift_of(old, sample(200, seed=1))
    assert codes(quiet) == ["drift_not_found", "drift_without_features"]
    assert quiet.shift is None
    loud = drift_of(old, sample(200, mix=(0.2, 0.4, 0.4)))
    assert codes(loud) == ["drift_found", "drift_classes", "drift_without_features"]


def test_groups_of_the_test_images_alone_are_said_to_be_not_taken_into_account():
    old = Sample(TESTED.answers, CLASSES, TESTED.coordinates, groups=np.repeat(np.arange(10), 30))
    assert codes(drift_of(old, sample(50, seed=1)))[-1] == "drift_groups_unknown"


def test_many_groups_show_drift():
    lots = {"old": np.repeat(np.arange(12), 25), "new": np.repeat(np.arange(8), 25)}
    old = Sample(TESTED.answers, CLASSES, TESTED.coordinates, groups=lots["old"])
    drift = drift_of(old, sample(200, shift=1, groups=lots["new"]))
    assert drift.found
    assert drift.arrangements == math.comb(20, 8)
    assert codes(drift)[-1] != "drift_few_groups"


def test_few_groups_cannot_show_drift_and_it_is_said():
    old = Sample(TESTED.answers, CLASSES, TESTED.coordinates, groups=np.repeat(["a", "b", "c"], 100))
    new = sample(200, shift=5, groups=np.repeat("d", 200))
    drift = drift_of(old, new)
    assert not drift.found
    assert drift.shift is None  # no shift at all would have been found
    assert drift.findings()[-1].code == "drift_few_groups"
    assert drift.findings()[-1].values == {"arrangements": 4, "needed": 1200}


@pytest.mark.parametrize(
    "change", [{"coordinates": np.ones((300, 6))}, {"confidence": np.ones(300)}, {"asked": np.zeros(300, bool)}]
)
def test_what_is_the_same_for_all_images_is_no_test(change):
    parts = {"coordinates": None, "confidence": None, "asked": None} | change
    same = Sample(np.zeros(300, int), CLASSES, **parts)
    drift = drift_of(same, same)
    assert drift.look.tests == ()
    assert codes(drift)[0] == "drift_not_found"
    assert drift.shift is None


@settings(deadline=None, max_examples=25)
@given(
    old=st.integers(2, 30),
    new=st.integers(0, 60),
    width=st.integers(1, 16),
    values=st.integers(1, 4),
    seed=st.integers(0, 9),
)
def test_any_answers_give_a_verdict_with_probabilities(old, new, width, values, seed):
    random = np.random.default_rng(seed)

    def drawn(count):
        points = random.integers(values, size=(count, width)).astype(np.float16)
        return Sample(random.integers(3, size=count), CLASSES, points, random.random(count).round(1))

    drift = drift_of(drawn(old), drawn(new))
    assert drift.findings()
    for test in (test for block in drift.blocks for look in block.looks for test in look.tests):
        assert 0 < test.p <= test.adjusted <= 1
        assert test.ratio >= 0 or math.isnan(test.ratio)
    assert drift.shift is None or drift.shift > 0


def test_answers_that_cannot_be_compared_are_refused():
    with pytest.raises(UserError, match="other classes"):
        drift_of(TESTED, Sample(np.zeros(30, int), ("a", "b")))
    with pytest.raises(UserError, match=r"widths \[5, 6\]"):
        drift_of(TESTED, Sample(np.zeros(30, int), CLASSES, np.ones((30, 5))))
    with pytest.raises(UserError, match="2 or more"):
        drift_of(TESTED.among(slice(1)), TESTED)
    with pytest.raises(UserError, match="confidence has 2 entries"):
        Sample(np.zeros(3, int), CLASSES, confidence=np.ones(2))
    with pytest.raises(UserError, match="not finite"):
        Sample(np.zeros(1, int), CLASSES, np.full((1, 2), np.nan))
    with pytest.raises(UserError, match="3 have a name"):
        Sample(np.array([3]), CLASSES)
