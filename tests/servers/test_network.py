"""kt over a network that is slow: real servers behind a delay line."""

from __future__ import annotations

from collections import Counter

from hosts import OverSsh, Server, Site
from lab import end
from test_servers import REVIEWERS, Person

from bench.delay import Delay

ROUND_TRIP = 0.1


def moved(server: Server, line: Delay) -> None:
    """Let everybody come through the delay line."""
    if isinstance(server, OverSsh):
        known = server.folder / "known_hosts"
        known.write_text(known.read_text().replace(f":{server.port} ", f":{line.port} "))
    server.port = line.port


def test_a_change_is_one_push_and_a_fetch_beside_it(site: Site, server: Server) -> None:
    with Delay(server.port, ROUND_TRIP) as line:
        moved(server, line)
        alice = Person(site, server, "alice")
        before = line.connections
        ran = alice.kt("claim", "--id", "esc_job")
        assert ran.code == 0, ran.err
        assert line.connections - before <= 2
        # Where others were first, the fetch beside the push has told what the push is made on next.
        assert alice.kt("note", "--id", "esc_job", "--text", "hm").code == 0


def test_one_of_many_has_it_over_a_slow_network(site: Site, server: Server) -> None:
    with Delay(server.port, ROUND_TRIP) as line:
        moved(server, line)
        people = [Person(site, server, name) for name in REVIEWERS[:4]]
        started = [one.start("claim", "--id", "esc_job") for one in people]
        codes = Counter(end(process).code for process in started)
        assert codes == {0: 1, 6: 3}
        assert len(site.commits("kt: claim esc_job")) == 1


def test_a_network_that_is_silent_from_the_start_is_exit_4(site: Site, server: Server) -> None:
    with Delay(server.port, ROUND_TRIP) as line:
        moved(server, line)
        alice = Person(site, server, "alice")
        line.hangs.set()
        ran = alice.kt("claim", "--id", "esc_job", "--retry-timeout", "2", "--json")
        assert (ran.code, ran.error["code"]) == (4, "remote_unreachable")
        line.hangs.clear()
