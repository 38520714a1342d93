"""Three sentences for a meeting: what to do, what it costs, what can go wrong. All of them stand elsewhere too."""

import pandas as pd
from IPython.display import HTML

from vptlib.evidence.costs import costs
from vptlib.evidence.recommendation import NOTHING_WORKS
from vptlib.report.sections.basic import folded, part
from vptlib.report.sections.decision import Judged
from vptlib.report.sections.money import price_of
from vptlib.report.words import gettext as _
from vptlib.report.words import words


def meeting_part(one: Judged) -> list[HTML]:
    """The sentences, folded away."""
    return [folded(_("Three sentences for the meeting"), [part("sentences", items=sentences(one))])]


def sentences(one: Judged) -> list[str]:
    """Recommendation, cost, and the greatest risk with what would catch it."""
    risk = [words.sentences(words.sentence(first.what), words.sentence(first.caught_by)) for first in one.risks[:1]]
    return [words.sentence(one.step), _cost(one), *(risk or [_("No risk was found in these runs.")])]


def _cost(one: Judged) -> str:
    if one.prices.priced or one.advice.choice == NOTHING_WORKS:
        return words.sentence(price_of(one.runs, one.asked, one.advice))
    row = costs(one.runs).set_index("method").loc[one.method]
    if pd.isna(row["train_seconds"]):
        return _("What it costs is not known: neither money nor computing time was given.")
    text = _("With {method} a task stores {storage}, and one training takes {time}. Money was not asked about.")
    return text.format(
        method=words.in_prose(one.method),
        storage=words.storage(row["bytes_per_task"]),
        time=words.duration(row["train_seconds"]),
    )
