"""Certificates for the tests: an authority of their own, and what it signs for the loopback address."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.servers.running import unavailable

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import NameOID
except ImportError:
    HAS_CRYPTOGRAPHY = False
else:
    HAS_CRYPTOGRAPHY = True


class Certificates:
    """``authority`` is a file to trust; ``certificate`` and ``key`` are a server's on 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        if not HAS_CRYPTOGRAPHY:
            unavailable("TLS server", "pip install cryptography")
        self.authority, self.certificate, self.key = (
            folder / name for name in ("authority.pem", "certificate.pem", "key.pem")
        )
        root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        root = _signed(
            "the tests' authority", root_key.public_key(), "the tests' authority", root_key, ca=True
        )
        own = _signed("localhost", key.public_key(), "the tests' authority", root_key, ca=False)
        self.authority.write_bytes(root.public_bytes(Encoding.PEM))
        self.certificate.write_bytes(own.public_bytes(Encoding.PEM))
        self.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        for path in (self.authority, self.certificate):
            path.chmod(0o644)


def _signed(name: str, public_key: Any, issuer: str, signer: Any, *, ca: bool) -> Any:
    now = dt.datetime.now(dt.UTC)
    addresses = [x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("localhost")]
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .sign(signer, hashes.SHA256())
    )


class TlsFront:
    """Speaks TLS in front of a server that does not, on a loopback port: what is tested is the client's side."""

    def __init__(self, target: int, certificates: Certificates) -> None:
        self._target = target
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificates.certificate, certificates.key)
        self._server: asyncio.Server | None = None
        self._pumps: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        assert self._server is not None, "use it inside `async with`"
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._context)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
        for one, other in ((reader, to_server), (from_server, writer)):
            task = asyncio.create_task(_pump(one, other))
            self._pumps.add(task)
            task.add_done_callback(self._pumps.discard)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        return
    finally:
        writer.transport.abort()
