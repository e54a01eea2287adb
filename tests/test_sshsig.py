"""SSH signatures, checked in this process: held to what git and the real ssh-keygen say, and stricter where it is said."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest
import sshkeys
from counts import examples
from forge import Forge, rules_of
from hypothesis import given, settings
from hypothesis import strategies as st
from lab import git, kt
from sshkeys import ED25519_ORDER, Fields, Key, armor, dearmored, mpint, signed_commit, string

from kt_escalation.git.commit_signature import MAX_COMMIT
from kt_escalation.git.repository import Repository, SignatureFacts
from kt_escalation.policies.policy_set import Policies
from kt_escalation.policies.roster import Roster
from kt_escalation.rules import signature_check

# --- commits made by hand, and who judges them ----------------------------------------------------

Commits = Callable[..., bytes]


@dataclass(frozen=True)
class Both:
    """What ours and git say of the same commit: the verdict, and the key's fingerprint if it holds."""

    ours: SignatureFacts
    git: str

    @property
    def ours_holds(self) -> bool:
        return self.ours.verdict == "U"

    @property
    def git_holds(self) -> bool:
        return self.git.startswith(("U", "G"))

    @property
    def key(self) -> str:
        return self.git.partition(" ")[2]


class Bench:
    """A repository of some object format with commits that nobody but a forger writes."""

    def __init__(self, folder: Path, object_format: str = "sha1") -> None:
        self.path = folder / object_format
        git("init", "--quiet", f"--object-format={object_format}", str(self.path), cwd=folder)
        git("config", "gpg.ssh.allowedSignersFile", "/dev/null", cwd=self.path)
        self.repository = Repository(self.path)
        for name, value in (("user.name", "Alice"), ("user.email", "alice@example.com")):
            git("config", name, value, cwd=self.path)
        tree = git("mktree", cwd=self.path)
        self.parents = [git("commit-tree", tree, "-m", str(number), cwd=self.path) for number in range(2)]
        lines = [f"tree {tree}", *(f"parent {oid}" for oid in self.parents)]
        lines += [f"{who} Alice <alice@example.com> 1750000000 +0200" for who in ("author", "committer")]
        # Headers that git writes between the committer and the signature.
        lines += ["mergetag object " + self.parents[1], " type commit", " tag v1", " ", " said so"]
        lines += ["encoding UTF-8", "", "kt: claim esc_one", "", "Kt-Action: claim", ""]
        self.commit = "\n".join(lines).encode()

    def close(self) -> None:
        self.repository.objects.close()

    def sign(self, key: Path, message: str = "x") -> SignatureFacts:
        """What ours says of a commit that git signs with a key."""
        git("config", "user.signingKey", str(key), cwd=self.path)
        git("commit", "--quiet", "-S", "--allow-empty", "-m", message, cwd=self.path)
        [(_, facts)] = self.repository.signatures([git("rev-parse", "HEAD", cwd=self.path)])
        return facts

    def write(self, raw: bytes) -> str:
        """The id of a raw commit, which may be anything."""
        command = ["git", "hash-object", "-t", "commit", "-w", "--literally", "--stdin"]
        done = subprocess.run(command, cwd=self.path, input=raw, capture_output=True, check=True)
        return done.stdout.decode().strip()

    def ours(self, *raw: bytes) -> list[SignatureFacts]:
        return [facts for _, facts in self.repository.signatures([self.write(one) for one in raw])]

    def both(self, raw: bytes) -> Both:
        oid = self.write(raw)
        command = ["git", "log", "--no-walk", "--format=%G? %GF", oid]
        said = subprocess.run(command, cwd=self.path, capture_output=True, check=False)
        while said.returncode == -signal.SIGPIPE:
            # git writes the payload to ssh-keygen, which may have refused the signature and be gone.
            said = subprocess.run(command, cwd=self.path, capture_output=True, check=False)
        [(_, ours)] = self.repository.signatures([oid])
        return Both(ours, said.stdout.decode().strip() if said.returncode == 0 else "-")

    def read(self, raw: bytes) -> bytes:
        """All that git and we read from a commit."""
        form = "--format=%T%x00%P%x00%an%x00%ae%x00%at%x00%cn%x00%ce%x00%ct%x00%e%x00%B"
        command = ["git", "log", "--no-walk", form, self.write(raw)]
        return subprocess.run(command, cwd=self.path, capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with closing(Bench(tmp_path_factory.mktemp("commits"))) as made:
        yield made


@pytest.fixture(scope="module")
def sha256(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with closing(Bench(tmp_path_factory.mktemp("commits"), "sha256")) as made:
        yield made


@pytest.fixture
def signing(tmp_path: Path) -> Iterator[Bench]:
    """One in which git itself signs."""
    with closing(Bench(tmp_path)) as made:
        git("config", "gpg.format", "ssh", cwd=made.path)
        yield made


KINDS: dict[str, Callable[[], Key]] = {
    "ed25519": sshkeys.ed25519_key,
    "ecdsa-256": lambda: sshkeys.ecdsa_key(256),
    "ecdsa-384": lambda: sshkeys.ecdsa_key(384),
    "ecdsa-521": lambda: sshkeys.ecdsa_key(521),
    "rsa-2048-256": lambda: sshkeys.rsa_key(2048, 256),
    "rsa-3072-512": lambda: sshkeys.rsa_key(3072, 512),
    "sk-ed25519": sshkeys.sk_ed25519_key,
    "sk-ecdsa": sshkeys.sk_ecdsa_key,
}


@cache
def key(kind: str) -> Key:
    return KINDS[kind]()


def ssh_keygen(path: Path, kind: str, *options: str) -> Path:
    """A key pair by the real program."""
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-f", path, "-t", kind, *options], check=True)
    return path


kinds = pytest.mark.parametrize("kind", KINDS)


# --- what holds -----------------------------------------------------------------------------------


@kinds
@pytest.mark.parametrize("hash_name", [b"sha256", b"sha512"])
def test_a_good_signature_of_every_kind_of_key_holds_for_both(
    bench: Bench, kind: str, hash_name: bytes
) -> None:
    signature = Fields(key(kind), hash_name=hash_name).armored(bench.commit)
    both = bench.both(signed_commit(bench.commit, signature))
    assert both.git == f"U {key(kind).fingerprint}"
    assert both.ours == SignatureFacts("U", (key(kind).fingerprint, key(kind).line))


@pytest.mark.parametrize("options", [("ed25519",), ("ecdsa", "-b", "521"), ("rsa", "-b", "3072")])
def test_what_git_and_ssh_keygen_sign_themselves_holds(
    signing: Bench, tmp_path: Path, options: tuple[str, ...]
) -> None:
    path = ssh_keygen(tmp_path / "key", *options)
    facts = signing.sign(path, "subject\n\nÄ body\n\n" + "x" * 9999)
    line = path.with_suffix(".pub").read_text()
    assert facts.verdict == "U"
    assert facts.keys[1] == " ".join(line.split()[:2])
    told = subprocess.run(["ssh-keygen", "-l", "-f", path], capture_output=True, text=True, check=True).stdout
    assert facts.keys[0] == git("log", "-1", "--format=%GF", cwd=signing.path) == told.split()[1]


def test_in_a_sha256_repository_the_other_header_counts(bench: Bench, sha256: Bench) -> None:
    for made, own, other in ((bench, b"gpgsig", b"gpgsig-sha256"), (sha256, b"gpgsig-sha256", b"gpgsig")):
        signature = Fields(key("ed25519")).armored(made.commit)
        both = made.both(signed_commit(made.commit, signature, own))
        assert both.git_holds
        assert both.ours_holds
        both = made.both(signed_commit(made.commit, signature, other))
        assert both.git.startswith("N")
        assert both.ours.verdict == "N"
        # A commit for both formats has both, and neither is signed by the other.
        twice = signed_commit(signed_commit(made.commit, signature, own), signature, other)
        both = made.both(twice)
        assert both.git_holds
        assert both.ours_holds
        assert both.key == both.ours.keys[0]


def test_a_commit_without_a_signature_has_none_for_both(bench: Bench) -> None:
    both = bench.both(bench.commit)
    assert both.git.startswith("N")
    assert both.ours == SignatureFacts("N")
    # In the message it is none either.
    both = bench.both(bench.commit + b"\ngpgsig -----BEGIN SSH SIGNATURE-----\n")
    assert both.git.startswith("N")
    assert both.ours == SignatureFacts("N")


# --- what does not --------------------------------------------------------------------------------


@kinds
def test_no_signature_holds_for_another_commit_or_another_key(bench: Bench, kind: str) -> None:
    signature = Fields(key(kind)).armored(bench.commit)
    other = bench.commit.replace(b"esc_one", b"esc_two")
    both = bench.both(signed_commit(other, signature))
    assert both.git.startswith("B")
    assert both.ours.verdict == "B"
    assert both.ours.why == "it is bad: it does not fit the commit"
    both = bench.both(
        signed_commit(bench.commit, Fields(key(kind), blob=KINDS[kind]().blob).armored(bench.commit))
    )
    assert both.git.startswith("B")
    assert both.ours.verdict == "B"


WRONG: dict[str, tuple[Callable[[Fields], Fields], str]] = {
    "namespace": (lambda it: it.but(namespace=b"file"), "namespace"),
    "namespace with a NUL": (lambda it: it.but(namespace=b"git\0x"), "namespace"),
    "namespace that was not signed": (lambda it: it.but(signed=it.but(namespace=b"file")), "fit the commit"),
    "hash": (lambda it: it.but(hash_name=b"sha384"), "neither sha256 nor sha512"),
    "sha1": (lambda it: it.but(hash_name=b"sha1"), "neither sha256 nor sha512"),
    "hash that was not signed": (lambda it: it.but(signed=it.but(hash_name=b"sha256")), "fit the commit"),
    "magic": (lambda it: it.but(magic=b"SSHGIS"), "version 1"),
    "version": (lambda it: it.but(version=2), "version 1"),
    "tail": (lambda it: it.but(tail=b"\0"), "after its end"),
    "tail of the key": (lambda it: it.but(blob=it.key.blob + b"\0"), "after its end"),
    "tail of the inner signature": (lambda it: it.but(inner=lambda inner: inner + b"\0"), "after its end"),
    "no inner signature": (lambda it: it.but(inner=lambda _: b""), "cut off"),
    "empty value": (lambda it: it.but(inner=lambda inner: inner[: 4 + inner[3]] + string(b"")), ""),
    "no key": (lambda it: it.but(blob=b""), "cut off"),
    "another algorithm": (lambda it: it.but(inner=lambda inner: string(b"ssh-dss") + inner[4 + inner[3] :]), ""),
    "a length beyond the end": (lambda it: it.but(inner=lambda inner: b"\xff" * 4 + inner[4:]), "cut off"),
}  # fmt: skip


@kinds
@pytest.mark.parametrize("how", WRONG)
def test_a_field_that_is_wrong_is_refused_by_both_and_says_why(bench: Bench, kind: str, how: str) -> None:
    wrong, why = WRONG[how]
    both = bench.both(signed_commit(bench.commit, wrong(Fields(key(kind))).armored(bench.commit)))
    assert both.git[0] == "B"
    assert both.ours.verdict == "B"
    assert both.ours.why.startswith("it is bad: ")
    assert why in both.ours.why


def _malleated(inner: bytes) -> bytes:
    """The same Ed25519 signature with a second half that is larger than it may be."""
    value = inner[-64:]
    second = int.from_bytes(value[32:], "little") + ED25519_ORDER
    return inner[:-32] + second.to_bytes(32, "little")


def _certificate() -> Key:
    """A key that says it is a certificate; nothing in it is looked at."""
    plain = key("ed25519")
    blob = string(b"ssh-ed25519-cert-v01@openssh.com") + plain.blob[15:]
    return Key("certificate", blob, plain.sign)


# What OpenSSH takes and we do not, with the words for it.
STRICTER: dict[str, tuple[Callable[[], Fields], str]] = {
    "version 0": (lambda: Fields(key("ed25519"), version=0), "it is not a version 1 SSH signature"),
    "reserved": (lambda: Fields(key("ed25519"), reserved=b"x"), "its reserved field is not empty"),
    "rsa of 1024 bits": (lambda: Fields(sshkeys.rsa_key(1024)), "its RSA key has fewer than 2048 bits"),
    "rsa of 2047 bits": (lambda: Fields(sshkeys.rsa_key(2047)), "its RSA key has fewer than 2048 bits"),
    "an untouched security key": (
        lambda: Fields(sshkeys.sk_ed25519_key(flags=0)), "nobody touched the security key that made it",
    ),
    "an untouched security key that knows its user": (
        lambda: Fields(sshkeys.sk_ecdsa_key(flags=4)), "nobody touched the security key that made it",
    ),
    "superfluous zeros": (
        lambda: Fields(sshkeys.ecdsa_key(256, zeros=2)), "the signature in it holds a number with superfluous zeros",
    ),
    "zeros in an RSA key": (
        lambda: Fields(key("rsa-2048-256"), blob=_with_zeros(key("rsa-2048-256").blob)),
        "the key in it holds a number with superfluous zeros",
    ),
}  # fmt: skip


def _with_zeros(blob: bytes) -> bytes:
    """An RSA key whose exponent has a superfluous zero in front."""
    return blob[:11] + string(b"\0\x01\x00\x01") + blob[18:]


@pytest.mark.parametrize("how", STRICTER)
def test_where_we_are_stricter_than_openssh_the_words_say_it(bench: Bench, how: str) -> None:
    made, why = STRICTER[how]
    both = bench.both(signed_commit(bench.commit, made().armored(bench.commit)))
    assert both.git_holds
    assert (both.ours.verdict, both.ours.why) == ("B", f"it is bad: {why}")


BOTH: dict[str, tuple[Callable[[], Fields], str]] = {
    "rsa with sha-1": (
        lambda: Fields(sshkeys.rsa_key(2048, 1, algorithm=b"ssh-rsa")), "neither rsa-sha2-256 nor rsa-sha2-512",
    ),
    "rsa with the other hash": (lambda: Fields(sshkeys.rsa_key(2048, 256, algorithm=b"rsa-sha2-512")), "fit the commit"),
    "rsa with another exponent": (lambda: Fields(sshkeys.rsa_key(2048, exponent=3)), "fit the commit"),
    "an even exponent": (lambda: Fields(sshkeys.rsa_key(2048, exponent=65536)), ""),
    "exponent 1": (lambda: Fields(sshkeys.rsa_key(2048, exponent=1)), "malformed"),
    "a compressed point": (lambda: Fields(sshkeys.ecdsa_key(256, compressed=True)), "malformed"),
    "a point off the curve": (lambda: Fields(key("ecdsa-256"), blob=key("ecdsa-256").blob[:-1] + b"\0"), ""),
    "dsa": (lambda: Fields(key("ed25519"), blob=string(b"ssh-dss") + mpint(3) * 4), "not accepted"),
    "a certificate that is none": (lambda: Fields(_certificate()), "made with a certificate; sign with the key itself"),
}  # fmt: skip


@pytest.mark.parametrize("how", BOTH)
def test_weak_and_malformed_keys_are_refused_by_both(bench: Bench, how: str) -> None:
    made, why = BOTH[how]
    both = bench.both(signed_commit(bench.commit, made().armored(bench.commit)))
    assert both.git[0] == "B"
    assert both.ours.verdict == "B"
    assert why in both.ours.why


def test_an_ed25519_signature_has_one_form(bench: Bench) -> None:
    fields = Fields(key("ed25519"), inner=_malleated)
    both = bench.both(signed_commit(bench.commit, fields.armored(bench.commit)))
    assert (both.ours.verdict, both.ours.why) == ("B", "it is bad: it does not fit the commit")


def test_a_signature_by_a_real_certificate_is_refused_by_name(signing: Bench, tmp_path: Path) -> None:
    ca, path = (ssh_keygen(tmp_path / name, "ed25519") for name in ("ca", "key"))
    subprocess.run(["ssh-keygen", "-q", "-s", ca, "-I", "x", "-n", "alice", f"{path}.pub"], check=True)
    facts = signing.sign(tmp_path / "key-cert.pub")
    assert git("log", "-1", "--format=%G?", cwd=signing.path) == "U"
    assert facts.verdict == "B"
    assert facts.why == "it is bad: it was made with a certificate; sign with the key itself"


# --- the header and the armor ---------------------------------------------------------------------


def _edited(edit: Callable[[bytes], bytes]) -> Callable[[Bench], bytes]:
    return lambda bench: signed_commit(bench.commit, edit(Fields(key("ed25519")).armored(bench.commit)))


def _header(edit: Callable[[bytes, bytes], bytes]) -> Callable[[Bench], bytes]:
    """A commit from one without a signature and the lines of the header that holds one."""

    def made(bench: Bench) -> bytes:
        signed = signed_commit(bench.commit, Fields(key("ed25519")).armored(bench.commit))
        header = signed[signed.index(b"gpgsig ") : signed.index(b"\n\nkt: ") + 1]
        assert signed.replace(header, b"") == bench.commit
        return edit(bench.commit, header)

    return made


def _before(line: bytes, header: bytes = b"") -> Callable[[Bench], bytes]:
    return _header(lambda commit, own: commit.replace(line, (header or own) + line, 1))


# What git says, what we say, and a part of why.
FORMS: dict[str, tuple[Callable[[Bench], bytes], str, str, str]] = {
    "lines of another width": (
        lambda it: signed_commit(it.commit, Fields(key("ed25519")).armored(it.commit, 64)), "U", "U", "",
    ),
    "an empty line at the end": (
        _header(lambda commit, own: commit.replace(b"\n\nkt", b"\n" + own + b" \n\nkt", 1)), "U", "U", "",
    ),
    "before other headers": (_before(b"encoding "), "U", "U", ""),
    "CRLF": (_edited(lambda it: it.replace(b"\n", b"\r\n")), "B", "B", "armored"),
    "CRLF after the first line": (
        _edited(lambda it: it.replace(b"\n", b"\r\n").replace(b"\r\n", b"\n", 1)), "U", "B", "armored",
    ),
    "a CR in the base64": (_edited(lambda it: it.replace(b"\n", b"\r\n", 2).replace(b"\r\n", b"\n", 1)), "U", "B", "armored"),
    "garbage after the armor": (_edited(lambda it: it + b"x\n"), "U", "B", "armored"),
    "another signature after the armor": (_edited(lambda it: it + it), "U", "B", "armored"),
    "garbage before the armor": (_edited(lambda it: b"x\n" + it), "-", "-", "does not hold a signature"),
    "a blank before the armor": (_edited(lambda it: b" " + it), "-", "-", "does not hold a signature"),
    "no footer": (_edited(lambda it: it.replace(b"-----END SSH SIGNATURE-----", b"")), "B", "B", "armored"),
    "an empty line in it": (_edited(lambda it: it.replace(b"\n", b"\n\n", 2).replace(b"\n\n", b"\n", 1)), "U", "B", "armored"),
    "a NUL in it": (_edited(lambda it: it.replace(b"\n", b"\0\n", 2).replace(b"\0", b"", 1)), "B", "-", "where git writes it"),
    "base64 without padding": (_edited(lambda it: it.replace(b"=", b"")), "B", "B", "canonical"),
    "base64 with a blank": (_edited(lambda it: it[:60] + b" " + it[60:]), "U", "B", "armored"),
    "nothing in it": (_edited(lambda _: armor(b"")), "B", "B", "armored"),
    "twice": (_header(lambda commit, own: commit.replace(b"\n\n", b"\n" + own * 2 + b"\n", 1)), "U", "-", "several"),
    "twice, the second is none": (
        _header(lambda commit, own: commit.replace(b"\n\nkt", b"\n" + own + b"gpgsig x\n\nkt", 1)), "U", "-", "several",
    ),
    "a header that git leaves out of the payload": (
        _header(lambda commit, own: commit.replace(b"\n\nkt", b"\n" + own + b"gpgsig-md5 x\n\nkt", 1)), "U", "-", "several",
    ),
    "between the parents": (
        _header(lambda commit, own: commit.replace(b"\nparent ", b"\n" + own + b"parent ", 2).replace(own, b"", 1)),
        "U", "-", "where git writes it",
    ),
    "before the author": (_before(b"author "), "U", "-", "where git writes it"),
    "the other format's between the parents": (
        _header(
            lambda commit, own: commit.replace(b"\nparent ", b"\ngpgsig-sha256 x\nparent ", 2)
            .replace(b"gpgsig-sha256 x\n", b"", 1)
            .replace(b"\n\nkt", b"\n" + own + b"\nkt", 1)
        ),
        "U", "-", "where git writes it",
    ),
    "no blank after its name": (
        _header(lambda commit, own: commit.replace(b"\n\nkt", b"\n" + own.replace(b"gpgsig ", b"gpgsig") + b"\nkt")), "N", "N", "",
    ),
    "an empty one": (_before(b"encoding ", b"gpgsig \n"), "-", "-", "does not hold a signature"),
    "words": (_before(b"encoding ", b"gpgsig nonsense\n"), "-", "-", "does not hold a signature"),
    "no message and no blank line": (
        _header(lambda commit, own: commit[: commit.index(b"\n\nkt") + 1] + own), "B", "-", "where git writes it",
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", FORMS)
def test_forms_of_the_header_and_of_the_armor(bench: Bench, how: str) -> None:
    make, by_git, by_us, why = FORMS[how]
    both = bench.both(make(bench))
    assert (both.git[0], both.ours.verdict) == (by_git, by_us), both
    assert why in both.ours.why


@pytest.mark.parametrize("how", ["between the parents", "the other format's between the parents"])
def test_git_itself_reads_another_commit_from_what_we_refuse(bench: Bench, how: str) -> None:
    """A signature that holds over two parents, of which git then sees one."""
    raw = FORMS[how][0](bench)
    assert bench.both(raw).git_holds
    assert bench.read(raw) != bench.read(bench.commit)
    assert git("log", "--no-walk", "--format=%P", bench.write(raw), cwd=bench.path) == bench.parents[0]


# Lines that mean something to whoever reads a commit or a signature.
_LINES = st.sampled_from(
    (
        *(b"gpgsig x", b"gpgsig-sha256 x", b"gpgsig", b"gpgsigx y", b" ", b" x", b"", b"\r", b"encoding x"),
        *(
            b"parent " + b"0" * 40,
            b"-----BEGIN SSH SIGNATURE-----",
            b" -----END SSH SIGNATURE-----",
            b" AAAA",
        ),
    )
)


@st.composite
def _damages(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Something done to the lines or the bytes of a raw commit."""
    what = draw(st.sampled_from(["flip", "drop", "twice", "move", "insert", "cut", "join"]))
    at, to = draw(st.integers(0, 10**6)), draw(st.integers(0, 10**6))
    bit, line = 1 << draw(st.integers(0, 7)), draw(_LINES)

    def damaged(raw: bytes) -> bytes:
        if what in ("flip", "cut"):
            here = at % len(raw)
            return raw[:here] + bytes([raw[here] ^ bit]) * (what == "flip") + raw[here + 1 :]
        lines = raw.split(b"\n")
        here, there = at % len(lines), to % len(lines)
        if what == "drop":
            del lines[here]
        elif what == "twice":
            lines.insert(there, lines[here])
        elif what == "move":
            lines.insert(there, lines.pop(here))
        elif what == "join":
            lines[here : here + 2] = [b"".join(lines[here : here + 2])]
        else:
            lines.insert(there, line)
        return b"\n".join(lines)

    return damaged


def _holds_only_what_was_signed(bench: Bench, raw: bytes) -> None:
    both = bench.both(raw)
    if both.ours_holds:
        assert both.git_holds
        assert both.key == both.ours.keys[0]
        assert bench.read(raw) == bench.read(bench.commit)
    elif both.git_holds:
        assert both.ours.why.endswith(
            ("armored as OpenSSH does it", "where git writes it", "commit has several", "not canonical", "not fit the commit")
        )  # fmt: skip
    elif both.git.startswith("N"):
        # Also where git shows a commit without a committer as unsigned.
        assert both.ours.verdict in "N-"


@settings(max_examples=examples(60))
@given(kind=st.sampled_from(["ed25519", "ecdsa-256", "sk-ed25519"]), damage=st.lists(_damages(), max_size=3))
def test_whatever_is_done_to_a_signed_commit_ours_holds_only_if_gits_does(
    bench: Bench, kind: str, damage: Sequence[Callable[[bytes], bytes]]
) -> None:
    raw = signed_commit(bench.commit, Fields(key(kind)).armored(bench.commit))
    for damaged in damage:
        raw = damaged(raw) or b"\n"
    _holds_only_what_was_signed(bench, raw)


@settings(max_examples=examples(60))
@given(
    kind=st.sampled_from([*KINDS]),
    at=st.integers(0, 10**6),
    taken=st.integers(0, 5),
    given_instead=st.binary(max_size=5),
)
def test_whatever_is_done_to_the_bytes_of_a_signature_ours_holds_only_if_gits_does(
    bench: Bench, kind: str, at: int, taken: int, given_instead: bytes
) -> None:
    blob = dearmored(Fields(key(kind)).armored(bench.commit))
    here = at % len(blob)
    blob = blob[:here] + given_instead + blob[here + taken :]
    both = bench.both(signed_commit(bench.commit, armor(blob)))
    if both.ours_holds:
        assert both.git_holds
        assert both.key == both.ours.keys[0]
        assert both.ours.keys == (key(kind).fingerprint, key(kind).line)
    else:
        assert both.ours.verdict == "B"


# --- what a stranger can choose is bounded --------------------------------------------------------

_LARGE = 10 * 1024 * 1024


def _in_the_head(lines: bytes) -> Callable[[Bench], bytes]:
    return lambda it: it.commit.replace(b"\n\nkt", b"\n" + lines + b"\nkt", 1)


HUGE: dict[str, tuple[Callable[[Bench], bytes], str, str]] = {
    "a header of 10 MB": (
        _in_the_head(b"gpgsig -----BEGIN SSH SIGNATURE-----\n" + b" AAAA\n" * (_LARGE // 6)), "-", "larger than 1024 KiB",
    ),
    "a message of 10 MB": (
        lambda it: signed_commit(it.commit + b"x" * _LARGE, Fields(key("ed25519")).armored(it.commit)),
        "-", "larger than 1024 KiB",
    ),
    "a header of 900 KB": (
        _in_the_head(b"gpgsig -----BEGIN SSH SIGNATURE-----\n" + b" AAAA\n" * 150_000), "-", "larger than 64 KiB",
    ),
    "a header of 60 KB": (
        _in_the_head(b"gpgsig -----BEGIN SSH SIGNATURE-----\n" + b" AAAA\n" * 10_000), "B", "larger than 16 KiB",
    ),
    "an OpenPGP signature of 900 KB": (
        _in_the_head(b"gpgsig -----BEGIN PGP SIGNATURE-----\n" + b" AAAA\n" * 150_000), "-", "larger than 64 KiB",
    ),
    "130,000 signature headers": (_in_the_head(b"gpgsig \n" * 130_000), "-", "several"),
    "500,000 headers": (
        lambda it: _in_the_head(b"gpgsig x\n" + b"a\n" * 500_000)(it), "-", "does not hold a signature",
    ),
    "a modulus of 65,536 bits": (
        lambda it: signed_commit(it.commit, _rsa(65537, (1 << 65536) - 1).armored(it.commit)), "B", "too large",
    ),
    "an exponent of 8,000 bits": (
        lambda it: signed_commit(it.commit, _rsa((1 << 8000) - 1, (1 << 8192) - 1).armored(it.commit)), "B", "malformed",
    ),
}  # fmt: skip


def _rsa(exponent: int, modulus: int) -> Fields:
    return Fields(key("rsa-2048-256"), blob=string(b"ssh-rsa") + mpint(exponent) + mpint(modulus))


@pytest.mark.parametrize("how", HUGE)
def test_what_is_huge_is_refused_at_once(bench: Bench, how: str) -> None:
    make, verdict, why = HUGE[how]
    oid = bench.write(make(bench))
    began = time.process_time()
    [(_, facts)] = bench.repository.signatures([oid])
    assert (facts.verdict, why in facts.why) == (verdict, True), facts
    assert time.process_time() - began < 1


def test_a_commit_of_the_largest_size_is_still_read(bench: Bench) -> None:
    size = MAX_COMMIT - len(signed_commit(bench.commit, Fields(key("ed25519")).armored(b"")))
    commit = bench.commit + b"x" * size
    [facts, larger] = bench.ours(
        *(signed_commit(one, Fields(key("ed25519")).armored(one)) for one in (commit, commit + b"x"))
    )
    assert facts.verdict == "U"
    assert larger.verdict == "-"


def test_a_bad_signature_of_a_large_commit_is_only_bad(bench: Bench) -> None:
    """ssh-keygen is gone before git has written it the payload, and git dies of SIGPIPE (2.39)."""
    commit = bench.commit + b"x" * 300_000
    oid = bench.write(signed_commit(commit, Fields(key("ed25519"), magic=b"SSHGIS").armored(commit)))
    [(_, facts)] = bench.repository.signatures([oid])
    assert (facts.verdict, facts.why) == ("B", "it is bad: it is not a version 1 SSH signature")


# --- whose key it is ------------------------------------------------------------------------------

# Names of tests must be the same in every process.
LINE = Key("fixed", string(b"ssh-ed25519") + string(bytes(range(32))), bytes).line
BLOB = LINE.split()[1]
OPENPGP = "8D1C" * 10


def _judged(listed: Sequence[str], *keys: str, verdict: str = "U") -> list[str]:
    user = {"user_id": "alice", "emails": ("alice@example.com",), "signing_keys": tuple(listed)}
    policies = Policies(roster=Roster.parse({"users": (user,)}))
    now = datetime(2026, 1, 1, tzinfo=UTC)
    signed = signature_check.Signed("alice@example.com", "alice@example.com", now, now)
    return [
        found.expected
        for found in signature_check.judge(signature_check.Signature(verdict, keys), signed, policies)
    ]


@pytest.mark.parametrize("listed", [LINE, f"{LINE} alice@laptop", f"{LINE} a comment with words", f" {LINE}"])
def test_a_key_is_the_rosters_by_its_type_and_its_bytes(listed: str) -> None:
    assert _judged([sshkeys.ed25519_key().line, listed], "SHA256:x", LINE) == []


@pytest.mark.parametrize(
    "listed",
    [
        f'namespaces="git" {LINE}',
        f"cert-authority {LINE}",
        f"restrict,{LINE}",
        f"alice@example.com {LINE}",
        f"ssh-ed25519-cert-v01@openssh.com {BLOB}",
        f"ssh-rsa {BLOB}",
        f"sk-ssh-ed25519@openssh.com {BLOB}",
        f"SSH-ED25519 {BLOB}",
        f"ssh-ed25519 {BLOB[:-4]}",
        f"ssh-ed25519 {BLOB}=",
        f"ssh-ed25519 {BLOB}AAAA",
        f"ssh-ed25519 {BLOB[:-1]}{'B' if BLOB[-1] != 'B' else 'C'}",
        f"ssh-ed25519\u00a0{BLOB}",
        f"ssh-ed25519 {BLOB}\u00a0x",
        BLOB,
        "ssh-ed25519",
        "SHA256:x",
        "garbage",
    ],
)
def test_a_line_with_options_a_certificate_or_garbage_is_nobodys_key(listed: str) -> None:
    [found] = _judged([listed], "SHA256:x", LINE)
    assert found.startswith("expected a key of alice (")
    assert found.endswith("; it is by SHA256:x")


def test_a_key_that_is_somebody_elses_or_nobodys_is_a_violation() -> None:
    assert len(_judged([sshkeys.ed25519_key().line], "SHA256:x", LINE)) == 1
    assert _judged([], "SHA256:x", LINE) == [
        "expected a key of alice (the roster lists none that can be used); it is by SHA256:x"
    ]


@pytest.mark.parametrize("listed", [OPENPGP, OPENPGP.lower(), " ".join(["8D1C"] * 10), "8D1C" * 16])
def test_an_openpgp_key_is_the_rosters_by_its_whole_fingerprint(listed: str) -> None:
    whole = listed.replace(" ", "").upper()
    assert _judged([listed], "F" * 40, whole, verdict="G") == []


@pytest.mark.parametrize("listed", [OPENPGP[-8:], OPENPGP[-16:], OPENPGP[:39], f"0x{OPENPGP}", f"{OPENPGP}!"])
def test_a_short_key_id_never_is(listed: str) -> None:
    for by in (listed, OPENPGP, listed.upper()):
        assert len(_judged([listed], by, verdict="G")) == 1


def test_the_reason_for_which_a_signature_is_refused_is_in_the_violation(signed: Forge) -> None:
    signed.git("config", "commit.gpgsign", "false")
    signed.kt("alice", "claim", "--id", "esc_one")
    raw = subprocess.run(
        ["git", "cat-file", "commit", "HEAD"], cwd=signed.path, capture_output=True, check=True
    ).stdout
    forged = signed_commit(raw, Fields(sshkeys.rsa_key(1024)).armored(raw))
    _point_at(signed, forged)
    [found] = kt("verify", "--afresh", "--json", cwd=signed.path).json["violations"]
    assert found["rule"] == "signature"
    assert found["expected"] == (
        "expected a signature that holds; it is bad: its RSA key has fewer than 2048 bits"
    )


@pytest.mark.parametrize("make", [sshkeys.sk_ed25519_key, sshkeys.sk_ecdsa_key])
def test_a_security_key_on_the_roster_signs_for_its_owner_if_it_is_touched(
    signed: Forge, make: Callable[..., Key]
) -> None:
    touched = make()
    signed.edit(
        "policies/roster.yaml", (r"(user_id: alice, .*?signing_keys: \[)", rf'\1"{touched.line} token", ')
    )
    signed.commit("boss", "alice has a security key")
    signed.git("config", "commit.gpgsign", "false")
    signed.kt("alice", "claim", "--id", "esc_one")
    raw = subprocess.run(
        ["git", "cat-file", "commit", "HEAD"], cwd=signed.path, capture_output=True, check=True
    ).stdout
    _point_at(signed, signed_commit(raw, Fields(touched).armored(raw)))
    assert rules_of(signed, "--afresh") == []
    _point_at(signed, signed_commit(raw, Fields(make()).armored(raw)))
    assert rules_of(signed, "--afresh") == ["signature"]


def _point_at(forge: Forge, raw: bytes) -> None:
    command = ["git", "hash-object", "-t", "commit", "-w", "--stdin"]
    done = subprocess.run(command, cwd=forge.path, input=raw, capture_output=True, check=True)
    git("update-ref", "refs/heads/main", done.stdout.decode().strip(), cwd=forge.path)
