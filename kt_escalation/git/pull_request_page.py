"""Derives the address of the page that opens a pull request from the remote's address.

The forms are from each forge's documentation: GitHub compares two branches (*Using query parameters to create
a pull request*), GitLab has a page for new merge requests (*Creating merge requests, by URL*), Gitea and
Forgejo compare as GitHub does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote, urlencode, urlsplit

from ..frozen import dataclass

#: The known forges. The git setting `kt.forge` names one of them.
FORGES = ("github", "gitlab", "gitea", "forgejo")
_HOSTS = {
    "github.com": "github",
    "gitlab.com": "gitlab",
    "gitea.com": "gitea",
    "codeberg.org": "forgejo",
}
# Hosts that accept SSH on the HTTPS port, and the hosts of their web pages.
_PAGES_OF = {"ssh.github.com": "github.com", "altssh.gitlab.com": "gitlab.com"}
_SCP = re.compile(r"(?:[^@/:\[\]]+@)?(?P<host>[^/:@\[\]]{2,}|\[[0-9A-Fa-f:.]+\]):(?P<path>[^:]*)")
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
# The address that a forge prints after a push, if it has only plain characters.
_SAID = re.compile(
    r"https?://[A-Za-z0-9.\[\]:_-]+/[A-Za-z0-9._~%/+=&?\[\]-]*"
    r"(?:/pull/new/|/merge_requests/new\?|/compare/|/pulls/new\?)[A-Za-z0-9._~%/+=&?\[\]-]*"
)


@dataclass(frozen=True)
class _Place:
    """The page of a repository: the host, the start of the page's address, and the path of the repository."""

    host: str
    site: str
    path: str


def request_address(
    remote: str, base: str, head: str, forge: str | None = None, said: str = ""
) -> str | None:
    """The page that opens a pull request from branch ``head`` into ``base``, or None if it is unknown.

    ``remote`` is the push address (https, ssh, or the short form ``git@host:path``). ``forge`` is the
    configured forge, one of `FORGES`, if any. ``said`` is what the server printed on the push; it is used if
    neither the setting nor the host's name tells the forge. Credentials in the address are never returned.
    """
    place = _place(remote)
    kind = forge or (_forge_of(place.host) if place else None)
    if place is None or kind is None:
        found = _SAID.search(said)
        return found[0] if found else None
    return _PAGES[kind](f"{place.site}/{quote(place.path)}", base, head)


def _place(remote: str) -> _Place | None:
    if "://" in remote:
        try:
            parts = urlsplit(remote)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            return None
        scheme, path = parts.scheme, parts.path
        host = f"[{host}]" if ":" in host else host
        if scheme not in ("http", "https", "ssh", "git", "git+ssh", "ssh+git"):
            return None
    else:
        found = _SCP.fullmatch(remote)
        if found is None:
            return None
        scheme, host, port, path = "ssh", found["host"].lower(), None, found["path"]
    path = path.strip("/").removesuffix(".git").rstrip("/")
    if not _HOST.fullmatch(host) or not path.strip(".") or path.startswith("~"):
        return None
    host = _PAGES_OF.get(host, host)
    # The SSH port tells nothing about the web pages. The HTTP port is also theirs.
    web = scheme in ("http", "https")
    at = f":{port}" if web and port is not None else ""
    return _Place(host, f"{scheme if web else 'https'}://{host}{at}", path)


def _forge_of(host: str) -> str | None:
    return _HOSTS.get(host) or next((forge for forge in FORGES if forge in host), None)


def _github(page: str, base: str, head: str) -> str:
    return f"{page}/compare/{quote(base)}...{quote(head)}?expand=1"


def _gitlab(page: str, base: str, head: str) -> str:
    asked = {"merge_request[source_branch]": head, "merge_request[target_branch]": base}
    return f"{page}/-/merge_requests/new?{urlencode(asked)}"


def _gitea(page: str, base: str, head: str) -> str:
    return f"{page}/compare/{quote(base)}...{quote(head)}"


_PAGES: dict[str, Callable[[str, str, str], str]] = {
    "github": _github,
    "gitlab": _gitlab,
    "gitea": _gitea,
    "forgejo": _gitea,
}
