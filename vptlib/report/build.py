"""From a YAML file to a report: check everything, run the studies, run the notebooks, print, and swap the folder in.

    report.yaml ── read_config ── Study.run ── summary.json ── papermill ── notebooks/, index.html, report.pdf

All training happens in this process and goes into the store of runs, where the notebooks find it. A report in two
languages has its notebooks twice, but what they compute once. It is made in a hidden folder next to its final one and
moved as a whole, so a failure leaves the earlier one untouched.
"""

import hashlib
import json
import logging
import os
import re
import shutil
import time
import unicodedata
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from vptlib.computed import results_kept
from vptlib.data.readers import is_spec, short_name
from vptlib.data.tasks import findings_of, load_task
from vptlib.errors import UserError
from vptlib.evidence.audit import audit_summary
from vptlib.evidence.decision import summarise
from vptlib.paths import FREE_BYTES_NEEDED, exchanged, free_bytes, lock_alone, repository, store_folder
from vptlib.redaction import redacted, without_secrets
from vptlib.report.config import ReportConfig, check_material, read_config
from vptlib.report.judged import known_of, report_day, told_apart_before, versions
from vptlib.report.kernels import OPTIONS, Kernels, make_ready, usual_kernels
from vptlib.report.pages import find_chromium, join, language_tag, page, print_pdfs
from vptlib.report.pdf import finish
from vptlib.report.sections.input_size import input_size_summary
from vptlib.report.sections.inspection import inspection_summary
from vptlib.report.told import told_task
from vptlib.report.words import gettext as _
from vptlib.report.words import in_language, languages, speaking, words
from vptlib.statement import Statement, statement
from vptlib.study.cluster import Place, cluster_address, reached
from vptlib.study.paces import OnWorkers
from vptlib.study.published_rules import ALL
from vptlib.study.runner import default_jobs
from vptlib.study.study import Study
from vptlib.study.time_budget import (
    affordable_size,
    check_time,
    measured_at,
    needed_first,
    planned,
    seconds_of,
    timetable,
)
from vptlib.terminal import ticking
from vptlib.tuning.backbones import preprocessing
from vptlib.tuning.training import Diverged

if TYPE_CHECKING:
    from jupyter_client.manager import KernelManager
    from nbformat import NotebookNode

OVERVIEW = "overview"  # names the notebook of the first page
Begun = tuple[Path, Future[None]]  # where a notebook goes, and when it is there
_Job = tuple[str, dict[str, Any], Path]  # a notebook, its parameters, and where it goes
_LONGEST_NAME = 100  # bytes of a task's name in the name of a file
# Of the time that a report may take, kept for its pages and explanations, for each task.
SECONDS_TO_WRITE = 90
# All that a report folder holds; a folder with anything else in it is never replaced. The page and the PDF of another
# language than the first have its code in their names.
PARTS = (
    *("index.html", "report.pdf", "summary.json", "notebooks"),
    *(name for code in languages() for name in (f"index.{code}.html", f"report.{code}.pdf")),
)


