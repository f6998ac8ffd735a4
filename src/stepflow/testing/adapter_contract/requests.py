"""Triggering, looking, sending events and operating: every route and every status code, over a socket."""

from __future__ import annotations

from typing import Any

import pytest

from stepflow.testing.adapter_contract.program import MAX_BODY
from stepflow.testing.adapter_contract.serving import Client, eventually, unique


class TriggerContract:
    def test_a_trigger_answers_with_the_run_and_a_token_for_it(self, client: Client) -> None:
        answer = client.ask("POST", "/trigger/echo", json={"a": [1, "ü", None]})

        body = answer.json()
        assert answer.status_code == 200
        assert body["created"] is True
        assert body["publicAccessToken"].startswith("pat_")
        assert body["expiresAt"].endswith("Z")
        assert client.run(body["runId"], "?wait=30s")["output"] == {"a": [1, "ü", None]}

    def test_an_empty_body_is_null(self, client: Client) -> None:
        answer = client.ask("POST", "/trigger/echo")

        assert answer.status_code == 200
        assert client.run(answer.json()["runId"], "?wait=30s")["output"] is None

    def test_an_input_of_the_wrong_type_is_refused_with_its_path(self, client: Client) -> None:
        answer = client.ask("POST", "/trigger/order", json={"id": "a", "lines": [1, "two"]})

        problem = answer.json()
        assert answer.status_code == 400
        assert answer.headers["content-type"] == "application/problem+json"
        assert (problem["type"], problem["path"]) == ("invalid-input", "$.lines[1]")

    @pytest.mark.parametrize("body", [b"{", b"nul", b"NaN", b'"\\ud800"', b"[" * 5000, b"\xff", b"1 2"])
    def test_what_is_not_json_is_refused(self, client: Client, body: bytes) -> None:
        headers = {"Content-Type": "application/json"}

        answer = client.ask("POST", "/trigger/echo", content=body, headers=headers)

        assert answer.status_code == 400
        assert answer.json()["type"] in ("invalid-json", "invalid-input", "unstorable-value")

    def test_an_unknown_workflow_is_told_with_the_nearest(self, client: Client) -> None:
        answer = client.ask("POST", "/trigger/ecko", json=1)

        assert answer.status_code == 404
        assert answer.json()["type"] == "unknown-workflow"
        assert answer.json()["nearest"] == ["echo"]

    def test_a_body_that_is_not_said_to_be_json_is_refused(self, client: Client) -> None:
        for media_type in (
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
        ):
            answer = client.ask("POST", "/trigger/echo", content=b"1", headers={"Content-Type": media_type})
            assert (answer.status_code, answer.json()["type"]) == (415, "unsupported-media-type")

    def test_a_body_over_the_limit_is_refused_unread(self, client: Client) -> None:
        answer = client.ask("POST", "/trigger/echo", json="x" * (MAX_BODY + 1))

        assert (answer.status_code, answer.json()["type"]) == (413, "body-too-large")

    def test_a_body_in_chunks_arrives_whole_within_the_limit(self, client: Client) -> None:
        headers = {"Content-Type": "application/json"}
        chunks = [b'"', *[b"x" * 1000] * 20, b'"']

        answer = client.ask("POST", "/trigger/echo", content=iter(chunks), headers=headers)

        assert answer.status_code == 200
        assert client.run(answer.json()["runId"], "?wait=30s")["output"] == "x" * 20_000

    def test_the_same_key_is_the_same_run_and_another_input_a_conflict(self, client: Client) -> None:
        headers = {"Idempotency-Key": unique("key")}

        first = client.ask("POST", "/trigger/echo", json=1, headers=headers).json()
        again = client.ask("POST", "/trigger/echo", json=1, headers=headers).json()
        other = client.ask("POST", "/trigger/echo", json=2, headers=headers)

        assert (again["runId"], again["created"]) == (first["runId"], False)
        assert again["publicAccessToken"]
        assert (other.status_code, other.json()["type"]) == (409, "run-conflict")

    def test_the_same_run_id_is_the_same_run_but_gives_no_second_token(self, client: Client) -> None:
        run_id = unique("run")

        first = client.ask("POST", f"/trigger/echo?runId={run_id}", json=1).json()
        again = client.ask("POST", f"/trigger/echo?runId={run_id}", json=1).json()

        assert first["runId"] == again["runId"] == run_id
        assert (again["created"], again["publicAccessToken"]) == (False, None)

    def test_an_id_and_a_key_together_are_refused(self, client: Client) -> None:
        headers = {"Idempotency-Key": unique("key")}

        answer = client.ask("POST", f"/trigger/echo?runId={unique('run')}", json=1, headers=headers)

        assert answer.status_code == 400

    def test_tags_queue_priority_and_delay_are_kept(self, client: Client) -> None:
        query = "?tag=tenant:acme&tag=kind:a%3Ab&priority=-3&delay=1h&queue=later"

        run = client.run(client.trigger("echo", 1, query))

        assert run["tags"] == {"tenant": "acme", "kind": "a:b"}
        assert (run["priority"], run["queue"], run["status"]) == (-3, "later", "queued")
        assert run["wakeAt"] > run["createdAt"]

    @pytest.mark.parametrize(
        "query", ["delay=soon", "priority=high", "tag=novalue", "runId=a&runId=b", "runId=a/b"]
    )
    def test_a_malformed_option_is_refused(self, client: Client, query: str) -> None:
        assert client.ask("POST", f"/trigger/echo?{query}", json=1).status_code == 400


