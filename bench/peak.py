"""Run kt in this process and write down the most memory it had: `peak.py FILE ARGS…`, in MB.

A parent that waits for a child is told the largest of the child and of all that the child waited for,
so git's own memory would count as ours; the kernel keeps the number of this very process in /proc.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from kt_escalation.cli import main

_STATUS = Path("/proc/self/status")


def _peak() -> float:
    if _STATUS.exists():
        [line] = [line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) / 1024
    # macOS counts bytes, and only this process.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


if __name__ == "__main__":
    answer = Path(sys.argv.pop(1))
    try:
        main()
    finally:
        answer.write_text(f"{_peak():.1f}")
