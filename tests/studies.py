"""A study whose runs take parts of a second: for tests of what is around the runs."""

from vptlib.study.published_rules import EQUAL
from vptlib.study.study import Study

TINY = {
    "task": "digits",
    "image_size": 14,
    "depth": 1,
    "num_prompts": 2,
    "steps": 3,
    "batch_size": 8,
    "test_images": 30,
    "rules": EQUAL,
}


def study(**changes) -> Study:
    return Study(**(TINY | {"methods": ("linear", "vpt-deep"), "sizes": (40, 60), "seeds": (0, 1)} | changes))
