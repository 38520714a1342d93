"""Views to play with in a notebook, made of ipywidgets; beside each a static figure should stand for paper."""

from collections.abc import Sequence

import ipywidgets as widgets
import numpy as np
import torch
from torch import Tensor

from vptlib.attention import prompt_views, prompts_in
from vptlib.explain import EXPLANATIONS, explain
from vptlib.explanation_plots import KIND_TITLES, one_map
from vptlib.methods import AdaptedModel

# ---- explanations -----------------------------------------------------------------------------------------------

_PROMPTS = "prompts"  # the choice that is no method of `explain`: what a layer's prompts attend to


def explanation_picker(
    models: dict[str, AdaptedModel],
    pictures: np.ndarray,
    images: Tensor,
    labels: np.ndarray,
    class_names: Sequence[str],
    steps: int = 16,
):
    """Pick an image, a model, a kind of map, the class to explain, or a layer's prompts; slide the opacity.

    Maps are made when they are first asked for, and kept.

    Args:
        models: name → trained model.
        pictures: uint8 `B H W 3`, to look at.
        images: the same images as the models take them, `B 3 S S`.
        labels: `B` true classes.
        class_names: a name per class.
        steps: of Integrated Gradients.

    Returns:
        An ipywidgets box: a cell shows it as its last expression.
    """
    image = widgets.IntSlider(value=0, min=0, max=len(pictures) - 1, description="Image")
    model = widgets.Dropdown(options=list(models), description="Model")
    kinds = {KIND_TITLES[kind].replace("\n", " "): kind for kind in EXPLANATIONS} | {"Seen by prompts": _PROMPTS}
    kind = widgets.Dropdown(options=kinds, description="Method")
    layer = widgets.IntSlider(value=1, min=1, max=1, description="Layer", disabled=True)
    classes = [("predicted", -1), *((name, number) for number, name in enumerate(class_names))]
    target = widgets.Dropdown(options=classes, value=-1, description="Class")
    opacity = widgets.FloatSlider(value=0.6, min=0, max=1, step=0.05, description="Opacity")
    shown = widgets.Image(format="png")
    said = widgets.HTML()
    made: dict[tuple, np.ndarray] = {}

    def found() -> tuple[np.ndarray, int]:
        net, one = models[model.value], images[image.value : image.value + 1]
        with torch.no_grad():
            guess = int(net(one).argmax())
        wanted = guess if target.value < 0 else target.value
        key = (model.value, image.value, kind.value, wanted, layer.value)
        if key not in made and kind.value == _PROMPTS:
            views = prompt_views(net, one)
            made[key] = views.attends_to[0, layer.value - 1].mean(axis=0)  # h w
        elif key not in made:
            made[key] = explain(net, one, torch.tensor([wanted]), kind.value, steps)[0]
        return made[key], guess

    def show(_=None) -> None:
        layers = sum(count > 0 for count in prompts_in(models[model.value]).values())
        layer.max, layer.disabled = max(1, layers), kind.value != _PROMPTS
        if kind.value == _PROMPTS and not layers:
            said.value, shown.value = "This model has no prompts: pick another model or method.", b""
            return
        of_image, guess = found()
        shown.value = one_map(pictures[image.value], of_image, opacity.value)
        right = "right" if guess == labels[image.value] else "wrong"
        said.value = f"Predicted: {class_names[guess]} ({right}). True: {class_names[labels[image.value]]}."

    controls = (image, model, kind, layer, target, opacity)
    for control in controls:
        control.observe(show, "value")
    show()
    return widgets.HBox([widgets.VBox(controls), widgets.VBox([shown, said])])
