"""Planted values for each code of judgement, for tests that read the sentences of several languages.

Several sets of values for one code stand for the branches of its sentence. Numbers that mean different things differ,
so that a sentence that confuses two of them can be told.
"""

from itertools import product
from typing import Any

from vptlib.statement import Statement, statement


def _each(common: dict[str, Any], *changes: dict[str, Any]) -> list[dict[str, Any]]:
    """The common values, and those with each of the changes."""
    return [common, *(common | change for change in changes)]


def _all_of(**choices: list) -> list[dict[str, Any]]:
    """Every combination of the choices."""
    return [dict(zip(choices, values, strict=True)) for values in product(*choices.values())]


# ---- protocol ---------------------------------------------------------------------------------------------------

_STRONG = {"full": {"layer_decay": 0.65}, "vpt-deep": {"layer_decay": 0.75, "drop_path": 0.1}}
_LEFT_OUT = [
    {"n": 400, "methods": ["full", "linear"], "seeds": [1, 2]},
    {"n": 1500, "methods": ["vpt-deep"], "seeds": [2]},
]
_AUGMENTED = {"shift": 8, "change": 0.2, "mirror": True, "without": [], "head_solved": []}
_CHANGED = {"label_noise": 0.0, "noise": "symmetric", "imbalance": 1.0, "corruption": "", "severity": 3}
PROTOCOL = {
    "images_of_equal_budget": [
        *_all_of(sizes=[[50, 1500]], validating=[[0.2, 0.2], [0.14, 0.22]], nested=[True, False], groups_apart=[None]),
        *_all_of(sizes=[[50, 1500]], validating=[[0.2, 0.2]], nested=[True], groups_apart=[True, False]),
    ],
    "tuning_of_equal_budget": _all_of(candidates=["all", 1, 3], seeds=[1, 5]),
    "training_of_equal_budget": [{"steps": 1200, "batch_size": 64}],
    "input_given": [
        *_all_of(
            size=[224],
            aspect=["squash", "crop", "pad"],
            origin=["chosen", "own", "given"],
            precision=["fp32", "bf16"],
            augmentation=["none", "mirror"],
        ),
    ],
    "augmentation_given": _each(
        _AUGMENTED, {"mirror": False}, {"without": ["linear", "knn"]}, {"head_solved": ["lp-ft", "vpt-deep"]}
    ),
    "tuning_until_done": _all_of(candidates=[5], growth=[3], seeds=[1, 4]),
    "training_until_done": [{"steps": 2400, "batch_size": 64, "patience": 5, "between": 40}],
    "solved_methods": [{"methods": ["linear"]}, {"methods": ["linear", "knn"]}],
    "strong_methods": [{"options": _STRONG}],
    "prompts_given": [{"num_prompts": 10}],
    "images_of_published_rules": [{"sizes": [1000]}],
    "tuning_of_published_rules": _all_of(
        settings=[{"full": 6, "linear": 6}, {"full": 6, "vpt-deep": 24}],
        whole_grid=[True, False],
        official_split=[True, False],
        whole_groups=[True, False],
    ),
    "final_run_of_published_rules": [{}],
    "training_of_published_rules": _all_of(
        epochs=[1, 100], batch_size=[64], optimisers=[{"full": "adamw", "vpt-deep": "sgd"}]
    ),
    "prompts_of_published_rules": [{"lengths": [1, 10, 50], "dropout": 0.1}],
    "time_fits": [{"runs": 0, "missing": 12, "seconds": 0.0}, {"runs": 7, "missing": 12, "seconds": 600.0}],
    "size_for_the_time": [{"size": 224, "wanted": 448}],
    "runs_left_out": [{"runs": 5, "by_size": _LEFT_OUT}],
    "tested_once": [{"images": 300}, {"images": 300, "asked": 1000}],
    "seeds_given": [{"seeds": [0]}, {"seeds": [0, 1, 2]}],
    "conditions": _each(
        _CHANGED,
        {"label_noise": 0.15},
        {"label_noise": 0.15, "noise": "next", "imbalance": 20.0},
        {"imbalance": 20.0, "corruption": "blur"},
        {"corruption": "noise"},
        {"corruption": "brightness"},
        {"corruption": "contrast"},
        {"corruption": "pixelation"},
    ),
}

# ---- the input size ---------------------------------------------------------------------------------------------

_CHOSEN = {"size": 160, "accuracy": 0.8123, "best_accuracy": 0.8357, "error": 0.024, "sizes": [112, 160, 224]}
INPUT_SIZE = {
    "input_size_chosen": [_CHOSEN | {"best": 224}, _CHOSEN | {"best": 160, "best_accuracy": 0.8123}],
    "input_size_limited": [{"size": 112, "accuracy": 0.712, "wanted": 224, "wanted_accuracy": 0.834}],
    "larger_input_needs_time": [{"size": 224, "accuracy": 0.834, "smaller": 112, "smaller_accuracy": 0.712}],
    "input_size_probe": _all_of(n=[1500], folds=[5], kind=["stratified", "groups", "plain"]),
    "input_size_only": [{"size": 224, "images": [240, 180]}],
    "input_size_fixed": [{"size": 224}],
    "input_size_by_hand": [{"size": 160}],
    "larger_input": _all_of(size=[448], smaller=[224], gain=[0.031], error=[0.012], rising=[True, False]),
    "input_sizes_mixed": [{"least": 64, "median": 300, "most": 4000}],
}

# ---- how images and tables were read ------------------------------------------------------------------------------

_MANY_CLASSES = {"A": 9, "B": 8, "C": 7, "D": 6, "E": 4, "F": 3, "G": 2}
_OF_PARTS = [{"class": name, "split": split, "files": n} for name, split, n in
             [("A", "train", 9), ("B", "test", 8), ("C", "train", 7), ("D", "test", 6), ("E", "train", 4),
              ("F", "test", 3), ("G", "test", 2)]]  # fmt: skip
