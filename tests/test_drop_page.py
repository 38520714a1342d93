"""The page of the service in a browser, against a small stand-in that answers as the service does."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import uvicorn
from desks import FakeDesk, FakeRecords
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from vptlib.operations.service.access import Access, add_token
from vptlib.operations.service.app import create_app
from vptlib.operations.service.desk import UnreadableImage
from vptlib.operations.service.page import drop_page, drop_page_policy
from vptlib.operations.service.settings import Settings

PATIENT = 60_000  # milliseconds, on a busy machine
NASTY = "<img src=x onerror=\"document.title='broken'\">"
CLASSES = ("good", NASTY, "傷", "10", "2", "__proto__", "שריטה", "a" * 90)
TOKEN = "of-this-test"


@dataclass
class Service:
    """A stand-in: what it has, what it was asked, and what it refuses next."""

    tasks: list[dict[str, Any]]
    token: str = ""
    may_check: bool = True
    refusals: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    truths: list[str] = field(default_factory=list)
    address: str = ""

    def refused(self, request: Request) -> JSONResponse | None:
        """The refusal that is due, if any."""
        self.asked.append(request.scope["path"])
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return problem(401, "This token is not known here.")
        return None

    async def page(self, request: Request) -> Response:
        return HTMLResponse(drop_page(), headers={"Content-Security-Policy": drop_page_policy()})

    async def all_tasks(self, request: Request) -> Response:
        return self.refused(request) or JSONResponse({"tasks": self.tasks, "may_check": self.may_check})

    async def answer(self, request: Request) -> Response:
        body = await request.body()
        if refusal := self.refused(request):
            return refusal
        if self.refusals:
            status, headers = self.refusals.pop(0)
            return problem(status, f"Refused with {status}.", headers)
        self.bodies.append(body)
        self.kinds.append(request.headers["Content-Type"])
        return JSONResponse(answer_of(request.path_params["name"], len(self.bodies)))

    async def truth(self, request: Request) -> Response:
        refusal = self.refused(request)
        if refusal:
            return refusal
        self.truths.append((await request.json())["class"])
        return JSONResponse({"id": request.path_params["id"]})


def problem(status: int, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": {"code": "of_this_test", "message": sentence}}, status, headers)


def answer_of(task: str, number: int) -> dict[str, Any]:
    shares = [0.01] * len(CLASSES)
    shares[number % len(CLASSES)] = 1 - 0.01 * (len(CLASSES) - 1)
    return {
        "id": f"{number:032x}",
        "task": task,
        "version": 3,
        "digest": "ab" * 32,
        "answer": CLASSES[number % len(CLASSES)],
        "probability": max(shares),
        "probabilities": dict(zip(CLASSES, shares, strict=True)),
        "ask_a_person": ("no", "yes", "unknown")[number % 3],
        "check": number % 2 == 1,
        "problem": "",
    }


def task_of(name: str = "cells", **changes) -> dict[str, Any]:
    about = {"name": name, "title": f"all about {name}", "version": 3, "digest": "ab" * 32, "method": "vpt-deep"}
    about |= {"classes": list(CLASSES), "threshold": 0.9, "since": "2026-11-28T09:00:00Z", "problem": ""}
    return about | changes


@contextmanager
def running(service: Service) -> Iterator[Service]:
    """The stand-in behind a port of its own."""
    routes = [
        Route("/", service.page),
        Route("/v1/tasks", service.all_tasks),
        Route("/v1/tasks/{name}/answers", service.answer, methods=["POST"]),
        Route("/v1/answers/{id}/truth", service.truth, methods=["POST"]),
    ]
    with listening(Starlette(routes=routes)) as service.address:
        yield service


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """The address of an application."""
    settings = uvicorn.Config(app, port=0, log_level="error")
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + 60
    while not server.started and time.monotonic() < end:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)


@contextmanager
def opened(browser, service: Any, **given) -> Iterator[Any]:
    """The page, open in a browser of its own; it must ask its own service only, and complain of nothing."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | given)
    page = context.new_page()
    page.set_default_timeout(PATIENT)
    asked, complaints = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    try:
        page.goto(service.address)
        yield page
        assert [url for url in asked if not url.startswith((service.address, "blob:", "data:"))] == []
        # Chromium itself logs each answer of 4xx and 5xx; only that is expected here.
        assert [said for said in complaints if "Failed to load resource" not in said] == []
    finally:
        context.close()


