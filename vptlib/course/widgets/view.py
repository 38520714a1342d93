"""The few interactive views of the course (ipywidgets): each is one function, works by mouse and by keyboard.

A view shows itself as a widget and as a PNG of its present state in one output, and a front end takes the richest that
it can show: JupyterLab the widget, a stored notebook, a report or a code hosting site the picture.
"""

import base64
import io
import math
import signal
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import ipywidgets
import numpy as np
import pandas as pd
import torch
from IPython.display import display
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor
from torch.utils.data import TensorDataset

from vptlib.data.tasks import TASKS, Task, load_task, task_is_available
from vptlib.errors import UserError
from vptlib.evidence.curves import fit_power_law, learning_curves
from vptlib.evidence.decision import FULL, PROMPT
from vptlib.evidence.prices import plan
from vptlib.explanations.attention import attention, prompt_views, prompts_in
from vptlib.explanations.maps import EXPLANATIONS, explain
from vptlib.prompting.vit import PromptedViT
from vptlib.report.charts import spread_apart
from vptlib.report.explanation_charts import KIND_TITLES, one_map
from vptlib.report.style import COLOURS, TITLES
from vptlib.tuning.backbones import EMBEDDED, available_backbones
from vptlib.tuning.methods import AdaptedModel
from vptlib.tuning.training import History, Recipe, fit

WIDGET = "application/vnd.jupyter.widget-view+json"
_DPI = 100
_SOFT = "#5a6675"
_CLASS, _PROMPT, _PATCH = "#C95500", "#0072B2", "#6B6B6B"  # told apart with colour-blind eyes


class View(ipywidgets.VBox):
    """Controls above a picture that is drawn again when one of them changes.

    Attributes:
        controls: name → widget.
        picture: the image below them.
    """

    def __init__(self, draw: Callable[..., Figure], controls: dict[str, ipywidgets.Widget], says: str):
        self.controls, self._draw, self._says = controls, draw, says
        self.picture = ipywidgets.Image(format="png", layout={"max_width": "100%", "object_fit": "contain"})
        for control in controls.values():
            if hasattr(control, "value"):
                control.observe(lambda _: self.redraw(), names="value")
        row = ipywidgets.Box(list(controls.values()), layout={"flex_flow": "row wrap", "align_items": "center"})
        super().__init__([row, self.picture], layout={"align_items": "flex-start"})
        self.redraw()

    def redraw(self) -> None:
        """Draw the picture for what the controls say now."""
        figure = self._draw(**{name: c.value for name, c in self.controls.items() if hasattr(c, "value")})
        self.picture.value = _png(figure)

    def _repr_mimebundle_(self, **kwargs):
        return super()._repr_mimebundle_(**kwargs) | _still(self._says, self.picture)


def _still(says: str, picture: ipywidgets.Image) -> dict[str, str]:
    """What a front end shows that has no kernel."""
    return {"text/plain": says, "image/png": base64.b64encode(picture.value).decode()}


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()


def _slider(kind: type, name: str, **options) -> ipywidgets.Widget:
    """A slider with its name in full beside it."""
    layout = {"width": "21em"}
    return kind(description=name, layout=layout, style={"description_width": "initial"}, **options)


# ---- tokens and prompts -----------------------------------------------------------------------------------------


