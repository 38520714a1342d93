"""The endpoints of the service, and what they say in OpenAPI.

`GET /openapi.json` describes them. There is no page of API documentation, because those of the usual kind fetch their
programs from elsewhere.
"""

import asyncio
import hashlib
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from logging import ERROR
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, cast

from fastapi import APIRouter, Depends, FastAPI, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from vptlib import __version__
from vptlib.errors import UserError
from vptlib.operations.records import Given
from vptlib.operations.service.access import ANYBODY, Access, Caller, Pace, Role, Stranger
from vptlib.operations.service.desk import Answer, Serving, Stopping, TooMuchAtOnce, UnknownTask, UnreadableImage
from vptlib.operations.service.guard import Guard, Load, Refused, is_stopping, later, told
from vptlib.operations.service.keeping import Keeper, Records
from vptlib.operations.service.logs import note
from vptlib.operations.service.metrics import Metrics, Watched
from vptlib.operations.service.page import drop_page, drop_page_policy
from vptlib.operations.service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

Asked = Literal["yes", "no", "unknown"]
IMAGE_TYPES = ("image/jpeg", "image/png", "image/tiff", "image/webp", "image/bmp", "application/octet-stream")
_SECONDS_FOR_RECORDS = 2.0  # until an answer that was just given can be checked


class AnyDesk(Watched, Protocol):
    """What the endpoints need of a desk, see `vptlib.operations.service.desk`."""

    @property
    def ready(self) -> bool: ...

    def refresh(self) -> list[str]: ...

    async def answer(self, name: str, body: bytes) -> Answer: ...


# ---- what is sent and received --------------------------------------------------------------------------------------


class ErrorDetail(BaseModel):
    """Why there is no answer."""

    code: str = Field(description="For programs.", examples=["no_such_task"])
    message: str = Field(description="For people, with the fix.", examples=["There is no such task here."])


class ErrorGiven(BaseModel):
    """What every error looks like."""

    error: ErrorDetail


class Alive(BaseModel):
    """The process answers."""

    alive: Literal[True] = True


class Ready(BaseModel):
    """Images are answered."""

    ready: Literal[True] = True


class TaskGiven(BaseModel):
    """One task and the model that answers it now."""

    name: str = Field(examples=["cells"])
    title: str = Field(examples=["Cracks in solar cells"])
    version: int | None = Field(description="None for a file that no registry has.", examples=[3])
    digest: str = Field(description="SHA-256 of the model's file.")
    classes: list[str] = Field(examples=[["good", "scratch", "pit"]])
    threshold: float | None = Field(description="A person looks where the probability is below; None if not known.")
    method: str = Field(examples=["vpt-deep"])
    backbone: str = Field(examples=["dinov2-small-focus"])
    since: datetime = Field(description="Since when this model answers.")
    problem: str = Field(description="Why the newest version does not answer; empty if it does.")


class TasksGiven(BaseModel):
    """The tasks that the caller may see."""

    tasks: list[TaskGiven]
    may_check: bool = Field(description="Whether the caller may send true classes.")


class AnswerGiven(BaseModel):
    """The answer to one image."""

    id: str = Field(description="To send the true class to.", examples=["0f" * 16])
    task: str = Field(examples=["cells"])
    version: int | None = Field(examples=[3])
    digest: str = Field(description="SHA-256 of the model's file.")
    answer: str = Field(description="Name of the class.", examples=["scratch"])
    probability: float = Field(ge=0, le=1, examples=[0.93])
    probabilities: dict[str, float] = Field(examples=[{"good": 0.05, "scratch": 0.93, "pit": 0.02}])
    ask_a_person: Asked = Field(description="Whether a person should look.")
    problem: str = Field(description="Why the answer is doubtful; empty if nothing is known against it.")
    check: bool = Field(description="Drawn at random: a person should say what it really is.")


