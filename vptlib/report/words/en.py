"""English sentences for what judgement found.

A function that is marked `@_says` is the sentence for the code of its name (`vptlib.statement.Statement`). Its
parameters are the values of that statement. Numbers are written by `vptlib.wording`.
"""

from collections.abc import Callable, Iterable

from vptlib.evidence.curves import A_AHEAD, B_AHEAD, CROSSES, OPEN
from vptlib.evidence.decision import (
    BELOW_MARGIN,
    COLLECT_MORE,
    FULL,
    FULL_BETTER,
    FULL_NOT_BETTER,
    HIGH,
    NO_DIFFERENCE,
    PROMPT,
    TO_FINE_TUNE,
    TO_PROMPT,
)
from vptlib.evidence.prices import LABEL_MORE, OPERATE, OUT_OF_SIGHT, PILOT
from vptlib.statement import Statement
from vptlib.tuning.methods import find_method
from vptlib.wording import decimals, duration, in_points, listed, many, per_cent, plain, rounded, storage

SENTENCES: dict[str, Callable[..., str]] = {}

# ---- codes in a word or two -------------------------------------------------------------------------------------

CHOICES = {
    TO_PROMPT: "prompt",
    TO_FINE_TUNE: "fine-tune",
    COLLECT_MORE: "collect more data",
    NO_DIFFERENCE: "no difference that matters",
}
# A choice for someone who has to act on it.
HEADLINES = {
    TO_PROMPT: "Use visual prompts",
    TO_FINE_TUNE: "Fine-tune the whole model",
    COLLECT_MORE: "Collect more labelled images",
    NO_DIFFERENCE: "No difference that matters: let cost decide",
}
LEVELS = {"low": "low", "medium": "medium", "high": "high"}
STEPS = {OPERATE: "operate", PILOT: "pilot", LABEL_MORE: "label more", OUT_OF_SIGHT: "out of sight"}
LEADS = {
    A_AHEAD: "a ahead throughout",
    B_AHEAD: "b ahead throughout",
    CROSSES: "crosses",
    OPEN: "not enough evidence",
}


# ---- helpers ----------------------------------------------------------------------------------------------------


def sentence(statement: Statement) -> str:
    """The sentence for a statement."""
    return SENTENCES[statement.code](**statement.values)


def title(method: str) -> str:
    """A method's title: "VPT-deep", "Full fine-tuning"."""
    return find_method(method).title


def in_prose(method: str) -> str:
    """A method's title within a sentence: "VPT-deep", "full fine-tuning"."""
    name = title(method)
    return name if name[1].isupper() else name[0].lower() + name[1:]


def interval(low: str, high: str) -> str:
    """ "3", "5 points" → "95 % interval: 3 to 5 points"."""
    return f"95\u202f% interval: {low} to {high}"


def ahead(difference: float) -> str:
    """-0.021 → "2.1 points behind"."""
    if _is_level(difference):
        return "level"
    return f"{in_points(abs(difference))} {'ahead' if difference > 0 else 'behind'}"


def ahead_interval(low: float, high: float) -> str:
    """(-0.03, 0.01) → "… 3 points behind to 1 point ahead"; (-0.03, -0.01) → "… 3 to 1 point behind"."""
    same_side = low * high > 0 and not (_is_level(low) or _is_level(high))
    return interval(plain(100 * abs(low)) if same_side else ahead(low), ahead(high))


def share(fraction: float, digits: int = 0) -> str:
    """Per cent of the resampled studies; no number of them can show certainty, so 0.995 → "more than 99 %"."""
    if fraction > 0.99:
        return f"more than {per_cent(0.99, 0)}"
    return f"less than {per_cent(0.01, 0)}" if fraction < 0.01 else per_cent(fraction, digits)


def _is_level(difference: float) -> bool:
    return plain(100 * abs(difference)) == "0"


def _says(words: Callable[..., str]) -> Callable[..., str]:
    SENTENCES[words.__name__] = words
    return words