def make_report(
    config_path: Path,
    out: Path | None = None,
    time_given: str | None = None,
    kernels: Kernels | None = None,
    cluster: str | None = None,
) -> Path:
    """Make the report that a YAML file describes, and give the path of its `index.html`.

    Runs that are in the store already are not repeated. What it is doing is printed as it goes.

    Args:
        config_path: see `vptlib.report.config`.
        out: the report's folder, by default `reports/<name of the YAML file>`.
        time_given: how long it may take, such as "30m"; by default the file's `time`, if it has one.
        kernels: for its notebooks, ready or getting ready; they end with this. By default it starts its own.
        cluster: where its runs are made (`vptlib.study.cluster`); by default the file's `cluster`, if it has one.

    Raises:
        UserError: anything wrong with the file, the folder, the tasks, the backbone, the cluster, a notebook or
            Chromium.
    """
    begun = time.time()
    config = read_config(config_path)
    given = time_given or config.settings.time
    deadline = begun + seconds_of(given) if given else None
    where = cluster or config.settings.cluster
    _ = where and cluster_address(where)  # wrong ones are refused before anything is loaded
    folder = (out or repository() / "reports" / config_path.stem).resolve()
    with _draft_of(folder) as draft:
        _check_space(folder, store_folder())
        check_material(config)
        _say_warnings(config)
        _say_what_is_fewer(config)
        for sentence in power_before(config):
            _say(sentence)
        with _place(where) as place:
            if deadline is not None:
                config = _affordable(config, deadline, place)
            studies = [*config.studies(), *config.harder_studies()]
            if kernels is not None and any(study.missing() for study in studies):
                kernels.rest()  # the trainings may need the memory
            if deadline is None:
                run_studies(studies, place)
            else:
                run_in_time(studies, deadline - len(config.settings.tasks) * SECONDS_TO_WRITE, place)
                _check_begun(config.studies())
        with results_kept(draft / "computed"), kernels or usual_kernels() as ready:
            begun = begin_notebooks(config, draft, _shown(folder), ready)
            write_summary(config, draft)
            write_notebooks(config, draft, ready, begun)
        write_page(config, draft)
        complaint = write_pdf(config, draft)
        _publish(draft, folder)
    if complaint:
        raise UserError(f"the report is at {folder / 'index.html'}, but without its PDF: {complaint}")
    return folder / "index.html"


def summary(study: Study, margin: float, asked: dict[str, Any]) -> dict[str, Any]:
    """One task's part of `summary.json`.

    Args:
        study: finished.
        margin: the difference in accuracy that matters, a fraction.
        asked: what else the reader asks, as for `vptlib.report.judged.known_of`.
    """
    found = {
        "group": load_task(study.task).group,
        "backbone": study.backbone,
        "image_size": preprocessing(study.build("linear").vit).size,
        "margin": margin,
    }
    runs = study.runs()
    known = known_of(study, runs, margin, asked)
    found |= summarise(runs, margin, **known)
    found |= {"recommendation": recommendation_in_words(found["recommendation"]), "versions": versions()}
    not_made = [asdict(cell) for cell in study.missing()]
    return found | {
        "input": input_size_summary(study),
        "audit": audit_summary(known["findings"]),
        "inspection": inspection_summary(study, runs, found["recommendation"]["method"], asked.get("limits")),
        "not_made": not_made,
        "study": plan_of(study),  # what `vpt export` needs to find the models again
        "asked": asked,
    }


def plan_of(study: Study) -> dict[str, Any]:
    """All settings of a study, as plain JSON values: `Study(**settings)` is the same study."""
    return json.loads(json.dumps(asdict(study)))


def recommendation_in_words(recommendation: dict[str, Any]) -> dict[str, Any]:
    """The codes of a recommendation, joined by the words for them."""
    reasons = [words.sentence(Statement.of(reason)) for reason in recommendation["reason_codes"]]
    change = recommendation["would_change_code"]
    said = {
        "choice": words.choice(recommendation["choice_code"], recommendation["method"]),
        "reasons": reasons,
        "would_change": None if change is None else words.sentence(Statement.of(change)),
    }
    return said | recommendation


# ---- the steps ------------------------------------------------------------------------------------------------


def _say(text: str) -> None:
    print(redacted(text), flush=True)


def _said(what: Statement) -> str:
    """A statement in the terminal's language, whatever the report's."""
    return in_language().sentence(what)


def _say_warnings(config: ReportConfig) -> None:
    """Say before any training what may mislead about the images; the report says it too, with the notes."""
    for task in config.settings.tasks:
        for finding in findings_of(load_task(task)):
            if finding.level != "note":
                _say(f"{finding.level.capitalize()} ({short_name(task)}): {_said(finding.what)}")


