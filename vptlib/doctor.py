"""What this machine offers for a report and for the tests: each finding names what was found, and the fix."""

import os
import platform
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec

from packaging.requirements import Requirement

from vptlib.errors import UserError
from vptlib.paths import FREE_BYTES_NEEDED, cache_folder, free_bytes, repository, store_folder

SECONDS_FOR_THE_HUB = 4
NAMED_PACKAGES = ("torch", "timm", "mlflow", "papermill", "jupyterlab")

# Why `make test` leaves a test out on some machines, and the fix. The tests take their reasons from here.
NO_CHROMIUM = "no Chromium: apt-get install chromium"
NO_PDFINFO = "no pdfinfo: apt-get install poppler-utils"
NO_DATASETS = "no library datasets: pip install datasets"
NO_FULL_FASHION = "no full Fashion-MNIST: `vpt tasks` says where it comes from"
NO_CLONE = "no clone of the repository: git clone"
NO_POSTGRES = "no PostgreSQL: apt-get install postgresql"


@dataclass(frozen=True)
class Finding:
    """One line of `vpt doctor`.

    Attributes:
        mark: "ok", "note" (the quickstart runs without it) or "FAIL" (it does not).
        what: what was looked for.
        found: what was found, and the fix where something is wrong.
    """

    mark: str
    what: str
    found: str


def examine() -> Iterator[Finding]:
    """All findings, one for each of `CHECKS`. A check that raises an error gives a finding too."""
    for what, check in CHECKS.items():
        try:
            mark, found = check()
        except UserError as error:
            mark, found = "FAIL", str(error)
        except ImportError as error:
            mark, found = "FAIL", f"{error}: install with `pip install -e .`"
        yield Finding(mark, what, found)


def ready(backbone: str = "", task: str = "", **numbers: tuple[float, float, float]) -> None:
    """The first check of a notebook, before anything takes time: packages, backbone, task and range of parameters.

    Args:
        backbone, task: names from the notebook's parameters; "" where it needs none.
        numbers: for each parameter by name: (value, least, most).

    Raises:
        UserError: the first thing that is wrong, and how to fix it.
    """
    from vptlib.data.tasks import TASKS, task_is_available
    from vptlib.tuning.backbones import EMBEDDED, embedded_file

    mark, found = _packages()
    if mark == "FAIL":
        raise UserError(f"{found}, then restart the kernel.")
    for name, (value, least, most) in numbers.items():
        if not least <= value <= most:
            raise UserError(
                f"{name} is {value}: set it to {least} to {most} in the parameters cell, and run all again."
            )
    if backbone == EMBEDDED:
        embedded_file()
    if task in TASKS and not task_is_available(task)[0]:
        raise UserError(
            f"task {task!r} is not available here ({task_is_available(task)[1]}): `vpt tasks` lists the others."
        )


def left_out_of_the_tests() -> list[str]:
    """The reasons why `make test` cannot test everything on this machine, each with its fix."""
    from vptlib.bench.servers import postgres_programs
    from vptlib.data.tasks import task_is_available
    from vptlib.report.pages import find_chromium

    is_here = {
        NO_CHROMIUM: find_chromium() is not None,
        NO_PDFINFO: shutil.which("pdfinfo") is not None,
        NO_DATASETS: find_spec("datasets") is not None,
        NO_FULL_FASHION: task_is_available("fashion-mnist-full")[0],
        NO_CLONE: shutil.which("git") is not None and (repository() / ".git").exists(),
        NO_POSTGRES: postgres_programs() is not None,
    }
    return [reason for reason, here in is_here.items() if not here]


# ---- the checks: each gives a mark and what was found -------------------------------------------------------


def _python() -> tuple[str, str]:
    return "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}"


def _packages() -> tuple[str, str]:
    needed = [Requirement(text) for text in requires("vptlib") or []]
    needed = [requirement for requirement in needed if requirement.marker is None or requirement.marker.evaluate()]
    faults = [fault for requirement in needed if (fault := _fault(requirement))]
    if faults:
        return "FAIL", f"{', '.join(faults)}: install with `pip install -c constraints.txt -e .`"
    named = ", ".join(f"{name} {version(name)}" for name in NAMED_PACKAGES)
    return "ok", f"all {len(needed)} in versions that fit, among them {named}"


