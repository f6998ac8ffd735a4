"""Recorded runs are exported, redacted, and checked against other code: each verdict, as a library and on the command line."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepflow import InputError, Stepflow, Workflow, sleep, step, wait_for_event, workflow
from stepflow.cli import main
from stepflow.codecs.json import Values
from stepflow.model.journal import Suspended
from stepflow.testing import Harness, Verdict, check_histories, read_histories, read_history
from stepflow.testing.harness.incarnation import immediately
from stepflow.testing.histories import FORMAT, History, file_name, histories_of, redacted, write_history
from stepflow.testing.replaying import Comparison


@step
async def charge(amount: int) -> str:
    return f"paid {amount}"


@step
async def ship(what: str) -> str:
    return what


@workflow(id="order")
async def order(amount: int) -> str:
    payment = await charge(amount)
    await ship("book")
    await sleep("rest", "30d")
    return payment


def recorded(harness: Harness, run_id: str) -> History:
    async def taken() -> History:
        [history] = [history async for history in histories_of(harness.storage, [run_id])]
        return history

    history: History = immediately(taken())
    return read_history(write_history(history))


def history_of(flow: Workflow[int, str], *, ended: bool) -> History:
    with Harness(flow) as harness:
        run = harness.start(flow, 42)
        if ended:
            harness.result(run)
        return recorded(harness, run.id)


SUSPENDED = history_of(order, ended=False)
ENDED = history_of(order, ended=True)


def check(now: Workflow[int, str], history: History) -> Comparison:
    [found] = check_histories(Stepflow("memory://", workflows=[now]), [history])
    return found


@pytest.mark.parametrize("history", [SUSPENDED, ENDED], ids=["suspended", "ended"])
def test_the_same_code_is_identical(history: History) -> None:
    found = check(order, history)

    assert found == Comparison(run_id="run-1", workflow_id="order", verdict=Verdict.IDENTICAL)


@workflow(id="order")
async def with_a_new_step(amount: int) -> str:
    payment = await charge(amount)
    await ship("book")
    await ship("bookmark")
    await sleep("rest", "30d")
    return payment


@workflow(id="order")
async def without_a_step(amount: int) -> str:
    payment = await charge(amount)
    await sleep("rest", "30d")
    return payment


@workflow(id="order")
async def in_another_order(amount: int) -> str:
    await ship("book")
    payment = await charge(amount)
    await sleep("rest", "30d")
    return payment


@workflow(id="order")
async def with_another_sleep(amount: int) -> str:
    payment = await charge(amount)
    await ship("book")
    await sleep("rest", "60d")
    return payment


@workflow(id="order")
async def with_a_wait(amount: int) -> str:
    payment = await charge(amount)
    await ship("book")
    await wait_for_event("go", timeout="30d", default=None)
    return payment


@workflow(id="order")
async def with_another_result(amount: int) -> str:
    return f"{await order(amount)}!"


def test_a_step_that_is_new_is_told_and_safe() -> None:
    found = check(with_a_new_step, SUSPENDED)

    assert (found.verdict, found.new, found.gone) == (Verdict.DIFFERENT, ("ship:2",), ())
    assert "  + ship:2: asked for now, and not recorded" in found.text


def test_a_step_that_is_gone_is_told_and_safe() -> None:
    for history in (SUSPENDED, ENDED):
        found = check(without_a_step, history)

        assert (found.verdict, found.new, found.gone) == (Verdict.DIFFERENT, (), ("ship",))
        assert "  - ship: recorded, and not asked for any more" in found.text


def test_a_step_that_moved_is_told_and_safe() -> None:
    found = check(in_another_order, ENDED)

    assert (found.verdict, found.moved) == (Verdict.DIFFERENT, ("charge",))
    assert "  ~ charge: asked for at another place" in found.text


@pytest.mark.parametrize(
    ("now", "told"), [(with_another_sleep, "would wake now at"), (with_a_wait, "waits now for ['go']")]
)
def test_what_a_suspended_run_waits_for_is_compared(now: Workflow[int, str], told: str) -> None:
    found = check(now, SUSPENDED)

    assert found.verdict is Verdict.DIFFERENT
    assert any(told in note for note in found.notes)


def test_another_result_is_told_and_safe() -> None:
    found = check(with_another_result, ENDED)

    assert found.verdict is Verdict.DIFFERENT
    assert found.notes == ('it ended as completed ("paid 42"), and ends now as completed ("paid 42!")',)


@workflow(id="order")
async def with_another_function_of_that_name(amount: int) -> str:
    return await step.run("charge", ship, "book")


@workflow(id="order")
async def that_fails(amount: int) -> str:
    payment = await charge(amount)
    raise LookupError(payment)


@workflow(id="another")
async def another(amount: int) -> str:
    return "?"


@pytest.mark.parametrize("history", [SUSPENDED, ENDED], ids=["suspended", "ended"])
@pytest.mark.parametrize(
    ("now", "told"),
    [
        (with_another_function_of_that_name, "at 'charge' the journal has the step function charge"),
        (that_fails, "LookupError: paid 42"),
        (another, "no such workflow"),
    ],
)
def test_code_that_contradicts_the_journal_or_fails_on_it_is_divergent(
    history: History, now: Workflow[int, str], told: str
) -> None:
    found = check(now, history)

    assert found.verdict is Verdict.DIVERGENT
    assert told in found.text


# ================================================================ files
def test_a_history_survives_its_file() -> None:
    assert read_history(write_history(SUSPENDED)) == SUSPENDED


def test_what_is_no_history_or_of_a_later_release_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no histories"):
        read_histories(tmp_path)
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(InputError, match=r"a\.json is no exported history"):
        read_histories(tmp_path)
    later = json.loads(write_history(SUSPENDED)) | {"format": FORMAT + 1}
    with pytest.raises(InputError, match="use a newer one"):
        read_history(json.dumps(later).encode())


def test_a_run_s_file_is_named_so_that_every_file_system_takes_it() -> None:
    assert file_name("order:1@shop~x.y") == "order%3a1%40shop%7ex.y.json"


@step
async def look_up(name: str) -> dict[str, object]:
    return {"name": name, "cards": [{"number": "4111", "limit": 500, "valid": True}], "city": "Bern"}


@workflow
async def customer(given: dict[str, str]) -> object:
    found = await look_up(given["name"])
    if found["city"] == "Bern":
        await sleep("rest", "1d")
    raise ValueError(f"{given['name']} is unknown")


def test_redacted_values_are_nowhere_in_the_file_and_the_run_replays_still() -> None:
    with Harness(customer) as harness:
        run = harness.start(customer, {"name": "Ada Lovelace"})
        harness.advance("2d")
        history = redacted(recorded(harness, run.id), {"name", "cards"}, Values())

    text = write_history(history).decode()
    assert ("Lovelace" in text, "4111" in text, "500" in text, "Bern" in text) == (False, False, False, True)
    assert "x" * len("Ada Lovelace") in text
    [found] = check_histories(Stepflow("memory://", workflows=[customer]), [history])
    assert found.verdict is Verdict.IDENTICAL, found.text


# ================================================================ the command line
PROGRAM = """
from stepflow import Stepflow, sleep, step, workflow

