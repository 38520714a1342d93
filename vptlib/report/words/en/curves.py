"""Sentences on learning curves, forecasts and intervals (`vptlib.evidence.curves`, `forecast`, `resampling`)."""

from vptlib.evidence.recommendation import FULL, PROMPT
from vptlib.report.words.en.base import in_prose, interval, says, share
from vptlib.wording import decimals, in_points, listed, many, per_cent

# ---- learning curves (vptlib.evidence.curves) ---------------------------------------------------------------------


@says
def few_sizes(sizes: int) -> str:
    return f"there are only {sizes} sizes, and a line through two points cannot be wrong"


@says
def error_rises(first: int, last: int) -> str:
    return f"the error does not fall from {first} to {last} labelled images"


@says
def error_maybe_flat(first: int, last: int) -> str:
    return f"the error may as well be flat from {first} to {last} labelled images"


@says
def error_off_curve(n: int) -> str:
    return f"the error at {n} labelled images lies off the curve by more than chance explains"


@says
def who_leads(a: str, b: str, a_ahead_at: list[int], b_ahead_at: list[int], open_at: list[int], changes: int) -> str:
    found = [
        (f"{in_prose(a)} is clearly ahead", a_ahead_at),
        (f"{in_prose(b)} is clearly ahead", b_ahead_at),
        ("neither is clearly ahead", open_at),
    ]
    text = "; ".join(f"{lead} at {listed(sizes)}" for lead, sizes in found if sizes)
    several = f" The lead changes {changes} times; the last change is given." if changes > 1 else ""
    return f"{text[0].upper()}{text[1:]} labelled images.{several}"


# ---- the forecast and its record (vptlib.evidence.forecast) ---------------------------------------------------------

FORECAST_RULES = {
    "constant": "The same probability each time",
    "later_size": "By the later number of labels",
    "images_per_class": "By its images per class and its labels",
    "lead_stays": "Who is ahead now stays ahead",
    "difference": "By the difference now",
    "straight_line": "By the difference, continued in a straight line",
    "power_laws": "By the power laws of both",
    "difference_and_size": "By the difference, images per class and times the labels",
    "picked": "The best of these, picked on the other tasks",
}


@says
def full_ahead_later(probability: float, n: int, then: int, margin: float, hits: int, cases: int, tasks: int) -> str:
    lead = f"ahead by {in_points(margin)} or more" if margin else "ahead"
    return (
        f"With {then:,} labelled images instead of {n:,}, {in_prose(FULL)} will be {lead} with probability "
        f"{share(probability)}. Such forecasts were right in {hits} of {cases} cases of {tasks} published tasks."
    )


@says
def no_table_for_backbone(others: list[str], hits: int, cases: int) -> str:
    carried = (
        f" On backbones that it had not seen ({listed(others)}), a rule by images per class was right in {hits} of "
        f"{cases} cases."
        if cases
        else ""
    )
    return (
        "None is given. The published tables at several sizes are about ViT-B/16, supervised on ImageNet-21k, and not "
        f"about this backbone.{carried}"
    )


@says
def beyond_the_tables(n: int, then: int, least: int, most: int, latest: int) -> str:
    return (
        f"None is given. The published tables go from {least:,} to {most:,} labelled images now, and to {latest:,} "
        f"later. Asked was {n:,} now and {then:,} later."
    )


@says
def rules_no_better(
    rules: int, tasks: int, cases: int, hits: int, brier: float, constant: float, better: float, low: float, high: float
) -> str:
    gain, least, most = (decimals(value, 3, signed=True) for value in (better, low, high))
    return (
        f"None is given, because the record shows no gain on a constant. {rules} rules were compared in {cases} cases "
        f"of {tasks} published tasks. The best one, picked without the task it is tried on, was right in {hits}. Its "
        f"Brier score is {decimals(brier, 3)}, and {decimals(constant, 3)} for the same probability each time (gain "
        f"{gain}, {interval(least, most)}). Below 0 is a loss."
    )


@says
def classes_not_known() -> str:
    return "None is given, because the number of classes is not known."


@says
def two_not_run_together() -> str:
    return f"None is given, because {in_prose(PROMPT)} and {in_prose(FULL)} have no size with a common seed yet."


@says
def decide_again_by_record(n: int) -> str:
    return f"Decide again at {n:,} labelled images: there the answer is likelier another one than now, by the record."


@says
def decide_again_past_record(n: int) -> str:
    return f"Decide again at {n:,} labelled images: up to there the answer is likelier the same. The record ends there."


@says
def decide_again_by_convention(n: int, times: int) -> str:
    much = {2: "twice"}.get(times, f"{times} times")
    return (
        f"Decide again at {n:,} labelled images. That is a convention, {much} the largest size: no forecast stands "
        "behind it."
    )


@says
def power_laws_seldom_hold(
    images: int, cases: int, tasks: int, near: int, near_held: int, far: int, far_held: int
) -> str:
    return (
        f"Power laws fitted to 400 and 1,000 labelled images, on {tasks} published tasks and both methods: their "
        f"95\u202f% intervals would have held in {near_held} of {cases} cases at {near:,} images and in {far_held} of "
        f"{cases} at {far:,} (with {images:,} test images). So take a continued curve for a guess."
    )


# ---- why an interval may not hold (vptlib.evidence.resampling) ----------------------------------------------------


@says
def one_seed() -> str:
    return "With one seed, the intervals show the choice of test images only, not what another training would give."


@says
def one_test_group(images: int) -> str:
    return (
        f"All {many(images, 'test image')} come from one group. The intervals do not show what other groups would give."
    )


@says
def tuning_shared(methods: list[str]) -> str:
    whose = listed(in_prose(method) for method in methods)
    return (
        f"One seed chose the learning rate for all seeds of {whose}. The intervals do not contain the luck of that "
        "choice."
    )


@says
def pool_used_up(n: int, pool: int) -> str:
    return (
        f"Each training used {n:,} of the same {many(pool, 'labelled image')}. So the seeds share most of their "
        "images, and the intervals do not show what other images would give."
    )


@says
def seeds_skewed(method: str, lowest: float, others: float, seeds: int) -> str:
    return (
        f"One of {seeds} trainings of {in_prose(method)} reached {per_cent(lowest)}, the others {per_cent(others)} on "
        "average. The intervals assume that trainings differ evenly, so they may not hold."
    )


@says
def failures_unseen(seeds: int, share: float) -> str:
    if seeds == 1:
        return "With one training, nothing shows how often a training fails."
    return (
        f"If {per_cent(share, 0)} of all trainings failed, {seeds} could still all be sound, with a chance of "
        "5\u202f%. Then both their mean and a further training are worse than the intervals say."
    )
