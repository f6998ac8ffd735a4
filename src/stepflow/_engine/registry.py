"""Registry: the workflows that an app knows, by id."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

from stepflow._engine.callables import module_of
from stepflow._engine.definition import Defined, WorkflowDefinition
from stepflow.errors import DefinitionError, UnknownWorkflowError

_step_modules: set[str] = set()


def register_step(function: Any) -> None:
    """Note the module that defines a ``@step``: its exceptions may be raised again as themselves."""
    module = module_of(function)
    if module is not None:
        _step_modules.add(module)


class Registry:
    """Workflows by id. ``DefinitionError`` if two share an id, or if an annotation of one can't be resolved."""

    def __init__(self, items: Iterable[Defined | ModuleType] = ()) -> None:
        self._by_id: dict[str, WorkflowDefinition] = {}
        self.collect(items)

    def collect(self, items: Iterable[Defined | ModuleType]) -> None:
        """Add workflows, and those that modules hold under any name. The same one again is once."""
        if isinstance(items, Defined | ModuleType | str):
            raise DefinitionError(f"workflows= takes a list, like [{getattr(items, '__name__', items)}]")
        for item in items:
            if isinstance(item, Defined):
                self.add(item.definition)
            elif isinstance(item, ModuleType):
                self._collect_module(item)
            else:
                raise DefinitionError(
                    f"workflows=[{item!r:.120}]: neither a workflow nor a module; is @workflow missing on it?"
                )

    def add(self, definition: WorkflowDefinition) -> None:
        other = self._by_id.setdefault(definition.id, definition)
        if other is not definition:
            raise DefinitionError(
                f"two workflows have the id {definition.id!r}: {other.reference} and {definition.reference}; "
                "give one of them another id="
            )
        definition.resolve()

    def _collect_module(self, module: ModuleType) -> None:
        # By class, not isinstance: an object in a user's module may pretend to be anything, or refuse to be asked.
        found = [value for value in vars(module).values() if issubclass(type(value), Defined)]
        if not found:
            raise DefinitionError(f"module {module.__name__!r} holds no workflow")
        for value in found:
            self.add(value.definition)

    def get(self, workflow_id: str) -> WorkflowDefinition:
        """The workflow, or ``UnknownWorkflowError`` with the ids that look most like it."""
        found = self._by_id.get(workflow_id)
        if found is None:
            from difflib import get_close_matches  # noqa: PLC0415 - for a mistake only

            nearest = get_close_matches(str(workflow_id), self._by_id, n=3)
            raise UnknownWorkflowError(workflow_id, nearest=nearest)
        return found

    def find(self, workflow_id: str) -> WorkflowDefinition | None:
        """The workflow, or None."""
        return self._by_id.get(workflow_id)

    @property
    def queues(self) -> frozenset[str]:
        """Every queue that a workflow names."""
        return frozenset(definition.queue for definition in self)

    def error_modules(self) -> frozenset[str]:
        """The modules whose exceptions may be raised again as themselves: those that define workflows here, or any step."""
        own = (module_of(definition.function) for definition in self)
        return frozenset(_step_modules).union(name for name in own if name is not None)

    def __iter__(self) -> Iterator[WorkflowDefinition]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, workflow_id: object) -> bool:
        return workflow_id in self._by_id
