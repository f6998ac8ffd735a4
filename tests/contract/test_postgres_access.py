"""Who may use PostgreSQL, and what they are told who may not: by a real server that asks for passwords and TLS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stepflow.errors import StorageError, StorageUnavailableError
from stepflow.storage.opening import open_storage
from stepflow.testing.storage_contract.building import get, running
from tests.servers.postgres import PostgresServer, another_server, execute

RULES = """
host all postgres 127.0.0.1/32 trust
host all shop 127.0.0.1/32 scram-sha-256
hostssl all careful 127.0.0.1/32 scram-sha-256
"""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    server = another_server()
    execute(
        server.url,
        "CREATE ROLE shop LOGIN PASSWORD 's3cret'",
        "CREATE ROLE careful LOGIN PASSWORD 's3cret'",
        "CREATE DATABASE shop OWNER shop",
    )
    (server.folder / "data" / "pg_hba.conf").write_text(RULES)
    execute(server.url, "SELECT pg_reload_conf()")
    yield server
    server.stop()


async def refusal(url: str) -> StorageError:
    """What opening says; in one line, without the password."""
    with pytest.raises(StorageError) as caught:
        async with open_storage(url):
            pytest.fail("it opened")
    said = str(caught.value)
    assert "\n" not in said
    assert "s3cret" not in said
    assert "wr0ng" not in said
    return caught.value


async def test_with_its_password_a_user_comes_in(server: PostgresServer) -> None:
    url = f"postgresql://shop:s3cret@127.0.0.1:{server.port}/shop"

    async with open_storage(url) as storage:
        await running(storage)
        assert (await get(storage)).seq == 1
        assert "s3cret" not in storage.url


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("shop:wr0ng@{host}/shop", "check user and password in the URL"),
        ("shop@{host}/shop", "password"),
        ("nobody:wr0ng@{host}/shop", "check user and password"),
        ("careful:s3cret@{host}/shop", "sslmode"),
        ("shop:s3cret@{host}/nowhere", "CREATE DATABASE"),
        ("shop:s3cret@{host}/shop?sslmode=require", "SSL"),
    ],
)
async def test_who_may_not_come_in_is_told_what_to_do(place: str, says: str, server: PostgresServer) -> None:
    error = await refusal(f"postgresql://{place.format(host=f'127.0.0.1:{server.port}')}")

    assert says.lower() in str(error).lower()


async def test_a_server_that_is_not_there_may_come(server: PostgresServer) -> None:
    error = await refusal("postgresql://shop:s3cret@127.0.0.1:1/shop")

    assert isinstance(error, StorageUnavailableError)
    assert "127.0.0.1:1/shop" in str(error)