class RunContract:
    def test_a_run_is_told_with_its_steps(self, client: Client) -> None:
        run = client.run(client.finished("order", {"id": "a", "lines": [1, 2]}))

        [step] = run["steps"]
        assert (run["workflowId"], run["status"], run["output"]) == ("order", "completed", 3)
        assert run["input"] == {"id": "a", "lines": [1, 2]}
        assert (step["name"], step["kind"], step["status"], step["result"]) == (
            "note",
            "step",
            "completed",
            3,
        )

    def test_a_failure_is_told_with_its_type_and_message(self, client: Client) -> None:
        run = client.run(client.finished("fail", "no luck"))

        assert run["status"] == "failed"
        assert (run["error"]["type"], run["error"]["message"]) == ("ValueError", "no luck")
        assert "no luck" in run["error"]["traceback"]

    @pytest.mark.parametrize(
        "run_id", ["nobody", "%2e%2e", "%2e%2e%2f", "a%00b", "a%5Cb", "x" * 300, "%F0%9F%92%A9"]
    )
    def test_an_unknown_or_malformed_run_is_not_found(self, client: Client, run_id: str) -> None:
        answer = client.ask("GET", f"/runs/{run_id}")

        assert answer.status_code == 404

    def test_a_wait_that_expires_tells_the_run_as_it_is(self, client: Client) -> None:
        run_id = client.waiting("wait", unique("event"))

        assert client.run(run_id, "?wait=0.2s")["status"] == "suspended"

    def test_a_wait_ends_at_once_for_a_paused_run(self, client: Client) -> None:
        run_id = client.waiting("wait", unique("event"))
        client.ask("POST", f"/runs/{run_id}/pause")

        assert client.run(run_id, "?wait=60s")["status"] == "paused"

    @pytest.mark.parametrize("wait", ["61s", "never", "-1s"])
    def test_a_wait_beyond_its_limit_is_refused(self, client: Client, wait: str) -> None:
        assert client.ask("GET", f"/runs/{unique('run')}?wait={wait}").status_code == 400

    def test_a_large_value_is_left_out_unless_it_is_asked_for(self, client: Client) -> None:
        run_id = client.finished("large", 70_000)

        assert client.run(run_id)["output"] == {"omitted": 70_002}
        assert client.run(run_id, "?full=true")["output"] == "x" * 70_000

    def test_steps_are_paged_in_their_order(self, client: Client) -> None:
        run_id = client.finished("talk", 7)
        results: list[Any] = []
        cursor = ""
        while True:
            page = client.ask("GET", f"/runs/{run_id}/steps?limit=3{cursor}").json()
            results += [step["result"] for step in page["items"]]
            if page["nextCursor"] is None:
                break
            cursor = f"&cursor={page['nextCursor']}"

        assert results == list(range(7))

    def test_a_cursor_of_another_run_is_refused(self, client: Client) -> None:
        run_id, other = client.finished("talk", 3), client.finished("talk", 3)
        cursor = client.ask("GET", f"/runs/{run_id}/steps?limit=1").json()["nextCursor"]

        answer = client.ask("GET", f"/runs/{other}/steps?cursor={cursor}")

        assert (answer.status_code, answer.json()["type"]) == (400, "invalid-cursor")

    def test_runs_are_listed_newest_first_page_by_page(self, client: Client) -> None:
        tag = unique("t")
        started = [client.trigger("echo", number, f"?tag=list:{tag}") for number in range(5)]
        listed: list[str] = []
        cursor = ""
        while True:
            page = client.ask("GET", f"/runs?tag=list:{tag}&limit=2{cursor}").json()
            listed += [run["id"] for run in page["items"]]
            assert all("input" not in run and "steps" not in run for run in page["items"])
            if page["nextCursor"] is None:
                break
            cursor = f"&cursor={page['nextCursor']}"

        assert sorted(listed) == sorted(started)
        assert len(set(listed)) == 5

    @pytest.mark.parametrize(
        "query", ["status=happy", "limit=0", "limit=501", "createdAfter=today", "cursor=x"]
    )
    def test_a_malformed_filter_is_refused(self, client: Client, query: str) -> None:
        assert client.ask("GET", f"/runs?{query}").status_code == 400

    def test_a_cursor_of_another_filter_is_refused(self, client: Client) -> None:
        tag = unique("t")
        for number in range(2):
            client.trigger("echo", number, f"?tag=bound:{tag}")
        cursor = client.ask("GET", f"/runs?tag=bound:{tag}&limit=1").json()["nextCursor"]

        assert client.ask("GET", f"/runs?workflowId=echo&cursor={cursor}").status_code == 400


