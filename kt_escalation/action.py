"""Computes the digest of an action, for `action.digest`. See docs/gateway.md, *What an approval is for*."""

from __future__ import annotations

from typing import Any

from .model.digests import NotIJson, of_action

__all__ = ["NotIJson", "digest"]


def digest(kind: str, name: str, input: Any, *, key: bytes | None = None) -> str:  # noqa: A002 - the key's name
    """The digest of an action: `sha256:`, or `hmac-sha256:` with a ``key``, and 64 hex digits.

    It covers the RFC 8785 form of ``{kind, name, input}``; ``input`` is the JSON value that will be run.
    Without a key, anybody who can guess a short input can check the guess with the digest. Raises NotIJson, a
    ValueError, for a value that I-JSON does not allow, such as an integer above 2^53 - 1.
    """
    return of_action(kind, name, input, key)
