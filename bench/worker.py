"""A long-lived user of the package in one clone: takes orders on stdin, one a line, answers each on stdout.

`claim ID` with a store that stays open, `afresh ID` with one opened for this claim alone, `follow ID`
with a store that brings the checkout along, `release ID`, and `drain`: claim the next until nothing is left, then
bring the checkout along. Answers are JSON: seconds taken, the monotonic time at the end, what came of it.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from kt_escalation import Store
from kt_escalation.errors import KtError, NothingToClaim


def _drain(store: Store) -> dict[str, Any]:
    taken, failed = 0, []
    while True:
        try:
            taken += len(store.claim_next().records)
        except NothingToClaim:
            break
        except KtError as error:
            failed.append(error.code)
    left = store.follow()
    return {"taken": taken, "failed": failed, "left": left}


def _release(store: Store, name: str) -> dict[str, Any]:
    try:
        return {"changed": store.release(name).changed}
    except KtError as error:
        return {"code": error.code}


def _claim(store: Store, name: str) -> dict[str, Any]:
    try:
        return {"changed": store.claim(name).changed}
    except KtError as error:
        return {"code": error.code}


def main() -> None:
    """Serve until stdin ends."""
    clone = Path(sys.argv[1])
    with Store.open(clone, follow_checkout=False) as long_lived, Store.open(clone) as following:
        print("ready", flush=True)
        for line in sys.stdin:
            action, _, name = line.strip().partition(" ")
            began = time.monotonic()
            if action == "drain":
                answer = _drain(long_lived)
            elif action == "release":
                answer = _release(long_lived, name)
            elif action == "afresh":
                with Store.open(clone) as store:
                    answer = _claim(store, name)
            else:
                answer = _claim(following if action == "follow" else long_lived, name)
            ended = time.monotonic()
            print(json.dumps({"seconds": ended - began, "ended": ended, **answer}), flush=True)


if __name__ == "__main__":
    main()