class NotifyContract:
    def test_an_event_wakes_the_run_that_waits_for_it(self, client: Client) -> None:
        event = unique("event")
        run_id = client.waiting("wait", event)

        answer = client.ask("POST", f"/notify/{event}", json={"ok": True})

        assert answer.status_code == 200
        assert answer.json()["woken"] == 1
        assert client.run(run_id, "?wait=30s")["output"] == {"ok": True}

    def test_an_event_id_in_the_path_is_decoded_once(self, client: Client) -> None:
        event = f"{unique('shop')}/ü 100%25"
        run_id = client.waiting("wait", event)
        path = event.replace("%", "%25").replace("ü", "%C3%BC").replace(" ", "%20")

        answer = client.ask("POST", f"/notify/{path}", json=1)

        assert answer.json()["woken"] == 1
        assert client.run(run_id, "?wait=30s")["output"] == 1

    def test_an_event_may_be_named_in_the_body(self, client: Client) -> None:
        event = f"{unique('a')}/b"
        run_id = client.waiting("wait", event)

        answer = client.ask("POST", "/notify", json={"eventId": event, "payload": "hello"})

        assert answer.json()["woken"] == 1
        assert client.run(run_id, "?wait=30s")["output"] == "hello"

    def test_the_same_id_is_one_event(self, client: Client) -> None:
        event = unique("event")

        first = client.ask("POST", f"/notify/{event}?id=once", json=1)
        again = client.ask("POST", f"/notify/{event}?id=once", json=1)

        assert first.json() == again.json() == {"id": "once", "woken": 0}

    def test_of_two_who_decide_once_the_second_hears_of_the_first(self, client: Client) -> None:
        event = unique("event")

        won = client.ask("POST", f"/notify/{event}?once=true", json="yes")
        lost = client.ask("POST", f"/notify/{event}?once=true", json="no")

        assert won.status_code == 200
        assert (lost.status_code, lost.json()["type"], lost.json()["first"]) == (409, "event-conflict", "yes")

    def test_an_event_for_a_run_that_is_unknown_or_has_ended_is_refused(self, client: Client) -> None:
        ended = client.finished("echo", 1)

        unknown = client.ask("POST", f"/notify/e?runId={unique('run')}", json=1)
        late = client.ask("POST", f"/notify/e?runId={ended}", json=1)

        assert (unknown.status_code, unknown.json()["type"]) == (404, "run-not-found")
        assert (late.status_code, late.json()["type"]) == (409, "operation-refused")

    @pytest.mark.parametrize("body", [None, {}, {"eventId": 1}, {"eventId": ""}, {"eventId": "run/x"}, []])
    def test_a_malformed_event_is_refused(self, client: Client, body: Any) -> None:
        assert client.ask("POST", "/notify", json=body).status_code == 400


