"""Sentences on the audit of a study's runs (`vptlib.evidence.audit`)."""

from vptlib.evidence.audit import NOTE, WARNING
from vptlib.report.words.en.base import in_prose, says, title
from vptlib.wording import listed, many, per_cent

# ---- the audit of a study's runs (vptlib.evidence.audit) ----------------------------------------------------------

AUDIT = {WARNING: "Warning", NOTE: "Note", "clean": "No warning"}
_FINDINGS = {
    "collapsed": "{runs} of {methods} are not clearly better than always naming the commonest class.",
    "seeds_diverge": "{runs} of {methods} are far below the other seeds.",
    "accuracy_falls": "Accuracy falls with more labelled images: {methods} ({runs}).",
    "best_at_last_step": (
        "Training was cut short in {runs} of {methods}: their last step was their best one. Give more steps."
    ),
    "choice_at_edge": "{runs} of {methods} chose at the edge of what was tried. Try further values.",
    "candidate_diverged": "Some learning rates diverged in {runs} of {methods}. Others were chosen.",
}


def audit_is_clean() -> str:
    """Where the audit has no warning."""
    return (
        "The audit looks for runs cut short, choices at the edge of what was tried, accuracy that falls with more "
        "labels, and seeds far below the others. It found none."
    )


def findings_together(code: str, methods: list[str], runs: int) -> str:
    """Several findings of one code, about so many runs, in one sentence."""
    return _FINDINGS[code].format(methods=listed(map(in_prose, methods)), runs=many(runs, "run"))


def _at(method: str, n: int) -> str:
    return f"{in_prose(method)} with {n:,} labelled images"


def capitalised(text: str) -> str:
    return text[0].upper() + text[1:]


def seeds_listed(seeds: list[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {listed(seeds)}"


@says
def best_at_last_step(method: str, n: int, seeds: list[int], steps: int) -> str:
    return (
        f"{capitalised(_at(method, n))} is best at its last step, step {steps:,} ({seeds_listed(seeds)}): "
        f"training was cut "
        "short. Give more steps."
    )


@says
def choice_at_edge(
    method: str, n: int, side: str, chosen: float, tried: list[float], further: float, solved: bool
) -> str:
    who = capitalised(_at(method, n))
    if solved:
        return f"{who} chose the {side} strength of its path, {chosen:g} (of {tried[0]:g} to {tried[-1]:g})."
    each = listed(f"{rate:g}" for rate in tried)
    return f"{who} chose the {side} learning rate, {chosen:g}, of those tried ({each}). Try {further:g} too."


@says
def candidate_diverged(method: str, n: int, rates: list[float]) -> str:
    several = "s" if len(rates) > 1 else ""
    each = listed(f"{rate:g}" for rate in rates)
    return f"Training of {_at(method, n)} diverged with learning rate{several} {each}. Another was chosen."


@says
def accuracy_falls(method: str, smaller: int, larger: int, before: float, after: float, seeds: int, images: int) -> str:
    chance = "seeds and the choice of test images" if seeds > 1 else "the choice of test images"
    return (
        f"{title(method)} falls from {per_cent(before)} with {smaller:,} labelled images to {per_cent(after)} with "
        f"{larger:,}, on the same {images:,} test images ({many(seeds, 'seed')}): more than {chance} explains."
    )


@says
def seeds_diverge(method: str, n: int, seeds: list[int], accuracy: float, others: float) -> str:
    each = " on average" if len(seeds) > 1 else ""
    return (
        f"{capitalised(_at(method, n))}: {seeds_listed(seeds)} reached {per_cent(accuracy)}{each}, the rest "
        f"{per_cent(others)}. "
        "The choice of test images does not explain that."
    )


@says
def collapsed(method: str, n: int, seeds: list[int], accuracy: float, without_looking: float) -> str:
    return (
        f"{capitalised(_at(method, n))} is right on {per_cent(accuracy)} of the test images "
        f"({seeds_listed(seeds)}). That is "
        f"not clearly more than by always naming the commonest class ({per_cent(without_looking)})."
    )


@says
def trained_out(runs: int) -> str:
    ended = "The only run ended by itself" if runs == 1 else f"All {runs:,} runs ended by themselves"
    return f"{ended}, not because the steps were used up."


@says
def not_trained_out(cut: int, runs: int, methods: list[str]) -> str:
    return (
        f"{cut:,} of {many(runs, 'run')} ended because the steps were used up, not by themselves: "
        f"{listed(map(in_prose, methods))}."
    )


@says
def length_is_fixed(runs: int) -> str:
    ran = "The only run" if runs == 1 else f"All {runs:,} runs"
    return f"{ran} had the length that the rules fix. Whether training was done is not known."
