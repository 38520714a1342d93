"""vptlib.course.widgets: a control changes the picture, which replaces the widget where no kernel runs."""

import base64
import os
import signal
import threading
import time

import matplotlib
import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from models import bright_and_dark, draw_images, small_vit
from nbconvert import HTMLExporter
from nbformat.v4 import new_code_cell, new_notebook, new_output
from planted import planted_runs

from vptlib import PromptedViT, Recipe, build_method
from vptlib.course.widgets.decision import decided, decision_explorer
from vptlib.course.widgets.prompts import prompt_explorer
from vptlib.course.widgets.tasks import task_chooser
from vptlib.course.widgets.training import loss_figure, training_monitor
from vptlib.course.widgets.view import WIDGET
from vptlib.errors import UserError
from vptlib.report.fonts import families
from vptlib.report.words import en, languages, speaking
from vptlib.tuning.training import History

PNG = b"\x89PNG"


@pytest.fixture
def prompted():
    return build_method("vpt-deep", small_vit(), 3, num_prompts=5)


@pytest.fixture
def image():
    return draw_images(1)[0]


@pytest.fixture(scope="module")
def runs():
    truth = {m: {50: 0.78, 100: 0.84, 200: 0.89, 400: 0.92} for m in ("vpt-deep", "full")}
    return planted_runs(truth, images=1000)


# ---- a view -----------------------------------------------------------------------------------------------------


def png_of(view) -> bytes:
    return bytes(view.picture.value)


def bundle_of(view):
    """What a front end gets of the view as a cell's output."""
    return DisplayFormatter().format(view)[0]


def test_a_view_is_a_widget_and_a_picture_in_one_output(prompted, image):
    bundle = bundle_of(prompt_explorer(prompted, image))
    assert set(bundle) == {WIDGET, "image/png", "text/plain"}
    assert base64.b64decode(bundle["image/png"]).startswith(PNG)
    assert "layer 1, head 1" in bundle["text/plain"]


def test_where_no_kernel_runs_the_picture_is_shown(prompted, image):
    output = new_output("display_data", bundle_of(prompt_explorer(prompted, image)))
    page, _ = HTMLExporter().from_notebook_node(new_notebook(cells=[new_code_cell("x", outputs=[output])]))
    assert "data:image/png;base64," in page


# ---- tokens and prompts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("control, value", [("layer", 2), ("head", 2), ("asks", "prompt 3"), ("asks", "patch 2")])
def test_each_control_of_the_explorer_changes_the_picture(prompted, image, control, value):
    view = prompt_explorer(prompted, image)
    before = png_of(view)
    view.controls[control].value = value
    assert png_of(view).startswith(PNG) and png_of(view) != before


def test_exploring_leaves_the_model_unchanged(prompted, image):
    prompted.train()
    with torch.no_grad():
        before = prompted(image[None])
    prompt_explorer(prompted, image)
    assert prompted.net.fast and prompted.net.training and prompted.net.uses_fast_form
    with torch.no_grad():
        assert torch.equal(prompted(image[None]), before)


def test_a_layer_without_prompts_can_be_shown_too(image):
    vit = small_vit(num_classes=3)
    view = prompt_explorer(PromptedViT(vit, num_prompts=2, layers="last 1"), image)
    assert view.controls["asks"].options[1] == "prompt 1"
    view.controls["asks"].value = "prompt 1"  # layer 1 has none: the picture shows a sentence
    without = png_of(view)
    view.controls["layer"].value = 2
    assert png_of(view) != without


def test_registers_and_shallow_prompts_are_named(image):
    model = build_method("vpt-shallow", small_vit(reg_tokens=2), 3, num_prompts=1)
    names = prompt_explorer(model, image).controls["asks"].options
    assert names == ("class token", "register 1", "register 2", "prompt 1", "patch 1", "patch 2", "patch 3", "patch 4")


def test_what_cannot_be_explored_is_refused(prompted, image):
    with pytest.raises(UserError, match="needs a model with prompts"):
        prompt_explorer(build_method("linear", small_vit(), 3), image)
    with pytest.raises(UserError, match="layer is 3, but this model has layers 1 to 2"):
        prompt_explorer(prompted, image, layer=3)
    with pytest.raises(UserError, match="head is 0"):
        prompt_explorer(prompted, image, head=0)
    with pytest.raises(UserError, match="one image, not a batch"):
        prompt_explorer(prompted, image[None])


# ---- training ---------------------------------------------------------------------------------------------------


@pytest.fixture
def data():
    return bright_and_dark(16)


@pytest.fixture
def shown(monkeypatch):
    """The views that were displayed."""
    views = []
    monkeypatch.setattr("vptlib.course.widgets.training.display", lambda view, **_: views.append(view))
    return views


def test_the_monitor_trains_as_fit_does_and_draws(prompted, data, shown):
    recipe = Recipe(1e-2, steps=6, batch_size=8, evaluations=2)
    history = training_monitor(prompted, data, data, recipe)
    assert len(history.train_loss) == 6 and history.val_steps == [3, 6]
    (view,) = shown
    assert png_of(view).startswith(PNG) and view.controls["how"].value == "Done."


def stopped_by(act, prompted, data, shown):
    """Train for a very long time, and `act` after a moment."""

    def wait_and_act():
        while not shown:
            time.sleep(0.01)
        time.sleep(0.3)
        act(shown[0])

    helper = threading.Thread(target=wait_and_act)
    helper.start()
    history = training_monitor(prompted, data, data, Recipe(1e-3, steps=100_000, batch_size=8, evaluations=100_000))
    helper.join()
    return history