def power_before(config: ReportConfig) -> list[str]:
    """Which difference studies of this size can show, before any training: a sentence for each size there is."""
    return list(dict.fromkeys(_power_of(study) for study in config.studies()))


def _power_of(study: Study) -> str:
    groups, items = load_task(study.task).test_groups, study.test_items()
    of_these = None if groups is None else groups[items]
    return _said(told_apart_before(len(study.seeds), len(items), of_these))


@contextmanager
def _place(cluster: str) -> Iterator[Place | None]:
    """The cluster whose workers make the runs; what fits into a time is measured on them, not on this machine."""
    if not cluster:
        yield None
        return
    with reached(cluster, _say) as place, measured_at(cluster, OnWorkers(place).all):
        yield place


@contextmanager
def _measuring() -> Iterator[None]:
    """A line with a clock, while it is measured where runs will be made: this may take minutes."""
    with ticking(tqdm(desc="Measuring what a step takes", bar_format="{desc}  {elapsed} gone", leave=False)):
        yield


def run_studies(studies: list[Study], place: Place | None = None) -> None:
    """Run what is missing, here or on a cluster, and print how far it is."""
    for number, study in enumerate(studies, 1):
        missing, total = len(study.missing()), len(study.cells())
        state = f"{missing} of {total} runs to do" if missing else f"all {total} runs are finished"
        harder = _said(study.conditions.statement()).rstrip(".")
        _say(f"[{number}/{len(studies)}] {short_name(study.task)}{f' ({harder})' if harder else ''}: {state}")
        _run_what_converges(study, place)


def _run_what_converges(study: Study, place: Place | None) -> None:
    """Run what is missing; a method whose training diverges is left out, and the report says that its runs are missing.

    Raises:
        UserError: as `Study.run`; a study of which no method converges.
    """
    try:
        study.run(progress=True, cluster=place)
    except Diverged as error:
        _say(f"{error} The report is made without these runs.")
        alone = [replace(study, methods=(method,)) for method in study.methods]
        if all([_diverges(one, place) for one in alone]):  # a list: each of them is run
            raise


def _diverges(study: Study, place: Place | None) -> bool:
    try:
        study.run(progress=True, cluster=place)
    except Diverged:
        return not len(study.runs())
    return False


def _affordable(config: ReportConfig, deadline: float, place: Place | None) -> ReportConfig:
    """The configuration with a limit of the input size, if the sizes chosen by looking take too long."""
    studies = config.studies()
    share = (deadline - len(studies) * SECONDS_TO_WRITE - time.time()) / len(studies)
    chosen = [preprocessing(study.build("linear").vit).size for study in studies]
    jobs = place.slots if place else default_jobs()
    with _measuring():
        fitting = [affordable_size(study, share, jobs) for study in studies]
    smaller = [fit for fit, size in zip(fitting, chosen, strict=True) if fit is not None and fit < size]
    if not smaller:
        return config
    _say(_said(statement("size_for_the_time", size=min(smaller), wanted=max(chosen))))
    return replace(config, settings=config.settings.model_copy(update={"image_size_limit": min(smaller)}))


def run_in_time(studies: list[Study], deadline: float, place: Place | None = None) -> None:
    """Run what fits until `deadline` (seconds as `time.time` counts them), and say before what does and what does not.

    Each study has an equal share of the time. The time is checked before the first run only: later nothing is lost.

    Raises:
        UserError: not even the two methods that are compared fit into the share of a study.
    """
    share, jobs = (deadline - time.time()) / len(studies), place.slots if place else default_jobs()
    with _measuring():
        for study in studies:
            check_time(study, study.missing(), share, jobs)
    for number, study in enumerate(studies):
        seconds = (deadline - time.time()) / (len(studies) - number)
        missing = study.missing()
        _say(f"[{number + 1}/{len(studies)}] {short_name(study.task)}")
        for line in planned(timetable(study, missing, seconds, jobs), len(missing)):
            _say(f"  {_said(line)}")
        study.run(progress=True, seconds=seconds, cluster=place)


