"""Writing: the TypeScript of one Python type, cut into its parts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from stepflow._engine.definition import WorkflowDefinition, define_workflow
from stepflow.generate.contract import contract_of
from stepflow.generate.typescript import typescript

_WORKFLOW = re.compile(r"^  flow: \{ input: (?P<input>.*); output: (?P<output>.*) \};$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What is written of a workflow that takes a type and returns it."""

    input: str
    output: str
    declarations: str
    warnings: Sequence[str]


def a_workflow(input: Any, output: Any, *, id: str = "flow") -> WorkflowDefinition:
    async def flow(value: Any) -> Any:
        raise NotImplementedError

    flow.__annotations__ = {"value": input, "return": output}
    return define_workflow(flow, id=id)


def module_of(*definitions: WorkflowDefinition, modules: Sequence[ModuleType] = ()) -> str:
    """The whole module."""
    return typescript(contract_of(definitions, modules=modules), source="tests")


def written(input: Any, output: Any = None) -> Written:
    """What is written of a workflow with these types."""
    contract = contract_of([a_workflow(input, output)])
    text = typescript(contract, source="tests")
    workflow = _WORKFLOW.search(text)
    assert workflow is not None, text
    declarations = text.split('import type {} from "@stepflow/client";\n\n')[1].partition(
        "/** The workflows of the app"
    )[0]
    return Written(
        input=workflow["input"],
        output=workflow["output"],
        declarations=declarations.strip(),
        warnings=contract.warnings,
    )


def sent(type_: Any) -> str:
    """The type of an input; nothing may be unknown in it by mistake."""
    found = written(type_)
    assert found.warnings == []
    return found.input


def received(type_: Any) -> str:
    """The type of an output; nothing may be unknown in it by mistake."""
    found = written(None, type_)
    assert found.warnings == []
    return found.output


def declared(type_: Any) -> str:
    """What has to be declared for a type that is sent and received."""
    found = written(type_, type_)
    assert found.warnings == []
    return found.declarations
