"""What is written, as TypeScript sees it: right uses compile, wrong ones don't, and what travels has the types that are written."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from stepflow.codecs.json import Values
from stepflow.errors import DeserializationError
from stepflow.generate.contract import contract_of
from stepflow.generate.typescript import typescript
from stepflow.model.payloads import Payload
from tests.generate.compiler import FOLDER, compiled
from tests.generate.programs import shop

VALUES = Values()

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the types of the shop."""
    contract = contract_of(shop.app._registry)
    assert contract.warnings == []
    (tmp_path / "workflows.ts").write_text(typescript(contract, source="shop"), encoding="utf-8")
    return tmp_path


@pytest.mark.slow
def test_right_uses_compile_and_wrong_ones_do_not(folder: Path) -> None:
    shutil.copy(FOLDER / "use.ts", folder)

    assert compiled(folder) == ""


@pytest.mark.slow
def test_a_wrong_use_that_nobody_expects_is_told(folder: Path) -> None:
    use = (FOLDER / "use.ts").read_text(encoding="utf-8")
    (folder / "use.ts").write_text(
        "\n".join(line for line in use.splitlines() if "@ts-expect-error" not in line), encoding="utf-8"
    )

    errors = compiled(folder).splitlines()

    assert len([each for each in errors if each.startswith(("use.ts", "/", ".."))]) >= use.count(
        "@ts-expect-error"
    )


# ------------------------------------------------------------------ what travels
TEXT = st.text(max_size=8)
CATEGORIES = st.recursive(
    st.builds(shop.Category, TEXT),
    lambda inner: st.builds(shop.Category, TEXT, st.lists(inner, max_size=2)),
    max_leaves=4,
)
ORDERS = st.builds(
    shop.Order,
    id=TEXT,
    place=st.builds(shop.Place, st.integers(), TEXT),
    label=st.fixed_dictionaries({"text": TEXT}, optional={"size": st.integers()}),
    payment=st.builds(shop.Card, card_number=TEXT, holder=st.none() | TEXT)
    | st.builds(shop.Cash, amount=st.decimals(), coins=st.lists(st.integers(), max_size=2)),
    categories=st.builds(shop.Versions, CATEGORIES, st.lists(CATEGORIES, max_size=2)),
    parcel=st.builds(shop.Parcel, st.floats(allow_nan=False, allow_infinity=False), st.booleans()),
    run=st.builds(
        shop.Run,
        at=st.datetimes(timezones=st.timezones()),
        form=st.builds(shop.Round, radius=st.floats(0, 9)) | st.builds(shop.Square, side=st.floats(0, 9)),
        raw=TEXT.map(str.encode),
    ),
    takes=st.none() | st.timedeltas(),
    notes=st.dictionaries(TEXT, st.none() | st.integers() | st.lists(TEXT, max_size=2), max_size=2),
)


def members(value: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Every object in a JSON value, with each of its keys."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        yield from members(each)
    if isinstance(value, dict):
        yield from ((value, key) for key in value)


def without(value: Any, dice: Random) -> Any:
    """A JSON value in which members are missing, as many as the workflow does without."""
    left = copy.deepcopy(value)
    for holder, key in list(members(left)):
        if dice.random() < 0.5:
            member = holder.pop(key)
            if not accepted(left):
                holder[key] = member
    return left


def payload_of(value: Any) -> Payload:
    return Payload(msgspec.Raw(json.dumps(value).encode()))


def accepted(value: Any) -> bool:
    """Whether the workflow takes it."""
    try:
        VALUES.decode(payload_of(value), shop.Order)
    except DeserializationError:
        return False
    return True


@pytest.mark.slow
@settings(
    max_examples=2,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
@given(
    orders=st.lists(ORDERS, min_size=8, max_size=16),
    dice=st.randoms(use_true_random=False, note_method_calls=False),
)
def test_what_travels_has_the_types_that_are_written(
    folder: Path, orders: list[shop.Order], dice: Random
) -> None:
    """Object literals may have no members but those of their type, so a field too many is found as well as one too few."""
    received = [json.loads(VALUES.text(VALUES.encode(each, what="an order"))) for each in orders]
    sent = [without(each, dice) for each in received]
    again = [VALUES.decode(payload_of(each), shop.Order) for each in sent]
    received += [json.loads(VALUES.text(VALUES.encode(each, what="an order"))) for each in again]
    lines = [
        'import type { Order, OrderInput } from "./workflows";',
        "export type Both = Order | OrderInput;",
        *(
            f"export const received{place}: Order = {json.dumps(each)};"
            for place, each in enumerate(received)
        ),
        *(f"export const sent{place}: OrderInput = {json.dumps(each)};" for place, each in enumerate(sent)),
    ]
    (folder / "values.ts").write_text("\n".join(lines), encoding="utf-8")

    assert compiled(folder) == ""
