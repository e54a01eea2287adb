"""The rows of the table: each measures one kind of work, and beside it what it stands on (design, section 12)."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from . import floors, report, stores
from .held import held
from .measure import KT, Failed, git, kt, kt_peak, middle, pairs, ratio, seconds
from .network import network
from .stores import REVIEWERS, Stores

_WORKER = (sys.executable, str(Path(__file__).with_name("worker.py")))


@dataclass(frozen=True)
class Scale:
    """How large everything is; the defaults are the design's."""

    listed: int = 10_000
    waiting: int = 1_000
    drained: int = 200
    clones: int = 8
    racers: int = 16
    batch: int = 10_000
    steps: int = 100_000
    signed: int = 2_000
    at_once: int = 100
    held: int = 500
    pushed: int = 100
    #: How many transitions are little to have behind.
    behind: int = 300
    archived: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    repeat: int = 9
    #: For work that takes seconds.
    repeat_long: int = 3


#: Everything, as small as it can be: only to see that it works.
SMALL = Scale(
    listed=20, waiting=10, drained=4, clones=2, racers=3, batch=10, steps=30, signed=20, at_once=8, held=5,
    pushed=3, behind=20, archived=(20, 60), repeat=1, repeat_long=1,
)  # fmt: skip


@dataclass(frozen=True)
class RecordSummary:
    """One line of the table: values and floors in ``unit``, measured in turn.

    ``budget`` is the design's, as it says it; None for what it has none for. ``better`` says which way.
    """

    work: str
    unit: str
    values: Sequence[float]
    floor: str = ""
    floors: Sequence[float] = ()
    budget: str | None = None
    note: str = ""
    #: Where a ratio is of rates, the faster of two is the higher.
    of_rates: bool = False

    @property
    def ratios(self) -> list[float]:
        """Value by floor, pair by pair; for rates the other way round."""
        found = ratio(self.values, self.floors) if self.floors else []
        return [1 / one for one in found] if self.of_rates else found

    def as_json(self) -> dict[str, Any]:
        """Everything that was measured, and the medians."""
        return {
            "work": self.work,
            "unit": self.unit,
            "value": middle(self.values),
            "floor": middle(self.floors) if self.floors else None,
            "ratio": middle(self.ratios) if self.floors else None,
            "budget": self.budget,
            "floor_is": self.floor,
            "note": self.note,
            "values": list(self.values),
            "floors": list(self.floors),
            "ratios": self.ratios,
        }


@dataclass
class Bench:
    """Where the stores are kept, where copies of them are worked on, and how large everything is."""

    stores: Stores
    work: Path
    scale: Scale
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @contextmanager
    def lab(self, store: Path) -> Iterator[Lab]:
        """A copy of a store to work on, gone afterwards."""
        folder = self.work / f"lab-{next(self._numbers)}"
        folder.mkdir(parents=True)
        try:
            yield Lab(folder, store)
        finally:
            shutil.rmtree(folder)


class Lab:
    """A remote that is a copy of a store, and people's clones of it."""

    def __init__(self, folder: Path, store: Path) -> None:
        self.folder = folder
        self.remote = folder / "remote.git"
        # Packs are shared with the store by hard links: nobody ever writes to a pack.
        git("clone", "--quiet", "--bare", "--local", str(store), str(self.remote), cwd=folder)

    def clone(self, who: str, *options: str) -> Path:
        """A person's clone, with a checkout unless the options of `git clone` say otherwise."""
        path = self.folder / who
        git("clone", "--quiet", *options, str(self.remote), str(path), cwd=self.folder)
        git("config", "user.name", who.title(), cwd=path)
        git("config", "user.email", f"{who}@example.com", cwd=path)
        return path

    def tree(self) -> dict[str, str]:
        """The ids of the waiting escalations' files, by escalation."""
        lines = git("ls-tree", "main:queue", cwd=self.remote).splitlines()
        files = (line.split() for line in lines if line.endswith(".yaml"))
        return {name.removesuffix(".yaml"): oid for _, _, oid, name in files}


