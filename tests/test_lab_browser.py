"""The course where it is read: JupyterLab in a browser runs notebook 01, its slider moves by keyboard, nothing leaks.

Skipped where there is no Chromium. The server has a home, settings and a copy of the notebook of its own.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from vptlib import doctor
from vptlib.paths import ROOT, cache_folder, repository
from vptlib.report.pages import CHROMIUM_FLAGS, find_chromium

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not find_chromium(), reason=doctor.NO_CHROMIUM),
]

SCREENSHOT = os.environ.get("VPTLIB_SCREENSHOT")  # a file for a picture of what the test sees
NOTEBOOK = "01_prompt_internals.ipynb"
SECONDS_TO_RUN = 500  # half a minute on an idle machine
QUIET = {"fetchNews": "false", "checkForUpdates": False}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def wait_for(what, seconds: float, every: float = 0.3):
    """What `what` gives as soon as it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(every)
    raise TimeoutError(f"{what} was not true within {seconds} s")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a running JupyterLab, and its token."""
    home = tmp_path_factory.mktemp("lab")
    shutil.copy(repository() / "notebooks" / NOTEBOOK, home / NOTEBOOK)
    settings = home / "config" / "labconfig" / "default_setting_overrides.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"@jupyterlab/apputils-extension:notification": QUIET}))
    for stop in STOPS:
        nbformat.write(long_training(), home / f"{stop.__name__}.ipynb")
    port, token = free_port(), "of-this-test"
    folders = {f"JUPYTER_{kind}_DIR": str(home / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    surroundings = os.environ | folders | {
        "HOME": str(home),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "VPTLIB_CACHE": str(cache_folder()),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }  # fmt: skip
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--ip", "127.0.0.1", "--port", str(port)),
        *("--ServerApp.port_retries=0", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={home}"),
        *("--allow-root", "--LabApp.expose_app_in_browser=True"),
    ]
    with (home / "server.log").open("w") as log:
        server = subprocess.Popen(command, env=surroundings, stdout=log, stderr=log, cwd=home)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: server.poll() is not None or answers(f"{address}/api/status?token={token}"), 120)
        assert server.poll() is None, (home / "server.log").read_text()[-2000:]
        yield address, token
    finally:
        server.terminate()
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:  # on a busy machine; its kernels end by themselves when it is gone
            server.kill()
            server.wait(10)


def long_training() -> nbformat.NotebookNode:
    """A notebook that trains a small, random ViT for hours, unless it is stopped."""
    training = """
import torch
from timm.models.vision_transformer import VisionTransformer
from torch.utils.data import TensorDataset
from vptlib import Recipe, build_method
from vptlib.course.widgets.training import training_monitor

