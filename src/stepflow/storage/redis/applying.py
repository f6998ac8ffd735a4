"""Applying: a batch of writes in as few round trips as its order allows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, assert_never

from stepflow.storage._rules.journal import is_plain
from stepflow.storage.redis.network import Network
from stepflow.storage.redis.operations.events import send
from stepflow.storage.redis.operations.finishing import control_run
from stepflow.storage.redis.operations.journal import commit, plain_calls, start
from stepflow.storage.redis.sagas import Act, Saga, perform_all
from stepflow.storage.writes import CommitRun, Committed, ControlRun, CreateRun, Outcome, SendEvent, Write

_FEW = 8
"""A batch this small is applied strictly in order: what one write wakes or ends, the next one sees."""

_COMMITTED = Committed()


async def apply_batch(network: Network, act: Act, batch: Sequence[Write]) -> list[Outcome]:
    """Apply the writes; writes that have nothing in common share their round trips."""
    outcomes: list[Any] = [None] * len(batch)
    for stage in _stages(batch):
        await _apply(network, act, batch, stage, outcomes)
    return outcomes


async def _apply(
    network: Network, act: Act, batch: Sequence[Write], stage: Sequence[int], outcomes: list[Any]
) -> None:
    """Writes that don't depend on each other; plain commits of one run go in their order."""
    plain = [at for at in stage if _plain(batch[at])]
    others = [at for at in stage if not _plain(batch[at])]
    again: list[int] = []

    def commits() -> Saga[None]:
        shares = list(plain_calls(act.keys, [batch[at] for at in plain]))  # type: ignore[misc]
        replies = yield [call for call, _ in shares]
        for (_, places), reply in zip(shares, replies, strict=True):
            for place, went in zip(places, reply, strict=True):
                outcomes[plain[place]] = _COMMITTED
                if went != ord("1"):
                    again.append(plain[place])

    sagas: list[Saga[Any]] = [_saga(act, batch[at]) for at in others]
    if plain:
        sagas.append(commits())
    results = await perform_all(network, sagas)
    for at, outcome in zip(others, results, strict=False):
        outcomes[at] = outcome
    for at in again:
        # Not its turn, or it was there already: rare, and the whole truth is asked for.
        [outcomes[at]] = await perform_all(network, [_saga(act, batch[at])])


def _plain(write: Write) -> bool:
    return type(write) is CommitRun and is_plain(write)


def _saga(act: Act, write: Write) -> Saga[Outcome]:
    match write:
        case CommitRun():
            return commit(act, write)
        case CreateRun():
            return start(act, write)
        case SendEvent(event=event):
            return send(act, event)
        case ControlRun():
            return control_run(act, write)
        case never:
            assert_never(never)


def _stages(batch: Sequence[Write]) -> Iterator[list[int]]:
    """The batch in pieces, each of writes that may be done at once."""
    strict = len(batch) <= _FEW
    stage: list[int] = []
    touched: set[str] = set()
    plain_runs: set[str] = set()
    for at, write in enumerate(batch):
        if type(write) is CommitRun and is_plain(write):
            run = write.run_id
            if run in touched:
                yield stage
                stage, touched, plain_runs = [], set(), set()
            plain_runs.add(run)
            stage.append(at)
            continue
        names = _touched(write)
        if (strict and stage) or not touched.isdisjoint(names) or not plain_runs.isdisjoint(names):
            yield stage
            stage, touched, plain_runs = [], set(), set()
        stage.append(at)
        touched.update(names)
        if strict:
            yield stage
            stage, touched, plain_runs = [], set(), set()
    if stage:
        yield stage


def _touched(write: Write) -> set[str]:
    """What a write names: runs, events, keys. Those that it reaches without naming them take care of themselves."""
    match write:
        case CommitRun():
            return _by_commit(write)
        case CreateRun(run=run, commit=first):
            names = {run.id} if first is None else _by_commit(first)
            if run.idempotency_key is not None:
                names.add(f"key/{run.idempotency_key}")
            if run.parent is not None:
                names.add(run.parent.run_id)
            return names
        case SendEvent(event=event):
            names = {f"event/{event.event_id}"}
            if event.run_id is not None:
                names.add(event.run_id)
            return names
        case ControlRun(run_id=run_id):
            return {run_id}
        case never:
            assert_never(never)


def _by_commit(write: CommitRun) -> set[str]:
    names = {write.run_id, *write.cancels, *(new.id for new in write.creates)}
    names.update(f"event/{wait.event_id}" for wait in write.waits)
    names.update(f"event/{event_id}" for event_id in write.unwaits)
    for event in write.sends:
        names.add(f"event/{event.event_id}")
        if event.run_id is not None:
            names.add(event.run_id)
    names.update(f"key/{new.idempotency_key}" for new in write.creates if new.idempotency_key is not None)
    return names
