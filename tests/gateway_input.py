"""What a gateway hands to `raise`: decision events, records, batches."""

from __future__ import annotations

import json
from typing import Any


def event(request_id: str = "req_1", **more: Any) -> dict[str, Any]:
    """A decision event as the gateway emits it."""
    return {
        "event_id": f"vdt_decision_{request_id}",
        "event_type": "decision",
        "request_id": request_id,
        "timestamp": "2026-11-23T09:14:02Z",
        "verdict": "escalate",
        "reason_code": "oversight.required",
        "config_version": "cfg-7f3a21",
        "details": {
            "policy_results": [
                {"policy_kind": "prompt-injection", "verdict": "allow", "reason_code": "ok"},
                {
                    "policy_kind": "human-oversight",
                    "verdict": "escalate",
                    "reason_code": "oversight.required",
                },
            ],
            "scores": {"groundedness": 0.41},
        },
        "prompt_redacted": True,
        "prompt_hash": "hmac-sha256:7265",
        "agent_id": "agent-claims-intake",
        "identity_context": None,
        "session_id": None,
        **more,
    }


def record(request_id: str = "req_1", **more: Any) -> dict[str, Any]:
    """A record as a user writes it."""
    return {"request_id": request_id, "reason_code": "a.b", **more}


def ndjson(*lines: object) -> bytes:
    return "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines).encode()