def prompt_explorer(model: AdaptedModel | PromptedViT, image: Tensor, layer: int = 1, head: int = 1) -> View:
    """Who looks at whom in a prompted ViT: sliders over layer, head and the token that asks.

    The picture shows the image under the attention that the asking token pays to each patch, the attention of all
    tokens to all, and what the asking token spends on class token, prompts and patches. The weights are those of the
    textbook form, in which prompts stand in the sequence.

    Args:
        model: with prompts (VPT-shallow or VPT-deep).
        image: `3 H W`, preprocessed as the model expects it.
        layer, head: shown first, counted from 1.

    Raises:
        UserError: a model without prompts, a layer or head that it does not have, an image that does not fit.
    """
    net = model.net if isinstance(model, AdaptedModel) else model
    if not isinstance(net, PromptedViT):
        raise UserError("prompt_explorer needs a model with prompts: build it with 'vpt-shallow' or 'vpt-deep'.")
    if image.ndim != 3:
        raise UserError(f"image has shape {tuple(image.shape)}, but must be `3 H W`: give one image, not a batch.")
    heads = net.vit.blocks[0].attn.num_heads
    for name, value, most in (("layer", layer, len(net.vit.blocks)), ("head", head, heads)):
        if not 1 <= value <= most:
            raise UserError(f"{name} is {value}, but this model has {name}s 1 to {most}.")
    found = attention(net, image[None].to(net.prompts.device))  # L of 1 H T T
    weights = [of_block[0].float().cpu() for of_block in found]  # L of H T T
    names = _token_names(net.vit.num_prefix_tokens, net.num_prompts, math.prod(net.vit.patch_embed.grid_size))

    def draw(layer: int, head: int, asks: str) -> Figure:
        return _attention_figure(net, image, weights[layer - 1][head - 1].numpy(), names, layer, head, asks)

    return View(
        draw,
        {
            "layer": _slider(ipywidgets.IntSlider, "layer", value=layer, min=1, max=len(weights)),
            "head": _slider(ipywidgets.IntSlider, "head", value=head, min=1, max=heads),
            "asks": _slider(ipywidgets.SelectionSlider, "asks", options=names, value=names[0]),
        },
        f"Attention of a prompted ViT; first shown: layer {layer}, head {head}, the class token asks.",
    )


def _token_names(prefix: int, prompts: int, patches: int) -> list[str]:
    registers = [f"register {i}" for i in range(1, prefix)]
    return [
        "class token",
        *registers,
        *(f"prompt {i + 1}" for i in range(prompts)),
        *(f"patch {i + 1}" for i in range(patches)),
    ]


def _attention_figure(
    net: PromptedViT, image: Tensor, weights: np.ndarray, names: list[str], layer: int, head: int, asks: str
) -> Figure:
    """One head's weights `T T`: over the image, as a matrix, and summed for the asking token."""
    prefix, (rows, columns) = net.vit.num_prefix_tokens, net.vit.patch_embed.grid_size
    prompts = len(weights) - prefix - rows * columns
    here = [name for name in names if prompts or not name.startswith("prompt")]
    figure = Figure(figsize=(8.8, 3.7), dpi=_DPI, layout="constrained")
    figure.get_layout_engine().set(rect=(0, 0, 1, 0.95))
    left, middle, right = figure.subplots(1, 3, width_ratios=[1, 1.25, 1.05])
    if asks not in here:
        figure.text(0.5, 0.5, f"No prompts stand in the sequence of layer {layer}: choose another.", ha="center")
        for axis in (left, middle, right):
            axis.set_axis_off()
        return figure
    row = here.index(asks)
    spent = {
        "class token": weights[row, :prefix].sum(),
        "prompts": weights[row, prefix : prefix + prompts].sum(),
        "patches": weights[row, prefix + prompts :].sum(),
    }
    _draw_on_image(left, image, weights[row, prefix + prompts :].reshape(rows, columns))
    if asks.startswith("patch"):
        _mark_patch(left, row - prefix - prompts, columns)
    left.set_title(f"{asks}: what of the\nimage it looks at", fontsize=10, loc="left")
    _draw_matrix(middle, weights, prefix, prompts, row)
    middle.set_title(f"layer {layer}, head {head}", fontsize=10, loc="left", pad=32)
    _draw_shares(right, spent)
    unread = asks.startswith("prompt") and not net.carry
    right.set_title(
        f"{asks}: spends, %" + ("\n(its answer is thrown away)" if unread else "\n"), fontsize=10, loc="left"
    )
    return figure


