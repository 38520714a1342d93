"""Sentences on the rules of a comparison (`vptlib.study.protocol`, `vptlib.data.conditions`)."""

from collections.abc import Iterable

from vptlib.report.words.en.base import says, sentence, title
from vptlib.statement import Statement
from vptlib.wording import duration, listed, many, per_cent

# ---- protocol, rules and conditions (vptlib.study.protocol, vptlib.data.conditions) -------------------------------

RULES = {
    "images": "Images",
    "input": "Input",
    "augmentation": "Augmentation",
    "tuning": "Tuning",
    "final_run": "Final run",
    "training": "Training",
    "solved": "Solved",
    "strong": "Strong form",
    "prompts": "Prompts",
    "test": "Test",
    "seeds": "Seeds",
    "conditions": "Conditions",
}
OPTIMISERS = {"sgd": "SGD", "adamw": "AdamW"}


def protocol(rules: dict[str, Statement]) -> dict[str, str]:
    """The rules of `vptlib.study.study.Study.protocol`, label to sentence, in the same order."""
    return {RULES[about]: sentence(rule) for about, rule in rules.items()}


def in_a_row(values: Iterable) -> str:
    return ", ".join(map(str, values))


@says
def images_of_equal_budget(sizes: list[int], validating: list[float], nested: bool, groups_apart: bool | None) -> str:
    low, high = (round(100 * share) for share in validating)
    parts = f"{100 - low} % of them train, {low} % validate" if low == high else _from_to(low, high)
    of_groups = {
        True: " No group both trains and validates.",
        False: " Some groups both train and validate.",
        None: "",
    }[groups_apart]
    smaller = "For one seed the smaller sets are part of the larger ones; every" if nested else "Every"
    return (
        f"n counts all labelled images used: {parts}.{of_groups} {smaller} method gets the same images. Sizes: "
        f"{in_a_row(sizes)}."
    )


def _from_to(low: int, high: int) -> str:
    return f"{low} to {high} % of them validate, depending on the size, and the others train"


@says
def tuning_of_equal_budget(candidates: int | str, seeds: int) -> str:
    tried = "All learning rates" if candidates == "all" else many(candidates, "learning rate")
    taken_over = " and taken over by the other seeds" if seeds > 1 else ""
    return (
        f"{tried} per method and size, chosen on the validation images of the first seed, the same number for every "
        f"method{taken_over}."
    )


@says
def training_of_equal_budget(steps: int, batch_size: int) -> str:
    return (
        f"{steps} optimiser steps of up to {batch_size} images for every run of every method (AdamW, linear warm-up, "
        "cosine decay, no augmentation); the weights best on validation images are kept."
    )


_ASPECTS = {
    "squash": "scaled to the square",
    "crop": "the short side is scaled and the middle is cut out",
    "pad": "the long side is scaled and bars are added",
}


@says
def input_given(size: int, aspect: str, origin: str, precision: str, augmentation: str) -> str:
    how = {
        "chosen": "chosen on the labelled images before any training",
        "own": "the backbone's own size, because no other is possible or would show more",
        "given": "given",
    }[origin]
    arithmetic = " Computed in bfloat16." if precision == "bf16" else ""
    plain = "; no augmentation" if augmentation == "none" else ""
    return f"{size} × {size} px, {how}; {_ASPECTS[aspect]}{plain}.{arithmetic}"


@says
def augmentation_given(shift: int, change: float, mirror: bool, without: list[str], head_solved: list[str]) -> str:
    half = (
        "Half of the images, at random, are mirrored left to right."
        if mirror
        else "No image is mirrored, because a label may depend on left and right."
    )
    frozen, heads = (listed([title(method) for method in of]) if of else "" for of in (without, head_solved))
    none = f" None for {frozen}, whose frozen layers need to see each image only once." if frozen else ""
    solved = f" {heads}: the head is first solved without." if heads else ""
    return (
        f"At each training step an image is shifted by up to 1/{shift} of its side, and its brightness and contrast "
        f"change by up to {per_cent(change, 0)}; every method gets the same images. {half}{none}{solved} Validation "
        "and test images stay as they are."
    )


@says
def tuning_until_done(candidates: int, growth: int, seeds: int) -> str:
    whose = "Each seed chooses for itself, on its own validation images" if seeds > 1 else "Validation images decide"
    return (
        f"{many(candidates, 'learning rate')} per method and size, a factor of √10 apart, the same number for every "
        f"method. {whose}; after each round the worse half stops. The usual rate "
        "stays unless another is better by more than one standard error. If the best rate is at the edge, the next one "
        f"is tried too, at most {growth} times."
    )


@says
def training_until_done(steps: int, batch_size: int, patience: int, between: int) -> str:
    return (
        f"Until {patience} evaluations in a row, {between} steps apart, show no progress on validation images, or "
        f"{steps:,} steps of up to {batch_size} images, the same for every method (AdamW: linear warm-up, constant "
        "rate, linear fall at the end). The weights best on validation images are kept."
    )