@pytest.fixture
def service() -> Iterator[Service]:
    with running(Service([task_of(), task_of("wafers left?", title="")])) as started:
        yield started


def photo(folder: Path, name: str = "photo.png", shade: int = 90) -> Path:
    path = folder / name
    Image.fromarray(np.full((40, 60, 3), shade, np.uint8)).save(path, "PNG")
    return path


def dropped(page, *paths: Path) -> None:
    """Drop files on the page as a mouse would."""
    files = [{"name": path.name, "bytes": list(path.read_bytes())} for path in paths]
    transfer = page.evaluate_handle(
        """files => {
            const transfer = new DataTransfer();
            for (const { name, bytes } of files)
                transfer.items.add(new File([new Uint8Array(bytes)], name, { type: 'image/png' }));
            return transfer;
        }""",
        files,
    )
    for event in ("dragover", "drop"):
        page.dispatch_event("#drop", event, {"dataTransfer": transfer})


def answers(page):
    """The entries of the list that have an answer."""
    return page.locator("#list .answer")


def shown(locator, count: int = 1) -> list[str]:
    """The texts of `count` parts, as soon as they are there."""
    from playwright.sync_api import expect

    expect(locator).to_have_count(count, timeout=PATIENT)
    return locator.all_inner_texts()


def read(locator, text: str | re.Pattern) -> None:
    from playwright.sync_api import expect

    expect(locator).to_contain_text(text, timeout=PATIENT)


# ---- without a browser ------------------------------------------------------------------------------------------


def test_the_policy_allows_this_script_and_this_style_and_no_other():
    page, policy = drop_page(), drop_page_policy()
    assert page.count("<script>") == page.count("<style>") == 1
    assert "unsafe" not in policy and "http" not in policy and "'self'" in policy
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)
    assert "innerHTML" not in page and "insertAdjacentHTML" not in page and " style=" not in page
    assert page.isascii() or '<meta charset="utf-8">' in page


# ---- in a browser -----------------------------------------------------------------------------------------------


def test_a_dropped_image_is_sent_whole_and_its_answer_shown_with_all_that_qualifies_it(browser, service, tmp_path):
    with opened(browser, service) as page:
        page.locator("#task").select_option("wafers left?")
        dropped(page, path := photo(tmp_path))
        assert shown(answers(page)) == [f"{NASTY}, 93.0\u202f%"]
        assert service.bodies == [path.read_bytes()] and service.asked[-1] == "/v1/tasks/wafers left?/answers"
        entry = page.locator("#list li")
        read(entry, "A person should look at it.")
        read(entry, f"version 3, SHA-256 {'ab' * 32}")
        read(entry, "drawn at random to be checked")
        read(page.get_by_role("status").first, f"photo.png: {NASTY}, 93.0\u202f%. A person should look at it.")
        assert sorted(page.locator("th").all_inner_texts()) == sorted(CLASSES)
        widths = page.locator(".bar").evaluate_all("bars => bars.map(bar => bar.getBoundingClientRect().width)")
        assert widths[0] > 20 * widths[1] > 0, "the probabilities are drawn"
        assert page.title() != "broken" and page.locator("#list img").count() == 1