# ---- recommendations (vptlib.evidence.decision) -------------------------------------------------------------------

_CLAIMS = {
    FULL_BETTER: f"{in_prose(FULL)} is better by the margin",
    FULL_NOT_BETTER: f"{in_prose(FULL)} is not better by the margin",
    BELOW_MARGIN: "the difference is below the margin",
}


@_says
def seen(n: int, images: int, prompt: float, full: float, difference: float, low: float, high: float) -> str:
    return (
        f"With {n:,} labelled images {in_prose(PROMPT)} is right on {per_cent(prompt)} of the {images:,} test images "
        f"and {in_prose(FULL)} on {per_cent(full)}: {in_prose(PROMPT)} is {ahead(difference)} "
        f"({ahead_interval(low, high)})."
    )


@_says
def within_margin(margin: float) -> str:
    return (
        f"The whole interval lies within {in_points(margin)}, called the least that matters. So take the lighter one: "
        "with prompts all tasks share one backbone."
    )


@_says
def prompt_not_worse(margin: float, clear: bool) -> str:
    lead = "is clearly ahead" if clear else "may be ahead"
    return (
        f"{title(PROMPT)} {lead}, and the interval rules out that {in_prose(FULL)} is better by {in_points(margin)} or "
        "more."
    )


@_says
def full_ahead(margin: float, certain: bool) -> str:
    least = in_points(margin)
    rest = f"by at least {least}, so its weight pays" if certain else f"and probably by {least} or more"
    return f"{title(FULL)} is clearly ahead, {rest}."


@_says
def full_maybe_better(margin: float, full_most: float) -> str:
    return (
        f"{title(FULL)} may be better by up to {in_points(full_most)}, but it may also be better by less than "
        f"{in_points(margin)}, the least that would justify its weight, or not at all."
    )


@_says
def both_open(margin: float, full_most: float, prompt_most: float) -> str:
    return (
        f"Both answers are open: {in_prose(FULL)} may be better by up to {in_points(full_most)}, {title(PROMPT)} by up "
        f"to {in_points(prompt_most)}, and {in_points(margin)} is the least that matters."
    )


@_says
def confidence(level: str, claim: str, probability: float, replicates: int, is_open: bool) -> str:
    of_what = " that this is open" if is_open else ""
    return f"Confidence {LEVELS[level]}{of_what}: {_holds_in(claim, probability, replicates, is_open)}."


@_says
def quick_look(claim: str, probability: float, replicates: int, is_open: bool) -> str:
    return (
        "Confidence low, for this is a quick look: with one seed the interval shows the choice of test images, not the "
        f"luck in drawing the training images. As far as it goes, {_holds_in(claim, probability, replicates, is_open)}."
    )


def _holds_in(claim: str, probability: float, replicates: int, is_open: bool) -> str:
    studies = f"in {share(probability)} of {replicates:,} resampled studies"
    return f"the likelier answer, that {_CLAIMS[claim]}, holds {studies}" if is_open else f"{studies} {_CLAIMS[claim]}"


@_says
def seeds_before_labels() -> str:
    return "Run at least three seeds before labelling more images: they need no new labels, only time."


@_says
def more_test_images(share: float, images: int) -> str:
    return f"{_from_test_images(share, images)}: more test images would narrow the interval most."


@_says
def more_seeds(share: float, images: int, seeds: int) -> str:
    source = _from_test_images(share, images)
    return f"Only {source}, the rest from the {seeds} seeds: more seeds would narrow the interval most."


def _from_test_images(share: float, images: int) -> str:
    return f"{per_cent(share, 0)} of the uncertainty comes from the choice of the {images:,} test images"


@_says
def lead_changes(n: float, low: float, high: float, leader: str) -> str:
    return (
        f"The lead changes at about {rounded(n)} labelled images ({interval(rounded(low), rounded(high))}); beyond, "
        f"{in_prose(leader)} leads."
    )


