"""Encrypted: values that only the holders of a key can read or make."""

from __future__ import annotations

import importlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stepflow.errors import DefinitionError, DeserializationError, MissingExtraError

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet


class Encrypted:
    """A codec that encrypts and authenticates values with Fernet (AES-128-CBC and HMAC-SHA256; github.com/fernet/spec).

    The first key encrypts, all of them decrypt. To rotate, put a new key in front, deploy everywhere, and drop the old one when no run
    that it encrypted is left. ``Encrypted.generate_key()`` makes a key; keep it where the secrets are, not in the code.

    Encrypted are inputs, results, event payloads and the arguments of recorded exceptions. *Not* encrypted are ids, names, tags, times,
    and the message and traceback of a failure: people have to read them when nothing else works. Values from before the codec was
    configured stay readable, so whoever can write to the storage can also put plain ones there.

    Needs the extra ``encryption``. ``DefinitionError`` for a malformed key.
    """

    __slots__ = ("_fernet", "_invalid")

    tag = "fernet"

    def __init__(self, keys: str | bytes | Sequence[str | bytes]) -> None:
        library = _library()
        each = [keys] if isinstance(keys, str | bytes) else list(keys)
        if not each:
            raise DefinitionError("Encrypted() needs a key; Encrypted.generate_key() makes one")
        try:
            self._fernet: MultiFernet = library.MultiFernet([library.Fernet(key) for key in each])
        except (ValueError, TypeError) as error:
            # The library's own message is all that may be told: a key that is nearly right is still a secret.
            raise DefinitionError(f"Encrypted(): a key is malformed ({error})") from None
        self._invalid: type[Exception] = library.InvalidToken

    @staticmethod
    def generate_key() -> str:
        """A new random key, as text."""
        key: bytes = _library().Fernet.generate_key()
        return key.decode()

    def encode(self, data: bytes, /) -> bytes:
        """A Fernet token as bytes. The same data gives another token each time."""
        return urlsafe_b64decode(self._fernet.encrypt(data))  # stored as base64 anyway: once is enough

    def decode(self, data: bytes, /) -> bytes:
        """The inverse; ``DeserializationError`` if no key fits or the token was changed."""
        try:
            return self._fernet.decrypt(urlsafe_b64encode(data))
        except self._invalid:
            raise DeserializationError(
                "none of the keys of Encrypted(...) decrypts it: the key is missing, or the stored value was changed"
            ) from None


def _library() -> Any:
    try:
        return importlib.import_module("cryptography.fernet")
    except ImportError as error:
        raise MissingExtraError("Encrypted", "encryption") from error
