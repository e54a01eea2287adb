"""The shell commands that check an evidence file, with git alone or with kt.

They read only git objects from the evidence, until they compare its texts with git's. Every README and
docs/evidence.md have the same commands, except for ids and the store's folder.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from ..git.log import in_glob
from ..model.vocabulary import MAX_BYTES

BUNDLE, PACK, TEXTS = "store.bundle", "records.pack", "texts"

# A roster can be written in many ways. awk reads the two usual ones, a line in braces or a block for each
# user, and stops at everything else. So it never reads a roster differently than kt does.
_KEYS = r"""
# Prints the SSH keys of the user who lists both addresses. It stops at a roster that is not written plainly.
function stop(why) { print "roster.yaml:" NR ": " why > "/dev/stderr"; stopped = 1; exit 2 }
function blanks() { sub(/^[ \t]+/, "", rest) }
function over() { blanks(); if (rest != "" && (rest !~ /^#/ || joined)) stop("there is more than a value") }
function scalar(inside,  quote, end) {
  quote = substr(rest, 1, 1)
  if (quote == "\"" || quote == "\047") {
    end = index(substr(rest, 2), quote)
    found = substr(rest, 2, end - 1); rest = substr(rest, end + 2)
    if (!end || index(found, "\\") || substr(rest, 1, 1) == quote) stop("a quoted text that is not plain")
  } else {
    if (!match(rest, inside ? "^[^][{},?]+" : "^.+")) stop("a value is missing")
    found = substr(rest, 1, RLENGTH); rest = substr(rest, RLENGTH + 1)
    if (end = index(found, " #")) { found = substr(found, 1, end - 1); if (inside || joined) stop("a comment in brackets") }
    sub(/[ \t]+$/, "", found)
    if (found ~ /^[][}{?:,#&*!|>%@`-]/ || found ~ /: / || found ~ /:$/) stop("a value that is not plain")
  }
  if (index(found, "\t")) stop("a value over several lines")
}
function keep(  part) {
  if (name == "user_id") { id = found; if (id !~ /^[A-Za-z0-9][A-Za-z0-9._-]*$/) stop("a user_id that is none") }
  if (name == "emails") mails = mails "\n" tolower(found) "\n"
  if (name == "signing_keys" && found ~ /^(ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+\/=]+( |$)/) {
    split(found, part, " "); key[++count] = part[1] " " part[2]
  }
}
function pair(inside) {
  if (!match(rest, /^[a-z_]+:( |$)/)) stop("a key is missing")
  name = substr(rest, 1, RLENGTH); rest = substr(rest, RLENGTH + 1); sub(/: ?$/, "", name); blanks()
  if (index(names, " " name " ")) stop("a key stands twice")
  names = names " " name " "; list = ""
  if (substr(rest, 1, 1) == "[") {
    rest = substr(rest, 2); blanks()
    while (rest !~ /^]/) { scalar(1); keep(); blanks(); if (!sub(/^,[ \t]*/, "", rest) && rest !~ /^]/) stop("a list that is not plain") }
    rest = substr(rest, 2)
  } else if (!inside && (rest == "" || rest ~ /^#/)) { list = name; lines = -1 }
  else { if (name == "emails" || name == "signing_keys") stop("a list is missing"); scalar(inside); keep() }
  blanks()
}
function finish(  i) {
  if (section == "users" && author != "" && index(mails, "\n" author "\n") && index(mails, "\n" committer "\n"))
    for (i = 1; i <= count; i++) print id " namespaces=\"git\" " key[i]
  id = mails = names = list = ""; count = 0
}
BEGIN { author = tolower(ENVIRON["author"]); committer = tolower(ENVIRON["committer"]) }
/[\t\r]/ { stop("a tab or a carriage return") }
/^ *(#.*)?$/ { next }
{
  # What brackets hold together is joined by tabs, which show where a line ended.
  sub(/ +$/, ""); joined = text != ""; if (joined) sub(/^ */, "\t"); text = text $0; rest = text
  if (gsub(/[[{]/, "", rest) != gsub(/[]}]/, "", rest)) next
  match(text, /^ */); depth = RLENGTH; rest = substr(text, depth + 1); text = ""
  if (rest == "---" && depth == 0 && section == "") next
  if (depth == 0 && rest !~ /^- /) {
    finish(); if (!joined) sub(/ +#.*$/, "", rest)
    if (rest !~ /^(teams|users):( \[\])?$/) stop("neither teams: nor users:")
    section = substr(rest, 1, 5); item = column = -1; if (had[section]++) stop("a section stands twice")
    next
  }
  if (section == "") stop("neither teams: nor users:")
  if (rest ~ /^- / && (item < 0 || depth == item)) {
    finish(); item = depth; match(rest, /^- +/); depth = column = depth + RLENGTH; rest = substr(rest, RLENGTH + 1)
    if (substr(rest, 1, 1) == "{") {
      rest = substr(rest, 2); blanks(); column = -1
      while (rest !~ /^}/) { pair(1); if (!sub(/^,[ \t]*/, "", rest) && rest !~ /^}/) stop("a user who is not written plainly") }
      rest = substr(rest, 2); over(); next
    }
  } else if (rest ~ /^- / && list != "" && depth >= column && (lines < 0 || depth == lines)) {
    lines = depth; name = list; rest = substr(rest, 3); blanks(); scalar(0); keep(); over(); next
  }
  if (depth != column) stop("it is not indented plainly")
  pair(0); over()
}
END { if (stopped) exit 2; if (text != "") stop("brackets that do not close"); finish() }
"""

_STEPS = "rev-list --topo-order --reverse --full-history --no-merges"

# A link in the tar would be followed when it is compared, and lead somewhere else when it is read.
_HEAD = """\
(set -eu
no() { printf '%s\\n' "$*" >&2; exit 1; }
: "${from:?is the folder that the tar was unpacked to}"
test ! -L "${from%/}" && test -z "$(find "$from/" ! -type f ! -type d)" || no "$from is or has a link: nothing in it is proved"
from=$(cd "$from" && pwd)
"""

_BUNDLED = f"""\
: "${{known:?is the whole id of the commit, from elsewhere}}"
tip=$(git bundle list-heads "$from/{BUNDLE}" HEAD)
test "$tip" = "$known HEAD" || no "the bundle ends at ${{tip% HEAD}}, and you know $known: nothing here is proved"
test ${{#known}} -eq 64 && format=sha256 || format=sha1
mkdir store
git init --quiet --bare --object-format=$format store
git -C store bundle verify --quiet "$from/{BUNDLE}"
git -C store bundle unbundle "$from/{BUNDLE}" > bundled
test "$(git -C store rev-parse --quiet --verify "$known^{{commit}}")" = "$known" || no "$known is not in the bundle"
git -C store rev-list --objects --quiet "$known"
git -C store update-ref HEAD "$known"
echo "store has the history up to $known")
"""

_PACKED = f"""\
: "${{known:?are the whole ids of the steps, from elsewhere}}"
first=${{known%% *}}
test ${{#first}} -eq 64 && format=sha256 || format=sha1
mkdir store
git init --quiet --bare --object-format=$format store
git -C store unpack-objects -q < "$from/{PACK}"
for step in $known; do
  test "$(git -C store rev-parse --quiet --verify "$step^{{commit}}")" = "$step" || no "$step is not in the pack"
done
echo "store has the steps $known")
"""

_FUNCTIONS = f"""\
keys() {{ LC_ALL=C awk '{_KEYS}'; }}
text() {{
  test "$(git -C store cat-file -s "$1")" -gt {MAX_BYTES} || {{ mkdir -p "${{2%/*}}"; git -C store cat-file blob "$1" > "$2"; }}
}}
policies() {{
  tree=$(git -C store rev-parse --quiet --verify "$1:${{root}}policies") || return 0
  git -C store ls-tree "$tree" |
    {{ LC_ALL=C grep -E '^100644 blob [0-9a-f]+.[A-Za-z0-9_][A-Za-z0-9._-]*$' || :; }} |
    while read -r _ _ blob name; do text "$blob" "proved/policies/$tree/$name"; done
}}
mkdir proved
"""

_EACH = """\
number=0 good=0 wrong=
for step in $steps; do
  number=$((number + 1)) to=proved/steps/$(printf %02d $number)-$step
  mkdir -p "$to"
  git -C store cat-file commit "$step" > "$to/commit.txt"
  git -C store diff-tree -r --root --no-commit-id --diff-filter=d ${root:+"--relative=$root"} "$step" -- "$@" |
    { LC_ALL=C grep -E '^:[0-9a-f ]+ [A-Z].([A-Za-z0-9_][A-Za-z0-9._-]*/)+[A-Za-z0-9_][A-Za-z0-9._-]*$' || :; } |
    while read -r _ _ _ blob _ path; do text "$blob" "$to/$path"; done
  : > roster.yaml
  if parent=$(git -C store rev-parse --quiet --verify "$step^"); then
    policies "$parent"
    git -C store cat-file blob "$parent:${root}policies/roster.yaml" > roster.yaml 2> missing || :
  fi
  signature=$(sed -n '/^$/q; /^gpgsig/p' "$to/commit.txt")
  case $signature in
  '') echo "$step: not signed, so that its author is a claim" ;;
  *'BEGIN SSH SIGNATURE'*)
    author=$(git -C store log -1 --no-show-signature --format=%ae "$step")
    committer=$(git -C store log -1 --no-show-signature --format=%ce "$step")
    export author committer
    keys < roster.yaml > signers || no "$step: this roster needs kt to be read"
    if ! test -s signers; then
      echo "$step: signed, and the roster before it has no SSH key for its author"
    elif git -C store -c gpg.ssh.allowedSignersFile="$PWD/signers" verify-commit "$step"; then
      good=$((good + 1))
"""

_WAIVED = """\
    elif git -C store grep -q -F -e "$step" "$known" -- ":(top,literal)${root}policies/waivers.yaml"; then
      echo "$step: its signature does not hold; policies/waivers.yaml names this commit"
"""

_ENDED = """\
    else
      wrong="$wrong $step"
    fi ;;
  *) echo "$step: signed, but not by an SSH key: not checked here" ;;
  esac
done
test $number -gt 0 || no "no commit touched a file of this case"
"""

_MERGES = """\
for merge in $(git -C store rev-list --full-history --merges "$known" -- "$@"); do
  test -z "$(git -C store diff-tree -r -c --no-commit-id --name-only "$merge" -- "$@")" ||
    echo "$merge: a merge that made something of its own: look at it with git show, and see what verify says"
done
policies "$known"
"""

_COMPARED = f"""\
diff -rq proved "$from/{TEXTS}" > different || {{
  LC_ALL=C tr -cd '\\n -~' < different >&2
  no "the texts in $from/{TEXTS} are not what git has: read those in proved"
}}
test -z "$wrong" || no "not signed by a key that the roster before it has for its author:$wrong"
echo "it all holds: $number steps; $good of them signed by a key that the roster before it has for its author")
"""


def taken(minimal: bool) -> str:
    """The commands that create a repository `store` from only these objects, at the known commit."""
    return _HEAD + (_PACKED if minimal else _BUNDLED)


def compared(escalation_ids: Sequence[str], root: str, minimal: bool) -> str:
    """The commands that compare texts and signatures with git. ``root`` is the store's folder."""
    case = f"root={shlex.quote(f'{root}/' if root else '')}\nset -- {_files(escalation_ids, root)}\n"
    steps = "steps=$known\n" if minimal else f'steps=$(git -C store {_STEPS} "$known" -- "$@")\n'
    return "".join(
        (
            *(_HEAD, case, _FUNCTIONS, steps, _EACH, "" if minimal else _WAIVED, _ENDED),
            *("" if minimal else _MERGES, _COMPARED),
        )
    )


def steps(escalation_ids: Sequence[str], root: str, revision: str) -> str:
    """The command that lists the steps of a case in a clone."""
    return f"git {_STEPS} {revision} -- \\\n  {_files(escalation_ids, root)}"


def _files(escalation_ids: Sequence[str], root: str) -> str:
    """The possible files of a case, as git pathspecs quoted for a shell."""
    top = f"{root}/" if root else ""
    return " \\\n  ".join(
        f"{shlex.quote(f':(top,literal){top}queue/{name}.yaml')} "
        f"{shlex.quote(f':(top,glob){in_glob(top)}queue/resolved/*/*/*/{name}.yaml')} "
        f"{shlex.quote(f':(top,glob){in_glob(top)}queue/released/*/*/*/{name}.yaml')}"
        for name in escalation_ids
    )


def judged(escalation_ids: Sequence[str], root: str) -> str:
    """The commands that create the same evidence from `store`, and let kt judge every step."""
    named = " ".join(f"--id {name}" for name in escalation_ids)
    lines = [
        _HEAD.rstrip(),
        *([f"git -C store config kt.root {shlex.quote(root)}"] if root else []),
        f"kt escalation -C store evidence {named} -o again.tar",
        "mkdir again && tar -xf again.tar -C again",
        f'diff -rq -x {BUNDLE} again/evidence-{escalation_ids[0]} "$from" > different || {{',
        "  LC_ALL=C tr -cd '\\n -~' < different >&2",
        f'  no "what is in $from is not what git has: read again/evidence-{escalation_ids[0]}"',
        "}",
        *(f"kt escalation -C store log --id {name}" for name in escalation_ids),
        'kt escalation -C store verify --afresh --contains "$known")',
    ]
    return "\n".join(lines) + "\n"