@_says
def lead_will_change(n: float, leader: str) -> str:
    return f"If both curves go on as they do, {in_prose(leader)} takes the lead at about {rounded(n)} labelled images."


@_says
def trend(gains: str, other: str, slope: float, low: float, high: float) -> str:
    return (
        f"With every doubling of the labelled images {in_prose(gains)} gains {in_points(slope)} on {in_prose(other)} "
        f"({interval(plain(100 * low), in_points(high))})."
    )


@_says
def linear_not_worse(best: str, difference: float, low: float, high: float) -> str:
    seen = _compared_with(best, difference, low, high)
    return f"The linear probe is no worse than the best, and the lightest of all: {seen}."


@_says
def linear_open(best: str, difference: float, low: float, high: float) -> str:
    seen = _compared_with(best, difference, low, high)
    return f"The linear probe, the lightest of all, cannot be told from the best: {seen}."


@_says
def linear_worse(best: str, difference: float, low: float, high: float) -> str:
    return f"The linear probe does not keep up: {_compared_with(best, difference, low, high)}."


def _compared_with(best: str, difference: float, low: float, high: float) -> str:
    return f"{ahead(difference)} compared with {in_prose(best)} ({ahead_interval(low, high)})"


@_says
def weight(prompt_bytes: int, full_bytes: int, prompt_seconds: float, full_seconds: float) -> str:
    return (
        f"Each further task stores {storage(prompt_bytes)} with {in_prose(PROMPT)} and {storage(full_bytes)} with "
        f"{in_prose(FULL)}, {full_bytes / prompt_bytes:,.0f} times as much; a training run takes "
        f"{duration(prompt_seconds)} and {duration(full_seconds)}."
    )


@_says
def more_labels_buy(method: str, n: int, gain: float, low: float, high: float) -> str:
    return (
        f"Twice as many labelled images ({n:,}) would lift {in_prose(method)} by about {in_points(gain)} "
        f"({interval(plain(100 * low), in_points(high))}), if its curve goes on as it does."
    )


@_says
def more_labels_unknown(method: str, caveat: Statement) -> str:
    return f"What more labels would buy {in_prose(method)} cannot be foretold: {sentence(caveat)}."


# ---- plans (vptlib.evidence.prices) -------------------------------------------------------------------------------


@_says
def operate(method: str) -> str:
    return f"Operate with {in_prose(method)}"


@_says
def pilot(method: str, accuracy: float) -> str:
    return f"Pilot with {in_prose(method)}: {per_cent(accuracy, 0)} is likely, not certain"


@_says
def label_more(labels: int) -> str:
    return f"Label about {rounded(labels)} images a task, then decide again"


@_says
def out_of_sight(accuracy: float) -> str:
    return f"{per_cent(accuracy, 0)} is out of sight: ask for less, or try another backbone"


@_says
def who_is_better(n: int, choice: str, confidence: str) -> str:
    said = {
        TO_PROMPT: "prompts are the right choice of the two",
        TO_FINE_TUNE: f"{in_prose(FULL)} is the right choice of the two",
        NO_DIFFERENCE: "the two differ by less than matters, so take the lighter one",
        COLLECT_MORE: "it is open which of the two is better",
    }[choice]
    return f"With {n:,} labels a task {said} (confidence {LEVELS[confidence]})."


@_says
def reach(method: str, accuracy: float, n: int, chance: float, known: bool, why: Statement) -> str:
    near_the_mark = abs(chance - HIGH) < 0.01  # where a rounded figure would hide which side it is on
    how_often = f"{share(chance, int(near_the_mark))} of the resampled studies"
    labels = sentence(why) if known else f"what more it would take is not known: {sentence(why)}"
    return f"{title(method)} reaches {per_cent(accuracy, 0)} with {n:,} labels in {how_often}; {labels}."


@_says
def measured(labels: int, low: float | None, high: float | None) -> str:
    return f"{labels:,} are enough as measured ({_sizes(low, high)})"


