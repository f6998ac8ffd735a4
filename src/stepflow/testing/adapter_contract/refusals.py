"""Refusals: who may not do what, and what every answer says whatever it is."""

from __future__ import annotations

import pytest

from stepflow.testing.adapter_contract.program import ORIGIN, PUBLIC, SECRET
from stepflow.testing.adapter_contract.serving import Client, unique
from stepflow.wire.routes import HEALTH, LIVE, NOTIFY, OPENAPI, ROUTES, STREAM_RUN, TRIGGER, Route

GUARDED = [route for route in ROUTES if route not in (HEALTH, LIVE)]


def _path(route: Route, run_id: str = "nobody") -> str:
    return route.url(runId=run_id, workflowId="echo", eventId="e")


def _names(route: Route) -> str:
    return route.name


class RefusalContract:
    @pytest.mark.parametrize("route", GUARDED, ids=_names)
    @pytest.mark.parametrize("key", [None, "sf_wrong_key_0123456789012", PUBLIC.upper()])
    def test_nothing_is_done_without_a_valid_credential(
        self, client: Client, route: Route, key: str | None
    ) -> None:
        answer = client.ask(route.method, _path(route), key=key)

        assert answer.status_code == 401
        assert answer.json()["type"] == "unauthenticated"
        assert answer.headers["www-authenticate"] == "Bearer"

    @pytest.mark.parametrize("route", [route for route in GUARDED if route is not TRIGGER], ids=_names)
    def test_a_public_key_triggers_and_does_nothing_else(self, client: Client, route: Route) -> None:
        assert client.ask(route.method, _path(route), key=PUBLIC).status_code == 403

    def test_a_public_key_triggers_what_is_public_without_options(self, client: Client) -> None:
        allowed = client.ask("POST", "/trigger/echo", json=1, key=PUBLIC)
        with_options = client.ask("POST", "/trigger/echo?queue=x", json=1, key=PUBLIC)
        private = client.ask("POST", "/trigger/talk", json=1, key=PUBLIC)
        unknown = client.ask("POST", "/trigger/nothing", json=1, key=PUBLIC)

        assert (allowed.status_code, with_options.status_code) == (200, 403)
        assert (private.status_code, unknown.status_code) == (404, 404)
        assert private.text.replace("talk", "nothing") == unknown.text

    def test_a_refused_request_leaves_its_connection_usable(self, client: Client) -> None:
        with client.connection() as connection:
            for _ in range(2):  # the second is answered if the first one's connection was kept
                connection.send("POST", "/trigger/talk", key=PUBLIC, length=1)
                connection.linger()  # an answer that does not wait for the body would be out by now
                connection.send_body(b"1")
                assert connection.answered() == 404

    def test_a_run_token_sees_its_run_and_no_other(self, client: Client) -> None:
        mine = client.ask("POST", "/trigger/echo", json=1).json()
        other, unknown = client.finished("echo", 2), unique("run")
        bearer = {"Authorization": f"Bearer {mine['publicAccessToken']}"}

        def seen(run_id: str) -> tuple[int, str]:
            answer = client.ask("GET", f"/runs/{run_id}", key=None, headers=bearer)
            return answer.status_code, answer.text.replace(run_id, "")

        assert seen(mine["runId"])[0] == 200
        assert seen(other)[0] == 404
        assert seen(other) == seen(unknown)

    @pytest.mark.parametrize(
        "route", [route for route in GUARDED if route.endpoint == "operations"], ids=_names
    )
    def test_a_run_token_operates_on_nothing(self, client: Client, route: Route) -> None:
        mine = client.ask("POST", "/trigger/echo", json=1).json()
        bearer = {"Authorization": f"Bearer {mine['publicAccessToken']}"}

        answer = client.ask(route.method, _path(route, mine["runId"]), key=None, headers=bearer)

        assert answer.status_code == 403

    def test_a_run_token_travels_in_the_query_of_a_get_only(self, client: Client) -> None:
        mine = client.ask("POST", "/trigger/echo", json=1).json()
        token = f"?token={mine['publicAccessToken']}"

        assert client.ask("GET", f"/runs/{mine['runId']}{token}", key=None).status_code == 200
        assert client.ask("POST", f"/notify/e{token}", json=1, key=None).status_code == 401

    def test_a_key_in_the_query_is_refused(self, client: Client) -> None:
        for query in (f"token={SECRET}", f"api_key={SECRET}", f"x={SECRET}"):
            assert client.ask("GET", f"/runs?{query}").status_code == 401

    @pytest.mark.parametrize("path", ["/nothing", "/runs/", "//runs", "/RUNS", "/runs/a/b/c", "/trigger"])
    def test_what_is_not_there_is_not_found(self, client: Client, path: str) -> None:
        assert client.ask("GET", path, key=None).status_code in (401, 404, 405)
        assert client.ask("GET", path).status_code in (404, 405)

    def test_a_method_that_is_not_allowed_is_told_with_those_that_are(self, client: Client) -> None:
        answer = client.ask("PUT", "/runs/x")

        assert answer.status_code == 405
        assert {"GET", "DELETE"} <= {each.strip() for each in answer.headers["allow"].split(",")}

    def test_head_is_get_without_its_body(self, client: Client) -> None:
        answer = client.ask("HEAD", "/health")

        assert answer.status_code == 200
        assert answer.content == b""
        assert client.ask("HEAD", "/runs", key=None).status_code == 401

    @pytest.mark.parametrize("path", ["/health", "/runs", "/runs/nobody", "/runs/a/b/c"])
    def test_every_answer_says_that_it_is_not_to_be_kept(self, client: Client, path: str) -> None:
        headers = client.ask("GET", path).headers

        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["stepflow-version"] == "1"


class CorsContract:
    @pytest.mark.parametrize("route", [TRIGGER, NOTIFY, STREAM_RUN, OPENAPI], ids=_names)
    def test_a_listed_origin_may_ask_without_a_credential(self, client: Client, route: Route) -> None:
        headers = {"Origin": ORIGIN, "Access-Control-Request-Method": route.method}

        answer = client.ask("OPTIONS", _path(route), key=None, headers=headers)

        assert answer.status_code == 204
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "x-api-key" in answer.headers["access-control-allow-headers"].lower()
        assert "access-control-allow-credentials" not in answer.headers

    @pytest.mark.parametrize(
        "origin",
        ["null", "https://evil.example", f"{ORIGIN}.evil.example", ORIGIN.upper(), "http://app.example.com"],
    )
    def test_no_other_origin_is_told_anything(self, client: Client, origin: str) -> None:
        headers = {"Origin": origin, "Access-Control-Request-Method": "GET"}

        asked = client.ask("OPTIONS", "/runs", key=None, headers=headers)
        got = client.ask("GET", "/runs", headers={"Origin": origin})

        assert "access-control-allow-origin" not in asked.headers
        assert "access-control-allow-origin" not in got.headers

    def test_an_answer_to_a_listed_origin_says_so(self, client: Client) -> None:
        for answer in (
            client.ask("GET", "/runs", headers={"Origin": ORIGIN}),
            client.ask("GET", "/runs", key=None, headers={"Origin": ORIGIN}),
        ):
            assert answer.headers["access-control-allow-origin"] == ORIGIN
            assert "origin" in answer.headers["vary"].lower()
