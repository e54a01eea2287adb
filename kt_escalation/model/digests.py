"""Digests of JSON values in their RFC 8785 form. See docs/record.md, *Digests*. Only this module imports rfc8785."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

#: The values that RFC 8785 takes are those of I-JSON (RFC 7493): whole numbers up to this one.
LARGEST_INTEGER = 2**53 - 1


class NotIJson(ValueError):
    """The value has no RFC 8785 form. The message says why."""


def canonical_json(value: Any) -> bytes:
    """The RFC 8785 form of a JSON value. Raises NotIJson for a value that I-JSON does not allow."""
    import rfc8785

    try:
        return rfc8785.dumps(value)
    except rfc8785.IntegerDomainError:
        raise NotIJson(
            f"holds a whole number beyond {LARGEST_INTEGER}, which not every reader of JSON can hold; "
            "write it as text"
        ) from None
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise NotIJson(f"is not I-JSON: {error}") from None
    except RecursionError:
        raise NotIJson("is nested too deep") from None


def of_value(value: Any) -> str:
    """`sha256:` and the digest of a JSON value, in hex. Text counts as a JSON string. Raises NotIJson."""
    return f"sha256:{hashlib.sha256(canonical_json(value)).hexdigest()}"


def of_action(kind: str, name: str, given: Any, key: bytes | None = None) -> str:
    """The digest of an action: `sha256:`, or `hmac-sha256:` with a ``key``, and 64 hex digits.

    It covers the RFC 8785 form of ``{"input": given, "kind": kind, "name": name}``. Raises NotIJson.
    """
    text = canonical_json({"kind": kind, "name": name, "input": given})
    if key is None:
        return f"sha256:{hashlib.sha256(text).hexdigest()}"
    return f"hmac-sha256:{hmac.new(key, text, hashlib.sha256).hexdigest()}"
