"""Sentences on the check of images (`vptlib.data.check`)."""

from vptlib.report.words.en.base import says
from vptlib.report.words.en.protocol import in_a_row
from vptlib.wording import listed, many, per_cent, plain

# ---- the check of images (vptlib.data.check) ------------------------------------------------------------------------

_THE_SAME = {
    "exact": "the same image",
    "near": "almost the same image",
    "turned": "almost the same image, turned or mirrored",
}


@says
def grey_range(low: float, high: float, how: str, deep: int, images: int) -> str:
    which = "All images have" if deep == images else f"{deep:,} of {images:,} images have"
    why = {
        "given": "as you gave it",
        "usual": "the usual range",
        "nominal": "the range that their values fill",
        "own": "their lowest and highest values, without the outermost pixels",
    }[how]
    return (
        f"{which} more than 8 bits a value, and share one range ({why}): {grey_value(low)} becomes black and "
        f"{grey_value(high)} white. For another, add ?grey=LOW-HIGH to the name of the task."
    )


@says
def grey_kinds_mixed(whole: int, floats: int, one_range: bool) -> str:
    scale = "They share one range all the same" if one_range else "Each kind keeps its usual range"
    return (
        f"{whole:,} images hold whole numbers of more than 8 bits, and {floats:,} hold floats. {scale}: check that "
        "black and white mean the same in both, or save them all in one way."
    )


@says
def grey_depths_mixed(deep: int, others: int, own: bool) -> str:
    mean = (
        "The others keep theirs, 0 to 255, so black and white may mean different things: save all images in one way."
        if own
        else "Black and white are the ends of the range in both."
    )
    have, their = ("has" if images == 1 else "have" for images in (deep, others))
    return f"{many(deep, 'image')} {have} more than 8 bits a value, and {others:,} {their} 8. {mean}"


@says
def grey_levels_few(levels: int, low: float, high: float) -> str:
    return (
        f"The middle 98% of the pixels lie between {grey_value(low)} and {grey_value(high)}, and become only "
        f"{levels} grey "
        f"levels: a few very dark or bright pixels take the rest. Try "
        f"?grey={grey_value(low, '')}-{grey_value(high, '')}."
    )


@says
def grey_without_value(files: int, sampled: int, first: str) -> str:
    return (
        f"{files:,} of the {sampled:,} images looked at have pixels without a value (NaN), such as {first}: they "
        "become black."
    )


@says
def unreadable_files(bad: int, files: int, messages: list[str]) -> str:
    more = f" and {bad - len(messages)} more" if bad > len(messages) else ""
    each = "; ".join(message.rstrip(".") for message in messages)
    return (
        f"{bad} of {files} files cannot be read: {each}{more}. Or add ?skip=unreadable to the name of "
        'the task to leave them out; in a YAML file it then needs quotes: tasks: ["folder:photos?skip=unreadable"]. '
        "No count here includes them, and they were not searched for duplicates."
    )


@says
def size_not_possible(n: int, message: str) -> str:
    return f"A study with {n} labelled images: {message}"


@says
def no_size_possible(message: str) -> str:
    return f"No number of labelled images can be split for a study: {message}"


@says
def sizes_possible(least: int, largest: int, all: bool, examples: list[int]) -> str:
    if all:
        any_of = f"{least:,}" if least == largest else f"any number from {least:,} to {largest:,}"
        return f"A study can ask for {any_of} of the labelled images."
    return f"A study that keeps groups whole can ask for {listed(f'{n:,}' for n in examples)} labelled images."


@says
def groups_on_both_sides(shared: int, groups: int, tested: int, test: int, pair: list[str]) -> str:
    are = "1 group is" if shared == 1 else f"{shared:,} groups are"
    come = "comes" if tested == 1 else "come"
    return (
        f"{are} on both sides of the split, of {groups:,}: {tested:,} of {many(test, 'test image')} {come} from a "
        f"group that is trained on, such as {pair[1]} ({pair[0]} trains). Test results will flatter: move each group "
        "to one side, or leave the split out, and whole groups are drawn."
    )


@says
def classes_not_trained(number: int, names: list[str]) -> str:
    more = [f"{number - len(names):,} more"] if number > len(names) else []
    have = f"Class {names[0]!r} has" if number == 1 else f"Classes {listed([*map(repr, names), *more])} have"
    return f"{have} no training images: no model can learn {'it' if number == 1 else 'them'}."


@says
def more_pages(files: int, images: int, names: list[str]) -> str:
    more = f" and {files - len(names):,} more" if files > len(names) else ""
    hold = "holds" if files == 1 else "hold"
    return (
        f"{files:,} of {many(images, 'file')} {hold} further pages or frames, of which none is used: {', '.join(names)}"
        f"{more}. Save each page as a file of its own to use it."
    )


@says
def duplicates(kind: str, where: str, pairs: int, first: str, second: str, more: bool) -> str:
    found, across = _pairs(kind, where, pairs, first, second, more), where.startswith("across")
    if not across:
        return f"{found}."
    if kind == "turned":
        return f"{found}: if turning does not change the class, test results will flatter."
    return f"{found}: test results will flatter; keep such images on one side."


