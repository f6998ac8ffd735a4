"""The Redis backend: one server, or a Redis Cluster; Redis from 6.2 on, and Valkey."""

from __future__ import annotations