_LIBRARY = {"where": "hf:birds", "train": ["train"], "test": ["validation"], "left_out": []}
READING = {
    "spellings_joined": [{"where": "photos", "name": "Kratzer", "spellings": ["'Kratzer'", "'kratzer'"]}],
    "folders_are_classes": [{"folder": "photos", "classes": 12}],
    "folders_are_splits": [
        {"folder": "photos", "train": ["A"], "test": ["B", "C"]},
        {"folder": "photos", "train": ["A"], "test": []},
    ],
    "splits_in_classes": [{"folder": "photos", "classes": 12, "train": ["A"], "test": ["B"]}],
    "held_out_tests": [{"folder": "photos", "name": "A"}],
    "quarter_tests": _all_of(groups=[True, False]),
    "folder_entered": [{"folder": "photos", "inner": "A"}],
    "folder_passed_over": [
        {"name": "old", "folders": 1, "images": 12},
        {"name": "old", "folders": 3, "images": 1200},
    ],
    "doubtful_class": [{"name": "old", "images": 12}],
    "split_without_classes": [{"name": "old", "images": 12}],
    "images_without_class": _all_of(folder=["photos"], images=[1, 12], first=["a.png"]),
    "deeper_folders": _all_of(classes=[1, 12], first=["A"], inner=[["x", "y"]]),
    "folders_without_images": _all_of(folder=["photos"], names=[["A", "B"]], folders=[2, 9]),
    "files_passed_over": [
        *_all_of(
            ending=[".heic"],
            files=[7],
            classes=[{"A": 4, "B": 3}],
            way=["convert", "install", "unpack", "frames"],
            package=["pillow-heif"],
        ),
        {"ending": ".mp4", "files": 39, "classes": _MANY_CLASSES, "way": "frames", "package": ""},
        *_all_of(ending=[""], files=[1, 7], classes=[{}], way=["name it"], package=[""]),
    ],
    "no_images_passed_over": [
        {"files": 7, "endings": {".txt": 4, ".md": 3}},
        {"files": 12, "endings": {".txt": 4, ".md": 3}},
    ],
    "hidden_passed_over": _all_of(images=[1, 12], first=[".a.png"]),
    "link_in_a_circle": _all_of(links=[1, 4], first=["photos/A/up"]),
    "ignored_as_asked": [{"images": {"A": 12, "B": 1}}],
    "clutter_class": [{"name": "A"}],
    "files_look_like_masks": _all_of(images=[1, 12], first=["a_mask.png"]),
    "classes_without_test": [
        {"classes": 1, "names": ["A"]},
        {"classes": 2, "names": ["A", "B"]},
        {"classes": 9, "names": ["A", "B"]},
    ],
    "unreadable_left_out": [
        {"files": 39, "parts": _OF_PARTS, "names": ["a.png", "b.png"]},
        {"files": 1, "parts": [{"class": "A", "split": "test", "files": 1}], "names": ["a.png"]},
    ],
    "name_not_utf8": [{"where": "photos", "name": "Gr\\xfcn"}],
    "table_encoding": [
        {"table": "t.csv", "encoding": "UTF-16", "words": []},
        {"table": "t.csv", "encoding": "CP932", "words": ["傷", "汚れ"]},
    ],
    "table_separator": _all_of(table=["t.csv"], separator=["commas", "semicolons", "tabs", "upright bars", "'#'"]),
    "table_columns": [{"table": "t.csv", "taken": {"path": "A", "label": "B", "group": "C", "split": "D"}}],
    "table_paths_understood": [
        {
            "table": "t.csv",
            "differed": {"backslashes": 2, "spaces": 3, "accents": 4, "case": 6, "stored": 7},
            "written": "A\\b.png",
            "meant": "a/b.png",
        }
    ],
    "table_rows_repeated": _all_of(table=["t.csv"], rows=[1, 4], images=[1200]),
    "table_words_for_nothing": [
        {"table": "t.csv", "column": "C", "words": ["NA"]},
        {"table": "t.csv", "column": "C", "words": ["NA", "-"]},
    ],
    "table_no_groups": [{"table": "t.csv", "column": "C"}],
    "table_groups_empty": _all_of(table=["t.csv"], column=["C"], images=[1, 1200]),
    "table_groups_joined": [{"table": "t.csv", "column": "C", "spellings": ["A", "a"]}],
    "table_splits": _all_of(table=["t.csv"], column=["C"], train=[["A", "B"], []], test=[["D"], []]),
    "splits_of_library": _each(_LIBRARY, {"test": []}, {"left_out": ["extra", "other"]}),
    "columns_of_library": [{"where": "hf:birds", "image": "A", "label": "B", "others": ["C", "D"]}],
    "images_without_label": [{"where": "hf:birds", "counts": {"A": 4, "B": 1}}],
    "classes_by_name": [{"where": "hf:birds", "first": "A", "parts": ["B", "C"]}],
    "classes_without_images": [
        {"where": "hf:birds", "classes": 1, "first": ["A"]},
        {"where": "hf:birds", "classes": 12, "first": ["A", "B", "C"]},
    ],
}

# ---- the check of images ------------------------------------------------------------------------------------------

