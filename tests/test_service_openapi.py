"""What the service does is what /openapi.json says: schemathesis sends what it allows, and what it does not."""

import json

import pytest
import schemathesis
from desks import IMAGE, FakeDesk, FakeRecords, asking, bearer
from hypothesis import HealthCheck, given, settings
from schemathesis.generation import GenerationMode

from vptlib.operations.service.access import Access, add_token
from vptlib.operations.service.app import IMAGE_TYPES, create_app
from vptlib.operations.service.settings import Settings

DESCRIBED = {
    ("get", "/"), ("get", "/healthz"), ("get", "/readyz"), ("get", "/v1/tasks"), ("get", "/metrics"),
    ("post", "/v1/tasks/{name}/answers"), ("post", "/v1/answers/{id}/truth"), ("post", "/v1/refresh"),
}  # fmt: skip


class AnyImage(FakeDesk):
    """Takes any bytes for an image: OpenAPI has no words for what an image is."""

    async def answer(self, name, body):
        return await super().answer(name, IMAGE)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    path = tmp_path_factory.mktemp("openapi") / "tokens.yaml"
    token = add_token(path, "tester", ["ask", "check", "operate"], [], 90)
    limits = Settings(asks_per_second=1e9, asks_at_once=10**9)
    app = create_app(AnyImage("cells", "0"), Access(path), limits, FakeRecords())
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    schema.token = token
    return schema


@pytest.mark.parametrize(("method", "path"), sorted(DESCRIBED))
def test_every_refusal_is_one_that_openapi_declares(tmp_path, method, path):
    tokens = {"nobody": (["check"], ["nothing"]), "boss": (["ask", "check", "operate"], [])}
    place = path.format(name="cells", id="0" * 32)
    with asking(tmp_path, tokens, asks_per_second=0.01, asks_at_once=2) as client:
        described = schemathesis.openapi.from_dict(client.get("/openapi.json").json())[path][method]
        found = set()

        def ask(**headers):
            response = client.request(method, place, headers=headers)
            assert str(response.status_code) in described.definition.raw["responses"]
            described.validate_response(response)
            found.add(response.status_code)

        for headers in ({}, bearer("wrong"), bearer(client.token["nobody"]), *3 * [bearer(client.token["boss"])]):
            ask(**headers)
        client.desk.ready = False
        ask()
        client.path.write_text("damaged")
        ask(**bearer(client.token["boss"]))
        client.load.stopping = True
        ask()
    if "security" in described.definition.raw:
        assert found >= {401, 429, 503}
    assert found >= ({200} if path == "/healthz" else {503})


def test_openapi_describes_every_endpoint_and_how_to_enter(service):
    raw = service.raw_schema
    assert {(method, path) for path, methods in raw["paths"].items() for method in methods} == DESCRIBED
    assert raw["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    sent = raw["paths"]["/v1/tasks/{name}/answers"]["post"]["requestBody"]["content"]
    assert set(sent) == set(IMAGE_TYPES) and "image/jpeg" in sent
    for path, methods in raw["paths"].items():
        for method, described in methods.items():
            errors = {code: one for code, one in described["responses"].items() if code >= "400"}
            forms = {json.dumps(one["content"]) for one in errors.values()}
            assert len(forms) == 1 and "ErrorGiven" in forms.pop(), (method, path)


def test_no_page_of_documentation_fetches_anything_from_elsewhere(tmp_path):
    with asking(tmp_path) as client:
        assert client.get("/docs").status_code == client.get("/redoc").status_code == 404


def tried(service, method, path, mode):
    """Send 40 requests of an operation, with every check that schemathesis has."""
    operation = service[path][method]

    @settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case):
        case.call_and_validate(headers=bearer(service.token))

    check()


@pytest.mark.parametrize(("method", "path"), sorted(DESCRIBED))
def test_what_is_allowed_is_answered_as_it_is_described(service, method, path):
    tried(service, method, path, GenerationMode.POSITIVE)


@pytest.mark.parametrize("path", ["/v1/tasks/{name}/answers", "/v1/answers/{id}/truth"])
def test_what_is_not_allowed_is_refused_as_it_is_described(service, path):
    tried(service, "post", path, GenerationMode.NEGATIVE)