def test_several_images_are_answered_one_after_another_in_their_order(browser, service, tmp_path):
    paths = [photo(tmp_path, f"{number}.png", 40 * number) for number in range(4)]
    with opened(browser, service) as page:
        page.locator("#files").set_input_files([str(path) for path in paths])
        shown(answers(page), 4)
        assert page.locator("h3").all_inner_texts() == ["0.png", "1.png", "2.png", "3.png"]
        assert service.bodies == [path.read_bytes() for path in paths]
        read(page.locator("#list li").nth(1), "It is not known whether a person should look at it.")
        page.get_by_role("button", name="Clear the list").click()
        assert page.locator("#list li").count() == 0


def test_a_pasted_image_is_answered(browser, service, tmp_path):
    with opened(browser, service) as page:
        page.get_by_label("Task", exact=True).wait_for()
        page.evaluate(
            """bytes => {
                const clipboardData = new DataTransfer();
                clipboardData.items.add(new File([new Uint8Array(bytes)], '', { type: 'image/png' }));
                document.dispatchEvent(new ClipboardEvent('paste', { clipboardData }));
            }""",
            list(photo(tmp_path).read_bytes()),
        )
        shown(answers(page))
        assert page.locator("h3").all_inner_texts() == ["pasted image"]


def test_a_wrong_token_is_a_sentence_and_the_right_one_goes_on_with_what_waits(browser, service, tmp_path):
    service.token = TOKEN
    with opened(browser, service) as page:
        field_ = page.get_by_label("Access token")
        field_.wait_for()
        assert not page.get_by_role("alert").is_visible(), "nothing was wrong yet"
        field_.fill("傷")
        page.keyboard.press("Enter")
        read(page.get_by_role("alert"), "This is no token.")
        field_.fill("wrong")
        page.keyboard.press("Enter")
        read(page.get_by_role("alert"), "This token is not known here.")
        field_.fill(TOKEN)
        page.keyboard.press("Enter")
        page.locator("#task").wait_for()
        service.token = "another"  # it is changed meanwhile
        dropped(page, photo(tmp_path))
        read(page.locator("#list"), "Waiting for a token.")
        field_.fill("another")
        page.get_by_role("button", name="Use it").click()
        shown(answers(page))
        stored = page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]")
        assert stored == [0, 0, ""] and TOKEN not in page.content()


def test_an_image_that_is_dropped_before_the_token_is_given_is_answered_after_it(browser, service, tmp_path):
    service.token = TOKEN
    with opened(browser, service) as page:
        page.get_by_label("Access token").wait_for()
        dropped(page, photo(tmp_path))
        page.get_by_label("Access token").fill(TOKEN)
        page.keyboard.press("Enter")
        shown(answers(page))