_PLACES = ["across train and test", "within train", "within test"]
DATA_CHECK = {
    "grey_range": [
        *_all_of(low=[100.0], high=[4095.0], how=["given", "usual", "nominal", "own"], deep=[300], images=[300, 1200]),
        {"low": 0.0, "high": 0.7312, "how": "own", "deep": 30, "images": 90},
    ],
    "grey_kinds_mixed": _all_of(whole=[30], floats=[1200], one_range=[True, False]),
    "grey_depths_mixed": _all_of(deep=[1, 30], others=[1, 1200], own=[True, False]),
    "grey_levels_few": [{"levels": 7, "low": 100.0, "high": 4095.0}, {"levels": 7, "low": 0.1, "high": 0.73125}],
    "grey_without_value": [{"files": 4, "sampled": 1200, "first": "a.tif"}],
    "unreadable_files": [
        {"bad": 1, "files": 1200, "messages": ["a.png cannot be read: restore it."]},
        {"bad": 9, "files": 1200, "messages": ["a.png cannot be read: restore it.", "b.png is empty."]},
    ],
    "size_not_possible": [{"n": 50, "message": "size 50 is too small."}],
    "no_size_possible": [{"message": "fewer than 2 training images are of class 'A': add some."}],
    "sizes_possible": [
        {"least": 20, "largest": 1200, "all": True, "examples": [50, 150]},
        {"least": 20, "largest": 20, "all": True, "examples": [20]},
        {"least": 20, "largest": 1200, "all": False, "examples": [48, 150, 1100]},
    ],
    "groups_on_both_sides": [
        {"shared": 1, "groups": 12, "tested": 1, "test": 300, "pair": ["a.png", "b.png"]},
        {"shared": 3, "groups": 12, "tested": 40, "test": 300, "pair": ["a.png", "b.png"]},
    ],
    "classes_not_trained": [
        {"number": 1, "names": ["A"]},
        {"number": 2, "names": ["A", "B"]},
        {"number": 9, "names": ["A", "B"]},
    ],
    "more_pages": [
        {"files": 1, "images": 300, "names": ["a.tif"]},
        {"files": 9, "images": 300, "names": ["a.tif", "b.tif"]},
    ],
    "duplicates": _all_of(
        kind=["exact", "near", "turned"],
        where=_PLACES,
        pairs=[1, 1200],
        first=["a.png"],
        second=["b.png"],
        more=[True, False],
    ),
    "doubles_across": _all_of(
        labelled=[1200], tested=[400], copies=[0, 1, 14], alike=[0, 1, 21], first=["fine/a.png"], second=["fine/b.png"]
    ),
    "duplicates_of_different_classes": _all_of(
        kind=["exact", "near"], pairs=[1, 14], first=["a.png"], second=["b.png"], more=[True, False]
    ),
    "duplicates_not_all_compared": _all_of(kind=["exact", "near", "turned"], where=_PLACES),
    "rare_class": [{"common": "A", "most": 900, "rare": "B", "least": 12}],
    "image_modes": [{"modes": {"RGB": 40, "L": 3}}],
    "small_images": _all_of(images=[1, 1200], side=[64]),
    "image_sizes": [
        {"typical": [480, 360], "widths": [480, 480], "heights": [360, 360], "model": [112, 160, 224]},
        {"typical": [480, 360], "widths": [320, 1280], "heights": [240, 960], "model": [112, 160, 224]},
    ],
    "nothing_lost": [{"size": 112}],
    "detail_lost": [
        {"covered": [], "whole_at": 224},
        {"covered": [[112, 4.29, 3.21], [160, 3, 2.25]], "whole_at": None},
        {"covered": [[112, 1.5, 1.2]], "whole_at": 224},
    ],
    "shape_lost": _each(
        {"oblong": 40, "images": 1200, "typical": 0.25, "most": 0.62, "over": 0.3, "above": 0},
        {"above": 17},
        {"most": 0.994},
    ),
    "sizes_mixed": [
        {"smallest": [64, 48], "largest": [4000, 3000], "times": 3, "below": 14, "above": 9, "images": 1200}
    ],
    "below_a_patch": [
        {"tiny": 2, "images": 1200, "patch": 16, "names": ["a.png", "b.png"]},
        {"tiny": 9, "images": 1200, "patch": 16, "names": ["a.png", "b.png"]},
    ],
    "groups_apart": [{"groups": 12}],
    "licence_given": [{"licence": "CC BY 4.0"}],
}

# ---- from a report to answers -------------------------------------------------------------------------------------

_ASKED = {"asked": 40, "images": 1200, "wanted": None, "threshold": 0.873, "accuracy": None, "low": None, "high": None}
_MEASURED = {"accuracy": 0.9712, "low": 0.9534, "high": 0.9845}
ANSWERS = {
    "next_step_use": [{"method": "vpt-deep"}, {"method": "full"}],
    "next_step_try": [{"method": "linear"}],
    "exported_without_advice": _all_of(choice=["more_seeds", "no_answer", "more_labels"]),
    "images_named_again": _all_of(files=[1, 12]),
    "unreadable_skipped": _all_of(bad=[1, 4], files=[1200], first=["a.png"]),
    "new_images_of_8_bits": _all_of(images=[1, 12], first=["a.png"], low=[100.0], high=[4095.0]),
    "new_greys_do_not_fit": _all_of(images=[1, 12], first=["a.png"], low=[0.0], high=[0.7312]),
    "person_asked": _each(_ASKED, {"asked": 1}, {"wanted": 0.975}, {"wanted": 0.975} | _MEASURED),
    "person_unknown": [
        *_all_of(wanted=[0.975], images=[300], needed=[None, 1480]),
        {"wanted": None, "images": 300, "needed": None},
    ],
    "formulas_marked": [{"names": ["=A", "+B"], "classes": 2}, {"names": ["=A", "+B"], "classes": 9}],
}

# ---- the audit of a study's runs ----------------------------------------------------------------------------------

_EDGE = {"method": "vpt-deep", "n": 400, "chosen": 0.01, "tried": [0.001, 0.003, 0.01], "further": 0.03}
AUDIT = {
    "best_at_last_step": _all_of(method=["full"], n=[1500], seeds=[[0], [1, 2]], steps=[2400]),
    "choice_at_edge": [
        _EDGE | {"side": side, "solved": solved} for side, solved in product(["smallest", "largest"], [True, False])
    ],
    "candidate_diverged": _all_of(method=["full"], n=[1500], rates=[[0.01], [0.01, 0.03]]),
    "accuracy_falls": _all_of(
        method=["full"], smaller=[150], larger=[1500], before=[0.812], after=[0.745], seeds=[1, 3], images=[1200]
    ),
    "seeds_diverge": _all_of(method=["full"], n=[1500], seeds=[[2], [1, 2]], accuracy=[0.452], others=[0.813]),
    "collapsed": _all_of(method=["full"], n=[1500], seeds=[[2], [1, 2]], accuracy=[0.113], without_looking=[0.102]),
    "trained_out": _all_of(runs=[1, 1200]),
    "not_trained_out": _all_of(cut=[4], runs=[36], methods=[["full"], ["vpt-deep", "full"]]),
    "length_is_fixed": _all_of(runs=[1, 1200]),
}

# ---- the explainability checklist ---------------------------------------------------------------------------------

_MAPS = {"value": 0.62, "low": 0.51, "high": 0.73, "similarity": 0.66, "of_other_images": 0.14}
_CHECKS = ["repeats itself", "depends on the model", "other kinds of map", "another training run"]
CHECKLIST = {
    "maps_mark": _all_of(share=[0.93], enough=[True, False]),
    "map_against_baseline": [
        *_all_of(
            check=["faithful"],
            value=[0.31],
            baseline=["random", "centre"],
            of_baseline=[0.12],
            leads=[True, False, None],
            images=[48],
            needed=[None, 190],
        ),
        *_all_of(
            check=["pointing", "energy"],
            value=[0.73],
            baseline=["centre", "even"],
            of_baseline=[0.54],
            leads=[True, None],
            images=[48],
            needed=[190],
        ),
    ],
    "maps_compared": [
        _MAPS | {"check": check, "same": same, "needed": needed}
        for check, same, needed in product(_CHECKS, [True, False, None], [None, 190])
    ]
    + [_MAPS | {"check": "depends on the model", "same": False, "needed": None, "value": 0.12, "low": -0.05}],
    "maps_not_compared": _all_of(check=_CHECKS, compared=[3], maps=[48]),
    "map_not_repeated": _all_of(check=_CHECKS, repeats=[None, False]),
    "repeat_unknown": [{}],
    "same_for_every_image": [{"similarity": 0.97}],
    "object_unknown": [{}],
    "one_kind_examined": [{}],
    "shares_off_by": [{"error": 0.034, "allowed": 0.05}],
    "faithfulness_differs_by": [{"difference": 0.12, "low": -0.03, "high": 0.27}],
    "model_leads": _all_of(method=["vpt-deep", None], images=[48], needed=[None, 190]),
    "one_model_examined": [{}],
}

