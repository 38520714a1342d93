"""Sentences on promotion and versions (`vptlib.operations.gates`, `registry`)."""

from vptlib.report.words.en.base import ahead, says, sentence
from vptlib.report.words.en.mistakes import limit_in_words, limit_share, quoted
from vptlib.statement import Statement
from vptlib.wording import apart, decimals, exact_points, in_points, listed, many, per_cent

# ---- limits in groups and at promotion (vptlib.evidence.limits) ------------------------------------------------------


@says
def limit_in_groups(group: str, groups: int, not_shown: int, finding: Statement, needed: int | None) -> str:
    only = "the only group" if groups == 1 else f"the worst of {groups:,} groups"
    takes = "" if needed is None else f" It takes at least {needed:,} of that group."
    others = f" It is not shown in {not_shown:,} of the {groups:,} groups." if not_shown > 1 else ""
    return f"Group {apart(group)} is {only}. {sentence(finding)}{takes}{others}"


@says
def limit_without_groups(kind: str, names: list[str]) -> str:
    return (
        "The test images have no groups, so it cannot be tested in each: give the groups in a column 'group', or take "
        "`every: group` out."
    )


# What limits are about that are tested at promotion (vptlib.operations.gates).
GATES = {
    "no_worse_than_production": "no worse than production",
    "calibration_error": "calibration error",
    "latency": "time for an image",
    "robustness": "accuracy on corrupted images",
    "explanations": "checks of the maps",
}


@says
def limits_at_promotion(kinds: list[str]) -> str:
    return (
        f"Some limits are tested when a version is promoted, not here: {listed([GATES[kind] for kind in kinds])}. The "
        "advice does not depend on them."
    )


# ---- promotion (vptlib.operations.gates) ----------------------------------------------------------------------------

_MAP_CHECKS = {
    "differences": "the maps mark a place",
    "faithful": "the answer depends on what they mark",
    "repeats_itself": "they follow the image",
    "depends_on_the_model": "they depend on the model",
}


@says
def gate_canaries_reproduced() -> str:
    return "The canaries give the same answers here as at export."


@says
def gate_canaries_not_reproduced(why: str) -> str:
    return f"The canaries were not reproduced here: {why}"


@says
def gate_first_classes(classes: int) -> str:
    return f"Nothing is in production yet, so its {classes:,} classes need not be the same as before."


@says
def gate_same_classes(classes: int) -> str:
    return f"Its {classes:,} classes are those of production, in the same order."


@says
def gate_other_classes(added: list[str], removed: list[str]) -> str:
    if not added and not removed:
        return "Its classes are those of production, but in another order. Whoever counts on the order must know."
    new, gone = f"new: {quoted(added)}" if added else "", f"gone: {quoted(removed)}" if removed else ""
    return f"Its classes are not those of production ({'; '.join(filter(None, [new, gone]))})."


@says
def gate_no_limits() -> str:
    return (
        "No limit was set before the test, so nothing shows that it is good enough: set `limits` in the YAML file, run "
        "the report and export again."
    )


@says
def gate_test_images_used(times: int, images: int) -> str:
    if not times:
        return f"It is the only version that was tested on these {many(images, 'test image')}."
    were = "was" if times == 1 else "were"
    return (
        f"{many(times, 'other version')} {were} tested on these same {many(images, 'test image')}. Each time that a "
        "version is chosen by them, its figures look better than they are. New test images have no such fault."
    )


@says
def gate_class_absent(kind: str, names: list[str]) -> str:
    return (
        f"The limit is for {quoted(names)}, which this version does not have, so it cannot be tested: correct the name "
        "in `limits`, or take the limit out, and export again."
    )


@says
def gate_rate(kind: str, names: list[str], limit: float, each_group: bool, finding: Statement) -> str:
    return f"{limit_in_words(kind, names, limit, each_group)}. {sentence(finding)}"


@says
def gate_no_production() -> str:
    return "Nothing is in production yet, so nothing can be worse than it."


@says
def gate_is_production() -> str:
    return "It is the version in production."


@says
def gate_other_test_images(images: int, of_production: int) -> str:
    return (
        f"It was tested on {many(images, 'test image')}, and production on {of_production:,}, which are not the same "
        "images. So the two cannot be compared: export both from reports with the same task and `test_images`."
    )


