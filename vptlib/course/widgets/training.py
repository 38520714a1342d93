"""`training_monitor`: the loss while a model trains, and a button that stops the training safely."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import ipywidgets
from IPython.display import display
from matplotlib.figure import Figure
from torch.utils.data import TensorDataset

from vptlib.course.widgets.view import DPI, View
from vptlib.report.charts import spread_apart
from vptlib.report.style import COLOURS, TITLES
from vptlib.tuning.methods import AdaptedModel
from vptlib.tuning.training import History, Recipe, fit

_SECONDS_BETWEEN_PICTURES = 0.4


def training_monitor(model: AdaptedModel, train: TensorDataset, val: TensorDataset | None, recipe: Recipe) -> History:
    """`vptlib.fit` with its loss drawn while it trains; its Stop button, or Jupyter's ■ (keys I, I), stops it safely.

    In both cases the model keeps the weights that are best so far on `val`, the history is returned, and the notebook
    goes on. The button works while a cell runs from JupyterLab 4.4 on; elsewhere use ■.

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
        lambda **_: loss_figure(model.method, recipe, history, stop.is_set()),
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
    """Let the kernel read the browser's messages to `widget` while a cell runs, in the subshell that the browser names.

    ipykernel 7.4 reads them in the shell that used the widget last, and that shell is busy with the cell. It stores
    this shell in its comm, without a public way to change it. If nothing is stored there, nothing is changed.
    """
    vars(widget.comm).pop("_reply_subshell_id", None)


@contextmanager
def _interrupt_means(stop: threading.Event) -> Iterator[None]:
    """The first interrupt of the kernel sets `stop`; the second interrupts as usual."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread gets signals
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


def loss_figure(method: str, recipe: Recipe, history: History, stopped: bool) -> Figure:
    """Training loss of every step, and held-out loss and accuracy where they were measured."""
    figure = Figure(figsize=(8.8, 3.2), dpi=DPI, layout="constrained")
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
