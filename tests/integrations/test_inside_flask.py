"""What is particular to Flask: hooks that read the body first, and its own request."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import flask
import pytest

from stepflow import Stepflow, workflow
from stepflow.auth import AuthContext, AuthResult
from stepflow.http import allow_all
from stepflow.integrations.flask import stepflow_blueprint


@workflow
async def echo(value: Any) -> Any:
    return value


@pytest.fixture
def shop(tmp_path: Path) -> Generator[Stepflow]:
    app = Stepflow(f"sqlite:///{tmp_path}/flask.db", workflows=[echo])
    yield app
    app.sync.close()


def test_a_body_that_a_hook_has_read_arrives(shop: Stepflow) -> None:
    application = flask.Flask(__name__)
    application.register_blueprint(stepflow_blueprint(shop, auth=allow_all()), url_prefix="/s")
    logged: list[bytes] = []
    application.before_request(lambda: logged.append(flask.request.get_data()))

    client = application.test_client()
    run_id = client.post("/s/trigger/echo", json={"a": 1}).get_json()["runId"]
    run = client.get(f"/s/runs/{run_id}").get_json()

    assert logged[0] == b'{"a": 1}'
    assert run["input"] == {"a": 1}


def test_an_auth_handler_sees_the_framework_s_own_request(shop: Stepflow) -> None:
    seen: list[Any] = []

    def by_request(context: AuthContext) -> AuthResult:
        seen.append(context.extra)
        return AuthResult(kind="custom", subject="ada", runs=None, operations=True)

    application = flask.Flask(__name__)
    application.register_blueprint(stepflow_blueprint(shop, auth=by_request), url_prefix="/s")

    assert application.test_client().get("/s/runs").status_code == 200
    assert isinstance(seen[0], flask.Request)


def test_a_path_is_not_redirected_to_another_one(shop: Stepflow) -> None:
    application = flask.Flask(__name__)
    application.register_blueprint(stepflow_blueprint(shop, auth=allow_all()), url_prefix="/s")
    client = application.test_client()

    assert client.get("/s//runs").status_code == 404
    assert client.get("/s/runs/").status_code == 404
