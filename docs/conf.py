"""How Sphinx builds these pages: `make docs`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pygments.lexers.special import TextLexer

import kt_escalation

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "kt-escalation"
release = kt_escalation.__version__
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "kt-escalation"
html_copy_source = html_show_copyright = html_show_sourcelink = html_use_index = False
smartquotes = False  # `--json` has two dashes
highlight_language = "none"  # what a fence says; an indented block says nothing
myst_heading_anchors = 4

ADAPTERS = [
    f"adapters/{name}"
    for name in ("index", "http", "envoy", "nginx", "litellm", "mcp", "langgraph", "openai-agents")
]

#: What stands where at the side. A page that is not here fails the build.
NAV = {
    "Reviewers": ["tutorial", "reviewing", "desk", "telling", "rights"],
    "Operators": [
        "install",
        "setup",
        "operator",
        "pull-requests",
        "servers",
        "signatures",
        "many-stores",
        "compaction",
    ],
    "Gateways": ["gateway", *ADAPTERS, "python", "api", "streaming", "events"],
    "Auditors": ["auditor", "rules", "evidence", "report"],
    "Reference": ["reference", "record", "glossary", "design", "performance"],
}


def beyond(_: Sphinx, __: str, source: list[str]) -> None:
    """Let a link to Markdown outside docs/ give that file; on a forge it is a page."""
    source[0] = re.sub(r"\]\((\.\./[^)#]+\.md)(#[^)]*)?\)", r"](path:\1)", source[0])


def add_nav(_: Sphinx, page: str, source: list[str]) -> None:
    """Put the table of contents below the front page, which a forge would show as code."""
    if page == "index":
        for caption, pages in NAV.items():
            source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(pages) + "\n```\n"


def setup(app: Sphinx) -> None:
    """What Sphinx calls."""
    app.add_lexer("crontab", TextLexer)
    app.connect("source-read", beyond)
    app.connect("source-read", add_nav)
