"""Values for the sentence of every code, planted at random, so that each branch of a sentence is spoken."""

import inspect
import random
from collections.abc import Callable, Iterator
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

from vptlib.data.conditions import CORRUPTIONS
from vptlib.data.table_files import SEPARATORS
from vptlib.evidence.recommendation import MORE_SEEDS, MORE_TEST_IMAGES, PROMPT, STEPS
from vptlib.report.words import in_language
from vptlib.statement import Statement
from vptlib.tuning.methods import METHODS

EXAMPLES = 24  # of each code
NAME = "きず"  # stands for what a user, a file or a class may be called
_METHODS = list(METHODS)
_AT = "2026-11-29T09:30:00+00:00"
_FINDING = Statement("limit_without_images", {"kind": "accuracy", "names": [], "limit": 0.9})
_PAIR = {"second": "full", "difference": 0.023, "low": -0.011, "high": 0.057}
_SECONDARY = ("first", "second", "a", "b", "other", "rival", "leader", "below", "above", "better", "best", "left")
_NEXT = ["next_use", "next_operate", "next_pilot", "next_seeds", "next_labels", "next_finish"]

# The values that a name may have, wherever it stands: what judgement gives, where it is a code.
_NAMED: dict[str, list] = {
    "method": _METHODS,
    **dict.fromkeys(_SECONDARY, _METHODS),
    **{name: [["linear"], ["vpt-deep", "full"]] for name in ("methods", "lacking")},
    "level": ["low", "medium", "high"],
    "kind": ["miss_rate", "false_alarm_rate", "recall", "precision", "accuracy"],
    "group": [NAME],
    "finding": [_FINDING],
    "condition": [_FINDING],
    "lighter": [None, _PAIR],
    "heavier": [None, _PAIR],
    "answers": [[], [{"choice": "use_prompt", "method": PROMPT, "tasks": 5}]],
    "choice": list(STEPS),
    "claim": ["right", "reaches"],
    "name": ["label_price", "tasks_planned"],
    "at": [_AT],
    "zone": ["Asia/Tokyo"],
    "hour": ["once", "twice", "skipped"],
    "verdict": ["met", "not_met", "undecided"],
    "step": [*_NEXT, "next_use_none", "next_train_longer", "next_larger_input", "next_test_images"],
    "covered": [[], [[224.0, 3.1, 4.2], [448.0, 5.3, 6.4]]],
    "typical": [[481, 362]],
    **{name: [[481, 362], [63, 74]] for name in ("smallest", "largest")},
    **{name: [[481, 481], [63, 74]] for name in ("widths", "heights")},
    "model": [[224, 336, 448]],
    "images": [1, 37, 105],
}
# Where a name means something else in one sentence.
_IN_SENTENCE: dict[tuple[str, str], list] = {
    ("choice_at_edge", "side"): ["smallest", "largest"],
    ("open_between", "step"): [MORE_SEEDS, MORE_TEST_IMAGES],
    ("change_by_step", "step"): ["more_seeds", "more_test_images", "larger_input", "train_longer", "more_labels"],
    ("worth_asking", "kind"): ["seeds", "test_images"],
    ("input_size_probe", "kind"): ["stratified", "groups", "plain"],
    ("input_size_only", "images"): [[481, 362]],
    ("input_given", "aspect"): ["squash", "crop", "pad"],
    ("input_given", "origin"): ["chosen", "own", "given"],
    ("input_given", "precision"): ["bf16", "fp32"],
    ("input_given", "augmentation"): ["none", "shifts"],
    ("images_of_equal_budget", "validating"): [[0.2, 0.2], [0.17, 0.23]],
    ("tuning_of_equal_budget", "candidates"): ["all", 3],
    ("augmentation_given", "without"): [[], ["linear"]],
    ("augmentation_given", "head_solved"): [[], ["lp-ft"]],
    ("strong_methods", "options"): [{"full": {"layer_decay": 0.75, "drop_path": 0.13}}],
    ("tuning_of_published_rules", "settings"): [{"linear": 7, "full": 7}, {"linear": 7, "full": 9}],
    ("training_of_published_rules", "optimisers"): [{"linear": "sgd", "full": "adamw"}],
    ("runs_left_out", "by_size"): [[{"methods": ["linear", "full"], "n": 53, "seeds": [3, 4]}]],
    ("conditions", "noise"): ["symmetric", "pairs"],
    **{(code, "corruption"): [*CORRUPTIONS] for code in ("conditions", "gate_robustness")},
    ("map_against_baseline", "check"): ["faithful", "pointing", "energy"],
    ("map_against_baseline", "baseline"): ["random", "centre", "even"],
    **{
        (code, "check"): ["repeats itself", "depends on the model", "other kinds of map", "another training run"]
        for code in ("maps_compared", "maps_not_compared", "map_not_repeated")
    },
    ("exported_without_advice", "choice"): list(STEPS),
    ("audit_doubts", "codes"): [["seeds_diverge", "collapsed"], ["best_at_last_step"]],
    ("grey_range", "how"): ["given", "usual", "nominal", "own"],
    **{
        (code, "kind"): ["exact", "near", "turned"]
        for code in ("duplicates", "duplicates_of_different_classes", "duplicates_not_all_compared")
    },
    **{
        (code, "where"): ["across train and test", "within train", "within test"]
        for code in ("duplicates", "duplicates_not_all_compared")
    },
    ("groups_on_both_sides", "pair"): [[f"{NAME}A", f"{NAME}B"]],
    ("image_modes", "modes"): [{"RGB": 37, "L": 41}],
    ("files_passed_over", "ending"): ["", ".heic"],
    ("files_passed_over", "way"): ["convert", "install", "unpack", "frames", "name it"],
    ("files_passed_over", "package"): ["pillow-heif"],
    ("unreadable_left_out", "parts"): [[{"class": NAME, "split": split, "files": 37}] for split in ("train", "test")],
    ("table_encoding", "encoding"): ["cp932", "UTF-16"],
    ("table_separator", "separator"): [*SEPARATORS.values()],
    ("table_columns", "taken"): [{"path": NAME, "label": NAME}, {"group": NAME, "split": NAME}],
    ("table_paths_understood", "differed"): [dict.fromkeys(("backslashes", "spaces", "accents", "case", "stored"), 37)],
    ("limits_at_promotion", "kinds"): [["no_worse_than_production", "calibration_error"], ["latency", "robustness"]],
    ("gate_not_measured", "kind"): ["calibration_error", "latency", "robustness", "explanations"],
    **{
        ("gate_explanations", verdict): [["differences", "faithful"], ["repeats_itself"], ["depends_on_the_model"]]
        for verdict in ("passed", "failed", "undecided")
    },
    **{(code, "maps"): ["attention_rollout"] for code in ("gate_explanations", "gate_explanations_impossible")},
    ("gate_latency", "device"): ["CPU", "NVIDIA H200"],
    ("ledger_fault", "kind"): ["changed", "missing", "forked", "out_of_order"],
    ("drift_found", "tests"): [["features", "energy", "confidence"], ["classes", "asked"]],
    ("drift_features", "ratio"): [3.4, float("inf")],
    ("drift_energy", "ratio"): [3.4, float("inf")],
    ("drift_classes", "changes"): [[[NAME, 0.132, 0.276]]],
    ("status_decide_again", "why"): [["labels"], ["limit", "drift"]],
    ("status_forced", "by"): [NAME],
    ("study_more", "choice"): list(STEPS),
    ("caught_by_a_limit", "kind"): ["accuracy", "recall", "each_group"],
    **{
        (code, "finding"): ["collapsed", "seeds_diverge", "accuracy_falls", "best_at_last_step", "choice_at_edge"]
        for code in ("risk_audit", "caught_by_another_run")
    },
    ("decide_again_when", "why"): [
        "change", "decide_again_by_record", "decide_again_past_record", "decide_again_by_convention",
    ],
    ("nothing_to_compare_with", "lacking"): [["accuracy_today"], ["accuracy_needed", "limits"]],
    ("tasks_agree", "method"): [PROMPT],
    ("tasks_differ", "steps"): [
        [
            {"step": "next_use", "method": PROMPT, "titles": [NAME]},
            {"step": "next_labels", "method": None, "titles": [NAME] * 6},
        ]
    ],
    ("seen", "accuracies"): [[0.874, 0.793]],
    ("seen", "methods"): [["vpt-deep", "full"]],
    ("weights", "methods"): [["vpt-deep", "full"]],
    ("weights", "stored"): [[128_000, 51_200_000]],
    ("weights", "seconds"): [[13.0, 740.0]],
    ("priced", "total"): [[2100.0, 3400.0, 6000.0]],
    ("priced", "rival_total"): [None, [3100.0, 4400.0, 7000.0]],
    ("brings_more", "lead"): [[120.0, 340.0, 560.0], [-560.0, -340.0, -120.0]],
    ("brings_more", "a"): ["vpt-deep"],
    ("brings_more", "b"): ["full"],
    ("seeds_skewed", "seeds"): [3],
    **{(code, "name"): [NAME] for code in ("risk_weak_class", "risk_class_untested", "worst_class")},
}  # fmt: skip
_FILES_OF = ("answers", "data_check", "gates", "mistakes", "protocol", "reading", "watching")  # names, not methods