def _draw_on_image(axis, image: Tensor, attention: np.ndarray) -> None:
    """The image in grey, and on each patch a layer of colour: the more, the more attention."""
    grey = image.mean(dim=0).cpu().numpy()
    axis.imshow(grey, cmap="gray", extent=(0, attention.shape[1], attention.shape[0], 0))
    strength = np.zeros((*attention.shape, 4))
    strength[..., :3] = np.array([int(_CLASS[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    strength[..., 3] = 0.85 * attention / max(attention.max(), 1e-9)
    axis.imshow(strength, extent=(0, attention.shape[1], attention.shape[0], 0), interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.set_xlabel(f"strongest colour: {100 * attention.max():.1f} %", fontsize=9)


def _mark_patch(axis, number: int, columns: int) -> None:
    y, x = divmod(number, columns)
    axis.add_patch(Rectangle((x, y), 1, 1, facecolor="none", edgecolor=_PROMPT, lw=2))


def _draw_matrix(axis, weights: np.ndarray, prefix: int, prompts: int, row: int) -> None:
    """All weights with the regions named on top; the asking row between two lines."""
    total = len(weights)
    unit = total / 27  # so that the names keep their distance from a larger matrix
    axis.imshow(weights, cmap="Greys", vmin=0, vmax=max(np.quantile(weights, 0.98), 1e-9), interpolation="nearest")
    regions = ((0, prefix, "class", _CLASS), (prefix, prompts, "prompts", _PROMPT))
    regions += ((prefix + prompts, total - prefix - prompts, "patches", _PATCH),)
    for start, size, name, colour in regions:
        if not size:
            continue
        axis.add_patch(Rectangle((start - 0.5, -0.5 - 1.4 * unit), size, 0.9 * unit, color=colour, lw=0, clip_on=False))
        at, side = (start + size / 2 - 0.5, "center") if start else (-0.5, "right")
        axis.text(at, -0.5 - 1.8 * unit, name, color=colour, ha=side, va="bottom", fontsize=9, fontweight="bold")
        if start:
            axis.axvline(start - 0.5, color=colour, lw=1)
            axis.axhline(start - 0.5, color=colour, lw=1)
    axis.add_patch(Rectangle((-0.5, row - 0.5), total, 1, facecolor="none", edgecolor=_CLASS, lw=1.5))
    axis.set(xticks=[], yticks=[], xlim=(-0.5, total - 0.5), ylim=(total - 0.5, -0.5))
    axis.set_xlabel("rows ask, columns answer", fontsize=9)


def _draw_shares(axis, spent: dict[str, float]) -> None:
    colours = dict(zip(spent, (_CLASS, _PROMPT, _PATCH), strict=True))
    for place, (name, share) in enumerate(spent.items()):
        axis.barh(place, 100 * share, color=colours[name], height=0.55)
        axis.text(100 * share + 2, place, f"{100 * share:.0f}", va="center", fontsize=10)
        axis.text(0, place - 0.36, name, color=colours[name], fontsize=9, fontweight="bold", va="bottom")
    axis.set(xlim=(0, 115), ylim=(2.5, -0.75), xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


# ---- training ---------------------------------------------------------------------------------------------------

_SECONDS_BETWEEN_PICTURES = 0.4


def training_monitor(model: AdaptedModel, train: TensorDataset, val: TensorDataset | None, recipe: Recipe) -> History:
    """`vptlib.fit` with its loss drawn while it trains; its Stop button, or Jupyter's ■ (keys I, I), stops it well.

    Whether it ends or is stopped: the model keeps the weights that did best so far on `val`, the history is given
    back, and the notebook can go on. (The button is heard while a cell runs from JupyterLab 4.4 on; elsewhere ■ is.)

    Args:
        model, train, val, recipe: as for `vptlib.fit`.

    Raises:
        Diverged: as `vptlib.fit`.
    """
    stop, history, drawn = threading.Event(), History(), 0.0
    button = ipywidgets.Button(description="Stop", icon="stop", tooltip="The best weights so far remain")
    button.on_click(lambda _: stop.set())
    how = ipywidgets.Label("or ■ in the toolbar, or Esc and then I, I. The best weights so far remain.")
    view = View(
        lambda **_: _loss_figure(model.method, recipe, history, stop.is_set()),
        {"stop": button, "how": how},
        f"Loss of {TITLES[model.method]} while it trains.",
    )
    shown = display(view, display_id=True)
    _hear_while_busy(button)

    def watch(so_far: History) -> bool:
        nonlocal history, drawn
        history = so_far
        if time.perf_counter() - drawn > _SECONDS_BETWEEN_PICTURES:
            view.redraw()
            drawn = time.perf_counter()
        return stop.is_set()

    try:
        with _interrupt_means(stop):
            history = fit(model, train, val, recipe, watch=watch)
    finally:
        button.disabled, how.value = True, "Stopped." if stop.is_set() else "Done."
        view.redraw()
        if shown is not None:
            shown.update(view)  # so that a stored notebook keeps the last picture
    return history


def _hear_while_busy(widget: ipywidgets.Widget) -> None:
    """Let the browser's messages to `widget` be read while a cell runs: in the subshell that the browser names.

    ipykernel 7.4 reads them in the shell that used the widget last, which is the one that is busy with the cell. It
    notes that shell in its comm, and has no public way to say otherwise; where there is no such note, nothing is done.
    """
    vars(widget.comm).pop("_reply_subshell_id", None)


@contextmanager
def _interrupt_means(stop: threading.Event) -> Iterator[None]:
    """An interrupt of the kernel sets `stop`, the first time; the second interrupts as ever."""
    if threading.current_thread() is not threading.main_thread():  # signals come to the main thread alone
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def ask(*_):
        stop.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _loss_figure(method: str, recipe: Recipe, history: History, stopped: bool) -> Figure:
    """Training loss of every step, and held-out loss and accuracy where they were looked at."""
    figure = Figure(figsize=(8.8, 3.2), dpi=_DPI, layout="constrained")
    axis, colour, done = figure.subplots(), COLOURS[method], len(history.train_loss)
    axis.set(xlim=(0, 1.12 * recipe.steps), xlabel="step", ylabel="cross-entropy loss")
    axis.spines[["top", "right"]].set_visible(False)
    state = "stopped" if stopped and done < recipe.steps else "done" if done == recipe.steps else "training"
    title = f"{TITLES[method]}, learning rate {recipe.learning_rate:g}: step {done} of {recipe.steps}, {state}"
    if history.val_steps:
        best = f"best held-out accuracy {100 * max(history.val_accuracy):.0f} % at step {history.best_step}"
        title += f" · {best}"
    axis.set_title(title, fontsize=10, loc="left")
    if not done:
        return figure
    ends = [("training", history.train_loss[-1])]
    axis.plot(history.steps, history.train_loss, color=colour, alpha=0.45, lw=1.2)
    if history.val_steps:
        axis.plot(history.val_steps, history.val_loss, color=colour, marker="o", lw=2)
        ends.append(("held out", history.val_loss[-1]))
    axis.set_ylim(0, 1.08 * max(history.train_loss + history.val_loss))
    places = spread_apart([end for _, end in ends], [0.09 * axis.get_ylim()[1]] * len(ends), axis.get_ylim())
    for (name, _), place in zip(ends, places, strict=True):
        axis.text(done + 0.015 * recipe.steps, place, name, color=colour, va="center", fontweight="bold")
    return figure


# ---- decisions --------------------------------------------------------------------------------------------------


def decision_explorer(
    runs: pd.DataFrame,
    accuracy: float = 0.8,
    label_price: float = 2.0,
    tasks: int = 10,
    margin: float = 0.01,
) -> View:
    """What to do next, for an accuracy needed, a price of a label and a number of tasks: `vptlib.evidence.prices.plan`.

    Args:
        runs: one task's table, with VPT-deep and full fine-tuning.
        accuracy, label_price, tasks, margin: shown first; as for `plan`.

    Raises:
        UserError: as `plan`.
    """
    plan(runs, accuracy, label_price, tasks, margin)  # a wrong number is told before anything is shown
    curves = learning_curves(runs).set_index("method")
    laws = {method: fit_power_law(runs, method) for method in (PROMPT, FULL) if curves.loc[[method]]["n"].nunique() > 1}

    def draw(accuracy: float, margin: float, label_price: float, tasks: int) -> Figure:
        found = plan(runs, accuracy / 100, label_price, tasks, margin / 100)
        return _decision_figure(curves, laws, accuracy / 100, found)

    calm = {"continuous_update": False}
    most = {"accuracy": (30, 99), "margin": (0.5, 20)}
    return View(
        draw,
        {
            "accuracy": _slider(
                ipywidgets.FloatSlider, "accuracy needed, %", value=100 * accuracy,
                min=min(most["accuracy"][0], 100 * accuracy), max=max(most["accuracy"][1], 100 * accuracy),
                step=1, readout_format=".0f", **calm,
            ),
            "margin": _slider(
                ipywidgets.FloatSlider, "least that matters, points", value=100 * margin,
                min=min(most["margin"][0], 100 * margin), max=max(most["margin"][1], 100 * margin),
                step=0.5, readout_format=".1f", **calm,
            ),
            "label_price": _slider(
                ipywidgets.BoundedFloatText, "price of a label", value=label_price, min=0, max=1e6, step=0.5
            ),
            "tasks": _slider(ipywidgets.BoundedIntText, "number of tasks", value=tasks, min=1, max=100_000),
        },
        f"{plan(runs, accuracy, label_price, tasks, margin).headline}. Decision for {100 * accuracy:.0f} % needed.",
    )  # fmt: skip


def _decision_figure(curves: pd.DataFrame, laws: dict, accuracy: float, found) -> Figure:
    """Left the curves, carried on as far as the plan looks, and the accuracy needed; right the plan in words."""
    figure = Figure(figsize=(9.6, 4.3), dpi=_DPI)
    axis = figure.add_axes((0.05, 0.13, 0.37, 0.78))
    largest = int(curves["n"].max())
    wanted = [need.labels for need in found.needs.values() if need.labels]
    end = min(10 * largest, max([2 * largest, *(1.3 * labels for labels in wanted)]))
    ends = {}
    for method in (PROMPT, FULL):
        rows, colour = curves.loc[[method]].sort_values("n"), COLOURS[method]
        axis.fill_between(rows["n"], 100 * rows["low"], 100 * rows["high"], color=colour, alpha=0.14, lw=0)
        axis.plot(rows["n"], 100 * rows["mean"], "o-", color=colour, lw=2)
        ends[method] = 100 * rows["mean"].iloc[-1]
        if method in laws and laws[method].trusted:
            ahead = np.geomspace(largest, end, 30)
            fitted = np.array([laws[method].predict(n)[0] for n in ahead])
            axis.plot(ahead, 100 * fitted, ":", color=colour, lw=2)
            ends[method] = 100 * fitted[-1]
    low, high = axis.get_ylim()
    low, high = min(low, 100 * accuracy - 2), max(high, 100 * accuracy + 2)
    axis.set(xscale="log", ylim=(low, high), xlabel="labelled images a task", xlim=(curves["n"].min() * 0.9, end))
    axis.axhline(100 * accuracy, color=_SOFT, lw=1.2)
    axis.text(
        curves["n"].min(), 100 * accuracy, "needed", color=_SOFT, va="center", fontsize=9, backgroundcolor="white"
    )
    axis.axvline(largest, color=_SOFT, lw=0.8, ls=":")
    axis.set_title("accuracy on test images, %  (dotted: forecast)", fontsize=10, loc="left")
    ticks = sorted({*map(int, curves["n"]), int(end)})
    ticks = [n for n in ticks if n in (ticks[0], ticks[-1], largest)]
    axis.set_xticks(ticks, [f"{n:,}" for n in ticks])
    axis.minorticks_off()
    axis.spines[["top", "right"]].set_visible(False)
    places = spread_apart(list(ends.values()), [0.11 * (high - low)] * 2, (low, high))
    for method, place in zip(ends, places, strict=True):
        name = textwrap.fill(TITLES[method], 11)
        axis.text(1.06 * end, place, name, color=COLOURS[method], va="center", fontsize=9, fontweight="bold")
    headline = textwrap.fill(found.headline, 42)
    figure.text(0.55, 0.95, headline, fontsize=12.5, fontweight="bold", va="top", linespacing=1.25)
    lines = [textwrap.fill(reason, 60, initial_indent="• ", subsequent_indent="   ") for reason in found.reasons]
    below = 0.84 - 0.065 * headline.count("\n")
    figure.text(0.55, below, "\n".join(lines), fontsize=9, va="top", linespacing=1.45)
    return figure


# ---- task and backbone ------------------------------------------------------------------------------------------


def task_chooser(task: str = "fashion-mnist", backbone: str = EMBEDDED) -> View:
    """What a task's images look like, what a backbone is, and how to run the course on them.

    The choice is in `view.controls["task"].value` and `view.controls["backbone"].value`.

    Args:
        task, backbone: chosen first; tasks are those that can be had on this machine.

    Raises:
        UserError: a task that cannot be had here.
    """
    here = [name for name in TASKS if task_is_available(name)[0]]
    if task not in here:
        raise UserError(f"task {task!r} cannot be had here: take one of {', '.join(here)}.")
    backbones = {name: about for name, about in available_backbones().items() if name.islower()}
    backbones.setdefault(backbone, "chosen in the parameters cell")

    def draw(task: str, backbone: str) -> Figure:
        return _task_figure(load_task(task), backbone, backbones[backbone])

    options = {"style": {"description_width": "initial"}, "layout": {"width": "26em"}}
    return View(
        draw,
        {
            "task": ipywidgets.Dropdown(description="task", options=here, value=task, **options),
            "backbone": ipywidgets.Dropdown(description="backbone", options=list(backbones), value=backbone, **options),
        },
        f"Images of the task {task}; {len(here)} tasks and {len(backbones)} backbones to choose from.",
    )


def _task_figure(task: Task, backbone: str, about: str) -> Figure:
    """The first image of each class (of ten at most), the facts below, and the command that takes them over."""
    classes = min(task.num_classes, 10)
    figure = Figure(figsize=(8.8, 2.9), dpi=_DPI)
    for label in range(classes):
        axis = figure.add_axes((0.01 + 0.099 * label, 0.5, 0.09, 0.36))
        first = int(np.flatnonzero(task.train.labels == label)[0])
        axis.imshow(task.train.images[first])
        axis.set_title(textwrap.shorten(task.class_names[label], 12, placeholder="…"), fontsize=8)
        axis.set_axis_off()
    counted = f"{task.num_classes} classes, {len(task.train):,} training and {len(task.test):,} test images"
    lines = [
        f"{task.title} · {task.group} · {counted} · {task.licence}",
        f"{backbone} · {about}",
        f"The course on them: vpt run 02 -y '{{task: {task.name}, backbone: {backbone}}}'",
    ]
    text = "\n".join(textwrap.fill(line, 122) for line in lines)
    figure.text(0.012, 0.42, text, fontsize=9, va="top", linespacing=1.6)
    return figure


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
    image = ipywidgets.IntSlider(value=0, min=0, max=len(pictures) - 1, description="Image")
    model = ipywidgets.Dropdown(options=list(models), description="Model")
    kinds = {KIND_TITLES[kind].replace("\n", " "): kind for kind in EXPLANATIONS} | {"Seen by prompts": _PROMPTS}
    kind = ipywidgets.Dropdown(options=kinds, description="Method")
    layer = ipywidgets.IntSlider(value=1, min=1, max=1, description="Layer", disabled=True)
    classes = [("predicted", -1), *((name, number) for number, name in enumerate(class_names))]
    target = ipywidgets.Dropdown(options=classes, value=-1, description="Class")
    opacity = ipywidgets.FloatSlider(value=0.6, min=0, max=1, step=0.05, description="Opacity")
    shown = ipywidgets.Image(format="png")
    said = ipywidgets.HTML()
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
    return _Picker(controls, shown, said)


class _Picker(ipywidgets.HBox):
    """Controls beside a picture and a sentence."""

    def __init__(self, controls: Sequence[ipywidgets.Widget], picture: ipywidgets.Image, said: ipywidgets.HTML):
        self.picture, self.said = picture, said
        super().__init__([ipywidgets.VBox(controls), ipywidgets.VBox([picture, said])])

    def _repr_mimebundle_(self, **kwargs):
        return super()._repr_mimebundle_(**kwargs) | _still(self.said.value, self.picture)