@says
def gate_no_worse(
    by: float, difference: float, bound: float, images: int, groups: int, shown: bool, needed: int | None
) -> str:
    drawn = f"{many(images, 'test image')} in {groups:,} groups" if groups else many(images, "test image")
    side = {"level": " with", "ahead": " of", "behind": ""}[ahead(difference).split()[-1]]
    worst = f"at most {_hundredths(-bound)} behind" if bound < 0 else f"at least {_hundredths(bound)} ahead"
    allowed = f"it may be up to {exact_points(by)} behind" if by else "it may not be behind"
    said = (
        f"On the same {drawn} it is {ahead(difference)}{side} production. With 95\u202f% confidence it is {worst}; "
        f"{allowed}."
    )
    if shown:
        return said
    if needed is None:
        return f"{said} At these rates more test images would not show it."
    return f"{said} If the rates stay, about {needed:,} test images would show it."


def _hundredths(fraction: float) -> str:
    """0.00984 → "0.98 points"."""
    return f"{decimals(100 * fraction, 2)} points"


@says
def gate_without_probabilities(limit: float) -> str:
    return (
        f"The calibration error is to be at most {exact_points(limit)}, but no probabilities were stored: run the "
        "report again with this version, and export again."
    )


@says
def gate_calibration(limit: float, error: float, high: float, images: int) -> str:
    kept = "no more" if high <= limit else "more"
    return (
        f"The probabilities miss by {in_points(error)} on average on {many(images, 'test image')}. The upper end of "
        f"the 95\u202f% interval is {_hundredths(high)}, {kept} than the {exact_points(limit)} allowed."
    )


@says
def gate_latency(limit: float, median: float, repeats: int, device: str, threads: int | None) -> str:
    kept = "no more than" if median <= limit else "more than"
    where = device if threads is None else f"{device}, {many(threads, 'thread')}"
    return (
        f"The model took {median:.3g}\u202fms for an image, {kept} the {limit:.4g}\u202fms allowed. It is the median "
        f"of {repeats} single images on this machine ({where}), without opening and preparing them."
    )


@says
def gate_latency_unknown(limit: float) -> str:
    return f"An image may take {limit:.4g}\u202fms, but the model could not be loaded here, so no time was measured."


@says
def gate_not_measured(kind: str) -> str:
    return (
        f"What it needs ({GATES[kind]}) was not measured at export: export it again with this limit in the YAML file."
    )


@says
def gate_robustness(corruption: str, severity: int, limit: float, clean: float, finding: Statement) -> str:
    return (
        f"Accuracy under {corruption} of severity {severity}: at least {limit_share(limit)} "
        f"({per_cent(clean)} without it). "
        f"{sentence(finding)}"
    )


@says
def gate_explanations(
    maps: str, passed: list[str], failed: list[str], undecided: list[str], images: int, needed: int | None
) -> str:
    parts = {"shown": passed, "refuted": failed, "not decided": undecided}
    said = [f"{word}: {listed([_MAP_CHECKS[name] for name in names])}" for word, names in parts.items() if names]
    more = "" if needed is None else f" About {needed:,} images would decide it."
    return f"Maps of kind {maps} on {many(images, 'test image')}; {'; '.join(said)}.{more}"


@says
def gate_explanations_impossible(maps: str, why: str) -> str:
    return f"This model can have no maps of kind {maps}: {why}"


# ---- versions and their history (vptlib.operations.registry) --------------------------------------------------------


@says
def ledger_fault(kind: str, number: int) -> str:
    what = {
        "changed": f"Entry {number} was changed after it was written.",
        "missing": f"Entry {number} was removed, or more from there on.",
        "forked": f"Before entry {number}, something was added that goes on from an entry that does not count.",
        "out_of_order": f"Entry {number} is not later than the entry before it.",
    }
    return what[kind]


@says
def moment_taken(at: str, zone: str, given: bool, hour: str) -> str:
    zone_of = "as given" if given else "that of this machine, because none was given"
    about = {
        "once": "",
        "twice": " The clocks showed this time twice, and the earlier one was taken.",
        "skipped": " The clocks were set forward over this time, and were taken to go on as before.",
    }
    return f"This is {at} in UTC. The time zone is {zone}, {zone_of}.{about[hour]}"


@says
def versions_not_compared(first: str, second: str) -> str:
    return (
        f"{first} and {second} were tested on other images or with other classes, so their answers cannot be compared "
        "one by one."
    )


@says
def versions_compared(first: str, second: str, flipped: int, gained: int, lost: int, p_value: float) -> str:
    if not flipped:
        return f"{first} and {second} give the same answer to every test image."
    return (
        f"{second} answers {many(flipped, 'test image')} otherwise than {first}: {gained:,} right that were wrong, "
        f"{lost:,} wrong that were right. A difference as large as this would come by chance with probability "
        f"{p_value:.2g} (McNemar's exact test)."
    )