def _fault(requirement: Requirement) -> str:
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return f"{requirement.name} is missing"
    fits = requirement.specifier.contains(found, prereleases=True)
    return "" if fits else f"{requirement.name} is {found}, not {requirement.specifier}"


def _device() -> tuple[str, str]:
    import torch

    processors = f"{torch.get_num_threads()} threads on {len(os.sched_getaffinity(0))} processors"
    if torch.cuda.is_available():
        return "ok", f"{torch.cuda.get_device_name()}; {processors}"
    return "ok", f"no GPU; {processors}"


def _disk() -> tuple[str, str]:
    folders = {"store of runs": store_folder(), "cache": cache_folder()}
    found = "; ".join(f"{what}: {free_bytes(path) / 1e9:.1f} GB free at {path}" for what, path in folders.items())
    if min(map(free_bytes, folders.values())) < FREE_BYTES_NEEDED:
        return "FAIL", f"{found}: free {FREE_BYTES_NEEDED / 1e9:.1f} GB, or set VPTLIB_STORE and VPTLIB_CACHE"
    return "ok", found


def _backbone() -> tuple[str, str]:
    from vptlib.tuning.backbones import EMBEDDED, embedded_file

    return "ok", f"{EMBEDDED} at {embedded_file()}"


def _hub() -> tuple[str, str]:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "note", "switched off by HF_HUB_OFFLINE: other backbones only as file:PATH.safetensors"
    if _answers(constants.ENDPOINT):
        return "ok", "answers: other timm ViTs can be fetched by name"
    return "note", "no answer: other backbones only as file:PATH.safetensors"


def _answers(address: str) -> bool:
    """Whether a server answers in time. The time includes a slow name service; any answer counts."""
    answered = threading.Event()

    def ask():
        try:
            urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=SECONDS_FOR_THE_HUB)
            answered.set()
        except urllib.error.HTTPError:
            answered.set()
        except (OSError, ValueError):
            pass

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(SECONDS_FOR_THE_HUB)
    return answered.is_set()


def _chromium() -> tuple[str, str]:
    from vptlib.report.pages import find_chromium

    found = find_chromium()
    return ("ok", str(found)) if found else ("note", "none, so reports have no PDF: apt-get install chromium")


def _fonts() -> tuple[str, str]:
    lister = shutil.which("fc-list")
    japanese = lister and subprocess.run([lister, ":lang=ja", "family"], capture_output=True, text=True).stdout
    if japanese:
        return "ok", "Japanese letters are among them"
    return "note", "no Japanese letters, so a PDF shows boxes in their place: apt-get install fonts-noto-cjk"


def _arithmetic() -> tuple[str, str]:
    from vptlib.tuning.precision import has_bfloat16, resolved, time_share

    if resolved("auto") == "bf16":
        return "ok", f"bfloat16: {1 / time_share():.1f} times as fast as float32"
    if has_bfloat16():
        return "ok", "float32: bfloat16 was measured here, and it does not pay"
    return "ok", "float32: this machine has no fast bfloat16"


def _tasks() -> tuple[str, str]:
    from vptlib.data.tasks import TASKS, task_is_available

    here = [name for name in TASKS if task_is_available(name)[0]]
    missing = [f"{name} ({task_is_available(name)[1]})" for name in TASKS if name not in here]
    return "ok", ", ".join(here) + (f"; not here: {'; '.join(missing)}" if missing else "")


def _quickstart() -> tuple[str, str]:
    from vptlib.report.config import read_config

    config = read_config(repository() / "reports" / "configs" / "quickstart.yaml")
    missing = sum(len(study.missing()) for study in config.studies())
    total = sum(len(study.cells()) for study in config.studies())
    return "ok", f"{config.path}: {total - missing} of {total} runs are finished"


def _tests() -> tuple[str, str]:
    reasons = left_out_of_the_tests()
    if reasons:
        return "note", f"`make test` leaves out the tests that need what is missing ({'; '.join(reasons)})"
    return "ok", "`make test` tests everything"


CHECKS: dict[str, Callable[[], tuple[str, str]]] = {
    "Python": _python,
    "packages": _packages,
    "device": _device,
    "arithmetic": _arithmetic,
    "disk": _disk,
    "backbone": _backbone,
    "model hub": _hub,
    "Chromium": _chromium,
    "fonts": _fonts,
    "tasks": _tasks,
    "quickstart": _quickstart,
    "tests": _tests,
}
