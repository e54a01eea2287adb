"""Where a pull request is opened, for the addresses that remotes have."""

from __future__ import annotations

import pytest

from kt_escalation.git.pull_request_page import request_address

HEAD = "kt/claim/esc_1"
HUB = "https://github.com/org/repo/compare/main...kt/claim/esc_1?expand=1"
LAB = (
    "merge_requests/new?merge_request%5Bsource_branch%5D=kt%2Fclaim%2Fesc_1"
    "&merge_request%5Btarget_branch%5D=main"
)


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ("https://github.com/org/repo.git", HUB),
        ("https://github.com/org/repo/", HUB),
        ("https://GitHub.com/org/repo", HUB),
        ("https://me:s3cret@github.com/org/repo.git", HUB),
        ("https://x-access-token:s3cret@github.com/org/repo", HUB),
        ("git@github.com:org/repo.git", HUB),
        ("github.com:org/repo.git", HUB),
        ("ssh://git@github.com/org/repo.git", HUB),
        ("ssh://git@github.com:22/org/repo.git", HUB),
        ("ssh://git@ssh.github.com:443/org/repo.git", HUB),
        ("git://github.com/org/repo.git", HUB),
        ("https://gitlab.com/a/b/c.git", f"https://gitlab.com/a/b/c/-/{LAB}"),
        ("ssh://git@altssh.gitlab.com:443/a/b.git", f"https://gitlab.com/a/b/-/{LAB}"),
        ("https://gitlab.example.com:8443/sub/a/b.git", f"https://gitlab.example.com:8443/sub/a/b/-/{LAB}"),
        ("http://gitlab.local/a/b", f"http://gitlab.local/a/b/-/{LAB}"),
        ("ssh://git@gitlab.example.com:2222/a/b.git", f"https://gitlab.example.com/a/b/-/{LAB}"),
        ("git@codeberg.org:a/b.git", "https://codeberg.org/a/b/compare/main...kt/claim/esc_1"),
        ("https://codeberg.org/a/b.git", "https://codeberg.org/a/b/compare/main...kt/claim/esc_1"),
        ("https://gitea.com/a/b", "https://gitea.com/a/b/compare/main...kt/claim/esc_1"),
        ("git@gitea.com:a/b.git", "https://gitea.com/a/b/compare/main...kt/claim/esc_1"),
        (
            "ssh://git@gitea.example.com:2222/a/b.git",
            "https://gitea.example.com/a/b/compare/main...kt/claim/esc_1",
        ),
        (
            "ssh://git@forgejo.example.org/a/b.git",
            "https://forgejo.example.org/a/b/compare/main...kt/claim/esc_1",
        ),
        ("https://forgejo.example.org/a/b", "https://forgejo.example.org/a/b/compare/main...kt/claim/esc_1"),
        (
            "git@github.corp.example:a/b",
            "https://github.corp.example/a/b/compare/main...kt/claim/esc_1?expand=1",
        ),
        (
            "https://github.com/org/a b\x1b.git",
            "https://github.com/org/a%20b%1B/compare/main...kt/claim/esc_1?expand=1",
        ),
        ("https://git.example.com/a/b.git", None),
        ("/srv/git/github.com/repo.git", None),
        ("../github.com:x/y", None),
        ("file:///srv/github.com/repo.git", None),
        ("C:\\github.com\\repo", None),
        ("c:/github.com/repo", None),
        ("https://", None),
        ("https://github.com/", None),
        ("https://github.com:port/a/b", None),
        ("https://[::1/a/b", None),
        (
            "https://github.com\n.evil/a/b",
            "https://github.com.evil/a/b/compare/main...kt/claim/esc_1?expand=1",
        ),
        ("ssh://git@github.com/~me/repo", None),
        ("", None),
    ],
)
def test_the_address_by_the_remotes_own(remote: str, expected: str | None) -> None:
    assert request_address(remote, "main", HEAD) == expected


def test_a_setting_beats_the_hosts_name() -> None:
    assert request_address("git@[::1]:a/b.git", "main", HEAD, "gitlab") == f"https://[::1]/a/b/-/{LAB}"
    found = request_address("https://git.example.com:3000/a/b", "main", HEAD, "gitea")
    assert found == "https://git.example.com:3000/a/b/compare/main...kt/claim/esc_1"
    found = request_address("https://gitlab.example.com/a/b", "main", HEAD, "forgejo")
    assert found == "https://gitlab.example.com/a/b/compare/main...kt/claim/esc_1"


def test_names_of_branches_are_quoted() -> None:
    remote = "https://github.com/a/b"
    assert (
        request_address(remote, "rel?x", "f#1&é")
        == "https://github.com/a/b/compare/rel%3Fx...f%231%26%C3%A9?expand=1"
    )
    found = request_address(remote, "main", "a&b=c#d", "gitlab")
    assert found
    assert "source_branch%5D=a%26b%3Dc%23d&" in found


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("remote: Visit\nremote:   https://h.example/a/b/pull/new/x\n", "https://h.example/a/b/pull/new/x"),
        (
            "remote: To create a merge request for x, visit:\nremote:   https://h/a/-/merge_requests/new?merge_request%5Bsource_branch%5D=x\n",
            "https://h/a/-/merge_requests/new?merge_request%5Bsource_branch%5D=x",
        ),
        (
            "remote: Create a new pull request for 'x':\nremote:   http://h:3000/a/b/compare/main...x\n",
            "http://h:3000/a/b/compare/main...x",
        ),
        ("remote: https://h/a/pull/new/x\x1b[31mred\n", "https://h/a/pull/new/x"),
        ("remote: https://me:pw@h/a/pull/new/x\n", None),
        ("remote: read https://h/docs/rules\n", None),
        ("To https://h/a/b.git\n", None),
        ("", None),
    ],
)
def test_the_servers_own_words_count_where_nothing_else_tells(said: str, expected: str | None) -> None:
    assert request_address("https://git.example.com/a/b", "main", "x", None, said) == expected
    assert request_address("/srv/git/b.git", "main", "x", "github", said) == expected