STOPS = {
    "interrupt": lambda _: os.kill(os.getpid(), signal.SIGINT),
    "button": lambda view: view.controls["stop"].click(),
}


@pytest.mark.parametrize("stop", STOPS)
def test_a_stop_keeps_the_best_weights_and_the_notebook_goes_on(prompted, data, shown, stop):
    before = signal.getsignal(signal.SIGINT)
    history = stopped_by(STOPS[stop], prompted, data, shown)
    assert 0 < len(history.train_loss) < 100_000 and shown[0].controls["how"].value == "Stopped."
    assert history.best_step in history.val_steps
    assert signal.getsignal(signal.SIGINT) is before and shown[0].controls["stop"].disabled
    assert len(training_monitor(prompted, data, data, Recipe(1e-3, steps=2)).train_loss) == 2


def test_the_title_shows_whether_training_was_stopped():
    history = History(train_loss=[2.0, 1.0], val_steps=[2], val_loss=[1.5], val_accuracy=[0.5], best_step=2)
    for recipe, stopped, word in ((Recipe(1, 2), False, "done"), (Recipe(1, 9), True, "stopped")):
        title = loss_figure("vpt-deep", recipe, history, stopped).axes[0].get_title(loc="left")
        assert word in title and "best held-out accuracy 50 % at step 2" in title


# ---- decisions --------------------------------------------------------------------------------------------------


def texts(figure) -> str:
    return " ".join(t.get_text() for t in figure.findobj(matplotlib.text.Text)).replace("\n", " ")


@pytest.mark.parametrize("control, value", [("accuracy", 99), ("tasks", 50), ("label_price", 9), ("point_value", 500)])
def test_each_control_of_the_decision_changes_the_picture(runs, control, value):
    view = decision_explorer(runs, accuracy=0.95, label_price=2, tasks=10)
    before = png_of(view)
    view.controls[control].value = value
    assert png_of(view) != before


def test_the_margin_changes_the_decision_of_the_explorer():
    """Full fine-tuning is 3 points ahead: it is the right one for a margin of 1 point, and too heavy for one of 8."""
    runs = planted_runs({"vpt-deep": {400: 0.8}, "full": {400: 0.83}}, images=4000, shared=0.99)
    view = decision_explorer(runs, accuracy=0.5, margin=0.01)
    before = png_of(view)
    view.controls["margin"].value = 8
    assert png_of(view) != before


def test_the_decision_is_in_the_picture_with_its_stages_and_its_bill(runs):
    view = decision_explorer(runs, accuracy=0.85, label_price=2, tasks=10)
    figure = view.draw(accuracy=85, margin=1, label_price=2, tasks=10, point_value=0)
    found = decided(runs, 0.85, 2, 10, 0.01, 0)
    shown = "".join(texts(figure).split())
    for said in (*map(en.sentence, found.plan.stages), *found.bill):
        assert "".join(said.split()) in shown
    assert en.headline(found.advice.choice, found.advice.method) in bundle_of(view)["text/plain"]


@pytest.mark.parametrize("code", languages())
@pytest.mark.parametrize("accuracy", [0.3, 0.85, 0.93, 0.99])
def test_no_text_leaves_the_figure(runs, accuracy, code):
    with speaking(code), matplotlib.rc_context({"font.family": families()}):
        view = decision_explorer(runs)
        figure = view.draw(accuracy=100 * accuracy, margin=1, label_price=1234.5, tasks=10_000, point_value=77.5)
    width, height = figure.bbox.width, figure.bbox.height
    for text in figure.texts + figure.axes[0].texts:
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height, text.get_text()


def test_views_speak_the_language_of_the_notebook(runs):
    with speaking("ja"):
        decision, tasks = decision_explorer(runs), task_chooser("digits")
        shown = texts(tasks.draw(task="digits", backbone="vit_base_patch16_224.augreg_in21k"))
    assert decision.controls["tasks"].description == "タスクの件数"
    assert "クラス10種類" in shown


def test_a_wrong_first_number_is_refused(runs):
    with pytest.raises(UserError, match=r"accuracy is 80, but must"):
        decision_explorer(runs, accuracy=80)


def test_one_size_is_enough_for_a_decision():
    view = decision_explorer(planted_runs({"vpt-deep": {50: 0.8}, "full": {50: 0.8}}), accuracy=0.5)
    assert png_of(view).startswith(PNG)


# ---- task and backbone ------------------------------------------------------------------------------------------


def test_the_chooser_shows_the_task_and_names_the_command():
    view = task_chooser("digits")
    before = png_of(view)
    view.controls["task"].value = "dsprites-location"
    view.controls["backbone"].value = "vit_base_patch16_224.augreg_in21k"
    assert png_of(view) != before
    figure = view.draw(task="dsprites-location", backbone="vit_base_patch16_224.augreg_in21k")
    command = "vpt run 02 -y '{task: dsprites-location, backbone: vit_base_patch16_224.augreg_in21k}'"
    assert command in texts(figure)
    box = figure.texts[0].get_window_extent()
    assert box.x1 <= figure.bbox.width and box.y0 >= 0


def test_a_task_that_is_not_here_cannot_be_chosen():
    with pytest.raises(UserError, match="task 'nonsense' is not available here: take one of"):
        task_chooser("nonsense")