class Truth(BaseModel):
    """What a person says of an image."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{"class": "scratch"}]})

    truth: str = Field(alias="class", min_length=1, max_length=1000)


class TruthTaken(BaseModel):
    """What was recorded."""

    id: str
    task: str
    truth: str = Field(serialization_alias="class")


class Refreshed(BaseModel):
    """The tasks whose version changed."""

    changed: list[str]


_ERRORS = {
    401: "No token, or one that is not valid (any more).",
    403: "The token lacks the role; or, without tokens, a page of another site asks.",
    404: "There is no such thing, or the token may not see it.",
    408: "The request did not arrive in time.",
    413: "The request is too large.",
    415: "Another kind of content than is read here.",
    421: "Without tokens: another name than localhost.",
    422: "It was read, but makes no sense: the message says why.",
    429: "Too often: wait as long as Retry-After says.",
    500: "The service failed. The log has the reason.",
    503: "Not now: the service is stopping or has too much to do. Retry-After says how long to wait.",
}
_EVERYWHERE = (403, 421, 500, 503)
_WITH_TOKEN = (401, 429)


_HEADERS = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}


def _errors(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Of an endpoint, in OpenAPI's words; also those that every endpoint may have."""
    return {code: _error(code) for code in sorted({*codes, *_EVERYWHERE})}


def _error(code: int) -> dict[str, Any]:
    reference = {"schema": {"$ref": "#/components/schemas/ErrorGiven"}}
    found = {"description": _ERRORS[code], "content": {"application/json": reference}}
    if name := _HEADERS.get(code):
        found["headers"] = {name: {"required": True, "schema": {"type": "string"}}}
    return found


def _sent(description: str, kinds: Sequence[str], schema: dict[str, Any]) -> dict[str, Any]:
    """The body of a request that an endpoint reads by itself, in OpenAPI's words."""
    content = {kind: {"schema": schema} for kind in kinds}
    return {"requestBody": {"description": description, "required": True, "content": content}}


# ---- the application ------------------------------------------------------------------------------------------------


def create_app(
    desk: AnyDesk,
    access: Access,
    settings: Settings,
    records: Records,
    metrics: Metrics | None = None,
    load: Load | None = None,
) -> FastAPI:
    """The service as an ASGI application.

    Args:
        desk: answers images; it has been started.
        access: the door.
        settings: its limits.
        records: where answers go.
        metrics: where the rest of the process counts, too.
        load: by which the rest of the process sees what is in hand, and says that it stops.
    """
    metrics, load = metrics or Metrics(), load or Load()
    keeper = Keeper(records, metrics)
    metrics.watch(desk)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        keeper.start()
        yield
        await run_in_threadpool(keeper.stop)

    app = FastAPI(
        title="Visual prompts",
        summary="One image, one answer: many tasks on one backbone.",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
        openapi_tags=[
            {"name": "answers", "description": "Images in, answers out; and what they really were."},
            {"name": "operation", "description": "For those who run the service."},
        ],
    )
    app.state.service = _Service(desk, access, settings, records, keeper, metrics, load)
    app.include_router(_routes)
    app.add_middleware(Guard, access=access, settings=settings, metrics=metrics, load=load)
    app.add_exception_handler(HTTPException, _as_json)
    app.add_exception_handler(RequestValidationError, _as_json)
    return app


async def _as_json(request: Request, error: Exception) -> JSONResponse:
    """Every refusal in the one form, also those of the framework itself."""
    if isinstance(error, HTTPException) and not isinstance(error, Refused):
        error = _OF_FRAMEWORK.get(error.status_code, _no_sense)(dict(error.headers or {}))
    elif not isinstance(error, Refused):
        error = _no_sense({})
    told(request.scope).refused = error.code
    return error.response()


def _no_sense(headers: dict[str, str]) -> Refused:
    return Refused(422, "body", "The request cannot be read: see /openapi.json.", headers)


_OF_FRAMEWORK: dict[int, Callable[[dict[str, str]], Refused]] = {
    404: lambda headers: Refused(404, "no_such_path", "There is nothing here: see /openapi.json.", headers),
    405: lambda headers: Refused(405, "method", "This cannot be done here: see the header Allow.", headers),
}