# ---- learning curves, the forecast, intervals ---------------------------------------------------------------------

_LEADING = {"a": "vpt-deep", "b": "full", "a_ahead_at": [50], "b_ahead_at": [], "open_at": [], "changes": 0}
_AHEAD = {"probability": 0.83, "n": 400, "then": 1600, "margin": 0.012, "hits": 31, "cases": 38, "tasks": 19}
CURVES = {
    "few_sizes": [{"sizes": 2}],
    "error_rises": [{"first": 50, "last": 400}],
    "error_maybe_flat": [{"first": 50, "last": 400}],
    "error_off_curve": [{"n": 150}],
    "who_leads": _each(
        _LEADING,
        {"b_ahead_at": [200, 400], "changes": 1},
        {"a_ahead_at": [], "open_at": [150, 400]},
        {"a_ahead_at": [50, 800], "b_ahead_at": [200], "open_at": [400], "changes": 3},
    ),
    "full_ahead_later": _each(_AHEAD, {"margin": 0.0}, {"probability": 0.998}),
    "no_table_for_backbone": [
        {"others": ["DINOv2", "MAE"], "hits": 31, "cases": 38},
        {"others": ["DINOv2"], "hits": 0, "cases": 0},
    ],
    "beyond_the_tables": [{"n": 50, "then": 160, "least": 400, "most": 1000, "latest": 10000}],
    "rules_no_better": [
        {
            "rules": 9,
            "tasks": 19,
            "cases": 38,
            "hits": 24,
            "brier": 0.2314,
            "constant": 0.2456,
            "better": 0.0142,
            "low": -0.0213,
            "high": 0.0487,
        }
    ],
    "classes_not_known": [{}],
    "two_not_run_together": [{}],
    "decide_again_by_record": [{"n": 1600}],
    "decide_again_past_record": [{"n": 1600}],
    "decide_again_by_convention": _all_of(n=[1600], times=[2, 4]),
    "power_laws_seldom_hold": [
        {"images": 1200, "cases": 38, "tasks": 19, "near": 2500, "near_held": 14, "far": 7000, "far_held": 6}
    ],
    "one_seed": [{}],
    "one_test_group": [{"images": 1200}],
    "tuning_shared": [{"methods": ["full"]}, {"methods": ["vpt-deep", "full"]}],
    "pool_used_up": [{"n": 1200, "pool": 1500}],
    "seeds_skewed": [{"method": "full", "lowest": 0.452, "others": 0.813, "seeds": 4}],
    "failures_unseen": _all_of(seeds=[1, 3], share=[0.63]),
}

# ---- limits: mistakes, promotion, watching -------------------------------------------------------------------------

_KINDS = [
    {"kind": "miss_rate", "names": ["A", "B"], "limit": 0.025},
    {"kind": "false_alarm_rate", "names": ["A"], "limit": 0.025},
    {"kind": "recall", "names": ["A", "B", "C", "D", "E", "F", "G"], "limit": 0.975},
    {"kind": "precision", "names": ["A"], "limit": 0.975},
    {"kind": "accuracy", "names": [], "limit": 0.975},
]
_OF_LIMIT = {"value": 0.9812, "bound": 0.9654, "images": 300}
_JUDGED = [kind | _OF_LIMIT | {"trainings": trainings} for kind in _KINDS for trainings in (1, 3)]
_FINDING = statement("limit_met", **_JUDGED[0])
_OPEN_FINDING = Statement("limit_open", _JUDGED[9] | {"needed": 1480})
_ALONE = {
    "wanted": 0.975,
    "threshold": 0.873,
    "share": 0.64,
    "share_low": 0.57,
    "share_high": 0.71,
    "accuracy": 0.9812,
    "accuracy_low": 0.9654,
    "accuracy_high": 0.9923,
}
_POINT = {
    "wanted": 0.025,
    "threshold": 0.137,
    "misses": 0.0182,
    "misses_low": 0.0073,
    "misses_high": 0.0345,
    "alarms": 0.1264,
    "alarms_low": 0.0951,
    "alarms_high": 0.1678,
}
_WORST = {"accuracy": 0.7123, "low": 0.5514, "high": 0.8302, "images": 42, "groups": 7, "overall": 0.8845}
MISTAKES = {
    "worst_class": [{"name": "A", "recall": 0.7123, "low": 0.5514, "high": 0.8302, "images": 42, "classes": 7}],
    "classes_not_tested": [{"names": ["A", "B"], "classes": 2}, {"names": ["A", "B"], "classes": 9}],
    "interval_of_rates": _all_of(trainings=[1, 3], grouped=[True, False]),
    "worst_group": [_WORST | {"group": "A", "clear": clear} for clear in (True, False)],
    "groups_too_small": _all_of(groups=[1, 7], least=[20]),
    "no_probabilities": [{}],
    "some_without_probabilities": [{"trainings": 3, "of": 12}],
    "calibrated": [{"seen": 0.021, "by_chance": 0.034}],
    "not_calibrated": _all_of(error=[0.061], low=[0.042], high=[0.083], gap=[0.055, -0.055]),
    "answers_by_itself": [_ALONE],
    "answers_none": [{"wanted": 0.975, "needed": 1480}],
    "operating_point": [_POINT | {"names": ["A", "B"]}],
    "too_few_defects": [{"names": ["A"], "wanted": 0.025, "needed": 1480}],
    "limit_met": _JUDGED,
    "limit_not_met": _JUDGED,
    "limit_open": [one | {"needed": 1480} for one in _JUDGED],
    "limit_open_for_good": [one | {"keeps": keeps} for one in _JUDGED for keeps in (True, False)],
    "limit_without_images": _KINDS,
}

