"""Sentences on money (`vptlib.evidence.money`)."""

from babel.numbers import get_currency_name

from vptlib.report.words.en.audit import capitalised
from vptlib.report.words.en.base import in_prose, says, share
from vptlib.report.words.en.recommendations import the_method
from vptlib.wording import in_points, listed, many, per_cent, plain, rounded

# ---- money (vptlib.evidence.money) --------------------------------------------------------------------------------

# Each price: its name, and its unit after the figure.
PRICES = {
    "label_price": ("Price of a label", "an image"),
    "point_value": ("Value of a point of accuracy", "a task and year"),
    "tasks_planned": ("Tasks planned", "tasks"),
    "horizon_years": ("Horizon", "years"),
    "discount_rate": ("Discount rate", "a year"),
    "checks_per_month": ("Checked answers", "a task and month"),
    "retrainings_per_year": ("Retrainings", "a task and year"),
    "engineer_days_per_project": ("Engineer days for the project", "days"),
    "engineer_days_per_task": ("Engineer days for a task", "days"),
    "engineer_days_per_retraining": ("Engineer days for a retraining", "days"),
    "engineer_day_price": ("Price of an engineer's day", "a day"),
    "compute_hour_price": ("Price of an hour of computing", "an hour"),
    "storage_price": ("Price of storage", "a GB and year"),
    "serving_price": ("Price of a model in memory", "a model and year"),
    "accuracy": ("Difference in accuracy", "points"),
}
BILL_ITEMS = {
    "labels": "Labels to train and to test",
    "set_up": "Engineer days to set up",
    "training": "First training",
    "checks": "Checked answers",
    "retraining": "Retraining, on the checked answers",
    "storage": "Storage",
    "serving": "Models in memory",
}
ORIGINS = {True: "given", False: "assumed"}
# Whether accuracy has a value in the comparison, or costs are compared alone.
_WAY = {True: "better", False: "cheaper"}
_ASKED_FOR = {"seeds": "seed", "test_images": "test image"}


def money(amount: float) -> str:
    """A sum to two significant digits, at most two of them decimals: 34_256 → "34,000", -0.123 → "−0.12"."""
    size = round(abs(amount), 2)
    text = rounded(size) if size >= 10 else f"{size:.2g}"
    return f"\u2212{text}" if amount < 0 and float(f"{size:.2g}") else text


def money_span(low: float, likely: float, high: float) -> str:
    """ "34,000 (21,000 to 60,000)", or one figure where there is no range."""
    ends = money(low), money(high)
    return money(likely) if ends[0] == ends[1] else f"{money(likely)} ({ends[0]} to {ends[1]})"


def currency(code: str) -> str:
    """ "USD" → "US dollars"; without a code, the currency that a price was given in."""
    return get_currency_name(code, count=2, locale="en") if code else "the currency of label_price"


def tasks(number: float) -> str:
    """10.0 → "10 tasks"."""
    return many(f"{number:,.0f}", "task")


def bill_of(method: str) -> str:
    """Over the items of a bill."""
    return f"The bill of {the_method(method)}"


def tornado_axis(a: str, b: str, valued: bool) -> str:
    """Below the tornado figure: what its bars measure."""
    what = "brings more than" if valued else "costs less than"
    return f"What {the_method(a)} {what} {the_method(b)}, over the horizon"


def labels_each(needed: float, labels: dict[str, int]) -> str:
    """With how many labels each way reaches the accuracy that is needed, of the sizes that were run."""
    each = listed(f"{in_prose(method)} with {n:,}" for method, n in labels.items())
    return f"Of the sizes that were run, {each} labelled images reach {per_cent(needed, 0)}."


@says
def not_priced() -> str:
    return "Nothing is priced: give label_price, the price of one labelled image, in the YAML file."


@says
def none_to_price() -> str:
    return "No way is advised, so none is priced."


@says
def priced(
    method: str, tasks_planned: float, years: float, total: list[float], labelling: float, rival: str | None,
    rival_total: list[float] | None, assumed: int,
) -> str:  # fmt: skip
    other = ""
    if rival is not None and rival_total is not None:
        other = f" {capitalised(the_method(rival))} costs {money_span(*rival_total)}."
    guessed = f" {many(assumed, 'figure')} behind it {'is' if assumed == 1 else 'are'} assumed." if assumed else ""
    return (
        f"For {tasks(tasks_planned)} and {many(plain(years), 'year')} {the_method(method)} costs {money_span(*total)}. "
        f"Labels and checked answers are {per_cent(labelling, 0)} of that.{other}{guessed}"
    )


@says
def further_labels(tasks_planned: float, train: int, test: int, checks: int) -> str:
    checked = f"In operation {checks:,} answers a year are checked."
    if tasks_planned <= 1:
        return f"No further labels are needed to begin: the study's own images serve its task. {checked}"
    return f"For {tasks(tasks_planned)} {train:,} further labels are needed to train and {test:,} to test. {checked}"


@says
def brings_more(a: str, b: str, lead: list[float], probability: float, valued: bool) -> str:
    low, likely, high = lead
    if likely < 0:
        a, b, probability, (low, likely, high) = b, a, 1 - probability, (-high, -likely, -low)
    span = money_span(low, likely, high)
    if not valued:
        return (
            f"{capitalised(the_method(a))} costs {span} less than {the_method(b)}. What a point of accuracy "
            f"is worth was not given "
            "(point_value), so accuracy is not in it."
        )
    return (
        f"Accuracy and costs together, {the_method(a)} brings {span} more than {the_method(b)}; it is the "
        f"better one in "
        f"{share(probability)} of the draws."
    )


def _turning(name: str, value: float) -> str:
    return f"{value:,.0f}" if name == "tasks_planned" and value >= 10 else money(value)


@says
def turns_at(
    name: str, value: float, low: float, high: float, share: float, below: str, above: str, valued: bool
) -> str:
    what = f"{_turning(name, value)} tasks" if name == "tasks_planned" else f"{_turning(name, value)} for a label"
    ends = f"{_turning(name, low)} to {_turning(name, high)}"
    some = f" In {per_cent(1 - share, 0)} of the draws there is no such point." if share < 0.95 else ""
    return f"Below {what} ({ends}) {the_method(below)} is the {_WAY[valued]} way, above it {the_method(above)}.{some}"


@says
def turns_nowhere(name: str, least: float, most: float, better: str, share: float, valued: bool) -> str:
    where = (
        f"from {least:,.0f} to {most:,.0f} tasks" if name == "tasks_planned" else f"for labels at up to {money(most)}"
    )
    some = f" In {per_cent(share, 0)} of the draws that changes somewhere." if share > 0.05 else ""
    return f"{capitalised(the_method(better))} is the {_WAY[valued]} way {where}.{some}"


@says
def worth_asking(kind: str, amount: int, worth: float, price: float, pays: bool) -> str:
    what = many(amount, f"further {_ASKED_FOR[kind]}")
    so = "more than that" if pays else "not more than that"
    return f"{capitalised(what)}: the price is {money(price)}. What they show is worth {so} on average, {money(worth)}."


@says
def labels_must_bring(labels: int, tasks_planned: float, price: float, gain: float) -> str:
    return (
        f"{labels:,} further labels to train, for each of {tasks(tasks_planned)}: the price is {money(price)}, so they "
        f"pay if they bring more than {in_points(gain)}."
    )
