"""The parts of a report about money: bills, what is assumed, what the order of two ways hangs on."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from IPython.display import HTML

from vptlib.evidence.contest import Contest, rival_of
from vptlib.evidence.money import (
    ONCE,
    Bill,
    Pair,
    bills,
    comparison,
    further_labels,
    handicaps,
    price_sentence,
    turning,
    worth_asking,
)
from vptlib.evidence.prices import BOUNDS, Prices
from vptlib.evidence.recommendation import ASKED_FOR, NOTHING_WORKS, Aims, Recommendation
from vptlib.evidence.resampling import joint
from vptlib.evidence.stages import labels_needed
from vptlib.report.figure_html import figure
from vptlib.report.money_charts import tornado_figure
from vptlib.report.sections.basic import facts, folded, heading, table
from vptlib.report.words import gettext as _
from vptlib.report.words import words
from vptlib.statement import Statement, statement


def money_part(
    runs: pd.DataFrame, asked: Mapping[str, Any], advice: Recommendation, margin: float = 0.01
) -> list[HTML]:
    """Heading, bills, the two ways compared, what is assumed; one sentence only where nothing is priced.

    Args:
        runs: one task's table.
        asked: settings of the report: prices, and `accuracy_needed` or `accuracy_today`, with which each way is also
            compared at the labels it needs.
        advice: the recommendation for these runs.
        margin: the smallest difference in accuracy that matters, a fraction.
    """
    prices = Prices.among(asked)
    head = heading(_("In money"))
    first = words.sentence(price_of(runs, asked, advice))
    found = bills(runs, prices)
    if not found or advice.choice == NOTHING_WORKS:
        return [head, facts({_("Money"): first})]
    method, rival = _two(advice, found)
    return [
        head,
        facts(
            {
                _("Money"): first,
                _("Currency"): words.currency(asked.get("currency", "")),
                _("Labels"): words.sentence(further_labels(found[method], prices)),
                **_asking(_worth(runs, prices, advice, margin)),
            }
        ),
        _bills(found, prices),
        *_compared(runs, prices, method, rival, bar_of(asked)),
        folded(words.bill_of(method), [_items(found[method])]),
        folded(_("The figures behind it"), [_assumptions(prices)]),
    ]


def price_of(runs: pd.DataFrame, asked: Mapping[str, Any], advice: Recommendation) -> Statement:
    """The sentence about money for the first page; arguments as for `money_part`."""
    prices = Prices.among(asked)
    found = bills(runs, prices)
    if found and advice.choice == NOTHING_WORKS:
        return statement("none_to_price")
    return price_sentence(found, prices, *(_two(advice, found) if found else (None, None)))


def bar_of(asked: Mapping[str, Any]) -> float | None:
    """The accuracy to reach; None also for a present way that is never right, which anything reaches."""
    return Aims(needed=asked.get("accuracy_needed"), today=asked.get("accuracy_today")).bar or None


def _two(advice: Recommendation, found: Mapping[str, Bill]) -> tuple[str, str | None]:
    """The method to price, and the one that is most probably right if it is not."""
    cheapest = min(found, key=lambda one: found[one].total.likely)
    method = advice.method if advice.method and advice.method in found else cheapest
    rival = rival_of(method, [one for one in advice.candidates.values() if one.method in found])
    return method, rival.method if rival else None


def _worth(runs: pd.DataFrame, prices: Prices, advice: Recommendation, margin: float) -> list[Statement]:
    """What further seeds, test images and labels would be worth: as many as are asked for, or as there are."""
    if not advice.candidates or not prices.weighs_accuracy:
        return []
    contest = Contest(runs, joint(runs, advice.n), margin, handicaps(runs, prices))
    amounts = {"seeds": advice.seeds, "test_images": advice.images, "labels": advice.n}
    asked = advice.reasons[1]
    if asked.code == "open_between":
        amounts[ASKED_FOR[advice.choice]] = asked.values["wanted"] - asked.values["now"]
    gains = {
        "seeds": contest.worth_of_more(seeds=advice.seeds + amounts["seeds"]),
        "test_images": contest.worth_of_more(images=advice.images + amounts["test_images"]),
    }
    return worth_asking(runs, prices, gains, amounts)


def _asking(asked: list[Statement]) -> dict[str, str]:
    labels = {"seeds": _("More seeds"), "test_images": _("More test images"), "labels": _("More labels")}
    return {labels[found.values.get("kind", "labels")]: words.sentence(found) for found in asked}


def _bills(found: dict[str, Bill], prices: Prices) -> HTML:
    """A row for each way."""
    rows = [
        [
            words.title(method),
            _("one for each task") if bill.own_models else _("one for all tasks"),
            *(words.money_span(*span) for span in (bill.once, bill.yearly, bill.total)),
        ]
        for method, bill in found.items()
    ]
    years = words.plain(prices.of("horizon_years").likely)
    in_all = _("In all, over {years} years").format(years=years)
    columns = [_("Way"), _("Models in memory"), _("Once"), _("In a year"), in_all]
    caption = _(
        "From here on, for {tasks}: as likely, with the range in which 95\u202f% of the draws lie. Labels, checked "
        "answers and engineer days are the same for all ways"
    ).format(tasks=words.tasks(prices.of("tasks_planned").likely))
    return table(pd.DataFrame(rows, columns=columns), caption)


def _items(bill: Bill) -> HTML:
    """The items of one bill."""
    rows = [
        [words.BILL_ITEMS[item], _("once") if item in ONCE else _("in a year"), words.money_span(*span)]
        for item, span in bill.items.items()
    ]
    return table(pd.DataFrame(rows, columns=[_("Item"), _("Paid"), _("Sum")]), words.bill_of(bill.method))


def _assumptions(prices: Prices) -> HTML:
    """Every figure behind the bills, with its unit and where it comes from."""
    rows = [
        [words.PRICES[name][0], _value(prices, name), words.PRICES[name][1], words.ORIGINS[prices.given(name)]]
        for name in prices.known()
    ]
    caption = _("The figures behind it: likely (low to high). Those that are assumed can be given in the YAML file")
    return table(pd.DataFrame(rows, columns=[_("Figure"), _("Value"), _("Unit"), _("Origin")]), caption)


def _value(prices: Prices, name: str) -> str:
    low, likely, high = prices.of(name)
    is_share = BOUNDS.get(name, (0, 0, 0))[2] == 1
    text = words.per_cent if is_share else (lambda value: f"{value:,g}")
    if low == high:
        return text(likely)
    return _("{value} ({interval})").format(value=text(likely), interval=words.span(text(low), text(high)))


# ---- two ways ---------------------------------------------------------------------------------------------------


def _compared(runs: pd.DataFrame, prices: Prices, method: str, rival: str | None, needed: float | None) -> list[HTML]:
    """The chosen way and its rival: which brings more, what that hangs on, and where it turns."""
    at_largest = set(runs.loc[runs["n"] == runs["n"].max(), "method"])
    if rival is None or rival == method or not {method, rival} <= at_largest:
        return []
    pair = Pair(runs, prices, method, rival)
    lead, swings = pair.lead(), pair.tornado()
    said = {
        _("The two compared"): words.sentence(comparison(lead)),
        _("Number of tasks"): words.sentence(turning(pair.break_even("tasks_planned"))),
        **_by_labels(runs, prices, method, rival, needed),
    }
    if not swings:
        return [facts(said)]
    caption = _(
        "{first} moves the difference most. Each bar: one figure from its low to its high end, the others as likely. "
        "The dashed line is where all are as likely. A bar that crosses 0 can turn the order of the two."
    ).format(first=words.PRICES[swings[0].name][0])
    alt = _("What {method} brings more than {rival}, by the figure that is changed: {figures}").format(
        method=words.in_prose(method),
        rival=words.in_prose(rival),
        figures=words.listed(words.PRICES[swing.name][0] for swing in swings),
    )
    rows = [(swing.name, *swing.at, *swing.lead) for swing in swings]
    data = pd.DataFrame(rows, columns=["figure", "low", "high", "lead at low", "lead at high"])
    return [facts(said), figure(lambda: tornado_figure(lead, swings), caption, alt, data, "what-it-hangs-on")]


def _by_labels(runs: pd.DataFrame, prices: Prices, method: str, rival: str, needed: float | None) -> dict[str, str]:
    """From which price of a label on the way that needs fewer labels is the cheaper one."""
    if needed is None:
        return {}
    enough = labels_needed(runs[runs["method"].isin([method, rival])], needed)
    labels: dict[str, Any] = {way: enough.get(way) for way in (method, rival)}
    if None in labels.values() or len(set(labels.values())) == 1:
        return {}
    turn = turning(Pair(runs, prices, method, rival, labels).break_even("label_price"))
    return {_("Price of a label"): words.sentences(words.labels_each(needed, labels), words.sentence(turn))}