_NO_WORSE = {
    "by": 0.012,
    "difference": 0.021,
    "bound": 0.0034,
    "images": 300,
    "groups": 0,
    "shown": True,
    "needed": None,
}
GATES = {
    "limit_in_groups": [
        {"group": "A", "groups": 1, "not_shown": 1, "finding": _FINDING, "needed": None},
        {"group": "A", "groups": 7, "not_shown": 4, "finding": _OPEN_FINDING, "needed": 950},
    ],
    "limit_without_groups": [{"kind": "recall", "names": ["A"]}],
    "limits_at_promotion": [
        {"kinds": ["no_worse_than_production", "calibration_error", "latency", "robustness", "explanations"]},
        {"kinds": ["latency"]},
    ],
    "gate_canaries_reproduced": [{}],
    "gate_canaries_not_reproduced": [{"why": "「none」"}],
    "gate_first_classes": [{"classes": 12}],
    "gate_same_classes": [{"classes": 12}],
    "gate_other_classes": [
        {"added": added, "removed": removed} for added, removed in product([[], ["A", "B"]], [[], ["C"]])
    ],
    "gate_no_limits": [{}],
    "gate_test_images_used": _all_of(times=[0, 1, 4], images=[300]),
    "gate_class_absent": [{"kind": "recall", "names": ["A", "B"]}],
    "gate_rate": [
        _KINDS[0] | {"each_group": True, "finding": _FINDING},
        _KINDS[4] | {"each_group": False, "finding": _OPEN_FINDING},
    ],
    "gate_no_production": [{}],
    "gate_is_production": [{}],
    "gate_other_test_images": [{"images": 300, "of_production": 1200}],
    "gate_no_worse": _each(
        _NO_WORSE,
        {"groups": 7},
        {"difference": -0.021, "bound": -0.0434, "shown": False},
        {"difference": 0.0, "bound": -0.0134, "shown": False, "needed": 1480, "by": 0.0},
    ),
    "gate_without_probabilities": [{"limit": 0.025}],
    "gate_calibration": _all_of(limit=[0.0525], error=[0.031], high=[0.0478, 0.0613], images=[300]),
    "gate_latency": _all_of(limit=[42.5], median=[31.4, 53.6], repeats=[50], device=["cpu"], threads=[None, 2]),
    "gate_latency_unknown": [{"limit": 42.5}],
    "gate_not_measured": _all_of(
        kind=["no_worse_than_production", "calibration_error", "latency", "robustness", "explanations"]
    ),
    "gate_robustness": [
        {"corruption": corruption, "severity": 3, "limit": 0.725, "clean": 0.884, "finding": _OPEN_FINDING}
        for corruption in ("noise", "blur", "brightness", "contrast", "pixelation")
    ],
    "gate_explanations": [
        {
            "maps": "rollout",
            "passed": ["differences", "faithful"],
            "failed": [],
            "undecided": ["repeats_itself"],
            "images": 48,
            "needed": 190,
        },
        {
            "maps": "rollout",
            "passed": [],
            "failed": ["depends_on_the_model"],
            "undecided": [],
            "images": 48,
            "needed": None,
        },
    ],
    "gate_explanations_impossible": [{"maps": "rollout", "why": "「none」"}],
    "ledger_fault": _all_of(kind=["changed", "missing", "forked", "out_of_order"], number=[12]),
    "moment_taken": _all_of(
        at=["2026-11-29T05:00:00"], zone=["Asia/Tokyo"], given=[True, False], hour=["once", "twice", "skipped"]
    ),
    "versions_not_compared": [{"first": "v3", "second": "v4"}],
    "versions_compared": [
        {"first": "v3", "second": "v4", "flipped": 0, "gained": 0, "lost": 0, "p_value": 1.0},
        {"first": "v3", "second": "v4", "flipped": 27, "gained": 21, "lost": 6, "p_value": 0.0059},
    ],
}

_WATCHED = {"value": 0.9812, "low": 0.9654, "high": 0.9923, "cases": 460}
_GROUPED = [kind | {"group": group} for kind, group in product(_KINDS, [None, "L"])]
_AGAIN = {"why": ["labels"], "labelled": None, "checked": None, "again_at": None, "by_rule": False}
WATCHING = {
    "drift_too_few": _all_of(answers=[1, 140], needed=[300]),
    "drift_not_found": _all_of(answers=[300], shift=[None, 0.43]),
    "drift_found": [
        {"tests": ["features", "energy", "confidence"], "since": 1200, "at_least": True, "answers": 340},
        {"tests": ["classes", "asked"], "since": 1200, "at_least": False, "answers": 340},
    ],
    "drift_features": [{"ratio": 4.37}, {"ratio": float("inf")}],
    "drift_energy": [{"ratio": 4.37}, {"ratio": float("inf")}],
    "drift_confidence": [{"before": 0.912, "now": 0.834}],
    "drift_asked": [{"before": 0.112, "now": 0.234}],
    "drift_classes": [{"changes": [["A", 0.112, 0.234], ["B", 0.345, 0.256]]}],
    "drift_without_features": [{}],
    "drift_groups_unknown": [{}],
    "drift_few_groups": [{"arrangements": 35, "needed": 200}],
    "watch_broken": [one | _WATCHED | {"after": 132} for one in _GROUPED],
    "watch_holds": [one | _WATCHED for one in _GROUPED],
    "watch_open": [one | _WATCHED | {"needed": needed} for one, needed in product(_GROUPED, [None, 1480])],
    "watch_no_cases": _GROUPED,
    "watch_without_groups": _GROUPED,
    "watch_not_drawn": _all_of(answers=[1, 40], of=[460]),
    "status_failed": [{"why": "「none」"}],
    "status_records_failed": [{"why": "「none」"}],
    "status_no_production": _all_of(candidate=[None, 4]),
    "status_without_limits": [{}],
    "status_class_absent": [{"kind": kind["kind"], "names": ["A"]} for kind in _KINDS],
    "status_drift_since": [{"at": "2026-11-29T05:00:00+00:00"}],
    "status_decide_again": _each(
        _AGAIN,
        {"why": ["labels", "limit", "drift"]},
        {"labelled": 1850, "checked": 640},
        {"labelled": 1850, "checked": 640, "again_at": 1600},
        {"labelled": 1850, "checked": 640, "again_at": 1600, "by_rule": True},
    ),
    "status_labels_to_go": _all_of(labelled=[1250], checked=[640], again_at=[1600], by_rule=[True, False]),
    "status_checks_waiting": _all_of(waiting=[1, 12], due=[95], days=[14]),
    "status_checks": _all_of(drawn=[1, 95], checked=[83]),
    "status_disputed": [{"disputed": 4, "checked": 83}],
    "status_none_drawn": [{"answers": 1200}],
    "status_nothing_recorded": [{}],
    "status_no_answer_yet": _all_of(others=[0, 1200]),
    "status_silent": [{"days": 14}],
    "status_other_versions": _all_of(answers=[1, 1200], versions=[["v3", "v4"]], late=[True, False]),
    "status_forced": [{"by": "A", "reason": "「none」"}],
}