@says
def doubles_across(labelled: int, tested: int, copies: int, alike: int, first: str, second: str) -> str:
    found = f"None of {many(tested, 'test image')} is a copy of any of {many(labelled, 'labelled image')}."
    if copies:
        are = "is a copy" if copies == 1 else "are copies"
        found = f"{copies:,} of {many(tested, 'test image')} {are} of labelled ones ({labelled:,} in all), such as "
        found += f"{second} of {first}: test results flatter."
    if not alike:
        return found
    look = "looks" if alike == 1 else "look"
    return f"{found} {alike:,} more {look} much like a labelled one; vpt data check shows such pairs."


@says
def duplicates_of_different_classes(kind: str, pairs: int, first: str, second: str, more: bool) -> str:
    found = _pairs(kind, "of different classes", pairs, first, second, more)
    return f"{found}: one of the two labels is wrong, or the classes overlap."


@says
def duplicates_not_all_compared(kind: str, where: str) -> str:
    return (
        f"Too many images look alike for all to be compared: the search {where} for pairs that show {_THE_SAME[kind]} "
        "stopped early, so there may be some."
    )


def _pairs(kind: str, which: str, pairs: int, first: str, second: str, more: bool) -> str:
    least = "At least " if more else ""  # the search stopped early
    number = f"{least}{pairs:,} pairs {which} show" if pairs > 1 else f"{least}1 pair {which} shows"
    return f"{number} {_THE_SAME[kind]}, such as {first} and {second}"


@says
def rare_class(common: str, most: int, rare: str, least: int) -> str:
    return (
        f"Class {common!r} has {most} training images and {rare!r} {least}: accuracy then says little about the rare "
        "class."
    )


@says
def image_modes(modes: dict[str, int]) -> str:
    each = in_a_row(f"{mode} {number}" for mode, number in modes.items())
    return f"Modes of the files that can be read: {each}. A model sees all as 8-bit RGB."


@says
def small_images(images: int, side: int) -> str:
    are = "image is" if images == 1 else "images are"
    return f"{images:,} {are} smaller than {side} px on a side: a square from their middle has to be enlarged."


def grey_value(number: float, thousands: str = ",") -> str:
    """A grey value: whole numbers with thousands set off, others with four digits."""
    return f"{number:{thousands}.0f}" if float(number).is_integer() else f"{number:.4g}"


def width_by_height(width: int, height: int) -> str:
    """(480, 360) → "480 × 360 px"."""
    return f"{width:,} × {height:,} px"


@says
def image_sizes(typical: list[int], widths: list[int], heights: list[int], model: list[int]) -> str:
    one_size = widths[0] == widths[1] and heights[0] == heights[1]
    ends = [f"{name} {low:,} to {high:,}" for name, (low, high) in (("width", widths), ("height", heights))]
    images = width_by_height(*typical) if one_size else f"{width_by_height(*typical)} (median; {', '.join(ends)})"
    smallest, *_, largest = model
    return (
        f"Your images are {images}. The embedded backbone sees a square of {width_by_height(smallest, smallest)} to "
        f"{width_by_height(largest, largest)}."
    )


@says
def nothing_lost(size: int) -> str:
    return (
        f"No image is larger than {width_by_height(size, size)}: the model loses no detail, and larger "
        f"input sizes add none."
    )


@says
def detail_lost(covered: list[list[float]], whole_at: int | None) -> str:
    if not covered:
        return f"At {whole_at} px and above the typical image keeps all its detail; larger ones lose some."
    each = listed(f"{plain(across)} × {plain(down)} px at {size:.0f} px" for size, across, down in covered)
    gone = listed(plain(2 * max(across, down)) for _, across, down in covered)
    above = f" At {whole_at} px it loses nothing." if whole_at else ""
    return (
        f"One pixel of the model covers, of the typical image without a crop, {each}. Details thinner than about "
        f"{gone} px vanish.{above}"
    )


@says
def shape_lost(oblong: int, images: int, typical: float, most: float, over: float, above: int) -> str:
    rest = f", and more than {per_cent(over, 0)} of {above:,} images" if above else ""
    return (
        f"Not square: {oblong:,} of {images:,} images. A crop of the middle loses {per_cent(typical, 0)} of a typical "
        f"image, {per_cent(most, 0 if most < 0.99 else 1)} at most{rest}. Padding leaves the same share of the model's "
        "square empty."
    )


@says
def sizes_mixed(smallest: list[int], largest: list[int], times: int, below: int, above: int, images: int) -> str:
    return (
        f"Sizes are mixed, from {width_by_height(*smallest)} to {width_by_height(*largest)}. Less than "
        f"1/{times} of the median side: {below:,} "
        f"of {images:,} images; more than {times} times it: {above:,}. The model sees fine detail in some and not in "
        "others: check that size does not give the class away."
    )


@says
def below_a_patch(tiny: int, images: int, patch: int, names: list[str]) -> str:
    more = f" and {tiny - len(names):,} more" if tiny > len(names) else ""
    return (
        f"Smaller than one patch of the model ({patch} px): {tiny:,} of {images:,} images, {', '.join(names)}{more}. "
        "They show it very little: replace them by larger ones, or take them out."
    )


@says
def groups_apart(groups: int) -> str:
    return f"{groups:,} groups: none of them has both training and test images."


@says
def licence_given(licence: str) -> str:
    return f"Licence: {licence}."
