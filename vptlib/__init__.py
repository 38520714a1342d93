"""Visual prompt tuning or full fine-tuning? A fair comparison on your own images.

    ground     backbones  prompts  locations  prototypes  swin  baselines  methods  promptfile  data
    work       training  study  search  attention  explain  faithfulness  examination  similarity  transfer  datacheck
    judgement  curves  decision  prices
    faces      plots  explanation_plots  parts  field_parts  published_parts  widgets  reporting  lessons  cli

The public names below are loaded at their first use, so that `vpt --help` need not wait for torch.
"""

import sys
from importlib import import_module
from types import ModuleType

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
    "Study": "study",
    "explain": "explain",
    "recommend": "evidence.decision",
    "UserError": "errors",
}
__all__ = sorted(_HOME)
__version__ = "0.1.0"


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'vptlib' has no attribute {name!r}")
    return getattr(import_module(f"vptlib.{_HOME[name]}"), name)


class _Package(ModuleType):
    """Importing the module `vptlib.explain` must not hide the function of that name."""

    def __setattr__(self, name, value):
        if name == "explain" and isinstance(value, ModuleType):
            value = value.explain
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