vit = VisionTransformer(img_size=28, patch_size=14, embed_dim=32, num_heads=2, depth=2, num_classes=0)
data = TensorDataset(torch.randn(16, 3, 28, 28), torch.arange(16) % 2)
history = training_monitor(build_method("vpt-deep", vit, 2), data, data, Recipe(1e-3, 100_000, evaluations=1000))
""".strip()
    cells = [new_code_cell(training), new_code_cell("print('the notebook goes on')")]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


def answers(address: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        return opener.open(address, timeout=2).status == 200
    except (OSError, urllib.error.URLError):
        return False


@pytest.fixture(scope="module")
def page(lab, tmp_path_factory):
    """The notebook, open; `page.asked` are the addresses asked for and `page.complaints` the errors of the console."""
    from playwright.sync_api import sync_playwright

    address, token = lab
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("browser")),
            executable_path=str(find_chromium()),
            args=list(CHROMIUM_FLAGS),
            viewport={"width": 1400, "height": 1000},
        )
        page = browser.new_page()
        page.asked, page.complaints = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("console", lambda m: page.complaints.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        open_notebook(page, f"{address}/lab/tree/{NOTEBOOK}?token={token}")
        yield page
        browser.close()


def open_notebook(page, address: str) -> None:
    page.goto(address)
    page.wait_for_function("window.jupyterapp?.shell.currentWidget?.context?.isReady", timeout=120_000)
    page.wait_for_selector("text=Python 3 (ipykernel) | Idle", timeout=120_000)


RUN_ALL = "jupyterapp.commands.execute('notebook:run-all-cells').then(() => { window.hasRun = true; }); null"
CODE_CELLS = "[...jupyterapp.shell.currentWidget.content.model.cells].filter(cell => cell.type === 'code')"


@pytest.fixture(scope="module")
def ran(page):
    """The notebook after Run All Cells, its stored outputs cleared before."""
    page.evaluate("jupyterapp.commands.execute('notebook:clear-all-cell-outputs').then(() => null)")
    counts = f"{CODE_CELLS}.map(cell => cell.executionCount)"
    assert set(page.evaluate(counts)) == {None}, "stored outputs are still there: the test would see them"
    page.evaluate(RUN_ALL)
    page.wait_for_function("window.hasRun === true", timeout=1000 * SECONDS_TO_RUN)
    return page


def kinds_of_output(page) -> set[str]:
    """The kinds of all outputs of all code cells."""
    return set(page.evaluate(f"{CODE_CELLS}.flatMap(cell => cell.outputs.toJSON().map(output => output.output_type))"))


def test_the_whole_notebook_runs(ran):
    counts = ran.evaluate(f"{CODE_CELLS}.map(cell => cell.executionCount)")
    assert counts == list(range(1, len(counts) + 1))
    assert "display_data" in kinds_of_output(ran) and "error" not in kinds_of_output(ran)


def test_a_slider_moved_by_keyboard_changes_the_picture(ran):
    number = ran.evaluate("""[...jupyterapp.shell.currentWidget.content.model.cells].findIndex(
        cell => cell.sharedModel.source.startsWith('explorer = prompt_explorer'))""")
    ran.evaluate("""async number => {
        const notebook = jupyterapp.shell.currentWidget.content;
        notebook.activeCellIndex = number;
        await notebook.scrollToItem(number, 'center');
    }""", number)  # fmt: skip
    picture = ran.locator("img.widget-image").first
    try:
        picture.wait_for(timeout=60_000)
    finally:
        ran.screenshot(path=SCREENSHOT) if SCREENSHOT else None
    readout, handle = ran.locator(".widget-readout").first, ran.locator(".widget-slider [role=slider]").first
    before, said = picture.get_attribute("src"), readout.inner_text()
    handle.focus()
    ran.keyboard.press("ArrowRight")
    wait_for(lambda: picture.get_attribute("src") != before, 60)
    assert int(readout.inner_text()) == int(said) + 1


def test_nothing_leaves_the_machine_and_nothing_is_complained_of(ran, lab):
    address, _ = lab
    own = (address, address.replace("http", "ws"), "data:", "blob:")
    assert [url for url in ran.asked if not url.startswith(own)] == []
    assert ran.complaints == []


def by_keys(page):
    page.keyboard.press("Escape")
    page.keyboard.press("i")
    page.keyboard.press("i")


def by_click(page):
    page.locator("button.widget-button", has_text="Stop").click()


def by_the_button_and_the_space_bar(page):
    page.locator("button.widget-button", has_text="Stop").focus()
    page.keyboard.press("Space")


STOPS = (by_keys, by_click, by_the_button_and_the_space_bar)


@pytest.mark.parametrize("stop", STOPS)
def test_a_training_that_is_stopped_lets_the_notebook_go_on(ran, lab, stop):
    address, token = lab
    page = ran.context.new_page()
    open_notebook(page, f"{address}/lab/tree/{stop.__name__}.ipynb?token={token}")
    page.evaluate(RUN_ALL)
    page.get_by_text("or ■ in the toolbar").wait_for(timeout=120_000)
    page.wait_for_timeout(2000)  # so that it has trained for some steps
    stop(page)
    page.get_by_text("Stopped.", exact=True).wait_for(timeout=120_000)
    page.wait_for_function("window.hasRun === true", timeout=120_000)
    counts = page.evaluate(f"{CODE_CELLS}.map(cell => cell.executionCount)")
    assert counts == [1, 2]  # the cell behind it has run
    page.close()
