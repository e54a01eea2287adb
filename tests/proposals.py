"""What a test of proposals does around kt: raise, look at the remote, and merge as a forge does."""

from __future__ import annotations

from lab import Lab, git, kt


def raised(lab: Lab, *names: str) -> None:
    """Raise escalations as a gateway does."""
    gateway = lab.clone("gateway")
    for name in names:
        ran = kt("raise", "--request-id", name, "--reason-code", "oversight.required", cwd=gateway)
        assert ran.code == 0, ran.err


def branches(lab: Lab) -> dict[str, str]:
    """The remote's branches and where they are."""
    lines = git("for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads", cwd=lab.remote)
    return dict(line.split(" ", 1) for line in lines.splitlines())


def merge(lab: Lab, branch: str) -> None:
    """Merge a branch on the remote as a forge's button does, with a merge commit."""
    git("fetch", "--quiet", "origin", cwd=lab.seed)
    git("checkout", "--quiet", "-B", "main", "origin/main", cwd=lab.seed)
    git("merge", "--quiet", "--no-ff", "-m", f"Merge {branch}", f"origin/{branch}", cwd=lab.seed)
    git("push", "--quiet", "origin", "main", cwd=lab.seed)
