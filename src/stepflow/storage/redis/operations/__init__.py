"""What the port asks for, noun by noun, as sagas: generators that yield calls and are sent the replies."""

from __future__ import annotations
