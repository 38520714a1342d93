"""Visual prompt tuning or full fine-tuning? A fair comparison on your own images.

    ground     backbones  prompts  locations  prototypes  swin  baselines  methods  promptfile  data
    work       training  study  search  attention  explain  faithfulness  examination  similarity  transfer  datacheck
    judgement  curves  decision  prices
    faces      plots  explanation_plots  parts  field_parts  published_parts  widgets  reporting  lessons  cli

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
    "Study": "study",
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