def _check_begun(studies: list[Study]) -> None:
    """A report needs at least one finished run of each task."""
    for study in studies:
        if not len(study.runs()):
            raise UserError(
                f"the time was up before any run of {study.task!r} was finished: give more time. What has begun is "
                "kept."
            )


def begin_notebooks(config: ReportConfig, draft: Path, shown: str, kernels: Kernels) -> list[Begun]:
    """Let the kernels begin with the notebook of each task in each language; these are the longest.

    Args:
        draft: the folder that gets them; those of another language than the first go into a folder of their own.
        shown: the report's final folder, as its last lines name it.
        kernels: which run them.
    """
    for language in config.languages:
        notebooks_in(draft, language, config).mkdir()
    return [_begun(kernels, job) for job in _task_jobs(config, draft, shown)]


def write_notebooks(config: ReportConfig, draft: Path, kernels: Kernels, begun: list[Begun]) -> None:
    """Run the notebooks of the first page, which name the fingerprint of the summary, and wait for all."""
    first = [_begun(kernels, job) for job in _first_page_jobs(config, draft)]
    for target, done in [*begun, *first]:
        _say(f"Writing the report: {target.relative_to(draft / 'notebooks')}")
        done.result()


def _begun(kernels: Kernels, job: _Job) -> Begun:
    notebook, parameters, target = job
    return target, kernels.begin(run_notebook, notebook, parameters, target)


def _task_jobs(config: ReportConfig, draft: Path, shown: str) -> Iterator[_Job]:
    """The notebook of each task in each language."""
    settings = config.settings
    for study, name in zip(config.studies(), _names(config), strict=True):
        own = {"task": study.task} | _shared(config)
        notebook = "report_task_so_far"
        if has_answer(study):
            notebook = "report_task"
            own |= {"images_per_cell": settings.images_per_cell, "conditions": list(settings.conditions)}
            own |= {"report": shown, "several": len(settings.tasks) > 1}
        for language in config.languages:
            yield notebook, own | {"language": language}, _notebook_of(name, draft, language, config)


def _first_page_jobs(config: ReportConfig, draft: Path) -> Iterator[_Job]:
    """The notebook of the first page in each language; the summary must be there."""
    settings = config.settings
    own = {"tasks": list(settings.tasks), "config": _shown(config.path), "reference": settings.reference}
    own |= {"fingerprint": fingerprint(draft / "summary.json")} | _shared(config)
    for language in config.languages:
        about = {"title": config.title(language), "language": language}
        yield "report_overview", own | about, _notebook_of(OVERVIEW, draft, language, config)


def _shared(config: ReportConfig) -> dict[str, Any]:
    """Parameters of all notebooks."""
    return {"settings": config.study_settings, "margin": config.settings.margin, "asked": config.asked}


def _notebook_of(name: str, draft: Path, language: str, config: ReportConfig) -> Path:
    return notebooks_in(draft, language, config) / f"report_{name}.ipynb"


def notebooks_in(folder: Path, language: str, config: ReportConfig) -> Path:
    """Where a report has the notebooks of a language."""
    return folder / "notebooks" if language == config.languages[0] else folder / "notebooks" / language


def file_in(name: str, language: str, config: ReportConfig) -> str:
    """What a page or a PDF is called in a language: "index.html" in the first, such as "index.ja.html" in another."""
    stem, _dot, ending = name.rpartition(".")
    return name if language == config.languages[0] else f"{stem}.{language}.{ending}"


