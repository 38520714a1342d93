"""Sentences for quality departments: what a study did for an item of a guideline, and why a check is open or done."""

from vptlib.report.words.en.base import in_prose, interval, says, sentence, share
from vptlib.statement import Statement
from vptlib.wording import listed, many, per_cent, plain

# ---- what was asked before the test -----------------------------------------------------------------------------


@says
def quality_asked_accuracy(needed: float) -> str:
    return f"An accuracy of {per_cent(needed)}."


@says
def quality_asked_today(today: float) -> str:
    return f"At least the {per_cent(today)} of the present way of working."


@says
def quality_asked_limits(limits: int) -> str:
    return f"{many(limits, 'limit')} on rates."


@says
def quality_asked_limits_in_groups(limits: int) -> str:
    return f"{many(limits, 'limit')} to be met in each lot, site or patient."


# ---- what was done ----------------------------------------------------------------------------------------------


@says
def quality_needed(method: str, needed: float, chance: float) -> str:
    return f"One training of {in_prose(method)} reaches {per_cent(needed)} with a chance of {share(chance)}."


@says
def quality_today(method: str, today: float, accuracy: float) -> str:
    return f"Right answers today: {per_cent(today)}; {in_prose(method)}: {per_cent(accuracy)}."


@says
def quality_limits(limits: int, met: int, undecided: int, not_met: int) -> str:
    return f"{many(limits, 'limit')} tested: {met} met, {undecided} open, {not_met} not met."


@says
def quality_limits_in_groups(limits: int, groups: int) -> str:
    return f"{many(limits, 'limit')} tested in each of {groups:,} lots, sites or patients by itself."


@says
def quality_sizes(sizes: list[int], pool: int, images: int) -> str:
    return (
        f"Compared with {listed(f'{n:,}' for n in sizes)} labelled images, drawn from {pool:,}; "
        f"tested on the same {images:,} images."
    )


@says
def quality_classes(classes: int, rarest: int, images: int) -> str:
    return f"{images:,} test images of {classes} classes; the rarest class has {rarest:,}."


@says
def quality_groups(groups: int, images: int) -> str:
    return f"{images:,} test images from {groups:,} lots, sites or patients, each reported by itself."


@says
def quality_balance(common: float, rare: float) -> str:
    return (
        f"The commonest class has {per_cent(common)} of the test images, the rarest {per_cent(rare)}. "
        "Whether that is so in the field was not examined."
    )


@says
def quality_data_read(warnings: int, notes: int) -> str:
    return (
        f"The files were read and their division was checked: {many(warnings, 'warning')}, {many(notes, 'note')}. "
        "Labels were not checked a second time."
    )


@says
def quality_accuracy(method: str, n: int, accuracy: float, low: float, high: float, images: int, seeds: int) -> str:
    ends = interval(plain(100 * low), f"{plain(100 * high)}\u202f%")
    name = in_prose(method)
    return (
        f"{name[0].upper()}{name[1:]} with {n:,} labelled images: {per_cent(accuracy)} right on "
        f"{images:,} test images ({many(seeds, 'training')}; {ends})."
    )


@says
def quality_audit(runs: int, warnings: int, notes: int) -> str:
    return f"{many(runs, 'run')} audited: {many(warnings, 'warning')}, {many(notes, 'note')}."


@says
def quality_condition(condition: Statement, method: str, accuracy: float, before: float) -> str:
    return f"{sentence(condition)} {per_cent(accuracy)} right with {in_prose(method)}, against {per_cent(before)}."


@says
def quality_origin(source: str, licence: str | None) -> str:
    return f"Source: {source}. Licence: {licence or 'not stated by the data'}."


@says
def quality_versions(fingerprint: str, backbone: str, vptlib: str) -> str:
    return f"Fingerprint of the images {fingerprint}, backbone {backbone}, vptlib {vptlib}."


@says
def quality_backbone(backbone: str, source: str, licence: str) -> str:
    return f"Backbone {backbone}, from {source}. Licence: {licence}."


@says
def quality_explanations(images: int) -> str:
    return f"Maps of {many(images, 'test image')}, each kind with its checks."


@says
def quality_promotion(limits: int) -> str:
    return f"{many(limits, 'limit')} set for promotion. Nothing was watched in operation."


@says
def quality_decide_again(n: int) -> str:
    return f"With {n:,} labelled images."


# ---- why a check is done or open --------------------------------------------------------------------------------


@says
def quality_runs_made(runs: int, missing: int) -> str:
    return f"{runs:,} of {many(runs + missing, 'planned run')} made." + (f" {missing:,} missing." if missing else "")


@says
def quality_wrong(wrong: int, images: int) -> str:
    if not wrong:
        return f"None of {images:,} test images is answered wrongly by most trainings."
    return (
        f"{wrong:,} of {images:,} test images are answered wrongly by most trainings. Whether the label or the answer "
        "is at fault is for a person to say."
    )


@says
def quality_approval() -> str:
    return "The approval box on the first page is for signatures: this report cannot know whether it was signed."


@says
def quality_nothing_runs() -> str:
    return "Nothing answers yet, so no one has to be named yet."


@says
def quality_operator(pilot: bool) -> str:
    if pilot:
        return "A person is to check each answer that is used. Who, is not in the settings."
    return "Who acts on an answer, and who is told of a doubtful one, is not in the settings."


@says
def quality_test_images(images: int, settles: float | None) -> str:
    if settles is None:
        return f"{many(images, 'test image')}, used once by each run."
    return (
        f"{many(images, 'test image')}, used once by each run. In four of five cases a study like this tells apart "
        f"{plain(100 * settles)} points."
    )


@says
def quality_seeds(seeds: int, wanted: int) -> str:
    return f"{many(seeds, 'seed')}; {wanted} or more are asked for."


@says
def quality_intervals(groups: bool, seeds: int) -> str:
    drawn = "whole lots, sites or patients" if groups else "test images"
    luck = f"and {seeds} seeds are drawn anew" if seeds > 1 else "are drawn anew; the luck of training is not in them"
    return f"95\u202f% intervals: {drawn} {luck}."


@says
def quality_nothing_asked() -> str:
    return "No limit and no accuracy was asked for (limits, accuracy_needed)."


@says
def quality_no_limits() -> str:
    return "No limit was set (limits)."


@says
def quality_no_conditions() -> str:
    return "No harder condition was run (conditions)."


@says
def quality_no_groups() -> str:
    return "No lots, sites or patients were given with the images."


@says
def quality_groups_apart(groups: int, shared: bool) -> str:
    if shared:
        return "Some lots, sites or patients are on both sides of the division: results may look better than they are."
    return f"{groups:,} lots, sites or patients in the test images, none of them in training."


@says
def quality_decides_when_finished() -> str:
    return "No number of labelled images is given: the plan says what has to come first."


@says
def quality_no_promotion() -> str:
    return "No limit for promotion was set (no_worse_than_production, latency, …)."


@says
def quality_monitoring() -> str:
    return "A report sets up none. After promotion, vpt prompts status watches what is in production."


@says
def quality_no_explanations() -> str:
    return "No map was examined."
