"""Signals: what processes tell each other about runs that somebody watches, as data and as the texts that travel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeAlias

import msgspec
from msgspec.structs import replace

from stepflow._runtime.lines import Line
from stepflow.codecs.json import Values
from stepflow.errors import DeserializationError
from stepflow.hooks import StepRetried, StepStarted
from stepflow.model.failures import Failure
from stepflow.model.payloads import Payload
from stepflow.storage.broadcasting import LONGEST
from stepflow.types import RunId

Transient: TypeAlias = StepStarted | StepRetried | Line
"""What happens in a run and is not in its journal, or only later."""

_LENGTHS: Final = (4_000, 1_500, 500, 100, 0)
"""What a text is cut to, until it fits with all that goes with it."""

_NAMED_AT_ONCE: Final = 3_000
"""Characters of run ids in one signal: a codec may need twice as many for them."""


class Origin(msgspec.Struct, frozen=True, array_like=True):
    """Who sends a signal: the process, the app in it (its hooks hear each other's facts), and which opening of that app."""

    process: str
    app: int
    opening: int


class _Signal(msgspec.Struct, frozen=True, kw_only=True, tag_field="what"):
    origin: Origin


class RunsWatched(_Signal, frozen=True, kw_only=True, tag="watched"):
    """The sender has readers of these runs, for as many seconds unless it says so again; 0: not any more."""

    run_ids: tuple[RunId, ...]
    seconds: float


class WatchersSought(_Signal, frozen=True, kw_only=True, tag="sought"):
    """The sender begins to execute runs: whoever watches some may say so."""


class StepBegan(_Signal, frozen=True, kw_only=True, tag="began"):
    fact: StepStarted


class StepFailed(_Signal, frozen=True, kw_only=True, tag="failed"):
    fact: StepRetried


class RunLogged(_Signal, frozen=True, kw_only=True, tag="logged"):
    fact: Line


Told: TypeAlias = StepBegan | StepFailed | RunLogged
Signal: TypeAlias = RunsWatched | WatchersSought | Told


class _Envelope(msgspec.Struct, frozen=True, array_like=True):
    """A signal's JSON text, as the codecs made it. Logs and errors say no more in a storage than values do."""

    codec: str
    data: msgspec.Raw


_ENCODER = msgspec.json.Encoder()
_ENVELOPES = msgspec.json.Decoder(_Envelope)
_SIGNALS: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(Signal)


def watched(origin: Origin, run_ids: Iterable[RunId], *, seconds: float) -> Iterator[RunsWatched]:
    """As few signals as name all these runs."""
    some: list[RunId] = []
    room = _NAMED_AT_ONCE
    for run_id in run_ids:
        if some and len(run_id) > room:
            yield RunsWatched(origin=origin, run_ids=tuple(some), seconds=seconds)
            some, room = [], _NAMED_AT_ONCE
        some.append(run_id)
        room -= len(run_id) + 3
    if some:
        yield RunsWatched(origin=origin, run_ids=tuple(some), seconds=seconds)


def told(origin: Origin, fact: Transient) -> Told:
    match fact:
        case StepStarted():
            return StepBegan(origin=origin, fact=fact)
        case StepRetried(error=error):
            # As text: to raise it anew, with what it was made of, is its own process's business.
            said = Failure(type=error.type, message=error.message, traceback=error.traceback)
            return StepFailed(origin=origin, fact=replace(fact, error=said))
        case _:
            return RunLogged(origin=origin, fact=fact)


def write_signal(signal: Signal, values: Values) -> str | None:
    """The text that travels, cut where it would be too long; None if there is no way to make it fit."""
    text = _write(signal, values)
    lengths = iter(_LENGTHS)
    while len(text) > LONGEST:
        length = next(lengths, None)
        if length is None:
            return None
        text = _write(_shortened(signal, length), values)
    return text.decode()


def read_signal(text: str, values: Values) -> Signal | None:
    """What a text says; None for what another release, or an app with other codecs, has sent."""
    try:
        envelope = _ENVELOPES.decode(text)
        signal: Signal = _SIGNALS.decode(values.text(Payload(envelope.data, envelope.codec), what="a signal"))
    except (msgspec.DecodeError, DeserializationError):
        return None
    return signal


def _write(signal: Signal, values: Values) -> bytes:
    payload = values.sealed(_ENCODER.encode(signal))
    return _ENCODER.encode(_Envelope(payload.codec, payload.data))


def _shortened(signal: Signal, length: int) -> Signal:
    match signal:
        case StepFailed(fact=fact):
            error = fact.error
            # The end of a traceback says where it was raised.
            cut = Failure(
                type=error.type[:200],
                message=error.message[:length],
                traceback=error.traceback[-length:] if length else "",
            )
            return replace(signal, fact=replace(fact, error=cut))
        case RunLogged(fact=line):
            fields = line.fields if length > _LENGTHS[1] else {}
            return replace(signal, fact=Line(line.run_id, line.at, line.level, line.message[:length], fields))
        case _:
            return signal
