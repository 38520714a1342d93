"""What all sentences lean on: the table of sentences, names of methods, intervals, shares."""

from collections.abc import Callable, Iterable

from vptlib.statement import Statement
from vptlib.tuning.methods import find_method
from vptlib.wording import in_points, per_cent, plain

SENTENCES: dict[str, Callable[..., str]] = {}

# ---- helpers ----------------------------------------------------------------------------------------------------


def sentence(statement: Statement) -> str:
    """The sentence for a statement."""
    return SENTENCES[statement.code](**statement.values)


def title(method: str) -> str:
    """A method's title: "VPT-deep", "Full fine-tuning"."""
    return find_method(method).title


def in_prose(method: str) -> str:
    """A method's title within a sentence: "VPT-deep", "LoRA", "full fine-tuning"."""
    name = title(method)
    is_name = any(letter.isupper() for letter in name.split()[0][1:])
    return name if is_name else name[0].lower() + name[1:]


def sentences(*texts: str) -> str:
    """Sentences one after the other; empty ones are left out."""
    return " ".join(text for text in texts if text)


def questions(texts: Iterable[str]) -> str:
    """Questions one after the other; each ends with its mark."""
    return " ".join(texts)


def series(texts: Iterable[str], mark: str = ",") -> str:
    """Names or phrases one after the other, without an "and": "a, b, c", or with `mark=";"` "a; b; c"."""
    return f"{mark} ".join(texts)


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


def says(words: Callable[..., str]) -> Callable[..., str]:
    SENTENCES[words.__name__] = words
    return words