# ---- money and the plan -------------------------------------------------------------------------------------------

_PRICED = {
    "method": "vpt-deep",
    "tasks_planned": 12.0,
    "years": 3.0,
    "total": [2100.0, 3400.0, 6000.0],
    "labelling": 0.43,
    "rival": None,
    "rival_total": None,
    "assumed": 0,
}
_TURN = {"value": 34.0, "low": 21.0, "high": 58.0, "share": 0.83, "below": "vpt-deep", "above": "full"}
_LEADS_BY = {"a": "vpt-deep", "b": "linear", "lead": [-120.0, 450.0, 980.0], "probability": 0.83}
MONEY = {
    "not_priced": [{}],
    "none_to_price": [{}],
    "priced": _each(
        _PRICED,
        {"assumed": 1},
        {"assumed": 7, "rival": "full", "rival_total": [4200.0, 5700.0, 8800.0]},
        {"total": [3400.0, 3400.0, 3400.0], "tasks_planned": 1.0, "years": 1.5},
    ),
    "further_labels": [
        {"tasks_planned": 1.0, "train": 0, "test": 0, "checks": 2400},
        {"tasks_planned": 12.0, "train": 4400, "test": 3300, "checks": 2400},
    ],
    "brings_more": [
        _LEADS_BY | {"lead": lead, "valued": valued}
        for lead, valued in product([[-120.0, 450.0, 980.0], [-980.0, -450.0, 120.0]], [True, False])
    ],
    "turns_at": [
        _TURN | {"name": name, "share": share, "valued": valued}
        for name, share, valued in product(["tasks_planned", "label_price"], [0.83, 0.97], [True, False])
    ],
    "turns_nowhere": _all_of(
        name=["tasks_planned", "label_price"],
        least=[2.0],
        most=[100.0],
        better=["linear"],
        share=[0.01, 0.17],
        valued=[True, False],
    ),
    "worth_asking": _all_of(
        kind=["seeds", "test_images"], amount=[1, 300], worth=[640.0], price=[120.0], pays=[True, False]
    ),
    "labels_must_bring": [{"labels": 1500, "tasks_planned": 12.0, "price": 640.0, "gain": 0.034}],
}

_METHODS = ["vpt-deep", "linear", "full"]
_CHANCES = [{"chance": None, "needed": None}, {"chance": 0.73, "needed": 0.92}, {"chance": 0.8999, "needed": 0.92}]
PLAN = {
    "operate": _all_of(method=_METHODS, chance=[0.97], needed=[0.92]),
    "operate_unasked": _all_of(method=_METHODS),
    "pilot": _all_of(method=_METHODS, chance=[0.73, 0.8987], needed=[0.92]),
    "label_more": _CHANCES,
    "study_more": [one | {"choice": choice} for one, choice in product(_CHANCES, ["more_seeds", "train_longer"])],
    "out_of_sight": _all_of(needed=[None, 0.92]),
    "tried": _all_of(n=[1500], images=[300], finished=[True, False], prompt_bytes=[None, 83_000.0]),
    "buy_labels": _all_of(labels=[1500], price=[None, 640.0]),
    "collect": _all_of(checks=[200.0], labels=[1500], months=[1, 8], given=[True, False]),
    "again_when_finished": [{}],
    "again_with_another_backbone": [{}],
}

# ---- recommendations ----------------------------------------------------------------------------------------------

_PAIR = {"difference": 0.021, "low": -0.004, "high": 0.046}
_LIGHTER = {"second": "linear", "difference": 0.063, "low": 0.031, "high": 0.095}
_HEAVIER = {"second": "full"} | _PAIR
_OPEN = {"first": "vpt-deep", "second": "full", "now": 3, "wanted": 9, "worth": 0.004, "seconds": 600.0}
_SURE = {
    "method": "linear",
    "level": "medium",
    "probability": 0.83,
    "replicates": 2000,
    "claim": "right",
    "bar": None,
    "margin": 0.012,
    "quick": False,
    "left": None,
}
_SPREAD = {"accuracy": 0.8123, "low": 0.7519, "high": 0.8478}
RECOMMENDATIONS = {
    "seen": _all_of(
        n=[1500], images=[300], methods=[["vpt-deep", "full"]], accuracies=[[0.812, 0.745]], chance=[None, 0.103]
    ),
    "not_compared_yet": _all_of(n=[1500], lacking=[[], ["full"], ["vpt-deep", "full"]]),
    "best_so_far": [_SPREAD | {"method": "linear", "n": 1500}],
    "quick_look": _all_of(seeds=[1, 2], fewest=[3], seconds=[600.0]),
    "cut_short": [{"methods": ["full"]}, {"methods": ["vpt-deep", "full"]}],
    "at_chance": [_SPREAD | {"method": "linear", "chance": 0.793}],
    "little_above_chance": [_SPREAD | {"method": "linear", "chance": 0.693}],
    "reaches": _all_of(method=_METHODS, bar=[0.92], chance=[0.97], of_today=[True, False]),
    "not_reached": _all_of(
        method=["vpt-deep"], bar=[0.92], accuracy=[0.874], chance=[0.13], mean=[0.06], of_today=[True, False]
    ),
    "limits_not_kept": [{"method": "linear", "finding": _OPEN_FINDING}],
    "lightest_of_the_best": [
        {"method": "vpt-deep", "margin": 0.012, "lighter": lighter, "heavier": heavier}
        for lighter, heavier in product([_LIGHTER, None], [_HEAVIER, None])
    ],
    "best_after_costs": _all_of(method=_METHODS),
    "open_between": [
        _OPEN | {"step": "more_seeds", "groups": None},
        _OPEN | {"step": "more_test_images", "now": 300, "wanted": 1200, "seconds": None, "groups": None},
        _OPEN | {"step": "more_test_images", "now": 300, "wanted": 1200, "seconds": None, "groups": 7},
    ],
    "sure": _each(
        _SURE,
        {"level": "high", "probability": 0.997},
        {"level": "low", "quick": True},
        {"claim": "reaches", "bar": 0.92},
        {"left": "full"},
    ),
    "leads_so_far": _all_of(method=_METHODS, probability=[0.64], margin=[0.012], quick=[True, False]),
    "none_leads": [{"chance": 0.103}],
    "sure_nothing_works": _all_of(level=["low", "high"], probability=[0.93]),
    "loss": _all_of(method=["linear"], loss=[0.0002, 0.002], other=["full"], other_loss=[0.013]),
    "audit_doubts": [
        {"codes": ["best_at_last_step", "choice_at_edge"], "methods": ["full"]},
        {"codes": ["seeds_diverge", "accuracy_falls", "collapsed"], "methods": ["vpt-deep", "full"]},
    ],
    "methods_lacking": _all_of(methods=[["full"], ["vpt-deep", "full"]], n=[1500]),
    "seeds_not_common": _all_of(common=[1, 2], unused=[[4], [4, 6]]),
    "two_ways": [
        {"first": "vpt-deep", "second": "full", "n": 1500} | _PAIR,
        {"first": "vpt-deep", "second": "full", "n": 1500, "difference": -0.034, "low": -0.056, "high": -0.012},
        {"first": "vpt-deep", "second": "full", "n": 1500, "difference": 0.0, "low": -0.013, "high": 0.0},
    ],
    "settles": _all_of(difference=[0.034], seeds=[1, 3], images=[1200]),
    "told_apart": _all_of(seeds=[1, 3], images=[1200], difference=[0.034, 0.096], expected=[0.034, 0.058]),
    "told_apart_before": _all_of(seeds=[1, 3], images=[1200], difference=[0.034], groups=[None, 7]),
    "lead_changes": [{"n": 640.0, "low": 320.0, "high": 950.0, "leader": leader} for leader in ("vpt-deep", "full")],
    "weights": [{"methods": ["vpt-deep", "full"], "stored": [83_000, 64_900_000], "seconds": [39.4, 600.0]}],
    "last_labels": [{"method": "linear", "smaller": 150, "n": 1500, "gain": 0.034, "low": -0.007, "high": 0.079}],
    "change_by_backbone": [{}],
    "change_by_step": _all_of(step=["more_seeds", "more_test_images", "larger_input", "train_longer", "more_labels"]),
    "change_by_bar": [{"bar": 0.923}],
    "change_by_rival": _all_of(rival=_METHODS, probability=[0.14]),
    "labels_to_make": [{"missing": 1100, "pool": 1500}],
    "change_by_other_methods": _all_of(method=_METHODS),
    "record_of_rule": _all_of(
        level=["low", "high"], tables=[2000], answers=[640], right=[592], low=[0.8934], high=[0.9456]
    ),
    "record_too_small": _all_of(level=["medium"], tables=[2000], answers=[0, 1, 14]),
}

