"""Visual prompt tuning or full fine-tuning? A fair comparison on your own images.

    errors  paths  wording    the ground: they import nothing of the rest
    prompting                 the heart: prompts in a ViT, textbook form (vit) and fast form (fast)
    data                      images and labels: files, tables, splits, embedded tasks, checks
    tuning                    backbones, methods, one training loop, prompt files, search
    study  bench              the fair comparison, and what it costs
    evidence  explanations    judgement: curves, decision, prices | maps and their checks
    report                    pages for people
    course                    widgets, and running a notebook
    cli  doctor               the doors

Imports point upwards in this list only: `report` may import `study`, never the other way (`make lint` checks it).
The public names below are loaded at their first use, so that `vpt --help` need not wait for torch.
"""

from importlib import import_module

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
    "UserError": "errors",
}
__all__ = sorted(_HOME)
__version__ = "0.1.0"


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'vptlib' has no attribute {name!r}")
    return getattr(import_module(f"vptlib.{_HOME[name]}"), name)
