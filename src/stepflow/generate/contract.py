"""Contract: all that a client may know of an app's workflows and events, as shapes in both directions."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from stepflow._engine.callables import module_of
from stepflow._engine.definition import WorkflowDefinition
from stepflow.codecs.decoders import build_decoder
from stepflow.errors import DefinitionError
from stepflow.generate.events import Pattern, covers, events_of, pattern_of
from stepflow.generate.reading import Reader, Root
from stepflow.generate.shapes import (
    NULL,
    UNKNOWN,
    Declaration,
    Named,
    Problem,
    Shape,
    names_in,
    union_of,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowShape:
    """A workflow: what triggers it, and what it returns."""

    id: str
    input: Shape
    output: Shape
    documentation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventShape:
    """An event's ids, and the payload that is sent to them."""

    pattern: Pattern
    payload: Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """``sent`` and ``received`` are the declarations that are needed in each direction; ``differing`` those whose forms differ.

    ``known`` are all that were met, needed or not: names are given to all, so that they stay when one becomes needed.
    """

    workflows: Sequence[WorkflowShape]
    events: Sequence[EventShape]
    sent: Mapping[Hashable, Declaration]
    received: Mapping[Hashable, Declaration]
    known: Mapping[Hashable, Declaration]
    differing: Collection[Hashable]
    warnings: Sequence[str]


def contract_of(definitions: Iterable[WorkflowDefinition], *, modules: Iterable[ModuleType] = ()) -> Contract:
    """The contract of workflows, and of the events that their modules declare, and further ``modules``.

    The same program gives the same contract.
    """
    drafts = _Drafts()
    ordered = sorted(definitions, key=lambda each: each.id)
    workflows = [drafts.workflow(each) for each in ordered]
    names = dict.fromkeys(filter(None, (module_of(each.function) for each in ordered)))
    events = drafts.events([*(sys.modules[name] for name in names), *modules])
    return Contract(
        workflows=workflows,
        events=events,
        sent=drafts.needed(drafts.sent, drafts.roots_sent),
        received=drafts.needed(drafts.received, drafts.roots_received),
        known={**drafts.sent.declarations, **drafts.received.declarations},
        differing=_differing(drafts.sent.declarations, drafts.received.declarations),
        warnings=list(drafts.warnings),
    )


class _Drafts:
    """Reads every type in both directions, whichever is needed: only so it is known where they differ."""

    def __init__(self) -> None:
        self.sent = Reader(sent=True)
        self.received = Reader(sent=False)
        self.roots_sent: list[Shape] = []
        self.roots_received: list[Shape] = []
        self.warnings: dict[str, None] = {}
        self._told: set[tuple[Hashable, Problem]] = set()

    def workflow(self, definition: WorkflowDefinition) -> WorkflowShape:
        types = definition.types
        given: Shape = NULL
        if definition.has_input:
            given = self._sent(types.input, f"the input of workflow {definition.id!r}")
            if definition.input_optional:
                given = union_of([given, NULL])
        return WorkflowShape(
            id=definition.id,
            input=given,
            output=self._received(types.output, f"the output of workflow {definition.id!r}"),
            documentation=inspect.getdoc(definition.function) or "",
        )

    def events(self, modules: Iterable[ModuleType]) -> list[EventShape]:
        payloads: dict[Pattern, list[Shape]] = {}
        for event in events_of(modules):
            shape = self._sent(event.type, f"the payload of event {event.template!r}")
            payloads.setdefault(pattern_of(event), []).append(shape)
        ordered = sorted(payloads, key=lambda pattern: tuple(map(str, pattern)))
        by_pattern = {pattern: union_of(payloads[pattern]) for pattern in ordered}
        return [
            EventShape(
                pattern=pattern,
                # Ids of a narrower pattern match this one too, so this one has to take what they take.
                payload=union_of(
                    [shape, *(by_pattern[each] for each in by_pattern if covers(pattern, each))]
                ),
            )
            for pattern, shape in by_pattern.items()
        ]

    def _sent(self, type_: Any, what: str) -> Shape:
        root = self._read(self.sent, type_, what)
        self.received.root(type_)
        self.roots_sent.append(root.shape)
        self._warn(self.sent, root, what)
        return root.shape

    def _received(self, type_: Any, what: str) -> Shape:
        root = self._read(self.received, type_, what)
        self.sent.root(type_)
        self.roots_received.append(root.shape)
        self._warn(self.received, root, what)
        return root.shape

    def _read(self, reader: Reader, type_: Any, what: str) -> Root:
        try:
            build_decoder(type_)
        except DefinitionError as error:
            self.warnings[f"{what}: {error}; it is `unknown`"] = None
            return Root(shape=UNKNOWN, problems=())
        return reader.root(type_)

    def _warn(self, reader: Reader, root: Root, what: str) -> None:
        for problem in root.problems:
            self.warnings[f"{what}: {problem.reason}; it is `unknown`"] = None
        for key, declaration in self.needed(reader, [root.shape]).items():
            for problem in declaration.problems:
                if (key, problem) not in self._told:
                    self._told.add((key, problem))
                    where = ".".join(filter(None, (declaration.names[0], problem.place)))
                    self.warnings[f"{what}: {where}: {problem.reason}; it is `unknown`"] = None

    def needed(self, reader: Reader, roots: Iterable[Shape]) -> dict[Hashable, Declaration]:
        """The declarations that the roots mention, and those that these mention."""
        found: dict[Hashable, Declaration] = {}
        pending = [name for root in roots for name in names_in(root)]
        while pending:
            key = pending.pop().key
            if key not in found:
                found[key] = reader.declarations[key]
                pending.extend(names_in(found[key].body))
        return found


def _differing(
    sent: Mapping[Hashable, Declaration], received: Mapping[Hashable, Declaration]
) -> frozenset[Hashable]:
    """The declarations that say one thing sent and another received, be it by what they mention."""
    both = sent.keys() & received.keys()
    found = {key for key in both if sent[key].body != received[key].body}
    while True:
        more = {key for key in both - found if any(name.key in found for name in _mentioned(sent[key]))}
        if not more:
            return frozenset(found)
        found |= more


def _mentioned(declaration: Declaration) -> Iterator[Named]:
    return names_in(declaration.body)