class _Service:
    """What the endpoints share."""

    def __init__(
        self,
        desk: AnyDesk,
        access: Access,
        settings: Settings,
        records: Records,
        keeper: Keeper,
        metrics: Metrics,
        load: Load,
    ):
        self.desk, self.access, self.settings, self.records = desk, access, settings, records
        self.keeper, self.metrics, self.load = keeper, metrics, load
        self.pace = Pace(settings.asks_per_second, settings.asks_at_once)

    def seen(self, name: str, caller: Caller) -> Serving:
        """The task of this name.

        Raises:
            Refused: there is none that the caller may see.
        """
        serving = self.desk.tasks.get(name) if caller.sees(name) else None
        if serving is None:
            raise _no_such_task()
        return serving

    def check_pace(self, who: tuple[str, str]) -> None:
        """Raise if someone asks too often."""
        if seconds := self.pace.wait(who):
            raise later("too_often", "You ask too often: wait as long as Retry-After says.", seconds, 429)

    @contextmanager
    def timed(self, task: str) -> "Iterator[None]":
        """Count what became of an image that got no answer, and name it for the client."""
        start = time.perf_counter()
        outcome = "failed"
        try:
            with self.metrics.in_flight.track_inprogress():
                yield
            outcome = ""
        except UnknownTask:
            outcome = "gone"
            raise _no_such_task() from None
        except UnreadableImage as error:
            outcome = "unreadable"
            raise Refused(422, "image", str(error)) from error
        except TooMuchAtOnce as error:
            outcome = "busy"
            raise later("busy", "The service has too much to do: ask again soon.") from error
        except Stopping as error:
            outcome = "stopping"
            raise is_stopping() from error
        except UserError as error:
            note("a model cannot answer", ERROR, error, task=task)
            raise later("no_answer", "The model cannot answer now. The log has the reason.", 5) from error
        except ClientDisconnect:
            outcome = "left"
            raise
        except TimeoutError as error:
            outcome = "slow"
            raise later("slow_answer", "The answer took too long: ask again soon.", 5) from error
        finally:
            if outcome:
                self.metrics.unanswered(task, outcome, time.perf_counter() - start)


def _no_such_task() -> Refused:
    return Refused(404, "no_such_task", "There is no such task here: GET /v1/tasks lists them.")


def _service(request: Request) -> _Service:
    return request.app.state.service


_Shared = Annotated[_Service, Depends(_service)]
_BEARER = HTTPBearer(auto_error=False, description="From vpt tokens add. Not needed where no token was ever added.")


def _needs(role: Role) -> Callable[..., Awaitable[Caller]]:
    """A dependency: who asks, and may do this."""

    async def caller(
        request: Request, service: _Shared, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]
    ) -> Caller:
        about, address = told(request.scope), request.client.host if request.client else ""
        try:
            found = service.access.caller(request.headers.get("authorization"))
        except Stranger as stranger:
            about.why = stranger.reason
            service.check_pace(("address", address))
            message = "This needs a valid token: Authorization: Bearer TOKEN. Ask whoever operates the service."
            raise Refused(401, "token", message, {"WWW-Authenticate": 'Bearer realm="vpt"'}) from None
        except UserError as error:
            about.why = str(error)
            raise later("closed", "The service cannot check tokens now. Its log has the reason.", 30) from error
        about.token = found.name
        service.check_pace(("address", address) if found.name == ANYBODY else ("token", found.name))
        if role not in found.roles:
            raise Refused(403, "role", f"This token may not do this: it lacks the role {role}.")
        return found

    return caller


_Asker = Annotated[Caller, Depends(_needs("ask"))]
_Checker = Annotated[Caller, Depends(_needs("check"))]
_Operator = Annotated[Caller, Depends(_needs("operate"))]

# ---- endpoints ------------------------------------------------------------------------------------------------------

_routes = APIRouter()


@_routes.get("/", response_class=HTMLResponse, tags=["answers"], responses=_errors())
async def page() -> HTMLResponse:
    """A page for people: drop an image, read the answer."""
    return HTMLResponse(drop_page(), headers={"Content-Security-Policy": drop_page_policy()})


