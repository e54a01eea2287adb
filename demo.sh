#!/usr/bin/env bash
# An escalation's whole life on a throw-away store: a bare remote, a gateway and two reviewers.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Nothing of this machine's git settings may play a part.
for name in $(compgen -e | grep -E '^(GIT_|KT_)' || true); do unset "$name"; done
printf '[init]\n\tdefaultBranch = main\n' > "$work/gitconfig"
export GIT_CONFIG_GLOBAL="$work/gitconfig" GIT_CONFIG_NOSYSTEM=1

say() { printf '\n\n# %s\n' "$1"; }

# Print a command as somebody would type it.
show() {
    printf '\n%s$' "$1"
    for word in "${@:2}"; do
        case $word in *" "*) printf ' "%s"' "$word" ;; *) printf ' %s' "$word" ;; esac
    done
    printf '\n'
}

# Run a command as a person in their clone, showing both.
as() {
    local who=$1
    shift
    show "$who" "$@"
    (cd "$work/$who" && "$@")
}

person() {
    git clone --quiet "$work/store.git" "$work/$1" 2>/dev/null
    git -C "$work/$1" config user.name "$2"
    git -C "$work/$1" config user.email "$1@example.com"
}

say "A store: a bare repository, and a gateway's clone of it"
git init --quiet --bare "$work/store.git"
person gateway Gateway
as gateway kt escalation init
cp "$here/tests/samples/events.ndjson" "$work/gateway/events.ndjson"

say "The gateway's decisions come in; those that say 'escalate' are raised, in one commit"
as gateway kt escalation raise --event events.ndjson
rm "$work/gateway/events.ndjson"

say "Two reviewers clone the store and look at the queue"
person alice Alice
person bob Bob
as alice kt escalation list
wanted=$(cd "$work/alice" && kt escalation list --status queued | head -n 1 | cut -f 1)
as alice kt escalation get --id "$wanted"

say "Both claim the same one at the same moment: one gets it, the other is told who has it"
claim() {
    local code=0
    (cd "$work/$1" && kt escalation claim --id "$wanted") > "$work/$1.said" 2>&1 || code=$?
    echo "$code" > "$work/$1.exit"
}
claim alice & first=$!
claim bob & second=$!
wait "$first" "$second"
for who in alice bob; do
    show "$who" kt escalation claim --id "$wanted"
    cat "$work/$who.said"
    echo "(exit $(cat "$work/$who.exit"))"
done
[ "$(sort -n "$work/alice.exit" "$work/bob.exit" | paste -sd ' ' -)" = "0 6" ]
winner=alice loser=bob
[ "$(cat "$work/alice.exit")" = 0 ] || { winner=bob; loser=alice; }
as "$loser" kt escalation claim --next

say "The winner decides"
as "$winner" kt escalation note --id "$wanted" --text "Asked the agent's owner; this is a known job."
as "$winner" kt escalation resolve --id "$wanted" --outcome approved --reason "Request complies with policy" --yes

say "The whole story, from plain git"
as gateway git pull --quiet
as gateway git log
as gateway kt escalation log --id "$wanted"
file=$(cd "$work/gateway" && git ls-files 'queue/resolved/*')
as gateway cat "$file"