# ---- what can go wrong ----------------------------------------------------------------------------------------------

_RISKED = [
    kind | {"value": value, "group": group, "others": others}
    for kind in _KINDS
    for value, group, others in ((None, "", 0), (0.7123, "L", 1), (0.7123, "", 4))
]
_DOUBTED = ["collapsed", "seeds_diverge", "accuracy_falls", "best_at_last_step", "choice_at_edge"]
RISKS = {
    "risk_used_all_the_same": [{"method": "linear", "accuracy": 0.43}],
    "risk_quick_look": _all_of(seeds=[1, 2]),
    "risk_another_way": _all_of(rival=_METHODS, probability=[0.14, 0.003]),
    "risk_something_works": [{"probability": 0.14}],
    "risk_blind": _all_of(difference=[0.034], images=[300], seeds=[1, 4]),
    "risk_drift": [{}],
    "risk_limit_not_met": _RISKED,
    "risk_limit_open": _RISKED,
    "risk_not_reached": [{"bar": 0.92, "chance": 0.74}],
    "risk_weak_lot": [{"group": "L", "accuracy": 0.71, "overall": 0.88}],
    "risk_weak_class": [{"name": "A", "recall": 0.71, "overall": 0.88}],
    "risk_class_untested": _all_of(name=["A"], classes=[1, 2, 7]),
    "risk_wrong_answers": [{"wrong": 0.123}],
    "risk_not_calibrated": _all_of(error=[0.061], gap=[0.04, -0.04]),
    "risk_audit": _all_of(finding=_DOUBTED, method=["full"], warnings=[1, 2, 6]),
    "risk_small_input": [{"size": 448, "accuracy": 0.948, "smaller": 224, "smaller_accuracy": 0.761}],
    "risk_groups_on_both_sides": [{"tested": 40, "test": 300}],
    "risk_duplicates": _all_of(copies=[1, 14], tested=[400]),
    "risk_labels_contradict": _all_of(pairs=[1, 14]),
    "risk_images": _all_of(warnings=[1, 4]),
    "risk_unseen_lots": [{}],
    "caught_at_promotion": [{}],
    "caught_by_seeds": [{"fewest": 3}],
    "caught_by_deciding_again": _all_of(n=[None, 1600]),
    "caught_by_another_study": [{}],
    "caught_by_test_images": [{}],
    "caught_by_watching": [{}],
    "caught_by_more_cases": _all_of(images=[None, 1480]),
    "caught_by_a_limit": _all_of(kind=["accuracy", "recall", "each_group"]),
    "caught_by_checking_all": [{}],
    "caught_by_a_person": [{"checked": 0.17, "accuracy": 0.96}],
    "caught_by_a_threshold": [{}],
    "caught_by_another_run": _all_of(finding=_DOUBTED),
    "caught_by_a_larger_input": [{}],
    "caught_by_dividing_anew": [{}],
    "caught_by_the_check": [{}],
    "caught_by_groups": [{}],
}

# ---- the decision page ------------------------------------------------------------------------------------------