def fingerprint(path: Path) -> str:
    """16 hex digits that tell one version of a file from another."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def has_answer(study: Study) -> bool:
    """Whether the two methods that are compared are finished at the largest size, with their models."""
    missing = study.missing()
    return not any(cell in missing for cell in needed_first(study))


def _names(config: ReportConfig) -> list[str]:
    """A name for the files of each task: its own, or the folder's for the user's images."""
    return file_names([short_name(task) if is_spec(task) else task for task in config.settings.tasks])


def file_names(names: Iterable[str]) -> list[str]:
    """Names fit for files, no two alike on any file system, and none that a report uses for itself.

    A file system may ignore capitals, or take "é" as one character or two for the same.
    """
    taken, found = {OVERVIEW}, []
    for name in names:
        plain = re.sub(r"[^\w.-]+", "-", unicodedata.normalize("NFC", name))
        short = _of_bytes(plain, _LONGEST_NAME) if re.search(r"\w", plain) else "task"
        numbers = chain([""], (f"-{number}" for number in count(len(found) + 1)))
        fit = next(text for number in numbers if _spelling(text := short + number) not in taken)
        taken.add(_spelling(fit))
        found.append(fit)
    return found


def _of_bytes(text: str, most: int) -> str:
    """The beginning of a text that takes at most so many bytes."""
    return text.encode("utf-8", "replace")[:most].decode("utf-8", "ignore")


def _spelling(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


def _say_what_is_fewer(config: ReportConfig) -> None:
    """Print of each task that has fewer test images than asked for; its report states it too."""
    asked = config.settings.model_dump()["test_images"]
    for task in config.settings.tasks:
        there = len(load_task(task).test)
        if asked != ALL and there < asked:
            _say(f"Task {task} has {there:,} test images, and {asked:,} were asked for: all {there:,} are used.")


def _shown(path: Path) -> str:
    """A path as the report prints it: within the repository, or its name alone."""
    path = path.resolve()
    return str(path.relative_to(repository())) if path.is_relative_to(repository()) else path.name


def write_page(config: ReportConfig, draft: Path) -> None:
    """Join the executed notebooks to `index.html`, and to a page for each other language."""
    import nbformat

    for language in config.languages:
        places = [_notebook_of(name, draft, language, config) for name in [OVERVIEW, *_names(config)]]
        notebooks = [nbformat.read(place, as_version=4) for place in places]
        with speaking(language):
            tasks = words.listed([told_task(task).title for task in config.settings.tasks])
            about = _("Visual prompt tuning compared with full fine-tuning: {tasks}").format(tasks=tasks)
        others = {code: file_in("index.html", code, config) for code in config.languages if code != language}
        html = page(join(notebooks, config.title(language), about), language, others)
        (draft / file_in("index.html", language, config)).write_text(redacted(html), encoding="utf-8")


def write_summary(config: ReportConfig, draft: Path) -> None:
    """Write `summary.json` in the first language: one task's part, or all parts under a title. It has no date."""
    language = config.languages[0]
    with speaking(language):
        parts = [summary(study, config.settings.margin, config.asked) for study in config.studies()]
    whole = parts[0] if len(parts) == 1 else {"title": config.title(language), "tasks": parts}
    text = json.dumps(without_secrets(whole | {"language": language}), indent=2, ensure_ascii=False, allow_nan=False)
    (draft / "summary.json").write_text(text + "\n", encoding="utf-8")


def write_pdf(config: ReportConfig, draft: Path) -> str:
    """Print the pages where a Chromium is found; gives what went wrong, or ""."""
    chromium = find_chromium()
    if chromium is None:
        _say("No Chromium found, so there is no report.pdf: install chromium and run this again.")
        return ""
    name = partial(file_in, config=config)
    targets = {code: (draft / name("index.html", code), draft / name("report.pdf", code)) for code in config.languages}
    _say(f"Printing {' and '.join(pdf.name for _page, pdf in targets.values())}")
    try:
        print_pdfs(dict(targets.values()), chromium)
    except UserError as error:
        for _page, pdf in targets.values():
            pdf.unlink(missing_ok=True)
        return str(error)
    for code, (html, pdf) in targets.items():
        finish(pdf, html, config.title(code), language_tag(code), report_day())
    return ""


# ---- a notebook -----------------------------------------------------------------------------------------------