@says
def solved_methods(methods: list[str]) -> str:
    return (
        f"{listed([title(method) for method in methods])}: solved to convergence on the frozen features; the strength "
        "is chosen from a whole path on validation images."
    )


_STRENGTHS = {
    "layer_decay": "lower layers learn more slowly (factor {:g} a layer)",
    "drop_path": "blocks are skipped at random (drop-path up to {:g})",
}


@says
def strong_methods(options: dict[str, dict]) -> str:
    parts = [
        f"{title(method)}: {listed([_STRENGTHS[name].format(value) for name, value in own.items()])}"
        for method, own in options.items()
    ]
    return "; ".join(parts) + "."


@says
def prompts_given(num_prompts: int) -> str:
    return f"{num_prompts} per prompted layer."


@says
def images_of_published_rules(sizes: list[int]) -> str:
    return f"n counts all labelled images used, those for tuning included. Sizes: {in_a_row(sizes)}."


@says
def tuning_of_published_rules(
    settings: dict[str, int], whole_grid: bool, official_split: bool, whole_groups: bool
) -> str:
    how = "about a fifth, in whole groups" if whole_groups else "a fifth, stratified"
    aside = "the task sets aside (val200.txt)" if official_split else f"were set aside ({how})"
    drawn = "" if whole_grid else ", the first of an order drawn once from the published grid (seed 0)"
    return (
        f"Settings (learning rate, weight decay, prompt length) are chosen on the images that {aside}, by accuracy "
        "after the last step and of equals by the lower loss, with the first seed alone. "
        f"Tried: {_settings_tried(settings)}{drawn}."
    )


def _settings_tried(settings: dict[str, int]) -> str:
    numbers = list(settings.values())
    if len(set(numbers)) == 1:
        return f"{numbers[0]} for every method"
    each = in_a_row(f"{title(method)} {number}" for method, number in settings.items())
    return f"{each} (a larger grid is a larger chance to find a good setting: the published grids are not equal)"


@says
def final_run_of_published_rules() -> str:
    return (
        "All n images train with the chosen setting, one run a seed. Nothing is chosen afterwards: the weights after "
        "the last step are tested. A run that diverges counts with what it then predicts."
    )


@says
def training_of_published_rules(epochs: int, batch_size: int, optimisers: dict[str, str]) -> str:
    passes = "1 pass" if epochs == 1 else f"{epochs} passes"
    each = in_a_row(f"{title(method)} with {OPTIMISERS[name]}" for method, name in optimisers.items())
    return (
        f"{passes} over the images, up to {batch_size} a step, linear warm-up over the first tenth, cosine decay, no "
        f"augmentation: {each} (momentum 0.9 with SGD)."
    )


@says
def prompts_of_published_rules(lengths: list[int], dropout: float) -> str:
    return f"Their number is part of the setting ({in_a_row(lengths)}); deep prompts have a dropout of {dropout:g}."


@says
def time_fits(runs: int, missing: int, seconds: float) -> str:
    if not runs:
        return f"None of {many(missing, 'run')} fits into the time."
    return f"{runs} of {many(missing, 'run')} fit into the time; they should take {duration(seconds)}."


@says
def size_for_the_time(size: int, wanted: int) -> str:
    return f"Images of {wanted} px would be better, but take too long for this time: they are {size} px here."


@says
def runs_left_out(runs: int, by_size: list[dict]) -> str:
    parts = [
        f"{listed([title(method) for method in part['methods']])} with {part['n']:,} images "
        f"({'seed' if len(part['seeds']) == 1 else 'seeds'} {in_a_row(part['seeds'])})"
        for part in by_size
    ]
    return (
        f"{many(runs, 'run')} not made: {'; '.join(parts)}. There was no time, or the training failed. The same "
        "command with more time goes on."
    )


@says
def tested_once(images: int, asked: int | None = None) -> str:
    fewer = f" All that there are: {asked:,} were asked for." if asked else ""
    return f"{images} test images, the same for all runs, looked at once a run and never for a choice.{fewer}"


@says
def seeds_given(seeds: list[int]) -> str:
    quick = ": a quick look. Intervals show the choice of test images only" if len(seeds) == 1 else ""
    return f"{len(seeds)} ({in_a_row(seeds)}){quick}."


@says
def conditions(label_noise: float, noise: str, imbalance: float, corruption: str, severity: int) -> str:
    """ "" where nothing is changed."""
    parts = []
    if label_noise:
        way = "any other class" if noise == "symmetric" else "always the next class"
        parts.append(f"{label_noise:.0%} of the labelled images carry a wrong label ({way})")
    if imbalance > 1:
        parts.append(f"the commonest class has {imbalance:g} times the images of the rarest")
    if corruption:
        parts.append(f"test images suffer {corruption}, severity {severity} of 5")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""