@_routes.get("/healthz", tags=["operation"], responses={500: _error(500)})
async def healthz() -> Alive:
    """Whether the process answers at all."""
    return Alive()


@_routes.get("/readyz", tags=["operation"], responses={500: _error(500), 503: _error(503)})
async def readyz(service: _Shared) -> Ready:
    """Whether images are answered now."""
    if service.load.stopping:
        raise is_stopping()
    if not service.desk.ready:
        raise later("not_ready", "No task can answer yet.", 5)
    try:
        _ = service.access.is_open or service.access.tokens
    except UserError as error:
        raise later("closed", "The service cannot check tokens now. Its log has the reason.", 30) from error
    return Ready()


@_routes.get(
    "/v1/tasks", tags=["answers"], responses=_errors(*_WITH_TOKEN) | {401: _error(401) | {"model": ErrorGiven}}
)
async def tasks(service: _Shared, caller: _Asker) -> TasksGiven:
    """The tasks that the token may see, and what answers them now."""
    found = [_shown(serving, caller) for name, serving in service.desk.tasks.items() if caller.sees(name)]
    return TasksGiven(tasks=found, may_check="check" in caller.roles)


@_routes.post(
    "/v1/tasks/{name}/answers",
    tags=["answers"],
    responses=_errors(*_WITH_TOKEN, 404, 408, 413, 415, 422),
    openapi_extra=_sent("The bytes of one image.", IMAGE_TYPES, {"type": "string", "format": "binary", "minLength": 1}),
)
async def answers(
    name: Annotated[str, Path(examples=["cells"])], request: Request, service: _Shared, caller: _Asker
) -> AnswerGiven:
    """The answer to one image."""
    service.seen(name, caller)
    about = told(request.scope)
    about.task = name
    _check_image_type(request)
    body = await request.body()
    if not body:
        raise Refused(422, "image", "The request is empty: send the bytes of one image.")
    start = time.perf_counter()
    with service.timed(name):
        async with asyncio.timeout(service.settings.answer_seconds):
            found = await _unless_gone(request, service.desk.answer(name, body))
    about.version = found.version
    service.metrics.answered(found, time.perf_counter() - start)
    id = secrets.token_hex(16)
    is_drawn = drawn(id, service.settings.check_share)
    _record(service, found, id, is_drawn)
    return AnswerGiven(
        id=id,
        task=found.task,
        version=found.version,
        digest=found.digest,
        answer=found.answer,
        probability=found.probability,
        probabilities=found.probabilities,
        ask_a_person=cast(Asked, found.ask_a_person),
        problem=found.problem,
        check=is_drawn,
    )


@_routes.post(
    "/v1/answers/{id}/truth",
    tags=["answers"],
    responses=_errors(*_WITH_TOKEN, 404, 408, 413, 415, 422),
    openapi_extra=_sent("The true class.", ("application/json",), Truth.model_json_schema()),
)
async def truth(
    id: Annotated[str, Path(description="Of an answer.", examples=["0f" * 16])],
    request: Request,
    service: _Shared,
    caller: _Checker,
) -> TruthTaken:
    """Say what an answered image really is."""
    given = await _sent_truth(request)  # after the token was checked, which FastAPI's own reading would not do
    task = await _task_of(id, service)
    if task is None or not caller.sees(task) or task not in service.desk.tasks:
        raise Refused(404, "no_such_answer", "There is no such answer here: take the id that came with an answer.")
    told(request.scope).task = task
    classes = service.desk.tasks[task].card.class_names
    if given.truth not in classes:
        raise Refused(422, "class", "The task has no such class: GET /v1/tasks lists its classes.")
    with _records_needed():
        await run_in_threadpool(service.records.check, id, given.truth, caller.name)
    service.metrics.check(task)
    return TruthTaken(id=id, task=task, truth=given.truth)


@_routes.post("/v1/refresh", tags=["operation"], responses=_errors(*_WITH_TOKEN))
def refresh(service: _Shared, caller: _Operator) -> Refreshed:
    """Look up now which versions are in production; else that happens every few seconds."""
    try:
        changed = service.desk.refresh()
    except UserError as error:
        note("not refreshed", ERROR, error)
        raise later("not_refreshed", "The versions cannot be looked up now. The log has the reason.", 5) from error
    return Refreshed(changed=[name for name in changed if caller.sees(name)])


