"""Reading: what a stream's bytes mean to its reader, and from where it goes on once it was cut. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from stepflow.client import calls
from stepflow.client.calls import ENDED, Call
from stepflow.errors import DeserializationError, InputError
from stepflow.types import RunId
from stepflow.wire.sse import Message, Parser
from stepflow.wire.streams import (
    ENDINGS,
    RunContinued,
    RunRetrying,
    RunSnapshot,
    StepComplete,
    StepFailed,
    StepRetry,
    StepStart,
    StreamEvent,
    TokenExpired,
    encode_positions,
    event_name,
    parse_positions,
    read_event,
)

_RETRY = 1.0
"""Seconds until a stream that was cut is opened again, before a server has said how long."""

_TOLD_AT_MOST: Final = 10_000


class Reading:
    """A reader's place in a stream of one run, or of several.

    ``cursor``: the id of the last event that was taken, from which a new connection goes on. ``over``: every run has ended, and that was
    told. ``expired``: the credential was refused in the middle; what follows needs a fresh one.
    """

    def __init__(self, run_ids: Sequence[RunId], *, several: bool, cursor: str | None) -> None:
        self.run_ids = list(dict.fromkeys(run_ids))
        if not self.run_ids:
            raise InputError("name at least one run to follow")
        self.cursor = cursor or None
        self.expired = False
        self.retry = _RETRY
        self._several = several
        self._parser = Parser(last_id=self.cursor or "")
        self._messages: deque[Message] = deque()
        self._ended: set[RunId] = set()
        self._told: dict[tuple[RunId, str, int, str], None] = {}

    @property
    def over(self) -> bool:
        return self._ended.issuperset(self.run_ids)

    def call(self) -> Call[Any]:
        """What asks for the events that have not been taken yet."""
        return calls.stream(self.run_ids, several=self._several, cursor=self.cursor)

    def connected(self) -> None:
        """A new answer begins: half an event that came of the former one is void."""
        self.expired = False
        self._messages.clear()
        self._parser = Parser(last_id=self.cursor or "")

    def end(self) -> None:
        """The server has said that there is nothing more."""
        self._ended.update(self.run_ids)

    def leave_out(self, run_id: RunId) -> bool:
        """Go on without a run that is gone, if its end was told; False if it was not: then that is news."""
        if run_id not in self._ended or run_id not in self.run_ids or len(self.run_ids) == 1:
            return False
        positions = None if self.cursor is None else parse_positions(self.cursor, self.run_ids)
        self.run_ids.remove(run_id)
        if positions is not None:
            self.cursor = encode_positions({each: positions[each] for each in self.run_ids})
        return True

    def feed(self, chunk: bytes) -> None:
        self._messages.extend(self._parser.feed(chunk))
        if self._parser.retry is not None:
            self.retry = self._parser.retry / 1000

    def take(self) -> StreamEvent | None:
        """The next event that is here; None if more bytes are needed, or none are. Each is given once."""
        while self._messages and not self.over and not self.expired:
            message = self._messages.popleft()
            event = _event(message)
            if isinstance(event, TokenExpired):
                self.expired = True
                break
            self.cursor = message.id or self.cursor
            if event is not None and self._is_news(event):
                self._note(event)
                return event
        return None

    # ------------------------------------------------------------------ state
    def _note(self, event: StreamEvent) -> None:
        if isinstance(event, ENDINGS) or (isinstance(event, RunSnapshot) and event.run.status in ENDED):
            self._ended.add(event.run_id)
        else:
            self._ended.discard(event.run_id)

    def _is_news(self, event: StreamEvent) -> bool:
        """What is not in the journal has no id, so a server tells it again after a cut: once is enough.

        It is forgotten when the journal has passed it: from there on no server tells it any more.
        """
        match event:
            case StepStart() | StepRetry():
                told = (event.run_id, event.key, event.attempt, event_name(event))
                if told in self._told:
                    return False
                self._told[told] = None
                if len(self._told) > _TOLD_AT_MOST:
                    del self._told[next(iter(self._told))]
            case StepComplete() | StepFailed():
                self._forget(event.run_id, event.key)
            case RunSnapshot() | RunRetrying() | RunContinued():
                self._forget(event.run_id, None)
            case _:
                pass
        return True

    def _forget(self, run_id: RunId, key: str | None) -> None:
        passed = [told for told in self._told if told[0] == run_id and key in (None, told[1])]
        for each in passed:
            del self._told[each]


def _event(message: Message) -> StreamEvent | None:
    try:
        return read_event(message.event, message.data)
    except ValueError as error:
        raise DeserializationError(f"an event {message.event!r:.60} can't be read: {error}") from error