def run_notebook(kernel: "KernelManager", name: str, parameters: dict[str, Any], target: Path) -> None:
    """Execute `notebooks/<name>.ipynb` with papermill.

    Args:
        kernel: runs it, see `vptlib.report.kernels`.
        name: of the notebook, without its ending.
        parameters: for its parameters cell; it must have one of each name.
        target: where the executed notebook goes. It is there only if all cells ran.

    Raises:
        UserError: a parameter that the notebook does not have, a cell that failed, a kernel that died.
    """
    source = repository() / "notebooks" / f"{name}.ipynb"
    check_parameters(source, parameters)
    execute(source, parameters, target, kernel=kernel)


def execute(
    source: Path,
    parameters: dict[str, Any],
    target: Path,
    progress: bool = False,
    checks_stop: bool = True,
    kernel: "KernelManager | None" = None,
) -> list[int]:
    """Execute any notebook with papermill, its parameters checked before.

    Args:
        source, parameters, target: as for `run_notebook`.
        progress: show a bar that counts cells.
        checks_stop: whether an `assert` that fails is a failure like any other; else the notebook goes on.
        kernel: runs it; by default one of its own.

    Returns:
        The numbers of the cells whose `assert` failed.

    Raises:
        UserError: a cell that failed, a kernel that died.
    """
    import nbformat
    import papermill
    from papermill.exceptions import PapermillExecutionError

    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")  # this Python's kernel, whatever the home folder holds
    logging.getLogger("papermill").setLevel(logging.CRITICAL)
    part = target.with_suffix(".part.ipynb")
    execution = OPTIONS | {"progress_bar": _CELL_BAR | {"desc": source.stem} if progress else False}
    execution |= {} if checks_stop else {"allow_error_names": ["AssertionError"]}
    failed: list[int] = []
    try:
        if kernel is not None:
            make_ready(kernel)
        notebook = papermill.execute_notebook(source, part, parameters, km=kernel, **execution)
    except PapermillExecutionError as error:
        notebook = nbformat.read(part, as_version=4)
        worst, failed = _errors_in(notebook)
        if checks_stop or worst:
            raise UserError(_what_failed(worst or error, source, _keep_failed(part, target.name))) from error
    except RuntimeError as error:  # nbclient: the kernel died or never answered
        raise UserError(
            f"the kernel of {source.name} stopped ({error}), most often because memory ran out: close other programs "
            "or take fewer test_images; finished runs are kept, and so is an earlier report."
        ) from error
    for key in ("input_path", "output_path"):  # a report is passed on; paths of this machine mean nothing elsewhere
        notebook.metadata.papermill.pop(key, None)
    nbformat.write(without_secrets(without_widgets(notebook)), target)
    part.unlink()
    return failed


def _errors_in(notebook: "NotebookNode") -> "tuple[NotebookNode | None, list[int]]":
    """The error that is not a failed `assert`, if there is one, and the numbers of the cells whose `assert` failed."""
    from nbformat import NotebookNode

    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    errors = [(cell.execution_count, out) for cell in code for out in cell.outputs if out.output_type == "error"]
    others = [
        NotebookNode(exec_count=count, ename=error.ename, evalue=error.evalue)
        for count, error in errors
        if error.ename != "AssertionError"
    ]
    return others[0] if others else None, [count for count, error in errors if error.ename == "AssertionError"]


def without_widgets(notebook: "NotebookNode") -> "NotebookNode":
    """The notebook without views that need a kernel; the pictures that stand in for them stay."""
    notebook.metadata.pop("widgets", None)
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    return notebook


_CELL_BAR = {"unit": "cell", "bar_format": "{desc}: cell {n_fmt} of {total_fmt} |{bar:20}| {elapsed}", "leave": True}


