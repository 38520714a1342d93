"""Sentences of the explainability checklist (`vptlib.explanations.checklist`)."""

from vptlib.report.words.en.base import says, title
from vptlib.wording import decimals, rounded

# ---- the explainability checklist (vptlib.explanations.checklist) -----------------------------------------------

QUESTIONS = {
    "maps mark a place": "Does every map mark some place?",
    "answer depends on the map": "Does the answer depend on what the map marks?",
    "map points at the object": "Does the map point at the object?",
    "map follows its image": "Does the map stay when the image hardly changes?",
    "map depends on the model": "Does the map change when the model forgets all?",
    "other kinds of map agree": "Do other methods tell the same story?",
    "shares add up": "Do the shares of Integrated Gradients add up?",
    "one model is more faithful": "Are one model's maps more faithful than the other's?",
    "another run gives the same maps": "Would another training run give the same maps?",
}
VERDICTS = {"holds": "holds", "does-not-hold": "does not hold", "open": "open"}
_COMPARED_WITH = {
    "repeats itself": "the map of the image with a little noise",
    "depends on the model": "random models' maps",
    "other kinds of map": "the other methods' maps",
    "another training run": "a second training run's map",
}
_SAME_OR_NOT = {
    ("repeats itself", True): "it follows the image",
    ("repeats itself", False): "a little noise gives another map",
    ("depends on the model", True): "hardly changes when the model is made to forget",
    ("depends on the model", False): "changes with the model",
    ("other kinds of map", True): "they tell the same story",
    ("other kinds of map", False): "they tell other stories",
    ("another training run", True): "much the same",
    ("another training run", False): "another run marks other places",
}
FAITHFULNESS_CAVEAT = (
    "In training the model never saw images with parts taken away. So an answer may change because an image is "
    "strange, not because what matters is gone (Hooker et al. 2019, arXiv 1806.10758). Only the distance to the grey "
    "maps counts, because they share this fault."
)


@says
def maps_mark(share: float, enough: bool) -> str:
    return f"{share:.0%} of the maps mark some place" + ("" if enough else ": maps without differences tell nothing")


def _undecided(images: int | None, needed: int | None) -> str:
    seen = "too few images to tell" if images is None else f"{images} images are too few to tell"
    if needed is None:
        return "not decided, and more images would hardly change that"
    return f"{seen}; about {rounded(needed)} would settle it"


@says
def map_against_baseline(
    check: str, value: float, baseline: str, of_baseline: float, leads: bool | None, images: int, needed: int | None
) -> str:
    if check == "faithful":
        what = f"insertion minus deletion area {decimals(value)}, of the {baseline} map {decimals(of_baseline)}"
    else:
        what = {"pointing": "points at the object in", "energy": "share on the object"}[check]
        what = f"{what} {value:.0%}, {baseline} map {of_baseline:.0%}"
    verdict = {True: "it leads", False: "it is behind", None: _undecided(images, needed)}[leads]
    return f"{what}: {verdict}"


@says
def maps_compared(
    check: str,
    value: float,
    low: float,
    high: float,
    same: bool | None,
    needed: int | None,
    similarity: float,
    of_other_images: float,
) -> str:
    verdict = _undecided(None, needed) if same is None else _SAME_OR_NOT[check, same]
    if check == "depends on the model" and same is False and low > 0:
        verdict += ", but a part stays"
    limits = f"95\u202f% interval {decimals(low)} to {decimals(high)}"
    raw = f"rank correlation {decimals(similarity)}, by chance {decimals(of_other_images)}"
    return f"similarity to {_COMPARED_WITH[check]} {decimals(value)} ({limits}; {raw}): {verdict}"


@says
def maps_not_compared(check: str, compared: int, maps: int) -> str:
    known = f"only {compared} of {maps} maps have differences to compare"
    return f"similarity to {_COMPARED_WITH[check]} not known: {known}"


@says
def map_not_repeated(check: str, repeats: bool | None) -> str:
    why = "is not known to repeat itself" if repeats is None else "does not repeat itself"
    return f"similarity to {_COMPARED_WITH[check]} shows nothing, because the map {why}"


@says
def repeat_unknown() -> str:
    return "no maps of slightly changed images"


@says
def same_for_every_image(similarity: float) -> str:
    return f"rank correlation of the maps of different images {decimals(similarity)}: the same map for every image"


@says
def object_unknown() -> str:
    return "this task does not give the position of the object"


@says
def one_kind_examined() -> str:
    return "one kind of map examined"


@says
def shares_off_by(error: float, allowed: float) -> str:
    return f"off by {error:.1%} of the change in the logit on average ({allowed:.0%} allowed)"


@says
def faithfulness_differs_by(difference: float, low: float, high: float) -> str:
    lead, least, most = (decimals(value, signed=True) for value in (difference, low, high))
    return f"difference {lead}, 95\u202f% interval {least} to {most}"


@says
def model_leads(method: str | None, images: int, needed: int | None) -> str:
    return f"{title(method)} leads" if method else _undecided(images, needed)


@says
def one_model_examined() -> str:
    return "one model examined"
