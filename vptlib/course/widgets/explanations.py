"""`explanation_picker`: maps of one image under each model, kind of map and class."""

from collections.abc import Sequence

import ipywidgets
import numpy as np
import torch
from torch import Tensor

from vptlib.course.widgets.view import still
from vptlib.explanations.attention import prompt_views, prompts_in
from vptlib.explanations.maps import EXPLANATIONS, explain
from vptlib.report.explanation_charts import one_map
from vptlib.tuning.methods import AdaptedModel

_PROMPTS = "prompts"  # the choice that is not a method of `explain`: what a layer's prompts attend to


def explanation_picker(
    models: dict[str, AdaptedModel],
    pictures: np.ndarray,
    images: Tensor,
    labels: np.ndarray,
    class_names: Sequence[str],
    steps: int = 16,
):
    """Pick an image, a model, a kind of map, the class to explain, or a layer's prompts; slide the opacity.

    A map is made when it is first shown, and kept.

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
    image = ipywidgets.IntSlider(value=0, min=0, max=len(pictures) - 1, description="Image")
    model = ipywidgets.Dropdown(options=list(models), description="Model")
    kinds = {row.title: kind for kind, row in EXPLANATIONS.items()} | {"Seen by prompts": _PROMPTS}
    kind = ipywidgets.Dropdown(options=kinds, description="Method")
    layer = ipywidgets.IntSlider(value=1, min=1, max=1, description="Layer", disabled=True)
    classes = [("predicted", -1), *((name, number) for number, name in enumerate(class_names))]
    target = ipywidgets.Dropdown(options=classes, value=-1, description="Class")
    opacity = ipywidgets.FloatSlider(value=0.6, min=0, max=1, step=0.05, description="Opacity")
    shown = ipywidgets.Image(format="png")
    sentence = ipywidgets.HTML()
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
            sentence.value, shown.value = "This model has no prompts: pick another model or method.", b""
            return
        of_image, guess = found()
        shown.value = one_map(pictures[image.value], of_image, opacity.value)
        right = "right" if guess == labels[image.value] else "wrong"
        sentence.value = f"Predicted: {class_names[guess]} ({right}). True: {class_names[int(labels[image.value])]}."

    controls = (image, model, kind, layer, target, opacity)
    for control in controls:
        control.observe(show, "value")
    show()
    return _Picker(controls, shown, sentence)


class _Picker(ipywidgets.HBox):
    """Controls next to a picture and a sentence."""

    def __init__(self, controls: Sequence[ipywidgets.Widget], picture: ipywidgets.Image, sentence: ipywidgets.HTML):
        self.picture, self.sentence = picture, sentence
        super().__init__([ipywidgets.VBox(controls), ipywidgets.VBox([picture, sentence])])

    def _repr_mimebundle_(self, **kwargs):
        return super()._repr_mimebundle_(**kwargs) | still(self.sentence.value, self.picture)