# By the annotation, where neither says more.
_ANNOTATED: dict[Any, list] = {
    bool: [True, False],
    int: [1, 2, 37, 83],
    float: [0.012, 0.274, 0.637, 0.9963],
    str: [NAME],
    str | None: [None, NAME],
    str | int | None: [None, NAME, 3],
    int | None: [None, 41],
    float | None: [None, 0.417],
    bool | None: [None, True, False],
    list[str]: [[NAME], [NAME, f"{NAME}A"]],
    list[int]: [[3], [5, 47, 59]],
    list[float]: [[0.003], [0.003, 0.007]],
    dict[str, int]: [{NAME: 37}, {NAME: 37, f"{NAME}A": 43}],
}


def examples(code: str, says: Callable[..., str]) -> Iterator[dict[str, Any]]:
    """Values for the sentence `says` of a code, `EXAMPLES` times."""
    draw = random.Random(code)
    parameters = inspect.signature(says).parameters
    about_methods = says.__module__.rpartition(".")[2] not in _FILES_OF
    for _ in range(EXAMPLES):
        yield {
            name: draw.choice(_choices(code, name, one.annotation, about_methods)) for name, one in parameters.items()
        }


def _choices(code: str, name: str, annotation: Any, about_methods: bool) -> list:
    if (code, name) in _IN_SENTENCE:
        return _IN_SENTENCE[code, name]
    if name in (*_SECONDARY, "name") and not about_methods:
        return _ANNOTATED[annotation]
    kinds = _kinds(annotation)
    found = [value for value in _NAMED.get(name, []) if isinstance(value, kinds)]
    if found and NoneType in kinds and None not in found:
        return [None] * len(found) + found
    return found or _ANNOTATED[annotation]


def _kinds(annotation: Any) -> tuple[type, ...]:
    """The types of a value: `list[int] | None` → list and None."""
    parts = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    return tuple(get_origin(part) or part for part in parts)


def spoken(language: str) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Code, values and sentence, for the examples of every code of a language."""
    words, english = in_language(language), in_language("en")
    for code, says in english.SENTENCES.items():
        for values in examples(code, says):
            yield code, values, words.sentence(Statement(code, values))
