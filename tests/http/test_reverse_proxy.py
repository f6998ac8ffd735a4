"""Row J9: nginx as it comes, with buffering and compression on, holds no event back."""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence

import pytest

from stepflow.testing.adapter_contract import Client, Site
from stepflow.testing.adapter_contract.serving import unique
from stepflow.wire.sse import Parser
from tests.http.readers import installed
from tests.servers.running import Server, answers, free_port

CONFIGURATION = """
daemon off; worker_processes 1; pid {folder}/pid; error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off; gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any; proxy_buffering on; proxy_http_version 1.1;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://127.0.0.1:{target}; }}
    }}
}}
"""


def command(port: int) -> Sequence[str]:
    program = "tests.http.programs.plain_asgi:application"
    return [sys.executable, "-m", "uvicorn", program, "--port", str(port), "--log-level", "warning"]


@pytest.fixture
def client() -> Generator[Client]:
    """A client of nginx, which stands before our server."""
    nginx = installed("nginx", package="nginx-light", names=("nginx", "/usr/sbin/nginx"))
    site = Site(command, "/api")
    folder = site.folder / "nginx"
    folder.mkdir(mode=0o777)
    try:
        site.start_worker()
        direct = site.start_server()[1]
        port, target = free_port(), direct.base_url.split(":")[2].partition("/")[0]
        settings = folder / "nginx.conf"
        settings.write_text(CONFIGURATION.format(folder=folder, port=port, target=target))
        server = Server(
            [nginx, "-e", "stderr", "-c", settings], log=folder / "log", ready=lambda: answers(port)
        )
        server.start()
        try:
            proxied = Client(f"http://127.0.0.1:{port}/api")
            yield proxied
            proxied.close()
        finally:
            server.stop()
    finally:
        site.close()


def test_a_buffering_compressing_proxy_holds_no_event_back(client: Client) -> None:
    event = unique("event")
    run_id = client.waiting("two-waits", event, f"{event}/1")
    seen: list[str] = []

    with client.stream(f"/runs/{run_id}/stream", headers={"Accept-Encoding": "gzip"}) as stream:
        parser, response = Parser(), stream.response
        for chunk in response.iter_bytes():  # unpacked: this nginx compresses whatever it is given
            for message in parser.feed(chunk):
                seen.append(message.event)
                if message.event in (
                    "run",
                    "run:suspended",
                ):  # the next thing happens only once this was heard
                    number = seen.count("run:suspended") + 1
                    client.ask("POST", f"/notify/{event}/{number}", json=number)

    assert response.headers["content-encoding"] == "gzip", "or the hard case was not tried"
    assert (seen[0], seen[-1]) == ("run", "execution:complete")