_WAYS = ["vpt-deep", "linear", "full", "partial-k", "knn"]
_STEPS = [
    "next_use",
    "next_operate",
    "next_pilot",
    "next_seeds",
    "next_test_images",
    "next_larger_input",
    "next_train_longer",
    "next_labels",
    "next_use_none",
    "next_finish",
]
_CURVE = {
    "method": "vpt-deep",
    "accuracy": 0.812,
    "n": 1500,
    "best": "full",
    "best_accuracy": 0.845,
    "needed": None,
    "today": None,
    "pixels": None,
    "sizes": 3,
}
_SIX_TITLES = ["A", "B", "C", "D", "E", "F", "G"]
DECISION = {
    **dict.fromkeys(["next_use", "next_operate", "next_pilot"], _all_of(task=["T"], method=_WAYS, n=[1500])),
    "next_seeds": [{"task": "T", "now": 1, "wanted": 3}],
    "next_test_images": _all_of(task=["T"], now=[300], wanted=[None, 1200]),
    "next_larger_input": [{"task": "T"}],
    "next_train_longer": [{"task": "T"}],
    "next_labels": _all_of(task=["T"], now=[400], wanted=[None, 1600], pilot=[True, False]),
    "next_use_none": [{"task": "T"}],
    "next_finish": [{"task": "T"}],
    "sure_of_use": _all_of(
        level=["low", "medium", "high"], probability=[0.03, 0.78, 0.97], ways=[1, 4], left=[None, "full"]
    ),
    "sure_of_reaching": _all_of(level=["medium"], probability=[0.78], bar=[0.92]),
    "sure_of_none": _all_of(level=["high"], probability=[0.78]),
    "sure_of_nothing": _all_of(seeds=[1, 2], fewest=[3], seconds=[None, 600.0]),
    "sure_so_far": _all_of(method=_WAYS, probability=[0.64]),
    "sure_of_missing": [{"probability": 0.64, "bar": 0.92}],
    "none_keeps_limits_yet": [{}],
    "none_leads_yet": [{}],
    "not_finished_yet": _all_of(lacking=[[], ["full"], ["vpt-deep", "full"]]),
    "right_in_test": [_SPREAD | {"method": "linear", "n": 1500}],
    "against_today": _all_of(today=[0.92], chance=[None, 0.73]),
    "against_needed": _all_of(needed=[0.92], chance=[None, 0.73]),
    "limit_on_page": [
        kind | {"value": value, "verdict": verdict, "group": group}
        for kind in _KINDS
        for value, verdict, group in ((0.7123, "met", ""), (0.7123, "not_met", "L"), (None, "undecided", ""))
    ],
    "further_limits": _all_of(limits=[1, 7], not_kept=[4]),
    "nothing_to_compare_with": [{"lacking": ["accuracy_today", "accuracy_needed"]}],
    "step_takes_time": [{"seconds": 600.0}],
    "step_takes_images": _all_of(images=[1200], price=[None, 640.0], training=[True, False]),
    "costs_in_money": _all_of(tasks=[1.0, 12.0], assumed=[0, 1, 7], unit=["", "JPY"]),
    "costs_without_prices": [{}],
    "costs_of_none": [{}],
    "decide_again_when": [
        *_all_of(
            n=[1600],
            why=["change", "decide_again_by_record", "decide_again_past_record", "decide_again_by_convention"],
            wait=[True, False],
        ),
        {"n": None, "why": "again_when_finished", "wait": False},
    ],
    "who_decides": [{}],
    "curve_says": _each(
        _CURVE,
        {"best": "vpt-deep", "best_accuracy": 0.812, "sizes": 1},
        {"needed": 0.92, "today": 0.76},
        {"pixels": 224, "needed": 0.73},
    ),
    "tasks_agree": [
        {"tasks": 7, "step": step, "method": "vpt-deep", "wrong": wrong}
        for step, wrong in product(_STEPS, [None, 0.123])
    ],
    "tasks_differ": [
        {
            "tasks": 9,
            "wrong": 0.123,
            "steps": [
                {"step": "next_use", "method": "vpt-deep", "titles": ["A", "B"]},
                {"step": "next_labels", "method": None, "titles": _SIX_TITLES},
            ],
        }
    ],
}

# ---- the quality department -------------------------------------------------------------------------------------

QUALITY = {
    "quality_asked_accuracy": [{"needed": 0.923}],
    "quality_asked_today": [{"today": 0.876}],
    "quality_asked_limits": _all_of(limits=[1, 4]),
    "quality_asked_limits_in_groups": _all_of(limits=[1, 4]),
    "quality_needed": [{"method": "full", "needed": 0.923, "chance": 0.78}],
    "quality_promotion": _all_of(limits=[1, 4]),
    "quality_today": [{"method": "full", "today": 0.876, "accuracy": 0.912}],
    "quality_limits": _all_of(limits=[1, 9], met=[4], undecided=[3], not_met=[2]),
    "quality_limits_in_groups": _all_of(limits=[1, 4], groups=[7]),
    "quality_sizes": [{"sizes": [50, 1500], "pool": 2400, "images": 300}],
    "quality_classes": [{"classes": 7, "rarest": 12, "images": 1200}],
    "quality_groups": [{"groups": 7, "images": 1200}],
    "quality_balance": [{"common": 0.643, "rare": 0.017}],
    "quality_data_read": _all_of(warnings=[1, 4], notes=[1, 6]),
    "quality_accuracy": _all_of(
        method=_METHODS, n=[1500], accuracy=[0.8123], low=[0.7519], high=[0.8478], images=[300], seeds=[1, 4]
    ),
    "quality_audit": _all_of(runs=[36], warnings=[1, 4], notes=[1, 6]),
    "quality_condition": [
        {
            "condition": Statement("conditions", _CHANGED | {"corruption": "blur"}),
            "method": "full",
            "accuracy": 0.712,
            "before": 0.845,
        }
    ],
    "quality_origin": _all_of(source=["「none」"], licence=["CC BY 4.0", None]),
    "quality_versions": [{"fingerprint": "A12B", "backbone": "ViT-B/16", "vptlib": "0.9.1"}],
    "quality_backbone": [{"backbone": "ViT-B/16", "source": "「none」", "licence": "CC BY 4.0"}],
    "quality_explanations": _all_of(images=[1, 48]),
    "quality_decide_again": [{"n": 1600}],
    "quality_runs_made": _all_of(runs=[34], missing=[0, 2]),
    "quality_wrong": _all_of(wrong=[0, 14], images=[1200]),
    "quality_approval": [{}],
    "quality_nothing_runs": [{}],
    "quality_operator": _all_of(pilot=[True, False]),
    "quality_test_images": _all_of(images=[1200], settles=[None, 0.034]),
    "quality_seeds": _all_of(seeds=[1, 2], wanted=[3]),
    "quality_intervals": _all_of(groups=[True, False], seeds=[1, 4]),
    "quality_nothing_asked": [{}],
    "quality_no_limits": [{}],
    "quality_no_conditions": [{}],
    "quality_no_groups": [{}],
    "quality_groups_apart": _all_of(groups=[7], shared=[True, False]),
    "quality_decides_when_finished": [{}],
    "quality_no_promotion": [{}],
    "quality_monitoring": [{}],
    "quality_no_explanations": [{}],
}

EXAMPLES: dict[str, list[dict[str, Any]]] = (
    PROTOCOL
    | INPUT_SIZE
    | READING
    | DATA_CHECK
    | ANSWERS
    | AUDIT
    | CHECKLIST
    | CURVES
    | MISTAKES
    | GATES
    | WATCHING
    | MONEY
    | PLAN
    | RECOMMENDATIONS
    | RISKS
    | DECISION
    | QUALITY
)
