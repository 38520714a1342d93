"""The rules of a comparison with its figures, as codes and numbers; `vptlib.report.words` has the sentences."""

from vptlib.statement import Statement, statement
from vptlib.study.material import material_of
from vptlib.study.plan import Plan
from vptlib.study.published_rules import (
    ALL,
    DEEP_DROPOUT,
    EQUAL,
    PROMPT_LENGTHS,
    published_optimiser,
)


def protocol_of(plan: Plan) -> dict[str, Statement]:
    """What each rule is about, such as "tuning" or "seeds", and the rule, in the order of a report."""
    rules = _equal_budget(plan) if plan.rules == EQUAL else _published(plan)
    rules |= {
        "test": statement("tested_once", images=len(material_of(plan).test_items)),
        "seeds": statement("seeds_given", seeds=list(plan.seeds)),
    }
    if plan.rules == EQUAL:
        rules["prompts"] = statement("prompts_given", num_prompts=plan.num_prompts)
    if plan.conditions.facts():
        rules["conditions"] = plan.conditions.statement()
    return rules


def _equal_budget(plan: Plan) -> dict[str, Statement]:
    return {
        "images": statement("images_of_equal_budget", sizes=list(plan.sizes)),
        "tuning": statement("tuning_of_equal_budget", candidates=plan.candidates, seeds=len(plan.seeds)),
        "training": statement("training_of_equal_budget", steps=plan.steps, batch_size=plan.batch_size),
    }


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
