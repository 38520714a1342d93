"""What labels, people and machines cost, as given or as assumed, and the same drawn many times.

A price is a number, or low, likely and high. What was not given is assumed (`ASSUMED`) and must be named so wherever
it is shown. Sums of money have no currency of their own, so prices are assumed as multiples of the price of a label: a
label takes about a minute of somebody's work, and an engineer's day has 480 minutes. Without the price of a label
nothing is priced.

`DRAWS` times all prices are drawn together, each from the triangle over its low, likely and high value. A range shows
what follows from these prices. Whether the prices are right, it cannot show.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from vptlib.errors import UserError
from vptlib.evidence.resampling import REPLICATES

DRAWS = REPLICATES  # as many as there are redrawn tables, so that prices and accuracies can be drawn together

_RANDOM_SEED = 1966

# A number, or low, likely and high; None where it was not given.
Amount = float | tuple[float, ...] | None


class Span(NamedTuple):
    """A sum or a price: at its low end, as likely, at its high end."""

    low: float
    likely: float
    high: float


class Assumption(NamedTuple):
    """What is assumed where nothing was given.

    Attributes:
        span: the figures.
        in_labels: whether they are multiples of the likely price of a label.
    """

    span: Span
    in_labels: bool = False


ASSUMED = {
    "tasks_planned": Assumption(Span(1, 1, 1)),
    "horizon_years": Assumption(Span(1, 3, 5)),
    "discount_rate": Assumption(Span(0.02, 0.05, 0.1)),
    "checks_per_month": Assumption(Span(50, 200, 400)),
    "retrainings_per_year": Assumption(Span(0, 1, 4)),
    "engineer_days_per_project": Assumption(Span(5, 10, 30)),
    "engineer_days_per_task": Assumption(Span(1, 2, 5)),
    "engineer_days_per_retraining": Assumption(Span(0.5, 1, 2)),
    "engineer_day_price": Assumption(Span(240, 480, 960), in_labels=True),
    "compute_hour_price": Assumption(Span(0.1, 1, 5), in_labels=True),
    "storage_price": Assumption(Span(0.1, 0.5, 2), in_labels=True),
    "serving_price": Assumption(Span(50, 300, 1500), in_labels=True),
}
# What a value may be: the least, whether the least itself is allowed, and the most.
BOUNDS = {
    "label_price": (0, False, math.inf),
    "point_value": (0, False, math.inf),
    "tasks_planned": (1, True, 1e6),
    "horizon_years": (0, False, 100),
    "discount_rate": (0, True, 1),
}
_USUAL_BOUNDS = (0, True, math.inf)


@dataclass(frozen=True)
class Prices:
    """What labels, people and machines cost, and how much is planned; each a number, or [low, likely, high].

    Attributes:
        label_price: price of one labelled image, in your currency. Without it nothing is priced.
        point_value: what one percentage point of accuracy is worth for one task in a year, in the same currency.
            Without it the costs of the methods are not set against their accuracies.
        tasks_planned: tasks of this kind that will be in operation, this one included.
        horizon_years: years for which costs are counted.
        discount_rate: share by which money loses its worth in a year, a fraction.
        checks_per_month: answers that a person checks for each task in a month. They are priced as labels.
        retrainings_per_year: how often each task is trained again in a year.
        engineer_days_per_project: working days to set up the project, once for all tasks.
        engineer_days_per_task: working days to set up each task: its images, its acceptance and its release.
        engineer_days_per_retraining: working days for each retraining of each task.
        engineer_day_price: price of such a day.
        compute_hour_price: price of an hour on the machine that ran the study.
        storage_price: price of a gigabyte kept for a year.
        serving_price: price of one model in memory, ready to answer, for a year.

    Raises:
        UserError: a value out of range, or three values that do not rise.
    """

    label_price: Amount = None
    point_value: Amount = None
    tasks_planned: Amount = None
    horizon_years: Amount = None
    discount_rate: Amount = None
    checks_per_month: Amount = None
    retrainings_per_year: Amount = None
    engineer_days_per_project: Amount = None
    engineer_days_per_task: Amount = None
    engineer_days_per_retraining: Amount = None
    engineer_day_price: Amount = None
    compute_hour_price: Amount = None
    storage_price: Amount = None
    serving_price: Amount = None

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                object.__setattr__(self, field.name, _checked(field.name, value))

    @classmethod
    def among(cls, settings: Mapping[str, Any]) -> "Prices":
        """Those of a report's settings that are prices.

        Raises:
            UserError: as the class itself.
        """
        names = [field.name for field in fields(cls)]
        return cls(**{name: settings[name] for name in names if name in settings})

    @property
    def priced(self) -> bool:
        """Whether anything can be priced."""
        return self.label_price is not None

    @property
    def weighs_accuracy(self) -> bool:
        """Whether costs can be set against accuracies: the price of a label and the value of a point are given."""
        return self.priced and self.given("point_value")

    def given(self, name: str) -> bool:
        """Whether a value was given; otherwise it is assumed."""
        return getattr(self, name) is not None

    def known(self) -> list[str]:
        """The names that have a value, given or assumed."""
        return [field.name for field in fields(self) if self.given(field.name) or field.name in ASSUMED]

    def of(self, name: str) -> Span:
        """Low, likely and high, as given or else as assumed.

        Raises:
            UserError: it was not given and cannot be assumed.
        """
        value = getattr(self, name)
        if isinstance(value, tuple):
            return Span(*value)
        if value is not None:
            return Span(value, value, value)
        if name not in ASSUMED:
            raise UserError(f"{name} was not given and cannot be assumed: give it, as a number or [low, likely, high].")
        span, in_labels = ASSUMED[name]
        times = self.of("label_price").likely if in_labels else 1.0
        return Span(*(times * end for end in span))

    @property
    def likely(self) -> dict[str, float]:
        """Each known value as likely."""
        return {name: self.of(name).likely for name in self.known()}


def _checked(name: str, value: Any) -> float | tuple[float, ...]:
    """The value as a float or three of them."""
    whole = isinstance(value, (list, tuple))
    numbers = list(value) if whole else [value]
    if whole and len(numbers) != 3:
        raise UserError(f"{name} has {len(numbers)} values, but must be one number or three: [low, likely, high].")
    least, with_least, most = BOUNDS.get(name, _USUAL_BOUNDS)
    for number in numbers:
        is_number = isinstance(number, (int, float)) and not isinstance(number, bool) and math.isfinite(number)
        if not is_number or not least <= number <= most or (number == least and not with_least):
            shown = f"{number:g}" if isinstance(number, float) else repr(number)
            raise UserError(f"{name} is {shown}, but must be a number {bounds_in_words(name)}.")
    if numbers != sorted(numbers):
        shown = ", ".join(f"{number:g}" for number in numbers)
        raise UserError(f"{name} is [{shown}], but must rise: [low, likely, high].")
    return tuple(map(float, numbers)) if whole else float(numbers[0])


def bounds_in_words(name: str) -> str:
    """Where a price may lie: "of 0 or more", "above 0"."""
    least, with_least, most = BOUNDS.get(name, _USUAL_BOUNDS)
    start = f"of {least:g} or more" if with_least else f"above {least:g}"
    return start if math.isinf(most) else f"{start}, at most {most:,.0f}"


# ---- drawn together ---------------------------------------------------------------------------------------------


@lru_cache(maxsize=16)
def draws_of(prices: Prices) -> dict[str, np.ndarray]:
    """Every price `B` times, each from its triangle."""
    names = [field.name for field in fields(Prices)]
    return {name: _triangle(prices.of(name), names.index(name)) for name in prices.known()}


def _triangle(span: Span, number: int) -> np.ndarray:
    """Draws `B` from a triangular distribution, evenly spread over it, in an order of its own."""
    low, likely, high = span
    if low == high:
        return np.full(DRAWS, likely)
    shares = (np.random.default_rng([_RANDOM_SEED, number]).permutation(DRAWS) + 0.5) / DRAWS
    rising = low + np.sqrt(shares * (high - low) * (likely - low))
    falling = high - np.sqrt((1 - shares) * (high - low) * (high - likely))
    return np.where(shares < (likely - low) / (high - low), rising, falling)


def discounted_years(price: Mapping[str, Any]) -> Any:
    """Years of the horizon, each discounted to today, for money that is paid evenly."""
    years, rate = np.asarray(price["horizon_years"], dtype=float), np.asarray(price["discount_rate"], dtype=float)
    force = np.log1p(rate)
    with np.errstate(divide="ignore", invalid="ignore"):
        discounted = -np.expm1(-force * years) / force
    return np.where(force > 1e-9, discounted, years)