@step
async def charge(amount: int) -> str:
    return f"paid {amount}"

@workflow
async def order(amount: int) -> str:
    payment = await charge(amount)
    await sleep("30d")
    return payment

app = Stepflow("sqlite:///shop.db", workflows=[order])
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a program, of whose workflow one run is suspended in a database."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    sys.modules.pop("shop", None)
    (tmp_path / "shop.py").write_text(PROGRAM)

    async def begin() -> None:
        async with importlib.import_module("shop").app as app:
            run = await app.trigger("order", 42, id="o-1")
            async for event in run.events():
                if isinstance(event.entry, Suspended):
                    return

    asyncio.run(begin())
    yield tmp_path
    sys.modules.pop("shop", None)


def test_runs_are_exported_by_id_or_by_what_they_are(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = ("--storage", "sqlite:///shop.db")

    assert main(["histories", "export", "o-1", *at]) == 0
    assert (
        main(["histories", "export", "--status", "suspended", "-w", "order", "--to", "b", "--json", *at]) == 0
    )
    assert (shop / "histories" / "o-1.json").read_bytes() == (shop / "b" / "o-1.json").read_bytes()
    assert '{"items": ["b/o-1.json"]}' in capsys.readouterr().out
    assert main(["histories", "export", "no-such-run", *at]) == 3
    assert main(["histories", "export", "o-1", "--status", "failed", *at]) == 2


def test_code_is_checked_against_a_folder_or_a_storage_and_the_exit_code_says_what_came_of_it(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["histories", "export", "--storage", "sqlite:///shop.db"]) == 0
    histories = ("--histories", "histories")

    def change(old: str, new: str) -> None:
        (shop / "shop.py").write_text(PROGRAM.replace(old, new))
        sys.modules.pop("shop", None)

    assert main(["check", "shop:app", *histories]) == 0
    assert main(["check", "shop:app", "--histories", "sqlite:///shop.db", "--unfinished", "--strict"]) == 0
    assert "run 'o-1' of 'order': identical" in capsys.readouterr().out

    change('sleep("30d")', 'sleep("60d")')
    assert main(["check", "shop:app", *histories]) == 0
    assert main(["check", "shop:app", *histories, "--strict"]) == 1

    change("payment = await charge(amount)", 'payment = await step.run("charge", str, amount)')
    capsys.readouterr()
    assert main(["check", "shop:app", *histories, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["counts"] == {"identical": 0, "different": 0, "divergent": 1}
    assert found["items"][0]["runId"] == "o-1"
    assert "at 'charge' the journal has the step function charge" in found["items"][0]["notes"][0]
    assert main(["check", "shop:app", "--histories", "nowhere"]) == 2
    assert main(["check", "shop:app", "--histories", "sqlite:///nowhere.db"]) == 4
