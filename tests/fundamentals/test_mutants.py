"""Mutants: each rule of the replay loop, left out. The properties and cases beside this file must notice.

A mutant that survived would mean that a rule is fussy, or that a property is blind. ``rules.py`` is the table.
"""

from __future__ import annotations

import gc
import inspect
import sys
import traceback
import warnings
from collections.abc import Iterator
from types import ModuleType

import pytest

from tests.fundamentals import mutants, rules
from tests.fundamentals.hunts import Case, Hunt, Mutant, Notices
from tests.fundamentals.rules import MUTANTS

HERE = mutants.__name__


def name_of(notices: Notices) -> str:
    match notices:
        case Hunt():
            return notices.property.__name__
        case Case():
            told = [
                getattr(each, "__name__", str(each)) for each in notices.parameters
            ]  # the same in every process
            return "-".join([notices.test.__name__, *told])
        case _:
            return repr(notices)


@pytest.fixture
def world_put_back() -> Iterator[None]:
    """A mutant leaves things behind; no other test should meet them."""
    hooks = sys.get_asyncgen_hooks()
    yield
    sys.set_asyncgen_hooks(*hooks)
    with warnings.catch_warnings(action="ignore"):
        gc.collect()


@pytest.mark.usefixtures("world_put_back")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_rule_left_out_is_noticed(mutant: Mutant) -> None:
    with pytest.MonkeyPatch.context() as patch:
        mutant(patch)
        with pytest.raises((Exception, pytest.fail.Exception)) as noticed:  # whichever way it goes wrong
            MUTANTS[mutant]()

    assert not broke_itself(noticed.value), "the mutant does not fit the engine any more"


def broke_itself(error: BaseException) -> bool:
    """Whether the mutant's own code failed, because a name or a signature of the engine changed."""
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    return isinstance(error, (AttributeError, NameError, TypeError)) and "mutants" in last


@pytest.mark.parametrize("notices", dict.fromkeys(MUTANTS.values()), ids=name_of)
def test_what_notices_mutants_is_content_without_them(notices: Notices) -> None:
    if isinstance(notices, Hunt):
        notices.property(notices.seed)
    else:
        notices()


def test_every_mutant_leaves_out_a_rule() -> None:
    modules = [module for module in vars(rules).values() if isinstance(module, ModuleType)]
    made = {
        function
        for module in modules
        if module.__name__.startswith(f"{HERE}.")
        for function in vars(module).values()
        if inspect.isfunction(function) and function.__module__ == module.__name__
        if list(inspect.signature(function).parameters) == ["patch"]
    }

    assert made == {mutant for left_out in rules.RULES.values() for mutant in left_out}


def test_every_rule_has_a_mutant() -> None:
    assert [rule for rule, left_out in rules.RULES.items() if not left_out] == []