class Worker:
    """A long-lived user of the package in one clone, in a process of its own."""

    def __init__(self, clone: Path) -> None:
        self._process = subprocess.Popen(
            [*_WORKER, str(clone)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._line()

    def order(self, what: str) -> None:
        """Let it begin."""
        assert self._process.stdin
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """What came of the order."""
        found: dict[str, Any] = json.loads(self._line())
        return found

    def claim(self, how: str, names: Iterator[str]) -> float:
        """How long a claim of the next of these took, in seconds, which must succeed."""
        name = next(names)
        self.order(f"{how} {name}")
        said = self.answer()
        if not said.get("changed"):
            raise Failed(f"{how} {name}: {said}")
        return float(said["seconds"])

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def _line(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise Failed("a worker has ended; its words are above")
        return line


class Plumbing:
    """Claims by plain git in one clone, of the escalations that wait there, one after another."""

    def __init__(self, lab: Lab, clone: Path) -> None:
        self._clone = clone
        self._files = lab.folder / "claimed"
        self._files.mkdir()
        self._names = list(lab.tree())
        claim = "claim:\n  claim_id: by-plumbing\n  claimed_by: reviewer-01\n"
        for name in self._names:
            text = git("cat-file", "blob", f"main:queue/{name}.yaml", cwd=lab.remote)
            text = text.replace("status: queued", "status: claimed")
            (self._files / name).write_text(f'{text}\n{claim}  claimed_at: "2025-01-02T00:00:00.000Z"\n')

    def claim(self) -> float:
        """How long one claim takes, in seconds."""
        name = self._names.pop()
        args = (*floors.CLAIM, str(self._files / name), f"queue/{name}.yaml", f"kt: claim {name}")
        return seconds(args, self._clone)


def _imports() -> float:
    return seconds(floors.IMPORTS, Path.cwd())


_IMPORTS = "Python importing click, yaml, pydantic, filelock"
_PLUMBING = "the same commit by git plumbing, pushed"
_IMPORTED = "`git fast-import` of the same files"


# --- reading --------------------------------------------------------------------------------------


def listing(bench: Bench) -> Iterator[RecordSummary]:
    """`list` with a long queue."""
    count = bench.scale.listed
    with bench.lab(bench.stores.resting(count)) as lab:
        clone = lab.clone(REVIEWERS[0])
        first = kt("list", cwd=clone)
        values, imports = pairs(bench.scale.repeat, lambda: kt("list", cwd=clone), _imports)
        yield RecordSummary(
            f"`list`, {count:,} open, second run", "s", values, _IMPORTS, imports, "1.0 ×",
            f"the first run: {first:.2f} s",
        )  # fmt: skip
        everything = ("list", "--limit", "0", "--json")
        values, imports = pairs(bench.scale.repeat_long, lambda: kt(*everything, cwd=clone), _imports)
        yield RecordSummary(f"`list --limit 0 --json`, {count:,} open", "s", values, _IMPORTS, imports)
        peaks = [kt_peak("list", cwd=clone)[1] for _ in range(bench.scale.repeat_long)]
        yield RecordSummary(f"memory of `list`, {count:,} open", "MB", peaks, budget="150 MB")


# --- writing --------------------------------------------------------------------------------------


def claim(bench: Bench) -> Iterator[RecordSummary]:
    """One claim, through the package and as a command, beside the same by plumbing."""
    count, repeat = bench.scale.waiting, bench.scale.repeat
    store = bench.stores.resting(count)
    with bench.lab(store) as lab, bench.lab(store) as other, ExitStack() as stack:
        clone = lab.clone(REVIEWERS[0])
        names = iter(list(lab.tree()))
        plumbing = Plumbing(other, other.clone(REVIEWERS[0]))
        worker = stack.enter_context(Worker(clone))
        for how, work, budget in (
            ("afresh", "one claim through the package", "1.3 ×"),
            ("follow", "the same, with a store that is open already", None),
            ("claim", "the same, and without bringing the checkout along", None),
        ):
            values, plain = pairs(repeat, partial(worker.claim, how, names), plumbing.claim)
            yield RecordSummary(f"{work}, {count:,} open", "s", values, _PLUMBING, plain, budget)

        def both() -> float:
            return _imports() + plumbing.claim()

        values, floor = pairs(repeat, lambda: kt("claim", "--id", next(names), cwd=clone), both)
        yield RecordSummary(
            f"the same claim as a command, {count:,} open", "s", values, "imports + plumbing", floor, "1.2 ×"
        )


def drain(bench: Bench) -> Iterator[RecordSummary]:
    """Several clones on one host share a queue."""
    count, clones = bench.scale.drained, bench.scale.clones
    store = bench.stores.resting(count)
    failed: Counter[str] = Counter()
    shares: list[int] = []

    def workers() -> float:
        with bench.lab(store) as lab, ExitStack() as stack:
            team = [stack.enter_context(Worker(lab.clone(who))) for who in REVIEWERS[:clones]]
            began = time.monotonic()
            for worker in team:
                worker.order("drain")
            said = [worker.answer() for worker in team]
            took: float = max(one["ended"] for one in said) - began
            failed.update(code for one in said for code in one["failed"])
            shares.extend(one["taken"] for one in said)
            pushed = int(git("rev-list", "--count", "main", cwd=lab.remote)) - 2
            if (sum(one["taken"] for one in said), pushed) != (count, count):
                raise Failed(f"{pushed} of {count} were claimed: {said}")
            return took

    def alone() -> float:
        with bench.lab(store) as lab:
            plumbing = Plumbing(lab, lab.clone(REVIEWERS[0]))
            return sum(plumbing.claim() for _ in range(count))

    values, floor = pairs(bench.scale.repeat_long, workers, alone, warm=False)
    rate = count / middle(values)
    note = f"{rate:.1f} claims a second; between {min(shares)} and {max(shares)} for each clone"
    if failed:
        note += f"; on the way {dict(failed)}"
    yield RecordSummary(
        f"{clones} clones drain {count}, one push each", "s", values, "one clone, by plumbing", floor,
        "rate ≥ 0.9 ×", note, of_rates=True,
    )  # fmt: skip


def race(bench: Bench) -> Iterator[RecordSummary]:
    """Many clones want the same one at once."""
    racers = REVIEWERS[: bench.scale.racers]
    store = bench.stores.resting(bench.scale.drained)
    lates: list[float] = []
    for _ in range(bench.scale.repeat_long):
        with bench.lab(store) as lab, ExitStack() as stack:
            wanted = next(iter(lab.tree()))
            team = [stack.enter_context(Worker(lab.clone(who))) for who in racers]
            for worker in team:
                worker.order(f"claim {wanted}")
            said = [worker.answer() for worker in team]
            won = [one["ended"] for one in said if one.get("changed")]
            told = [one["ended"] for one in said if one.get("code") == "already_claimed"]
            if (len(won), len(told)) != (1, len(racers) - 1):
                raise Failed(f"one winner was expected: {said}")
            lates.append(max(0.0, max(told) - won[0]))
    yield RecordSummary(
        f"{len(racers)} clones want one: the last loser is told, after the winner", "s", lates, budget="2 s",
        note="long-lived processes; one winner each time",
    )  # fmt: skip
    lates = [_race_of_commands(bench, store, racers) for _ in range(bench.scale.repeat_long)]
    yield RecordSummary(
        f"the same as {len(racers)} commands started at once", "s", lates,
        note="most of it is Python starting, on the cores that there are",
    )  # fmt: skip


def _race_of_commands(bench: Bench, store: Path, racers: Sequence[str]) -> float:
    with bench.lab(store) as lab:
        wanted = next(iter(lab.tree()))
        clones = [lab.clone(who) for who in racers]
        running = {
            subprocess.Popen(
                [*KT, "claim", "--id", wanted],
                cwd=clone,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for clone in clones
        }
        ended: list[tuple[int, float]] = []
        while running:
            for process in [one for one in running if one.poll() is not None]:
                ended.append((process.returncode, time.monotonic()))
                running.remove(process)
            time.sleep(0.002)
        if Counter(code for code, _ in ended) != {0: 1, 6: len(racers) - 1}:
            raise Failed(f"one winner was expected: {ended}")
        [won] = [when for code, when in ended if code == 0]
        return max(0.0, max(when for _, when in ended) - won)


def batch(bench: Bench) -> Iterator[RecordSummary]:
    """Many escalations in one commit."""
    count = bench.scale.batch
    lines = bench.work / "batch.ndjson"
    lines.write_text("".join(f"{json.dumps(stores.event(n, 'batch'))}\n" for n in range(count)))
    stream = bench.work / "stream"
    _same_files(bench, lines, stream)

    def raised(*, remote: bool = True, bare: bool = False) -> float:
        with bench.lab(bench.stores.resting(1)) as lab:
            clone = lab.clone(stores.GATEWAY, *(("--bare",) if bare else ()))
            if not remote:
                git("remote", "remove", "origin", cwd=clone)
            return kt("raise", "--batch", str(lines), cwd=clone)

    def imported(*, checkout: bool = False) -> float:
        with tempfile.TemporaryDirectory(dir=bench.work) as name:
            folder = Path(name)
            git("init", "--quiet", *(() if checkout else ("--bare",)), cwd=folder)
            took = seconds(floors.FAST_IMPORT, folder, stdin=stream)
            return took + (seconds(floors.CHECKOUT, folder) if checkout else 0)

    work, repeat = f"`raise --batch`, {count:,}", bench.scale.repeat_long
    values, plain = pairs(repeat, raised, imported)
    yield RecordSummary(f"{work}, with a remote", "s", values, _IMPORTED, plain, "1.3 ×")
    values, plain = pairs(repeat, raised, partial(imported, checkout=True))
    yield RecordSummary(
        "the same, beside a floor that writes the checkout as well",
        "s",
        values,
        f"{_IMPORTED}, and a checkout",
        plain,
    )
    values, plain = pairs(repeat, partial(raised, bare=True), imported)
    yield RecordSummary("the same in a clone that has no checkout", "s", values, _IMPORTED, plain)
    values, plain = pairs(repeat, partial(raised, remote=False), imported)
    yield RecordSummary(f"{work}, without a remote", "s", values, _IMPORTED, plain)


def _same_files(bench: Bench, lines: Path, stream: Path) -> None:
    """What `raise --batch` makes, as a stream for `git fast-import`."""
    with bench.lab(bench.stores.resting(1)) as lab:
        clone = lab.clone(stores.GATEWAY)
        kt("raise", "--batch", str(lines), cwd=clone)
        with stream.open("wb") as file:
            file.write(b"commit refs/heads/main\ncommitter Gateway <gateway@example.com> 1735776000 +0000\n")
            file.write(b"data 5\nraise\n")
            for path in sorted((clone / "queue").glob("*.yaml")):
                data = path.read_bytes()
                file.write(b"M 100644 inline queue/%b\ndata %d\n" % (path.name.encode(), len(data)))
                file.write(data + b"\n")


# --- proving --------------------------------------------------------------------------------------


def verify(bench: Bench) -> Iterator[RecordSummary]:
    """A long history, judged whole and then one transition more at a time."""
    steps, at_once = bench.scale.steps, bench.scale.at_once
    with bench.lab(bench.stores.living(steps, at_once)) as lab:
        clone = lab.clone(REVIEWERS[0])
        memory = clone / ".git/kt"
        peaks: list[float] = []

        def whole() -> float:
            shutil.rmtree(memory, ignore_errors=True)
            took, peak = kt_peak("verify", cwd=clone)
            peaks.append(peak)
            return took

        def log() -> float:
            return seconds(floors.HISTORY, clone)

        log()
        values, plain = pairs(bench.scale.repeat_long, whole, log, warm=False)
        yield RecordSummary(
            f"`verify`, {steps:,} transitions, {at_once} open at a time, first run", "s", values,
            "`git log -p` over the same history", plain, "2.0 ×",
        )  # fmt: skip
        yield RecordSummary(f"memory of `verify`, {steps:,} transitions", "MB", peaks, budget="150 MB")

        def one_more() -> float:
            kt("claim", "--next", cwd=clone)
            return kt("verify", cwd=clone)

        values, imports = pairs(bench.scale.repeat, one_more, _imports)
        yield RecordSummary("`verify` again, one transition more", "s", values, _IMPORTS, imports, "1.2 ×")


def signed(bench: Bench) -> Iterator[RecordSummary]:
    """A history of which every commit is signed by an SSH key, judged whole, beside the same without signatures."""
    steps, at_once = bench.scale.signed, bench.scale.at_once
    with bench.lab(bench.stores.signed(steps, at_once)) as lab:
        with bench.lab(bench.stores.living(steps, at_once)) as plain:
            clones = [one.clone(REVIEWERS[0]) for one in (lab, plain)]
            whole = [partial(kt, "verify", "--afresh", cwd=clone) for clone in clones]
            values, floor = pairs(bench.scale.repeat, *whole)
        yield RecordSummary(
            f"`verify --afresh`, {steps:,} transitions signed by SSH keys", "s", values,
            "the same without signatures", floor, "2.0 ×",
        )  # fmt: skip


def page(bench: Bench) -> Iterator[RecordSummary]:
    """A store of so many escalations, each raised, claimed and resolved, as a page."""
    written, at_once = bench.scale.listed, bench.scale.at_once
    with bench.lab(bench.stores.living(3 * written, at_once)) as lab:
        clone = lab.clone(REVIEWERS[0])
        out = lab.folder / "report.html"
        values, plain = pairs(
            bench.scale.repeat_long,
            lambda: kt("report", "-o", str(out), cwd=clone),
            lambda: seconds(floors.HISTORY, clone),
        )
        work = f"`report`, {written:,} escalations"
        yield RecordSummary(work, "s", values, "`git log -p` over the same history", plain, "10 s")
        yield RecordSummary(
            f"the page of {written:,} escalations", "MB", [out.stat().st_size / 1e6], budget="5 MB"
        )


def push(bench: Bench) -> Iterator[RecordSummary]:
    """What a server's hook takes for a push of many steps, from before it starts until it lets them in."""
    waiting, steps = bench.scale.listed, bench.scale.pushed
    ahead = bench.stores.claimed(waiting, steps)
    with bench.lab(bench.stores.resting(waiting)) as lab:
        # The objects have come, and the branch has not moved, when git asks its hook.
        git("fetch", "--quiet", str(ahead), "main:refs/heads/pushed", cwd=lab.remote)
        updates = lab.folder / "updates"
        updates.write_text(
            f"{git('rev-parse', 'main', 'pushed', cwd=lab.remote)} refs/heads/main".replace("\n", " ")
        )
        # However slow the machine is, it is measured and not refused.
        hook = [*KT, "hook", "pre-receive", "--timeout", "10m"]
        values, imports = pairs(
            bench.scale.repeat, lambda: seconds(hook, lab.remote, stdin=updates), _imports
        )
        yield RecordSummary(
            f"the hook judges a push of {steps:,} transitions, {waiting:,} open", "s", values, budget="0.5 s",
            note=f"{_IMPORTS}: {report.amount(middle(imports), 's')} of it",
        )  # fmt: skip


def compacted(bench: Bench) -> Iterator[RecordSummary]:
    """A claim with years behind it, beside one with little behind it."""
    few, many = bench.scale.archived[0], bench.scale.archived[-1]
    count = bench.scale.waiting
    with ExitStack() as stack:
        one: dict[int, Callable[[], float]] = {}
        for behind in (few, many):
            lab = stack.enter_context(bench.lab(bench.stores.resting(count, archived=behind)))
            worker = stack.enter_context(Worker(lab.clone(REVIEWERS[0])))
            names = iter(list(lab.tree()))
            one[behind] = partial(worker.claim, "afresh", names)
        values, floor = pairs(bench.scale.repeat, one[many], one[few])
        yield RecordSummary(
            f"one claim, {many:,} resolved behind it, compacted", "s", values,
            f"the same with {few:,}", floor, "1.2 ×",
        )  # fmt: skip


def use(bench: Bench) -> Iterator[RecordSummary]:
    """A decision that is waited for and released, with a long history behind it and with a short one."""
    many, few, at_once = bench.scale.steps, bench.scale.behind, bench.scale.at_once
    with ExitStack() as stack:
        waits: dict[int, Callable[[], float]] = {}
        olds: dict[int, Callable[[], float]] = {}
        for behind in (few, many):
            lab = stack.enter_context(bench.lab(bench.stores.living(behind, at_once)))
            # One more than is measured, to warm up.
            plain, *once = _decided(lab, bench.scale.repeat + 1)
            clone = lab.clone(stores.GATEWAY)
            wait = partial(kt, "wait", "--id", plain, cwd=clone)
            # The first one judges the whole line.
            wait()
            waits[behind] = wait
            olds[behind] = partial(kt, "wait", "--id", _decided_first(clone), cwd=clone)
        values, floor = pairs(bench.scale.repeat_long, waits[many], waits[few])
        yield RecordSummary(
            f"`wait` for one that is decided, {many:,} transitions behind it", "s", values,
            f"the same with {few:,}", floor, "1.5 ×",
        )  # fmt: skip
        values, floor = pairs(bench.scale.repeat_long, olds[many], olds[few])
        yield RecordSummary(
            f"`wait` for the first one that was approved, {many:,} transitions ago", "s", values,
            f"the same with {few:,}", floor, "1.5 ×",
        )  # fmt: skip
        worker = stack.enter_context(Worker(clone))
        release = partial(worker.claim, "release", iter(once))
        values, floor = pairs(bench.scale.repeat, release, partial(_pushed, clone))
        yield RecordSummary(
            f"one release through the package, {many:,} transitions behind it", "s", values,
            "a `git push` of one commit there", floor,
        )  # fmt: skip


def _pushed(clone: Path) -> float:
    """How long a plain push takes here, to a branch of its own: the server walks the whole tree for it."""
    commit = git("commit-tree", "-p", "origin/main", "-m", "plain", "origin/main^{tree}", cwd=clone)
    return seconds(["git", "push", "--quiet", "--force", "origin", f"{commit}:refs/heads/plain"], clone)


def _decided_first(clone: Path) -> str:
    """The id of the escalation that was approved first."""
    subjects = git("log", "--reverse", "--format=%s", cwd=clone).splitlines()
    found = (
        line.split() for line in subjects if line.startswith("kt: resolve ") and line.endswith(" approved")
    )
    return next(found)[2]


def _decided(lab: Lab, count: int) -> list[str]:
    """Decide one that anybody may use, and so many for one use each; their ids."""
    admin, gateway, reviewer = (lab.clone(who) for who in (stores.ADMIN, stores.GATEWAY, REVIEWERS[0]))
    rule = "rules: [{match: {reason_code: tool.call}, single_use: true}]\n"
    with (admin / "policies/settings.yaml").open("a") as settings:
        settings.write(rule)
    git("commit", "--quiet", "-am", "Tool calls are for one use", cwd=admin)
    git("push", "--quiet", "origin", "HEAD:main", cwd=admin)
    codes = ["oversight.required", *["tool.call"] * count]
    lines = [
        json.dumps({"request_id": f"use-{n}", "reason_code": code, "model": "gpt-4o"})
        for n, code in enumerate(codes)
    ]
    (lab.folder / "uses.ndjson").write_text("\n".join(lines))
    names = [f"esc_use-{number}" for number in range(len(codes))]
    every = [word for name in names for word in ("--id", name)]
    kt("raise", "--batch", str(lab.folder / "uses.ndjson"), cwd=gateway)
    kt("claim", *every, cwd=reviewer)
    kt("resolve", *every, "--outcome", "approved", "--reason", stores.REASON, cwd=reviewer)
    shutil.rmtree(gateway)
    return names


#: Every row by the name that chooses it, cheap ones first.
ROWS: dict[str, Callable[[Bench], Iterator[RecordSummary]]] = {
    "list": listing,
    "claim": claim,
    "drain": drain,
    "race": race,
    "batch": batch,
    "verify": verify,
    "signed": signed,
    "report": page,
    "push": push,
    "compacted": compacted,
    "use": use,
    "held": held,
}
#: Those that need more than this machine has anyway, here lighttpd and sshd, have to be asked for.
APART: dict[str, Callable[[Bench], Iterator[RecordSummary]]] = {"network": network}
