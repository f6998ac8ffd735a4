"""How a child run's end travels to its parent: as the payload of the event ``run/<child id>``."""

from __future__ import annotations

import msgspec

from stepflow.model.failures import Failure
from stepflow.model.ids import CHILD_EVENT_PREFIX
from stepflow.model.payloads import Payload
from stepflow.model.states import RunStatus
from stepflow.types import EventId, RunId


class _Ended(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    status: RunStatus
    output: Payload | None = None
    failure: Failure | None = None


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(_Ended)


def child_event_id(child_id: RunId) -> EventId:
    """The reserved event id on which the parent hears of the child's end."""
    return f"{CHILD_EVENT_PREFIX}{child_id}"


def ended_payload(status: RunStatus, output: Payload | None, failure: Failure | None) -> Payload:
    """The end of a child as an event's payload. Plain JSON: the child's own values keep their codec inside."""
    return Payload(msgspec.Raw(_ENCODER.encode(_Ended(status=status, output=output, failure=failure))))


def read_ended(payload: Payload) -> tuple[RunStatus, Payload | None, Failure | None]:
    """The inverse of ``ended_payload``; raises ``msgspec.ValidationError`` on anything else."""
    ended = _DECODER.decode(payload.data)
    return ended.status, ended.output, ended.failure