def check_parameters(source: Path, parameters: dict[str, Any]) -> None:
    """Refuse a parameter that the notebook does not have.

    Raises:
        UserError: such a parameter, or no such notebook.
    """
    import papermill

    if not source.is_file():
        raise UserError(f"there is no notebook {source}: restore it from the repository.")
    known = papermill.inspect_notebook(source)
    for name in parameters:
        if name not in known:
            raise UserError(f"{source} has no parameter {name!r} in its parameters cell: add it there.")


def _keep_failed(part: Path, name: str) -> Path:
    """A copy of the notebook as it stopped, to look at afterwards."""
    import nbformat

    kept = store_folder() / "failed" / name
    kept.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(without_secrets(nbformat.read(part, as_version=4)), kept)
    return kept


def _what_failed(error, source: Path, kept: Path) -> str:
    if error.ename == "UserError":
        return error.evalue
    reason = f"{error.ename}: {error.evalue.strip().splitlines()[0]}" if error.evalue.strip() else error.ename
    return (
        f"{source.name} failed in cell {error.exec_count} ({reason}): look at {kept}; finished runs are kept, and so "
        "is an earlier report."
    )


# ---- the folder -----------------------------------------------------------------------------------------------


@contextmanager
def _draft_of(folder: Path) -> Iterator[Path]:
    """A hidden folder next to `folder`, empty, used by this process alone, and removed afterwards.

    Raises:
        UserError: `folder` holds something other than a report, cannot be written, or is being written by another.
    """
    _check_replaceable(folder)
    draft = _next_to(folder, "draft")
    try:
        draft.mkdir(parents=True, exist_ok=True)
        opened = os.open(draft, os.O_RDONLY)
    except OSError as error:
        raise UserError(_cannot_write(folder, error)) from error
    try:
        lock_alone(opened, f"another report is being written to {folder}: wait for it, or name another folder.")
        try:
            _finish_interrupted_swap(folder)
            _empty(draft, folder)
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    finally:
        os.close(opened)


def _next_to(folder: Path, what: str) -> Path:
    return folder.with_name(f".{folder.name}.{what}")


def _check_replaceable(folder: Path) -> None:
    if folder.is_dir():
        strange = sorted(path.name for path in folder.iterdir() if path.name not in PARTS)
        if strange:
            raise UserError(
                f"{folder} holds {strange[0]!r}, which is no part of a report: move it away or name another folder "
                "with --out."
            )
    elif folder.exists():
        raise UserError(f"{folder} is a file: name a folder with --out.")


def _empty(draft: Path, folder: Path) -> None:
    """Remove what a killed report has left, and try to write before hours are spent."""
    try:
        for path in draft.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        (draft / "index.html").write_text("")
    except OSError as error:
        raise UserError(_cannot_write(folder, error)) from error


def _cannot_write(folder: Path, error: OSError) -> str:
    return f"the report cannot be written to {folder} ({error.strerror}): name another folder with --out."


def _check_space(*folders: Path) -> None:
    for folder in folders:
        free = free_bytes(folder)
        if free < FREE_BYTES_NEEDED:
            raise UserError(
                f"only {free / 1e6:.0f} MB are free at {folder}, and {FREE_BYTES_NEEDED / 1e6:.0f} MB are needed: free "
                "some, or name other folders with --out and VPTLIB_STORE."
            )


def _publish(draft: Path, folder: Path) -> None:
    """The draft takes the place of the earlier report: in one step where the system can, so one is always there."""
    earlier = _next_to(folder, "earlier")
    try:
        if folder.exists():
            if exchanged(draft, folder):
                return
            folder.rename(earlier)
        draft.rename(folder)
    except OSError as error:
        _finish_interrupted_swap(folder)
        raise UserError(_cannot_write(folder, error)) from error
    shutil.rmtree(earlier, ignore_errors=True)


def _finish_interrupted_swap(folder: Path) -> None:
    """The earlier report goes back to its place if nothing has taken it."""
    earlier = _next_to(folder, "earlier")
    if not earlier.exists():
        return
    if folder.exists():
        shutil.rmtree(earlier, ignore_errors=True)
    else:
        earlier.rename(folder)
