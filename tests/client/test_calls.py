"""Every call against a real server, by both clients, on memory and SQLite."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stepflow.client import ExecutionComplete, RunSnapshot, StepComplete
from stepflow.errors import (
    DeserializationError,
    EventConflictError,
    ForbiddenError,
    InputError,
    InvalidIdError,
    OperationRefusedError,
    PayloadTooLargeError,
    RemoteError,
    ResultTimeoutError,
    RunCancelledError,
    RunConflictError,
    RunFailedError,
    RunNotFoundError,
    RunPausedError,
    ServerUnavailableError,
    UnauthenticatedError,
    UnknownWorkflowError,
)
from stepflow.primitives import Event
from stepflow.testing.adapter_contract import program
from stepflow.testing.adapter_contract.serving import free_port, unique
from tests.client.running import Clients, Server

pytestmark = pytest.mark.parametrize("server", ["memory", "sqlite"], indirect=True)


def waiting(client: Any, event: str) -> Any:
    """A run that waits for an event."""
    run = client.trigger(program.wait, event)
    with client.stream(run.id, after="0") as events:
        for each in events:
            if any(wait.event_id == event for wait in getattr(each, "waits", ())):
                return run
    raise AssertionError("it never waited")


# ------------------------------------------------------------------ starting
def test_a_run_is_triggered_with_a_workflow_and_gives_its_result(client: Any) -> None:
    run = client.trigger(program.order, program.Order("o", [1, 2, 39]))

    assert run.result(timeout="20s") == 42
    assert run.created
    assert run.status() == "completed"
    assert run.token.startswith("pat_")
    assert run.token_expires_at > datetime.now(UTC)


def test_an_id_is_enough_to_trigger_and_the_result_is_what_json_says(client: Any) -> None:
    run = client.trigger("echo", {"a": [1, None]})

    assert run.result(timeout="20s") == {"a": [1, None]}


def test_the_same_id_or_key_is_the_same_run(client: Any) -> None:
    key = unique("key")
    first = client.trigger("echo", 1, idempotency_key=key)
    again = client.trigger("echo", 1, idempotency_key=key)
    named = client.trigger("echo", 2, id=unique("run"))
    named_again = client.trigger("echo", 2, id=named.id)

    assert (first.created, again.created, again.id) == (True, False, first.id)
    assert (named.created, named_again.created, named_again.id) == (True, False, named.id)
    with pytest.raises(RunConflictError) as refused:
        client.trigger("echo", 3, id=named.id)
    assert refused.value.run_id == named.id


def test_a_run_has_the_options_that_it_was_triggered_with(client: Any) -> None:
    tags = {"tenant": "a b&c=d/é", "n": unique("n")}
    run = client.trigger("echo", 1, delay="1h", tags=tags, priority=-7, queue="elsewhere")

    found = client.get_run(run.id)

    assert (found.tags, found.priority, found.queue, found.status) == (tags, -7, "elsewhere", "queued")
    assert timedelta(minutes=59) < found.wake_at - found.created_at < timedelta(minutes=61)
    assert [item.id for item in client.list_runs(tags=tags, status=["queued", "failed"]).items] == [run.id]


def test_what_the_server_refuses_is_the_error_that_the_app_raises(client: Any) -> None:
    with pytest.raises(UnknownWorkflowError) as unknown:
        client.trigger("ecko")
    with pytest.raises(InputError) as misfit:
        client.trigger("order", {"id": "a", "lines": [1, "two"]})
    with pytest.raises(InputError, match="not both"):
        client.trigger("echo", id="a", idempotency_key="b")

    assert unknown.value.nearest == ("echo",)
    assert misfit.value.path == "$.lines[1]"


def test_a_value_that_is_too_large_or_no_value_is_refused(client: Any) -> None:
    with pytest.raises(PayloadTooLargeError):  # here, by the limit of any stored value
        client.trigger("echo", "x" * (5 * 1024 * 1024))
    with pytest.raises(RemoteError) as refused:  # there, by the limit of that server
        client.trigger("echo", "x" * (program.MAX_BODY + 1))

    assert (refused.value.status, refused.value.type) == (413, "body-too-large")


@pytest.mark.parametrize("run_id", ["..", ".", "", "a/b", "a?b#c", "é", "%2e%2e", "a\nb"])
def test_an_id_never_leads_to_another_path(client: Any, run_id: str) -> None:
    with pytest.raises((InvalidIdError, RunNotFoundError)):
        client.get_run(run_id)
    with pytest.raises((InvalidIdError, RunNotFoundError)):
        client.cancel(run_id)


# ------------------------------------------------------------------ results
def test_a_result_that_does_not_come_is_told_as_in_process(client: Any) -> None:
    failed = client.trigger("fail", "no luck")
    stuck = waiting(client, unique("e"))

    with pytest.raises(RunFailedError, match="no luck") as failure:
        failed.result(timeout="20s")
    with pytest.raises(ResultTimeoutError):
        stuck.result(timeout=0)
    with pytest.raises(ResultTimeoutError):
        stuck.result(timeout="50ms")
    assert client.pause(stuck.id).status == "paused"
    with pytest.raises(RunPausedError, match="requested"):
        stuck.result()
    stuck.cancel(force=True)
    with pytest.raises(RunCancelledError):
        stuck.result()
    with pytest.raises(RunNotFoundError):
        client.handle("nobody").result()

    assert (failure.value.type, failure.value.run_id) == ("ValueError", failed.id)
    assert "raise ValueError" in failure.value.traceback


def test_a_large_result_comes_whole(client: Any) -> None:
    run = client.trigger(program.large, 300_000)

    assert run.result(timeout="20s") == "x" * 300_000
    assert client.get_run(run.id).output == {"omitted": 300_002}
    assert len(client.get_run(run.id, full=True).output) == 300_000


def test_a_result_of_another_type_is_told(client: Any) -> None:
    run = client.trigger("echo", "text")

    with pytest.raises(DeserializationError, match=run.id):
        client.handle(run.id, program.order).result(timeout="20s")


def test_wait_gives_the_run_whatever_became_of_it(client: Any) -> None:
    run = client.trigger("fail", "x")

    found = client.wait(run.id, timeout="20s")

    assert (found.status, found.error.type) == ("failed", "ValueError")


# ------------------------------------------------------------------ events
@pytest.mark.parametrize("shape", ["{}", "a/{}/b", "é {}?&#%+"])
def test_an_event_reaches_the_run_whatever_its_id_looks_like(client: Any, shape: str) -> None:
    event = shape.format(unique("e"))
    run = waiting(client, event)

    assert client.notify(event, {"n": 5}) == 1
    assert run.result(timeout="20s") == {"n": 5}


@pytest.mark.parametrize("event", ["", "a/../b", "./a", "a//b", "a/", "run/x", "a\nb"])
def test_an_event_that_can_not_be_is_refused_and_never_goes_elsewhere(client: Any, event: str) -> None:
    with pytest.raises(InputError):
        client.notify(event)


def test_an_event_may_be_given_with_its_fields(client: Any) -> None:
    shipped = Event("shipped/{id}", dict)
    id = unique("o")
    run = waiting(client, f"shipped/{id}")

    client.notify(shipped(id=id), {"by": "ship"})

    assert run.result(timeout="20s") == {"by": "ship"}


def test_an_event_is_sent_once_or_refused(client: Any) -> None:
    event, ended = unique("e"), client.trigger("echo", 1)
    ended.result(timeout="20s")

    assert client.notify(event, "first", once=True) == 0
    with pytest.raises(EventConflictError) as lost:
        client.notify(event, "second", once=True)
    with pytest.raises(OperationRefusedError):
        client.notify("e", run_id=ended.id)
    with pytest.raises(RunNotFoundError):
        client.notify("e", run_id="nobody")
    assert lost.value.first == "first"


# ------------------------------------------------------------------ operations
def test_a_run_is_paused_resumed_cancelled_retried_and_deleted(client: Any) -> None:
    run = waiting(client, unique("e"))

    assert client.pause(run.id).status == "paused"
    assert client.resume(run.id).status in ("queued", "running", "suspended")
    assert client.cancel(run.id, force=True).status == "cancelled"
    assert client.retry(run.id).status == "queued"
    client.cancel(run.id, force=True)
    client.delete(run.id)
    for operation in (client.pause, client.resume, client.retry, client.delete):
        with pytest.raises(RunNotFoundError):
            operation(run.id)


def test_an_operation_that_the_state_forbids_is_refused(client: Any) -> None:
    run = client.trigger("echo", 1)
    run.result(timeout="20s")

    with pytest.raises(OperationRefusedError) as refused:
        client.pause(run.id)

    assert (refused.value.run_id, refused.value.action) == (run.id, "pause")


def test_runs_are_listed_page_by_page(client: Any) -> None:
    tag = {"page": unique("p")}
    began = datetime.now(UTC) - timedelta(minutes=1)
    runs = [client.trigger("echo", n, tags=tag).id for n in range(3)]

    first = client.list_runs(tags=tag, limit=2, workflow=program.echo, created_after=began)
    rest = client.list_runs(tags=tag, limit=2, workflow="echo", created_after=began, cursor=first.next_cursor)

    assert {item.id for item in (*first.items, *rest.items)} == set(runs)
    assert rest.next_cursor is None
    assert client.list_runs(tags=tag, created_before=began).items in ([], ())
    with pytest.raises(InputError):
        client.list_runs(cursor="tampered")


def test_steps_are_listed_page_by_page(client: Any) -> None:
    run = client.trigger("talk", 5)
    run.result(timeout="20s")

    first = client.list_steps(run.id, limit=3)
    rest = client.list_steps(run.id, cursor=first.next_cursor)

    assert [step.result for step in (*first.items, *rest.items)] == [0, 1, 2, 3, 4]


def test_workflows_come_with_their_schemas(client: Any) -> None:
    found = {each.id: each for each in client.workflows()}

    assert set(found) == {"echo", "order", "talk", "wait", "two-waits", "fail", "large"}
    assert found["talk"].input_schema == {"type": "integer"}


def test_health_is_told_without_a_credential_and_in_detail_with_one(
    clients: Clients, client: Any, server: Server
) -> None:
    assert clients(server.url).health().storage is None
    assert client.health().storage is not None
    with pytest.raises(ServerUnavailableError):
        clients(f"http://127.0.0.1:{free_port()}").health()


# ------------------------------------------------------------------ credentials
def test_a_run_token_watches_its_run_and_sends_its_events(
    clients: Clients, client: Any, server: Server
) -> None:
    event = unique("e")
    run = waiting(client, event)
    token = client.new_token(run.id, events=[event], lifetime="1h")
    holder = clients(server.url, token=token.public_access_token)

    assert holder.get_run(run.id).status == "suspended"
    assert holder.notify(event, "yes") == 1
    assert [
        each.data for each in holder.stream(run.id, after="0") if isinstance(each, ExecutionComplete)
    ] == ["yes"]
    with pytest.raises(ForbiddenError):
        holder.cancel(run.id)
    with pytest.raises(RunNotFoundError):
        holder.get_run(client.trigger("echo", 1).id)


def test_a_public_key_triggers_what_is_public_and_nothing_else(clients: Clients, server: Server) -> None:
    public = clients(server.url, public_api_key=program.PUBLIC)

    run = public.trigger("echo", 1)

    assert run.created
    assert clients(server.url, token=run.token).wait(run.id, timeout="20s").output == 1
    with pytest.raises(UnknownWorkflowError):
        public.trigger("order", {"id": "a", "lines": []})
    with pytest.raises(ForbiddenError):
        public.trigger("echo", 1, priority=5)
    with pytest.raises(ForbiddenError):
        public.list_runs()


@pytest.mark.parametrize("credential", [{}, {"api_key": "sf_wrong"}, {"token": "pat_wrong"}])
def test_a_missing_or_wrong_credential_is_told(
    clients: Clients, server: Server, credential: dict[str, str]
) -> None:
    stranger = clients(server.url, **credential)

    for call in (lambda: stranger.trigger("echo"), stranger.list_runs, lambda: list(stranger.stream("r"))):
        with pytest.raises(UnauthenticatedError) as refused:
            call()
        assert refused.value.status == 401
        assert isinstance(refused.value, PermissionError)


# ------------------------------------------------------------------ streams
def test_a_stream_tells_a_run_from_now_and_from_its_beginning(client: Any) -> None:
    run = client.trigger("talk", 3)
    run.result(timeout="20s")

    whole = list(run.stream(after="0"))
    now = list(run.stream())

    assert [each.result for each in whole if isinstance(each, StepComplete)] == [0, 1, 2]
    assert isinstance(whole[-1], ExecutionComplete)
    assert [type(each) for each in now] == [RunSnapshot]
    assert now[0].run.status == "completed"


def test_a_stream_goes_on_from_its_cursor_and_is_empty_at_the_end(client: Any) -> None:
    run = client.trigger("talk", 3)
    run.result(timeout="20s")
    everything = list(run.stream(after="0"))
    places = []
    with client.stream(run.id, after="0") as events:
        for each in events:
            places.append((each, events.cursor))

    for number, (_, cursor) in enumerate(places):
        rest = client.stream(run.id, after=cursor)
        transients = [each for each in everything[: number + 1] if type(each).__name__ == "StepStart"]
        assert [each for each in rest if each not in transients] == everything[number + 1 :]


def test_several_runs_come_on_one_stream(client: Any) -> None:
    runs = [client.trigger("talk", 2).id for _ in range(3)]

    ends = [each for each in client.subscribe(*runs, after="0") if isinstance(each, ExecutionComplete)]

    assert sorted(each.run_id for each in ends) == sorted(runs)


def test_a_stream_of_nothing_is_refused(client: Any) -> None:
    with pytest.raises(InputError):
        client.subscribe()
    with pytest.raises(RunNotFoundError):
        list(client.stream("nobody"))
    with pytest.raises(InputError):
        list(client.stream(client.trigger("echo", 1).id, after="nonsense"))
