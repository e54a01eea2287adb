#!/usr/bin/env bash
# Shows an escalation's whole life on a throw-away store: a server with kt's hook, a gateway and two reviewers.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Ignore this machine's own git and kt settings.
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

# Print a command and run it in the clone of whoever types it.
as() {
    local who=$1
    shift
    show "$who" "$@"
    (cd "$work/$who" && "$@")
}

# Run a command in somebody's clone, and keep what it prints and its exit code for `tell`.
quietly() {
    local who=$1 code=0
    shift
    (cd "$work/$who" && "$@") > "$work/$who.said" 2>&1 || code=$?
    echo "$code" > "$work/$who.exit"
}

# Print a command that `quietly` ran, what it printed and its exit code.
tell() {
    show "$@"
    cat "$work/$1.said"
    echo "(exit $(cat "$work/$1.exit"))"
}

# Fail unless the command that `quietly` ran for somebody ended with this exit code.
expect() { [ "$(cat "$work/$1.exit")" = "$2" ] || { cat "$work/$1.said"; exit 1; }; }

person() {
    git clone --quiet "$work/store.git" "$work/$1" 2> /dev/null
    git -C "$work/$1" config user.name "$2"
    git -C "$work/$1" config user.email "$1@example.com"
}

event() {
    printf '{"event_type": "decision", "request_id": "%s", "verdict": "%s", "reason_code": "%s", "timestamp": "%s"}\n' \
        "$1" "$2" "$3" "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
}

say "A store is a git repository. This one is bare, as on a server, and kt's hook judges each push to it."
git init --quiet --bare "$work/store.git"
person gateway Gateway
as gateway kt escalation init
as gateway kt escalation hook install --server ../store.git

say "The gateway has decided four requests. It raises those with the verdict 'escalate', in one commit."
{
    event loan-2041 escalate oversight.required
    event loan-2042 allow ok
    event loan-2043 escalate pii.account_number
    event loan-2044 escalate quality.low_confidence
} > "$work/events.ndjson"
as gateway kt escalation raise --event ../events.ndjson

say "The gateway holds the first request back and waits for the answer."
answer=(kt escalation wait esc_loan-2041 --timeout 60s)
show gateway "${answer[@]}" "&"
quietly gateway "${answer[@]}" & waiting=$!

say "Two reviewers clone the store. Alice looks at the queue."
person alice Alice
person bob Bob
as alice kt escalation list

say "Both claim the same escalation at the same time. One gets it; the other is told who has it."
claim=(kt escalation claim esc_loan-2041)
quietly alice "${claim[@]}" & first=$!
quietly bob "${claim[@]}" & second=$!
wait "$first" "$second"
tell alice "${claim[@]}"
tell bob "${claim[@]}"
[ "$(sort -n "$work/alice.exit" "$work/bob.exit" | paste -sd ' ' -)" = "0 6" ]
winner=alice loser=bob
[ "$(cat "$work/alice.exit")" = 0 ] || { winner=bob loser=alice; }

say "The holder decides, and the gateway hears it. Its command ends with exit 0: release the request."
as "$winner" kt escalation resolve esc_loan-2041 --outcome approved --reason "The customer is known" --yes
wait "$waiting"
expect gateway 0
show gateway "${answer[@]}"
sed 5q "$work/gateway.said"
printf '  ...\n(exit 0)\n'

say "The other reviewer disagrees, edits the decision by hand and pushes it. The hook refuses the push."
as "$loser" git pull --quiet
record=$(cd "$work/$loser" && git ls-files 'queue/resolved/*')
show "$loser" sed -i 's/outcome: approved/outcome: denied/' "$record"
sed 's/outcome: approved/outcome: denied/' "$work/$loser/$record" > "$work/edited"
cp "$work/edited" "$work/$loser/$record"
as "$loser" git commit --quiet --all -m "Denied, really"
push=(git push --quiet origin HEAD:main)
quietly "$loser" "${push[@]}"
tell "$loser" "${push[@]}"
expect "$loser" 1

say "The whole story is in git. Anybody with a clone can check offline that every step was legal."
as gateway git pull --quiet
as gateway git log --format='%h %an: %s'
as gateway kt escalation verify

printf '\n\nThat took %s seconds. The store was in a temporary folder, which is gone now.\n' "$SECONDS"
