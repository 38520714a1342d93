"""The rules of a comparison with its figures, as codes and numbers; `vptlib.report.words` has the sentences."""

import numpy as np

from vptlib.statement import Statement, statement
from vptlib.study import done_rules
from vptlib.study.input_size import sizes_seen
from vptlib.study.material import build_model, is_solved, material_of
from vptlib.study.plan import Plan
from vptlib.study.published_rules import (
    ALL,
    DEEP_DROPOUT,
    DONE,
    EQUAL,
    PROMPT_LENGTHS,
    VTAB,
    published_optimiser,
)
from vptlib.tuning.augmentation import CHANGE, MIRROR, NONE, SHIFT
from vptlib.tuning.backbones import preprocessing
from vptlib.tuning.methods import find_method
from vptlib.tuning.precision import resolved


def protocol_of(plan: Plan) -> dict[str, Statement]:
    """What each rule is about, such as "tuning" or "seeds", and the rule, in the order of a report."""
    rules = {EQUAL: _equal_budget, DONE: _until_done, VTAB: _published}[plan.rules](plan)
    rules |= {
        "test": _tested(plan),
        "seeds": statement("seeds_given", seeds=list(plan.seeds)),
    }
    if plan.rules != VTAB:
        rules["prompts"] = statement("prompts_given", num_prompts=plan.num_prompts)
    if plan.conditions.facts():
        rules["conditions"] = plan.conditions.statement()
    return rules


def _tested(plan: Plan) -> Statement:
    """How many test images there are; with the number that was asked for, if that is larger."""
    used, asked = len(material_of(plan).test_items), plan.test_images
    return statement("tested_once", images=used, **({"asked": asked} if asked != ALL and asked > used else {}))


def _images(plan: Plan) -> Statement:
    """The sizes, and what is true of the images chosen for them: computed from the choice itself."""
    material, shares, nested, apart = material_of(plan), [], True, True
    groups = material.task.train_groups
    for seed in plan.seeds:
        smaller: set[int] = set()
        for n in sorted(plan.sizes):
            training, validation, _ = material.parts(n, seed, plan.conditions, plan.rules)
            chosen = {*training.tolist(), *validation.tolist()}
            shares.append(len(validation) / len(chosen))
            nested, smaller = nested and smaller <= chosen, chosen
            apart = apart and (groups is None or not np.isin(groups[training], groups[validation]).any())
    return statement(
        "images_of_equal_budget",
        sizes=list(plan.sizes),
        validating=[min(shares), max(shares)],
        nested=nested,
        groups_apart=None if groups is None else apart,
    )


def _equal_budget(plan: Plan) -> dict[str, Statement]:
    return {
        "images": _images(plan),
        "tuning": statement("tuning_of_equal_budget", candidates=plan.candidates, seeds=len(plan.seeds)),
        "training": statement("training_of_equal_budget", steps=plan.steps, batch_size=plan.batch_size),
    }


def _until_done(plan: Plan) -> dict[str, Statement]:
    material = material_of(plan)
    prepared = preprocessing(material.vit)
    solved = [method for method in plan.methods if is_solved(plan, method)]
    strong = [method for method in plan.methods if find_method(method).strong_options]
    return {
        "images": _images(plan),
        "input": statement(
            "input_given",
            size=prepared.size,
            aspect=prepared.aspect,
            origin=_origin_of_size(plan),
            precision=resolved(plan.precision),
            augmentation=plan.augmentation,
        ),
        **({} if plan.augmentation == NONE else {"augmentation": _augmentation(plan)}),
        "tuning": statement(
            "tuning_until_done", candidates=plan.candidates, growth=done_rules.MOST_GROWTH, seeds=len(plan.seeds)
        ),
        "training": statement(
            "training_until_done",
            steps=plan.steps,
            batch_size=plan.batch_size,
            patience=done_rules.PATIENCE,
            between=done_rules.STEPS_BETWEEN_EVALUATIONS,
        ),
        **({"solved": statement("solved_methods", methods=solved)} if solved else {}),
        **({"strong": statement("strong_methods", options=_options_of(strong))} if strong else {}),
    }


def _origin_of_size(plan: Plan) -> str:
    """Whether the input size was "given", "chosen" among several, or is the backbone's "own" for want of others."""
    seen = sizes_seen(plan)
    if seen is None:
        return "given"
    return "chosen" if seen.rows else "own"


def _augmentation(plan: Plan) -> Statement:
    """Which augmentation there is, and for which methods there is none."""
    of_each = {method: _frozen_and_first(plan, method) for method in plan.methods}
    return statement(
        "augmentation_given",
        shift=SHIFT,
        change=CHANGE,
        mirror=plan.augmentation == MIRROR,
        without=[method for method, (frozen, _) in of_each.items() if frozen],
        head_solved=[method for method, (_, first) in of_each.items() if first == "head"],
    )


def _frozen_and_first(plan: Plan, method: str) -> tuple[bool, str]:
    """Whether the lower layers of a method are frozen, and the first phase of its training."""
    model = build_model(plan, method)
    return model.stem_is_frozen, model.phases[0]


def _options_of(methods: list[str]) -> dict[str, dict]:
    return {method: dict(find_method(method).strong_options) for method in methods}


def _published(plan: Plan) -> dict[str, Statement]:
    settings = {method: len(plan.to_try(method)) for method in plan.methods}
    optimisers = {method: published_optimiser(method) for method in plan.methods}
    return {
        "images": statement("images_of_published_rules", sizes=list(plan.sizes)),
        "tuning": statement(
            "tuning_of_published_rules",
            settings=settings,
            whole_grid=plan.candidates == ALL,
            official_split=_follows_official_split(plan),
            whole_groups=material_of(plan).task.train_groups is not None,
        ),
        "final_run": statement("final_run_of_published_rules"),
        "training": statement(
            "training_of_published_rules", epochs=plan.epochs, batch_size=plan.batch_size, optimisers=optimisers
        ),
        "prompts": statement("prompts_of_published_rules", lengths=list(PROMPT_LENGTHS), dropout=DEEP_DROPOUT),
    }


def _follows_official_split(plan: Plan) -> bool:
    """Whether settings are chosen on the images that the task itself sets aside."""
    task = material_of(plan).task
    return task.validation is not None and plan.sizes == (len(task.train),) and plan.conditions.imbalance == 1
