"""TypeScript: a contract as the text of a module that tells ``@stepflow/client`` its types."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import assert_never

from stepflow.generate.contract import Contract, EventShape, WorkflowShape
from stepflow.generate.naming import SENT_SUFFIX, name_declarations
from stepflow.generate.shapes import (
    Alias,
    Constant,
    Declaration,
    Element,
    Field,
    ListOf,
    MapOf,
    Named,
    Narrowed,
    Parameter,
    Record,
    Scalar,
    Shape,
    TupleOf,
    UnionOf,
    Unknown,
)

MARK = "// Written by `stepflow generate typescript`: "
"""How a file begins that this command has written, and may write anew."""

# Inside of `declare module`, the client's own names go before those of this file: only these two are used there.
_WORKFLOWS, _EVENTS = "AppWorkflows", "AppEvents"
# Without it, a program that does not import the client anywhere else could not augment it. It is erased.
_IMPORT = 'import type {} from "@stepflow/client";'
_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_WIDTH = 100


def typescript(contract: Contract, *, source: str) -> str:
    """The module. ``source`` names the Python module of the app, for whoever wants to change a type."""
    writer = _Writer(contract)
    parts = [
        f"{MARK}change the Python module {_one_line(source)} and run it again.\n/* eslint-disable */",
        _IMPORT,
        *writer.declarations(),
        writer.workflows(),
        *writer.events(),
        writer.registration(),
    ]
    return "\n\n".join(parts) + "\n"


class _Writer:
    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        names = name_declarations(contract.known.values(), contract.differing, (_WORKFLOWS, _EVENTS))
        self._received = dict(names)
        self._sent = {
            key: f"{name}{SENT_SUFFIX}" if key in contract.differing else name for key, name in names.items()
        }

    # -------------------------------------------------------------- declarations
    def declarations(self) -> Iterator[str]:
        """Each needed form, by name."""
        written: dict[str, tuple[Declaration, _Types]] = {}
        for needed, names in (
            (self._contract.sent, self._sent),
            (self._contract.received, self._received),
        ):
            for key, declaration in needed.items():
                parameters = _free_parameters(declaration.parameters, names.values())
                written[names[key]] = (declaration, _Types(names, needed, parameters))
        for name in sorted(written):
            declaration, types = written[name]
            yield _comment(declaration.documentation) + self._declaration(name, declaration, types)

    def _declaration(self, name: str, declaration: Declaration, types: _Types) -> str:
        parameters = [types.parameters[each] for each in declaration.parameters]
        head = f"{name}<{', '.join(parameters)}>" if parameters else name
        match declaration.body:
            case Alias(shape=UnionOf(members=members)) if len(types.text(UnionOf(members=members))) > _WIDTH:
                each = "".join(f"\n  | {types.text(member, within='union')}" for member in members)
                return f"export type {head} ={each};"
            case Alias(shape=shape):
                return f"export type {head} = {types.text(shape)};"
            case Record(fields=fields, open=is_open):
                lines = [types.field(field) for field in fields]
                lines += ["  [key: string]: unknown;\n"] if is_open else []
                return _interface(head, lines)
            case never:
                assert_never(never)

    # -------------------------------------------------------------- the app
    def workflows(self) -> str:
        sent = _Types(self._sent, self._contract.sent, {})
        received = _Types(self._received, self._contract.received, {})
        lines = [self._workflow(each, sent, received) for each in self._contract.workflows]
        comment = _comment("The workflows of the app, by id: what each takes, and what it returns.")
        return comment + _interface(_WORKFLOWS, lines)

    def _workflow(self, workflow: WorkflowShape, sent: _Types, received: _Types) -> str:
        types = f"{{ input: {sent.text(workflow.input)}; output: {received.text(workflow.output)} }}"
        return f"{_comment(workflow.documentation, '  ')}  {_key(workflow.id)}: {types};\n"

    def events(self) -> Iterator[str]:
        if self._contract.events:
            types = _Types(self._sent, self._contract.sent, {})
            lines = [f"  {_event_key(each)}: {types.text(each.payload)};\n" for each in self._contract.events]
            yield _comment("The events of the app, by id: the payload of each.") + _interface(_EVENTS, lines)

    def registration(self) -> str:
        events = f"    events: {_EVENTS};\n" if self._contract.events else ""
        return (
            'declare module "@stepflow/client" {\n'
            f"  interface Register {{\n    workflows: {_WORKFLOWS};\n{events}  }}\n"
            "}"
        )


class _Types:
    """Writes shapes of one direction, inside of a declaration with these type parameters."""

    def __init__(
        self,
        names: Mapping[Hashable, str],
        declarations: Mapping[Hashable, Declaration],
        parameters: Mapping[str, str],
    ) -> None:
        self._names = names
        self._declarations = declarations
        self.parameters = parameters

    def field(self, field: Field) -> str:
        name = _key(field.name)
        mark = "?" if field.optional else ""
        return f"{_comment(field.documentation, '  ')}  {name}{mark}: {self.text(field.shape)};\n"

    def text(self, shape: Shape, *, within: str = "") -> str:
        """A shape. ``within`` an array, or a union, what would be read otherwise stands in parentheses."""
        match shape:
            case Unknown():
                return "unknown"
            case Scalar(kind=kind):
                return kind
            case Constant(text=text):
                return text
            case ListOf(item=item):
                return f"{self.text(item, within='array')}[]"
            case TupleOf(elements=elements):
                return self._tuple(elements)
            case MapOf(key=key, value=value):
                return self._map(key, value)
            case UnionOf(members=members):
                union = " | ".join(self.text(member, within="union") for member in members)
                return f"({union})" if within == "array" else union
            case Narrowed(member=member, field=field, value=value):
                needed = f"{{ {_key(field)}: {self.text(value)} }}"
                narrowed = f"{self.text(member)} & {needed}"
                return f"({narrowed})" if within else narrowed
            case Parameter(name=name):
                return self.parameters[name]
            case Named(key=key, arguments=arguments):
                written = ", ".join(self.text(each) for each in arguments)
                return f"{self._names[key]}<{written}>" if written else self._names[key]
            case never:
                assert_never(never)

    def _tuple(self, elements: Sequence[Element]) -> str:
        named = all(element.name for element in elements)
        if named:
            marks = (
                f"{_label(each.name)}{'?' if each.optional else ''}: {self.text(each.shape)}"
                for each in elements
            )
            return f"[{', '.join(marks)}]"
        return f"[{', '.join(self.text(element.shape) for element in elements)}]"

    def _map(self, key: Shape, value: Shape) -> str:
        text = self.text(value)
        if self._is_enumeration(key):
            return f"{{ [key in {self.text(key)}]?: {text} }}"
        plain = self._unaliased(key)
        kind = "number" if isinstance(plain, Scalar) and plain.kind == "number" else "string"
        return f"{{ [key: {kind}]: {text} }}"

    def _is_enumeration(self, key: Shape) -> bool:
        plain = self._unaliased(key)
        members = plain.members if isinstance(plain, UnionOf) else (plain,)
        return all(isinstance(each, Constant) for each in members)

    def _unaliased(self, shape: Shape) -> Shape:
        while isinstance(shape, Named):
            body = self._declarations[shape.key].body
            if not isinstance(body, Alias):
                break
            shape = body.shape
        return shape


# ------------------------------------------------------------------ pieces of text
def _interface(head: str, lines: Sequence[str]) -> str:
    return f"export interface {head} {{\n{''.join(lines)}}}" if lines else f"export interface {head} {{}}"


def _event_key(event: EventShape) -> str:
    if all(part is not None for part in event.pattern):
        return _key("".join(part or "" for part in event.pattern))
    parts = ("${string}" if part is None else _template_text(part) for part in event.pattern)
    return f"[id: `{''.join(parts)}`]"


def _template_text(part: str) -> str:
    return part.replace("\\", "\\\\").replace("`", "\\`").replace("${", "\\${")


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _key(name: str) -> str:
    return name if _IDENTIFIER.fullmatch(name) else _text(name)


def _label(name: str) -> str:
    return name if _IDENTIFIER.fullmatch(name) else re.sub(r"\W", "_", name)


def _one_line(value: str) -> str:
    return " ".join(value.split())


def _comment(documentation: str, indent: str = "") -> str:
    """A TSDoc comment before what follows; nothing if there is nothing to say."""
    lines = [line.rstrip() for line in documentation.strip().replace("*/", "*\\/").splitlines()]
    if not lines:
        return ""
    if len(lines) == 1:
        return f"{indent}/** {lines[0]} */\n"
    body = "".join(f"{indent} * {line}".rstrip() + "\n" for line in lines)
    return f"{indent}/**\n{body}{indent} */\n"


def _free_parameters(parameters: Sequence[str], taken: Iterable[str]) -> dict[str, str]:
    """Names of type parameters that hide no declaration."""
    names = set(taken)
    return {each: f"{each}Parameter" if each in names else each for each in parameters}
