"""What the same work costs without kt: the plain commands that every number is held against."""

from __future__ import annotations

import sys
from pathlib import Path

#: A Python process that imports what kt stands on, and ends. `import pydantic` alone loads nothing of pydantic until a
#: name of it is used, so the floor uses the one that every model needs.
IMPORTS = (sys.executable, "-c", "import click, yaml, filelock; from pydantic import BaseModel")
#: One claim by plumbing: hash-object, update-index, write-tree, commit-tree, push.
CLAIM = (str(Path(__file__).with_name("claim.sh")),)
#: The same files into an empty repository, from a stream that is ready on disk.
FAST_IMPORT = ("git", "fast-import", "--quiet")
#: What has been imported, written into the checkout.
CHECKOUT = ("git", "reset", "--quiet", "--hard")
#: All of history with what each commit changed.
HISTORY = ("git", "log", "-p")
