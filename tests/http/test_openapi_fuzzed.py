"""The OpenAPI document is what the server does, whoever asks: schemathesis makes requests out of it, and holds the answers against it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from stepflow.testing.adapter_contract import Client, Site
from stepflow.testing.adapter_contract.program import PUBLIC, SECRET
from stepflow.testing.adapter_contract.serving import unique
from stepflow.wire.routes import ROUTES
from tests.servers.stores import FULL

PROGRAM = "tests.http.programs.plain_asgi:application"
EXAMPLES = 60 if FULL else 3
"""Requests for each operation, state and kind of data."""

load_all_checks()
HOLDS = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
        "response_headers_conformance",
    ]
)
OPEN = {"health", "live"}
PUBLIC_MAY = {*OPEN, "trigger"}
TOKEN_MAY = {*OPEN, "getRun", "listSteps", "streamRun", "streamRuns", "notify", "notifyAny"}
REFUSED = {401, 403, 404}
"""How one is told that one may not: 404 also for what one may not see."""


def command(port: int) -> Sequence[str]:
    return [sys.executable, "-m", "uvicorn", PROGRAM, "--port", str(port), "--log-level", "warning"]


class Target:
    """A server with a few runs, and how each kind of caller asks it."""

    def __init__(self, client: Client) -> None:
        self.url = client.base_url
        self.session = requests.Session()
        self.schema = schemathesis.openapi.from_dict(client.ask("GET", "/openapi.json").json())
        self.ended = [client.finished("talk", 3), client.finished("fail", "no luck")]
        self.others = [client.waiting("wait", unique("event")), "nobody"]
        token = client.ask("POST", f"/runs/{self.ended[0]}/tokens", json={"events": ["e"]}).json()
        self.headers: Mapping[str, Mapping[str, str]] = {
            "no credential": {},
            "a wrong key": {"X-API-Key": "sf_a_wrong_key_0123456789abcdef"},
            "a forged token": {"Authorization": f"Bearer {token['publicAccessToken'][:-2]}xx"},
            "the secret key": {"X-API-Key": SECRET},
            "the public key": {"X-API-Key": PUBLIC},
            "a run token": {"Authorization": f"Bearer {token['publicAccessToken']}"},
        }

    def runs_for(self, name: str) -> Sequence[str]:
        """Runs that may be asked for: a stream of one that goes on would never end, and one that is deleted is no use to others."""
        if name.startswith("stream"):
            return [*self.ended, "nobody"]
        return ["nobody", self.others[0]] if name == "delete" else [*self.ended, *self.others]


@pytest.fixture(scope="module")
def target() -> Generator[Target]:
    site = Site(command, "/api")
    try:
        site.start_worker()
        found = Target(site.start_server()[1])
        yield found
        found.session.close()
    finally:
        site.close()


def may(state: str, operation: str) -> bool:
    name = "trigger" if operation.startswith("trigger:") else operation
    return {
        "the secret key": lambda: True,
        "the public key": lambda: name in PUBLIC_MAY,
        "a run token": lambda: name in TOKEN_MAY,
    }.get(state, lambda: name in OPEN)()


STATES = ["no credential", "a wrong key", "a forged token", "the secret key", "the public key", "a run token"]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("state", STATES)
def test_every_answer_is_in_the_document_and_no_request_makes_the_server_fail(
    target: Target, state: str
) -> None:
    seen: dict[str, set[int]] = {}

    for found in target.schema.get_all_operations():
        operation = found.ok()
        name = operation.definition.raw["operationId"]
        statuses = seen[name] = set()
        ask(target, state, name, operation.as_strategy(), statuses.add)
        if operation.definition.raw.get("requestBody") or operation.definition.raw["parameters"]:
            wrong = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
            ask(target, state, name, wrong, statuses.add)

    assert len(seen) >= len(ROUTES), "an operation was left out"
    for name, statuses in seen.items():
        if not may(state, name):
            assert statuses <= {*REFUSED, 405}, (name, statuses)
    if state == "the secret key":
        assert {name for name, statuses in seen.items() if 200 in statuses} >= {
            "getRun",
            "streamRun",
            "listRuns",
        }


def ask(target: Target, state: str, name: str, cases: Any, heard: Callable[[int], object]) -> None:
    """Some requests of one operation, each with a run of ours or with whatever was made up."""

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases, run=st.sampled_from([*target.runs_for(name), None]))
    def one(case: Case, run: str | None) -> None:
        if run is not None:
            if "runId" in (case.path_parameters or {}):
                case.path_parameters["runId"] = run
            if name == "streamRuns":
                case.query["runId"] = [run]
        for sent in (case.headers, case.query, case.cookies):
            for credential in ("X-API-Key", "Authorization", "token"):
                (sent or {}).pop(credential, None)
        response = case.call(
            base_url=target.url, session=target.session, headers=dict(target.headers[state]), timeout=30
        )
        case.validate_response(response, checks=HOLDS)
        heard(response.status_code)

    one()