def test_all_works_by_keyboard(browser, service, tmp_path):
    service.token = TOKEN
    with opened(browser, service) as page:
        page.get_by_label("Access token").wait_for()
        page.keyboard.type(TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_selector("#task:focus")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Tab")
        page.locator("#files:focus").set_input_files(str(photo(tmp_path)))  # a browser opens its own dialog here
        shown(answers(page))
        assert service.asked[-1] == "/v1/tasks/wafers left?/answers"
        for _ in range(4):  # "Clear the list", then the buttons of the first three classes
            page.keyboard.press("Tab")
        page.keyboard.press("Space")
        read(page.locator("fieldset"), "Recorded: 傷. The answer was wrong.")
        assert service.truths == ["傷"]


def test_the_true_class_is_sent_as_it_is_called(browser, service, tmp_path):
    with opened(browser, service) as page:
        dropped(page, photo(tmp_path))
        page.get_by_role("button", name=NASTY).click()
        read(page.locator("fieldset"), f"Recorded: {NASTY}. The answer was right.")
        assert service.truths == [NASTY] and page.get_by_role("button", pressed=True).count() == 1


def test_who_may_not_say_the_true_class_is_not_asked_for_it(browser, service, tmp_path):
    service.may_check = False
    with opened(browser, service) as page:
        dropped(page, photo(tmp_path))
        shown(answers(page))
        assert page.locator("fieldset").count() == 0


def test_many_classes_are_a_list_to_choose_from_and_their_bars_are_folded(browser, service, tmp_path, monkeypatch):
    names = tuple(f"class {number}" for number in range(30))
    monkeypatch.setattr(f"{__name__}.CLASSES", names)
    with opened(browser, service) as page:
        dropped(page, photo(tmp_path))
        page.get_by_label("True class of photo.png").select_option("class 7")
        page.get_by_role("button", name="Send").click()
        read(page.locator("fieldset"), "Recorded: class 7. The answer was wrong.")
        assert page.locator("th").count() == 30 and page.locator("th:visible").count() == 10
        page.get_by_text("20 more classes").click()
        assert page.locator("th:visible").count() == 30


def test_what_is_refused_is_the_sentence_of_the_service(browser, service, tmp_path):
    refused = (403, 413, 415, 422, 500)
    service.refusals = [(status, {}) for status in refused]
    with opened(browser, service) as page:
        dropped(page, *(photo(tmp_path, f"{status}.png") for status in refused), photo(tmp_path, "good.png"))
        shown(answers(page))
        for number, status in enumerate(refused):
            read(page.locator("#list li").nth(number), f"Refused with {status}.")
            again = page.get_by_role("button", name=f"Try again: {status}.png")
            assert again.count() == (status in (403, 500)), "the same image would be refused again"
        read(page.locator("#list li").last, "93.0")


@pytest.mark.parametrize("status", [429, 503])
def test_an_image_that_is_refused_because_of_too_much_work_is_asked_again(browser, service, tmp_path, status):
    service.refusals = [(status, {"Retry-After": "1"}), (status, {"Retry-After": "1"})]
    with opened(browser, service) as page:
        dropped(page, photo(tmp_path))
        read(page.locator("#list li"), f"Refused with {status}. It is asked again in 1 s.")
        shown(answers(page))


def test_a_list_that_was_cleared_while_an_image_waits_lets_the_next_one_be_answered(browser, service, tmp_path):
    service.refusals = [(503, {"Retry-After": "30"})]
    with opened(browser, service) as page:
        dropped(page, photo(tmp_path, "first.png"), photo(tmp_path, "second.png"))
        read(page.locator("#list li").first, "It is asked again in")
        page.get_by_role("button", name="Clear the list").click()
        dropped(page, photo(tmp_path, "third.png"))
        shown(answers(page))
        assert page.locator("h3").all_inner_texts() == ["third.png"] and len(service.bodies) == 1


def test_what_is_no_image_at_all_is_a_sentence(browser, service, tmp_path):
    with opened(browser, service) as page:
        page.locator("#task").wait_for()
        page.evaluate(
            """() => {
                const gone = new File(['text'], 'folder', { type: 'text/plain' });
                gone.slice = () => ({ arrayBuffer: () => Promise.reject(new DOMException('', 'NotFoundError')) });
                add([gone, new File(['text'], 'notes.txt', { type: 'text/plain' })]);
            }"""
        )
        read(page.locator("#list li").first, "This is a folder, or it cannot be read any more.")
        shown(answers(page))
        assert service.kinds == ["application/octet-stream"]


def test_a_lost_connection_is_a_sentence_and_the_image_can_be_asked_again(browser, service, tmp_path):
    with opened(browser, service) as page:
        page.locator("#task").wait_for()
        page.context.set_offline(True)
        dropped(page, photo(tmp_path))
        read(page.locator("#list li"), "The service cannot be reached.")
        page.context.set_offline(False)
        page.get_by_role("button", name="Try again: photo.png").click()
        shown(answers(page))


def test_a_service_without_a_task_and_a_task_with_a_problem_are_sentences(browser, service):
    service.tasks = []
    with opened(browser, service) as page:
        read(page.get_by_role("alert"), "No task answers here yet.")
        assert not page.locator("#asking").is_visible()
        service.tasks = [task_of(problem=f"Version 4 could not be loaded: {NASTY}.", threshold=None, version=None)]
        page.reload()
        read(page.locator("#doubt"), f"Version 4 could not be loaded: {NASTY}.")
        read(page.locator("#about-task"), "A file without a version; 8 classes. It is not known below which")


def test_the_page_gets_on_with_the_endpoints_as_they_are(browser, tmp_path, monkeypatch):
    """The fakes here stand for models and records only."""
    desk, records = FakeDesk("cells"), FakeRecords()
    token = add_token(tmp_path / "tokens.yaml", "line 2", ["ask", "check"], [], 1)
    app = create_app(desk, Access(tmp_path / "tokens.yaml"), Settings(check_share=1), records)
    with listening(app) as address, opened(browser, SimpleNamespace(address=address)) as page:
        page.get_by_label("Access token").fill("vpt_wrong")
        page.keyboard.press("Enter")
        read(page.get_by_role("alert"), "This needs a valid token")
        page.get_by_label("Access token").fill(token)
        page.keyboard.press("Enter")
        read(page.locator("#about-task"), "Version 3; 3 classes. A person looks where the probability is below 80.0")
        dropped(page, photo(tmp_path))
        read(page.locator("#list"), "scratch, 93.0")
        page.get_by_role("button", name="pit").click()
        read(page.locator("fieldset"), "Recorded: pit. The answer was wrong.")
        assert [checked[1:] for checked in records.checked] == [("pit", "line 2")]
        monkeypatch.setattr(desk, "fails", UnreadableImage("the image cannot be read: send a JPEG or PNG."))
        dropped(page, photo(tmp_path, "second.png"))
        read(page.locator("#list li").first, "the image cannot be read: send a JPEG or PNG.")


def test_a_service_without_tokens_lets_its_own_page_ask(browser, tmp_path):
    app = create_app(FakeDesk("cells"), Access(tmp_path / "tokens.yaml"), Settings(), FakeRecords())
    with listening(app) as address, opened(browser, SimpleNamespace(address=address)) as page:
        dropped(page, photo(tmp_path))
        read(page.locator("#list"), "scratch, 93.0")
        assert not page.locator("#entry").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_wider_than_the_window_and_all_can_be_read(browser, service, tmp_path, width, scheme):
    service.token = TOKEN
    service.refusals = [(422, {})]
    with opened(browser, service, viewport={"width": width, "height": 900}, color_scheme=scheme) as page:
        page.get_by_label("Access token").fill(TOKEN)
        page.keyboard.press("Enter")
        page.locator("#task").wait_for()
        dropped(page, *(photo(tmp_path, f"{'long name ' * 9}{number}.png") for number in range(3)))
        shown(answers(page), 2)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(LOW_CONTRAST) == []
        tall = page.locator("button:visible, select:visible, input:visible").evaluate_all(
            "parts => parts.map(part => part.getBoundingClientRect().height)"
        )
        assert min(tall) >= 44, "a finger can hit it"


# Texts whose contrast with what is behind them is below that of WCAG 2.2, 1.4.3 (AA): 4.5, or 3 if they are large.
LOW_CONTRAST = """(() => {
    const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
    const light = colour => {
        const parts = numbers(colour).slice(0, 3).map(part => part / 255)
            .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
    };
    const behind = part => {
        for (; part; part = part.parentElement) {
            const colour = getComputedStyle(part).backgroundColor;
            if (numbers(colour)[3] !== 0) return colour;
        }
        return 'rgb(255, 255, 255)';
    };
    const found = [];
    for (const part of document.querySelectorAll('main *')) {
        const text = [...part.childNodes].some(node => node.nodeType === 3 && node.data.trim());
        if (!text || !part.checkVisibility()) continue;
        const style = getComputedStyle(part);
        const [one, other] = [light(style.color), light(behind(part))].sort((a, b) => b - a);
        const least = parseFloat(style.fontSize) >= 24 ? 3 : 4.5;
        if ((one + 0.05) / (other + 0.05) < least) found.push(`${part.tagName}: ${part.textContent.slice(0, 30)}`);
    }
    return found;
})()"""
