"""``stepflow keys``: new API keys, and what to do with them."""

from __future__ import annotations

from typing import Annotated

import typer

from stepflow.auth.keys import create_key
from stepflow.cli import options
from stepflow.cli.credentials import PUBLIC_VARIABLE, SECRET_VARIABLE, WORKFLOWS_VARIABLE
from stepflow.cli.output import err, joined, print_json, text


def create(
    public: Annotated[
        bool,
        typer.Option(
            "--public", help="A key for web pages: it only triggers the workflows listed as public."
        ),
    ] = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Make an API key and print it, once: it is stored nowhere.

    A secret key may do everything: only your own servers hold it. A public key may stand in a web page: it triggers the
    workflows that are listed as public, and nothing else. The key goes to stdout, what to do with it to stderr.
    """
    key = create_key(public=public)
    variable = PUBLIC_VARIABLE if public else SECRET_VARIABLE
    if as_json:
        print_json({"key": key, "kind": "public" if public else "secret", "variable": variable})
        return
    print(key, flush=True)
    if quiet:
        return
    rows = [
        ("keep", f"in the environment of `stepflow serve`, as {variable}; it is not shown again"),
        ("send", "in the header X-API-Key, never in an address"),
        ("rotate", f"{variable}=NEW,OLD takes both; change the callers, then take OLD away"),
    ]
    if public:
        rows.insert(1, ("list", f"what it may trigger, as {WORKFLOWS_VARIABLE}=greet,checkout"))
    console = err()
    for name, meaning in rows:
        console.print(joined(text(f"{name:<8}", "dim"), text(meaning)))