@_says
def forecast(labels: int, low: float | None, high: float | None) -> str:
    return f"by its curve it takes about {rounded(labels)} ({_sizes(low, high)})"


def _sizes(low: float | None, high: float | None) -> str:
    if low == high:
        return "in all of them"
    return interval(*("never" if end is None else rounded(end) for end in (low, high)))


@_says
def one_size() -> str:
    return "one size says nothing of larger ones"


@_says
def beyond_horizon(times: int) -> str:
    return f"its curve does not get there within {times} times the labels"


@_says
def both_will_do() -> str:
    return "Both do what is needed, so take the lighter one."


@_says
def only_one_will_do(method: str) -> str:
    return f"Only {in_prose(method)} surely does what is needed."


@_says
def no_price(tasks: int) -> str:
    return f"No number of labels can be named for {many(tasks, 'task')}, so none is priced."


@_says
def nothing_to_buy(tasks: int) -> str:
    return f"No further labels have to be bought for {many(tasks, 'task')}."


@_says
def bill(labels: int, tasks: int, label_price: float) -> str:
    return (
        f"{labels:,} further labels for {many(tasks, 'task')} cost {labels * label_price:,.0f} at {label_price:g} each."
    )


@_says
def stored(prompt_bytes: int, full_bytes: int) -> str:
    return (
        f"Stored for all tasks: {storage(prompt_bytes)} with {in_prose(PROMPT)} beside one backbone, "
        f"{storage(full_bytes)} with {in_prose(FULL)}."
    )


# ---- learning curves (vptlib.evidence.curves) ---------------------------------------------------------------------


@_says
def few_sizes(sizes: int) -> str:
    return f"there are only {sizes} sizes, and a line through two points cannot be wrong"


@_says
def error_rises(first: int, last: int) -> str:
    return f"the error does not fall from {first} to {last} labelled images"


@_says
def error_maybe_flat(first: int, last: int) -> str:
    return f"the error may as well be flat from {first} to {last} labelled images"


@_says
def error_off_curve(n: int) -> str:
    return f"the error at {n} labelled images lies off the curve by more than chance explains"


@_says
def who_leads(a: str, b: str, a_ahead_at: list[int], b_ahead_at: list[int], open_at: list[int], changes: int) -> str:
    found = [
        (f"{in_prose(a)} is clearly ahead", a_ahead_at),
        (f"{in_prose(b)} is clearly ahead", b_ahead_at),
        ("neither is clearly ahead", open_at),
    ]
    text = "; ".join(f"{lead} at {listed(sizes)}" for lead, sizes in found if sizes)
    several = f" The lead changes {changes} times; the last change is given." if changes > 1 else ""
    return f"{text[0].upper()}{text[1:]} labelled images.{several}"


# ---- the explainability checklist (vptlib.explanations.checklist) -----------------------------------------------

QUESTIONS = {
    "maps mark a place": "Does every map mark some place?",
    "answer depends on the map": "Does the answer hang on what the map marks?",
    "map points at the object": "Does the map point at the object?",
    "map depends on the model": "Does the map change when the model forgets all it knows?",
    "other kinds of map agree": "Do other methods tell the same story?",
    "shares add up": "Do the shares of Integrated Gradients add up?",
    "one model is more faithful": "Are one model's maps more faithful than the other's?",
    "another run gives the same maps": "Would another training run give the same maps?",
}
VERDICTS = {"holds": "holds", "does-not-hold": "does not hold", "open": "open"}
_UNDECIDED = "too few images to tell"
_COMPARED_WITH = {"depends on the model": "a random model's map", "another training run": "a second training run's map"}


@_says
def maps_mark(share: float, enough: bool) -> str:
    return f"{share:.0%} of the maps mark some place" + ("" if enough else ": maps without differences tell nothing")


