"""What this machine offers for a report: each finding says what was looked for, what was found, and the mend."""

import os
import platform
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from vptlib.errors import UserError
from vptlib.paths import FREE_BYTES_NEEDED, cache_folder, free_bytes, repository, store_folder

SECONDS_FOR_THE_HUB = 4
NAMED_PACKAGES = ("torch", "timm", "mlflow", "papermill", "jupyterlab")


@dataclass(frozen=True)
class Finding:
    """One line of `vpt doctor`.

    Attributes:
        mark: "ok", "note" (the quickstart runs without it) or "FAIL" (it does not).
        what: what was looked for.
        found: what was found, and what to do where it is not as it should be.
    """

    mark: str
    what: str
    found: str


def examine() -> Iterator[Finding]:
    """All findings; a look that meets a mistake or a missing package is a finding too."""
    for what, look in _LOOKS.items():
        try:
            mark, found = look()
        except UserError as error:
            mark, found = "FAIL", str(error)
        except ImportError as error:
            mark, found = "FAIL", f"{error}: install with `pip install -e .`"
        yield Finding(mark, what, found)


def ready(backbone: str = "", task: str = "", **numbers: tuple[float, float, float]) -> None:
    """A notebook's first look, before anything takes time: packages, backbone, task, and parameters within their range.

    Args:
        backbone, task: names, as the notebook's parameters give them; "" where it needs none.
        numbers: of parameters by name: (value, least, most).

    Raises:
        UserError: the first thing that is not as it should be, and how to mend it.
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
            f"task {task!r} cannot be had here ({task_is_available(task)[1]}): `vpt tasks` lists the others."
        )


# ---- the looks: each gives a mark and what was found --------------------------------------------------------


def _python() -> tuple[str, str]:
    return "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}"


def _packages() -> tuple[str, str]:
    needed = [Requirement(text) for text in requires("vptlib")]
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
    """Whether a server answers in time, a slow name service included; any answer will do."""
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
    return ("ok", str(found)) if found else ("note", "none found: no report.pdf; install chromium for it")


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


_LOOKS: dict[str, Callable[[], tuple[str, str]]] = {
    "Python": _python,
    "packages": _packages,
    "device": _device,
    "disk": _disk,
    "backbone": _backbone,
    "model hub": _hub,
    "Chromium": _chromium,
    "tasks": _tasks,
    "quickstart": _quickstart,
}