class OperationContract:
    def test_a_run_is_paused_resumed_cancelled_retried_and_deleted(self, client: Client) -> None:
        event = unique("event")
        run_id = client.waiting("wait", event)

        paused = client.ask("POST", f"/runs/{run_id}/pause").json()
        resumed = client.ask("POST", f"/runs/{run_id}/resume")
        cancelled = client.ask("POST", f"/runs/{run_id}/cancel")
        eventually(lambda: client.run(run_id, "?wait=5s")["status"] == "cancelled")
        retried = client.ask("POST", f"/runs/{run_id}/retry")
        client.ask("POST", f"/notify/{event}", json=1)
        eventually(lambda: client.run(run_id, "?wait=5s")["status"] == "completed")
        deleted = client.ask("DELETE", f"/runs/{run_id}")

        assert paused == {"runId": run_id, "status": "paused"}
        assert (resumed.status_code, cancelled.status_code, retried.status_code) == (200, 200, 200)
        assert deleted.status_code == 200
        assert client.ask("GET", f"/runs/{run_id}").status_code == 404

    def test_what_the_state_does_not_allow_is_refused(self, client: Client) -> None:
        run_id = client.finished("echo", 1)

        for operation in ("cancel", "pause", "resume", "retry"):
            answer = client.ask("POST", f"/runs/{run_id}/{operation}")
            assert (answer.status_code, answer.json()["type"]) == (409, "operation-refused")
            assert answer.json()["runStatus"] == "completed"

    def test_a_fresh_token_shows_its_run_and_sends_the_events_it_lists(self, client: Client) -> None:
        event = unique("event")
        run_id = client.waiting("wait", event)

        token = client.ask("POST", f"/runs/{run_id}/tokens", json={"events": [event]}).json()
        bearer = {"Authorization": f"Bearer {token['publicAccessToken']}"}
        sent = client.ask("POST", f"/notify/{event}", json=5, key=None, headers=bearer)
        other = client.ask("POST", "/notify/another", json=5, key=None, headers=bearer)
        run = client.ask("GET", f"/runs/{run_id}?wait=30s", key=None, headers=bearer)

        assert (sent.status_code, other.status_code) == (200, 403)
        assert run.json()["output"] == 5

    def test_workflows_are_listed_with_their_schemas(self, client: Client) -> None:
        items = client.ask("GET", "/workflows").json()["items"]

        by_id = {item["id"]: item for item in items}
        assert by_id["talk"]["inputSchema"] == {"type": "integer"}
        assert by_id["order"]["description"] == "Add the lines up."

    def test_the_api_describes_itself(self, client: Client) -> None:
        document = client.ask("GET", "/openapi.json").json()

        assert document["openapi"] == "3.1.0"
        assert "/trigger/order" in document["paths"]

    def test_health_tells_details_to_a_secret_key_only(self, client: Client) -> None:
        anyone = client.ask("GET", "/health", key=None)
        holder = client.ask("GET", "/health")
        live = client.ask("GET", "/health/live", key=None)

        assert (anyone.status_code, anyone.json()) == (200, {"status": "ok"})
        assert "storage" in holder.json()
        assert (live.status_code, live.json()) == (200, {"status": "ok"})