@_says
def map_against_baseline(check: str, value: float, baseline: str, of_baseline: float, leads: bool | None) -> str:
    if check == "faithful":
        verdict = {True: "it leads", False: "it does not lead", None: _UNDECIDED}[leads]
        areas = f"insertion less deletion area {decimals(value)}, of the {baseline} map {decimals(of_baseline)}"
        return f"{areas}: {verdict}"
    verdict = {True: "it stands above", False: "it does not stand above", None: _UNDECIDED}[leads]
    what = {"pointing": "points at the object in", "energy": "share on the object"}[check]
    return f"{what} {value:.0%}, {baseline} map {of_baseline:.0%}: {verdict}"


@_says
def maps_compared(check: str, similarity: float, same: bool) -> str:
    verdicts = {
        ("depends on the model", True): "hardly changes when the model is made to forget",
        ("depends on the model", False): "changes with the model",
        ("another training run", True): "much the same",
        ("another training run", False): "another run marks other places",
    }
    return f"likeness to {_COMPARED_WITH[check]} {decimals(similarity)}: {verdicts[check, same]}"


@_says
def maps_not_compared(check: str, compared: int, maps: int) -> str:
    known = f"only {compared} of {maps} maps have differences to compare"
    return f"likeness to {_COMPARED_WITH[check]} not known: {known}"


@_says
def object_unknown() -> str:
    return "where the object is, this task does not know"


@_says
def kinds_compared(mean: float, least: float, most: float) -> str:
    spread = f"from {decimals(least)} to {decimals(most)}"
    return f"likeness to the other methods' maps {decimals(mean)} on average, {spread}"


@_says
def shares_off_by(error: float, allowed: float) -> str:
    return f"off by {error:.1%} of the change in the logit on average ({allowed:.0%} allowed)"


@_says
def faithfulness_differs_by(difference: float, low: float, high: float) -> str:
    lead, least, most = (decimals(value, signed=True) for value in (difference, low, high))
    return f"difference {lead}, 95\u202f% interval {least} to {most}"


@_says
def model_leads(method: str | None) -> str:
    return f"{title(method)} leads" if method else "neither leads"


@_says
def one_model_examined() -> str:
    return "one model examined"


# ---- protocol, rules and conditions (vptlib.study.protocol, vptlib.data.conditions) -------------------------------

RULES = {
    "images": "Images",
    "tuning": "Tuning",
    "final_run": "Final run",
    "training": "Training",
    "prompts": "Prompts",
    "test": "Test",
    "seeds": "Seeds",
    "conditions": "Conditions",
}
OPTIMISERS = {"sgd": "SGD", "adamw": "AdamW"}


def protocol(rules: dict[str, Statement]) -> dict[str, str]:
    """The rules of `vptlib.study.study.Study.protocol`, label to sentence, in the same order."""
    return {RULES[about]: sentence(rule) for about, rule in rules.items()}


def _in_a_row(values: Iterable) -> str:
    return ", ".join(map(str, values))


@_says
def images_of_equal_budget(sizes: list[int]) -> str:
    return (
        "n counts all labelled images used: 80 % of them train, 20 % validate. For one seed the smaller sets are part "
        f"of the larger ones; every method gets the same images. Sizes: {_in_a_row(sizes)}."
    )


@_says
def tuning_of_equal_budget(candidates: int | str, seeds: int) -> str:
    tried = "All learning rates" if candidates == "all" else many(candidates, "learning rate")
    taken_over = " and taken over by the other seeds" if seeds > 1 else ""
    return (
        f"{tried} per method and size, chosen on the validation images of the first seed, the same number for every "
        f"method{taken_over}."
    )


@_says
def training_of_equal_budget(steps: int, batch_size: int) -> str:
    return (
        f"{steps} optimiser steps of up to {batch_size} images for every run of every method (AdamW, linear warm-up, "
        "cosine decay, no augmentation); the weights best on validation images are kept."
    )


@_says
def prompts_given(num_prompts: int) -> str:
    return f"{num_prompts} per prompted layer."


