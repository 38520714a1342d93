"""Visual prompt tuning or full fine-tuning? A fair comparison on your own images.

    errors  paths             the ground: they import nothing from the rest
    wording  statement  processes  shortages  computed
    prompting                 the heart: prompts in a ViT, textbook form (vit) and fast form (fast)
    data                      images and labels: files, tables, splits, embedded tasks, checks
    tuning                    backbones, methods, one training loop, prompt files, search
    study                     the fair comparison
    evidence  explanations    judgement: curves, decision, prices | maps and their checks
    report  operations        pages for people | models in use: files, versions, gates, answers
    bench                     what it costs in time and memory
    course                    widgets, and running a notebook
    cli  doctor               the doors

Imports only point upwards in this list: `report` may import `study`, but not the other way (`make lint` checks this).
The public names below are loaded at their first use: `vpt --help` need not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the same names as in _HOME, for type checkers
    from vptlib.data.tasks import load_task
    from vptlib.errors import UserError
    from vptlib.evidence.decision import recommend
    from vptlib.explanations.maps import explain
    from vptlib.operations.bank import PromptBank
    from vptlib.operations.predictor import MultiTaskPredictor
    from vptlib.operations.registry import PromptRegistry
    from vptlib.prompting.vit import PromptedViT
    from vptlib.study.study import Study
    from vptlib.tuning.backbones import load_backbone
    from vptlib.tuning.methods import build_method
    from vptlib.tuning.promptfile import load_prompts, save_prompts
    from vptlib.tuning.training import Recipe, evaluate, fit

_HOME = {
    "load_backbone": "tuning.backbones",
    "load_task": "data.tasks",
    "PromptedViT": "prompting.vit",
    "build_method": "tuning.methods",
    "save_prompts": "tuning.promptfile",
    "load_prompts": "tuning.promptfile",
    "fit": "tuning.training",
    "evaluate": "tuning.training",
    "Recipe": "tuning.training",
    "Study": "study.study",
    "explain": "explanations.maps",
    "recommend": "evidence.decision",
    "PromptBank": "operations.bank",
    "MultiTaskPredictor": "operations.predictor",
    "PromptRegistry": "operations.registry",
    "UserError": "errors",
}
__all__ = [  # in the order of `sorted`
    "MultiTaskPredictor",
    "PromptBank",
    "PromptRegistry",
    "PromptedViT",
    "Recipe",
    "Study",
    "UserError",
    "build_method",
    "evaluate",
    "explain",
    "fit",
    "load_backbone",
    "load_prompts",
    "load_task",
    "recommend",
    "save_prompts",
]
__version__ = "0.1.0"


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'vptlib' has no attribute {name!r}")
    return getattr(import_module(f"vptlib.{_HOME[name]}"), name)