@_routes.get(
    "/metrics",
    tags=["operation"],
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **_errors(*_WITH_TOKEN)},
)
def metrics(service: _Shared, _: _Operator) -> Response:
    """All figures, in the text format of Prometheus."""
    return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


# ---- how ------------------------------------------------------------------------------------------------------------


async def _unless_gone(request: Request, answer: Coroutine[Any, Any, Answer]) -> Answer:
    """The answer; if the client goes before it is there, it is not computed.

    Raises:
        ClientDisconnect: the client has gone.
    """
    answering, going = asyncio.ensure_future(answer), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({answering, going}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise ClientDisconnect
        return await answering
    finally:
        answering.cancel()
        going.cancel()


async def _gone(request: Request) -> None:
    """Wait until the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def drawn(id: str, share: float) -> bool:
    """Whether an answer is drawn to be checked by a person: by its id, which is random, so nobody can influence it."""
    return int.from_bytes(hashlib.sha256(id.encode()).digest()[:8], "big") < share * 2**64


def _shown(serving: Serving, caller: Caller) -> TaskGiven:
    card = serving.card
    problem = serving.problem
    if problem and "operate" not in caller.roles:  # the sentence may name files of this machine
        problem = "The newest version cannot be used, so the one before answers."
    return TaskGiven(
        name=serving.name,
        title=card.title,
        version=serving.version,
        digest=serving.digest,
        classes=list(card.class_names),
        threshold=(card.ask or {}).get("threshold"),
        method=card.method,
        backbone=card.backbone.name,
        since=serving.since,
        problem=problem,
    )


def _check_image_type(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind and kind != "application/octet-stream" and not re.fullmatch(r"image/[a-z0-9.+-]+", kind):
        message = "Send the bytes of the image, not a form: --data-binary @photo.jpg -H 'Content-Type: image/jpeg'."
        raise Refused(415, "content_type", message)


async def _sent_truth(request: Request) -> Truth:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(415, "content_type", 'Send JSON as application/json, such as {"class": "scratch"}.')
    try:
        return Truth.model_validate_json(await request.body())
    except ValidationError as error:
        raise Refused(422, "body", 'Send one class in JSON, such as {"class": "scratch"}.') from error


async def _task_of(id: str, service: _Service) -> str | None:
    if not re.fullmatch("[0-9a-f]{32}", id):
        return None
    with _records_needed():
        is_whole = await run_in_threadpool(service.keeper.wait, _SECONDS_FOR_RECORDS)
        task = await run_in_threadpool(service.records.task_of, id)
    if task is None and not is_whole:  # it may be one that waits for the disk
        raise later("records", "The record of answers cannot be used now. The log has the reason.", 5)
    return task


@contextmanager
def _records_needed() -> "Iterator[None]":
    try:
        yield
    except UserError as error:
        note("records cannot be used", ERROR, error)
        raise later("records", "The record of answers cannot be used now. The log has the reason.", 5) from error


def _record(service: _Service, found: Answer, id: str, is_drawn: bool) -> None:
    try:
        given = Given(
            id=id,
            at=datetime.now(UTC),
            task=found.task,
            version=found.version,
            digest=found.digest,
            answer=found.answer,
            probability=found.probability,
            ask_a_person=found.ask_a_person,
            drawn=is_drawn,
            coordinates=found.coordinates,
        )
    except UserError as error:
        service.metrics.records_lost.inc()
        note("answer not recorded", ERROR, error)
        return
    service.keeper.add(given)


def described(tasks: Mapping[str, Serving]) -> str:
    """The tasks in a few words, for the first line of the service."""
    shown = [f"{name}/{task.version}" if task.version is not None else name for name, task in tasks.items()]
    return ", ".join(shown[:10]) + (f" and {len(shown) - 10} more" if len(shown) > 10 else "")