@_says
def images_of_published_rules(sizes: list[int]) -> str:
    return f"n counts all labelled images used, those for tuning included. Sizes: {_in_a_row(sizes)}."


@_says
def tuning_of_published_rules(settings: dict[str, int], whole_grid: bool, official_split: bool) -> str:
    aside = "the task sets aside (val200.txt)" if official_split else "were set aside (a fifth, stratified)"
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
    each = _in_a_row(f"{title(method)} {number}" for method, number in settings.items())
    return f"{each} (a larger grid is a larger chance to find a good setting: the published grids are not equal)"


@_says
def final_run_of_published_rules() -> str:
    return (
        "All n images train with the chosen setting, one run a seed. Nothing is chosen afterwards: the weights after "
        "the last step are tested. A run that diverges counts with what it then predicts."
    )


@_says
def training_of_published_rules(epochs: int, batch_size: int, optimisers: dict[str, str]) -> str:
    passes = "1 pass" if epochs == 1 else f"{epochs} passes"
    each = _in_a_row(f"{title(method)} with {OPTIMISERS[name]}" for method, name in optimisers.items())
    return (
        f"{passes} over the images, up to {batch_size} a step, linear warm-up over the first tenth, cosine decay, no "
        f"augmentation: {each} (momentum 0.9 with SGD)."
    )


@_says
def prompts_of_published_rules(lengths: list[int], dropout: float) -> str:
    return f"Their number is part of the setting ({_in_a_row(lengths)}); deep prompts have a dropout of {dropout:g}."


@_says
def tested_once(images: int) -> str:
    return f"{images} test images, the same for all runs, looked at once a run and never for a choice."


@_says
def seeds_given(seeds: list[int]) -> str:
    quick = ": a quick look. Intervals show the choice of test images only" if len(seeds) == 1 else ""
    return f"{len(seeds)} ({_in_a_row(seeds)}){quick}."


@_says
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


# ---- the check of images (vptlib.data.check) ------------------------------------------------------------------------

_THE_SAME = {"exact": "the same image", "near": "almost the same image"}


@_says
def unreadable_files(bad: int, files: int, messages: list[str]) -> str:
    more = f" and {bad - len(messages)} more" if bad > len(messages) else ""
    return (
        f"{bad} of {files} files cannot be read: {'; '.join(messages)}{more}. Or add ?skip=unreadable to the name of "
        "the task to leave them out."
    )


@_says
def size_not_possible(n: int, message: str) -> str:
    return f"A study with {n} labelled images: {message}"


@_says
def duplicates(kind: str, where: str, pairs: int, first: str, second: str) -> str:
    fix = ": test results will flatter; keep such images on one side." if where.startswith("across") else "."
    return _pairs(kind, where, pairs, first, second) + fix


@_says
def duplicates_of_different_classes(kind: str, pairs: int, first: str, second: str) -> str:
    found = _pairs(kind, "of different classes", pairs, first, second)
    return f"{found}: one of the two labels is wrong, or the classes overlap."


def _pairs(kind: str, which: str, pairs: int, first: str, second: str) -> str:
    number = f"{pairs} pairs {which} show" if pairs > 1 else f"1 pair {which} shows"
    return f"{number} {_THE_SAME[kind]}, such as {first} and {second}"


@_says
def rare_class(common: str, most: int, rare: str, least: int) -> str:
    return (
        f"Class {common!r} has {most} training images and {rare!r} {least}: accuracy then says little about the rare "
        "class."
    )


@_says
def image_modes(modes: dict[str, int]) -> str:
    each = _in_a_row(f"{mode} {number}" for mode, number in modes.items())
    return f"Modes: {each}. All are turned into 8-bit RGB."


@_says
def small_images(images: int, side: int) -> str:
    return f"{images} images are smaller than {side} px on a side, and will be enlarged."


@_says
def groups_apart(groups: int) -> str:
    return f"{groups} groups: none of them is on both sides of a split."


@_says
def licence_given(licence: str) -> str:
    return f"Licence: {licence}."
