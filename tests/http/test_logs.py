"""What runs log reaches those who watch them, as far as they may see values, and costs nobody anything else."""

from __future__ import annotations

import json
import logging
from collections.abc import Generator
from typing import Any

import pytest

from stepflow import workflow
from stepflow._engine.current import RUN_LOG
from stepflow._runtime.lines import Line, Lines
from stepflow.app import Stepflow
from stepflow.auth.base import AuthContext, AuthResult
from stepflow.http.messages import StreamingResponse
from stepflow.primitives import current_run, step, wait_for_event
from tests.http.direct import Direct, next_event, served


@pytest.fixture(autouse=True)
def let_through() -> Generator[None]:
    before = RUN_LOG.level
    RUN_LOG.setLevel(logging.INFO)
    yield
    RUN_LOG.setLevel(before)


@step
async def count(upto: int) -> int:
    current_run().log.info("counting to %d", upto, stage="step")
    return upto


@workflow
async def talkative(event_id: str) -> int:
    await wait_for_event(event_id)
    current_run().log.warning("begin", stage="workflow")
    current_run().log.debug("too quiet")
    return await count(3)


async def watched(direct: Direct) -> list[tuple[str, dict[str, Any], str | None]]:
    """Everything that a reader is told of a run that goes on while it watches."""
    await direct.ask("POST", "/trigger/talkative?runId=r1", json="go")
    await direct.until("r1", "suspended")
    answer = await direct.answer("GET", "/runs/r1/stream")
    assert isinstance(answer, StreamingResponse)
    first = await next_event(answer.frames)
    await direct.ask("POST", "/notify/go", json=1)
    return [
        first,
        *[(each.event, json.loads(each.data), each.id) async for each in answer.frames if each is not None],
    ]


async def test_lines_of_a_run_and_its_steps_arrive_while_it_is_watched() -> None:
    async with served(Stepflow("memory://", workflows=[talkative], worker=True)) as direct:
        told = await watched(direct)

    lines = [(data["level"], data["message"], data["fields"]) for name, data, _ in told if name == "log"]
    assert lines == [
        ("warning", "begin", {"stage": "workflow"}),
        ("info", "counting to 3", {"stage": "step", "step": "count"}),
    ]
    assert all(id is None for name, _, id in told if name == "log"), "they are not in the journal"
    assert told[-1][0] == "execution:complete"


async def test_who_may_not_see_values_hears_no_lines() -> None:
    def blind(context: AuthContext) -> AuthResult:
        return AuthResult(
            kind="custom", workflows=None, runs=None, events=None, operations=True, options=True, values=False
        )

    async with served(Stepflow("memory://", workflows=[talkative], worker=True), auth=blind) as direct:
        told = await watched(direct)

    assert "log" not in [name for name, _, _ in told]


async def test_nobody_listens_to_lines_while_nobody_watches() -> None:
    async with served(Stepflow("memory://", workflows=[talkative], worker=True)) as direct:
        before = list(RUN_LOG.handlers)
        await watched(direct)
        after = list(RUN_LOG.handlers)

    assert after == before
    assert not any(isinstance(each, Lines) for each in after)


class Stubborn:
    def __repr__(self) -> str:
        raise ValueError("no")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1.5, 1.5),
        (None, None),
        (True, True),
        (2**70, str(2**70)),
        ("x" * 600, "x" * 500),
        ([1], "[1]"),
        ("\ud800", "?"),
    ],
)
def test_a_field_travels_as_json_or_as_a_text(value: object, shown: object) -> None:
    heard: list[Line] = []
    record = logging.makeLogRecord({"msg": "m", "run_id": "r1", "levelname": "INFO", "it": value})

    Lines(heard.append, wanted=lambda _: True).emit(record)

    assert heard[0].fields == {"it": shown}


def test_what_can_not_be_shown_disturbs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    heard: list[Line] = []
    lines = Lines(heard.append, wanted=lambda _: True)

    lines.emit(logging.makeLogRecord({"msg": "m", "run_id": "r1", "it": Stubborn()}))
    lines.emit(logging.makeLogRecord({"msg": "%d", "args": ("x",), "run_id": "r1"}))
    lines.emit(logging.makeLogRecord({"msg": "of no run"}))

    assert heard == []
