"""Values remember how to decode the types that they have met, but not all of them for ever."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import msgspec

from stepflow.codecs.json import Values


def test_types_that_are_made_anew_for_every_value_are_not_kept_for_ever() -> None:
    values = Values()
    made: list[weakref.ref[Any]] = []

    for number in range(3_000):  # as a class does that is defined in the code of a workflow
        kind = msgspec.defstruct("Here", [("number", int)])
        made.append(weakref.ref(kind))
        assert values.decode(values.encode({"number": number}, what="it"), kind).number == number
        del kind
    gc.collect()

    assert sum(each() is not None for each in made) <= 1_000
    assert values.decode(values.encode(7, what="it"), int) == 7
