"""Sentences on the input size (`vptlib.study.input_size`)."""

from vptlib.report.words.en.base import says
from vptlib.report.words.en.data_check import width_by_height
from vptlib.wording import in_points, listed, per_cent

# ---- the input size (vptlib.study.input_size) -----------------------------------------------------------------------


@says
def input_size_chosen(
    size: int, accuracy: float, best: int, best_accuracy: float, error: float, sizes: list[int]
) -> str:
    looked = f"{listed(sizes)} px"
    if size == best:
        return (
            f"{size} px is the best of {looked}, with {per_cent(accuracy)} accuracy. No smaller size is within one "
            "standard error of it."
        )
    return (
        f"{size} px is the smallest of {looked} within one standard error ({in_points(error)}) of the best. It has "
        f"{per_cent(accuracy)} accuracy; {best} px has {per_cent(best_accuracy)}."
    )


@says
def input_size_limited(size: int, accuracy: float, wanted: int, wanted_accuracy: float) -> str:
    return (
        f"{size} px, with {per_cent(accuracy)} accuracy, is the best that the time or image_size_limit allows. Without "
        f"that limit {wanted} px would be taken, with {per_cent(wanted_accuracy)}."
    )


@says
def larger_input_needs_time(size: int, accuracy: float, smaller: int, smaller_accuracy: float) -> str:
    return (
        f"These results are those of {smaller} px, where a probe of the frozen backbone is right on "
        f"{per_cent(smaller_accuracy)} of labelled images that it has not seen. At {size} px it is right on "
        f"{per_cent(accuracy)}. More time, or a GPU, allows {size} px, and the order of the methods may then be "
        "another."
    )


@says
def input_size_probe(n: int, folds: int, kind: str) -> str:
    how = {
        "stratified": "each part has all classes as far as possible",
        "groups": "whole groups stay together",
        "plain": "no class has two images, so classes are not balanced",
    }[kind]
    return (
        f"A logistic regression on frozen features of {n:,} labelled images, cross-validated in {folds} parts "
        f"({how}). No test image is used."
    )


@says
def input_size_only(size: int, images: list[int]) -> str:
    return (
        f"{size} px, the backbone's own size. The images are {width_by_height(*images)} (median), so a larger "
        f"input would show "
        "nothing more."
    )


@says
def input_size_fixed(size: int) -> str:
    return f"{size} px: this backbone takes no other input size, so none was compared."


@says
def input_size_by_hand(size: int) -> str:
    return f"{size} px, given as image_size: other sizes were not compared."


@says
def larger_input(size: int, smaller: int, gain: float, error: float, rising: bool) -> str:
    if rising:
        found = (
            f"Accuracy still rises with the input size: from {smaller} px to the largest one compared it gains "
            f"{in_points(gain)} (standard error {in_points(error)})."
        )
    else:
        found = (
            f"At {size} px the probe is {in_points(gain)} ahead of {smaller} px, which is within one standard error "
            f"({in_points(error)})."
        )
    return f"{found} Setting image_size to {size} may do better, at a higher cost."


@says
def input_sizes_mixed(least: int, median: int, most: int) -> str:
    return (
        f"The images differ much in size: their short sides run from {least:,} to {most:,} px. The sizes to compare "
        f"follow the median, {median:,} px."
    )
