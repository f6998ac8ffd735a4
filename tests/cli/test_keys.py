"""``stepflow keys``: the key on stdout, alone; what to do with it on stderr."""

from __future__ import annotations

import pytest

from stepflow.auth.keys import api_key_auth, public_key_auth
from tests.cli.terminal import Here
from tests.unit.auth.requests import a_request


def test_a_secret_key_is_printed_once_and_how_to_rotate_it(here: Here) -> None:
    made = here("keys", "create")

    key = made.out.removesuffix("\n")
    assert (made.code, key.startswith("sf_"), "\n" in key) == (0, True, False)
    assert key not in made.err
    assert "STEPFLOW_API_KEY" in made.err
    assert "NEW,OLD takes both" in made.err
    assert api_key_auth(key)(a_request(key=key)).allowed


def test_a_public_key_says_how_its_workflows_are_listed(here: Here) -> None:
    made = here("keys", "create", "--public")

    key = made.out.strip()
    assert key.startswith("sf_pub_")
    assert "STEPFLOW_PUBLIC_WORKFLOWS=greet,checkout" in made.err
    assert public_key_auth(key, workflows=["greet"])(a_request(key=key)).allowed


@pytest.mark.parametrize(("public", "kind"), [(False, "secret"), (True, "public")])
def test_programs_get_json(here: Here, public: bool, kind: str) -> None:
    made = here("keys", "create", "--json", *(["--public"] if public else []))

    assert made.json["kind"] == kind
    assert made.json["variable"] == ("STEPFLOW_PUBLIC_KEY" if public else "STEPFLOW_API_KEY")
    assert made.err == ""


def test_quiet_is_the_key_and_nothing_else(here: Here) -> None:
    assert here("keys", "create", "--quiet").err == ""
    assert here("keys", "create", "--quiet").out != here("keys", "create", "--quiet").out


def test_keys_alone_shows_its_help(here: Here) -> None:
    assert "stepflow keys create" in here("keys").out
