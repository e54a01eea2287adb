"""The desk in a real browser: a day's work by keyboard, what goes wrong in it, hostile texts, and pictures."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import axe_core_python
import pytest
from desks import Served, desk
from lab import Lab, kt
from office import HIDDEN, HOSTILE, POLICIES
from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

AXE = (Path(axe_core_python.__file__).parent / "axe.min.js").read_text()
INPUT = {"to": "everyone@example.com", "subject": "Offer", "body": "Dear all,\nhere it is."}
SCHEMES = ("light", "dark")
DIGEST = "sha256:" + "0" * 64
ACTION = {"kind": "tool.call", "name": "send_mail", "digest": DIGEST}


@dataclass
class Seat:
    """A person at a browser that has a desk open."""

    driver: Chrome
    served: Served

    def sit(self, page: str = "") -> None:
        """Open the desk by its address, or a page of it."""
        if not self.served.room:
            self.driver.get(self.served.address)
            self.until(lambda: self.driver.find_elements(By.ID, "live"))
            self.served.room = self.run("return location.pathname")
        if page or self.run("return location.pathname") != self.served.room:
            self.driver.get(f"{self.served.origin}{self.served.room}{page}")

    def until(self, true: Callable[[], Any], seconds: float = 30) -> Any:
        try:
            # What is looked at may be replaced meanwhile.
            gone = [StaleElementReferenceException]
            return WebDriverWait(self.driver, seconds, 0.05, gone).until(lambda _: true())
        except TimeoutException:
            raise AssertionError(f"not within {seconds} s; the page says:\n{self.words}") from None

    def run(self, script: str, *args: Any) -> Any:
        return self.driver.execute_script(script, *args)

    def press(self, *keys: str) -> None:
        """Press keys wherever the keyboard is, one after another."""
        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    def submit(self) -> None:
        ActionChains(self.driver).key_down(Keys.CONTROL).send_keys(Keys.ENTER).key_up(Keys.CONTROL).perform()

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def has(self, selector: str, name: str) -> Any:
        """A property of an element, asked in one step: the page may be replaced between two."""
        return self.run("return document.querySelector(arguments[0])[arguments[1]]", selector, name)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    @property
    def words(self) -> str:
        """What stands on the page."""
        return str(self.run("return document.body.innerText"))

    def says(self, text: str) -> None:
        self.until(lambda: text in self.words)

    def heading(self, text: str) -> None:
        self.until(
            lambda: any(
                text in it
                for it in self.run("return [...document.querySelectorAll('h1')].map((it) => it.innerText)")
            )
        )

    def silent(self) -> None:
        """The console has not been told anything."""
        assert [entry["message"] for entry in self.driver.get_log("browser")] == []

    def media(self, scheme: str) -> None:
        given = {"media": "", "features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", given)

    def size(self, width: int, height: int) -> None:
        given = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", given)

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.driver.execute_cdp_cmd("Page.captureScreenshot", {})["data"]))

    def accessible(self, *schemes: str) -> None:
        """axe-core finds nothing serious or critical, in each scheme.

        It is run beside the page, whose own rules stay as they are.
        """
        tree = self.driver.execute_cdp_cmd("Page.getFrameTree", {})
        world = self.driver.execute_cdp_cmd(
            "Page.createIsolatedWorld", {"frameId": tree["frameTree"]["frame"]["id"], "worldName": "axe"}
        )["executionContextId"]
        self.driver.execute_cdp_cmd("Runtime.evaluate", {"expression": AXE, "contextId": world})
        for scheme in schemes:
            self.media(scheme)
            # Of what the second scheme can break there are only colours.
            only = "" if scheme == schemes[0] else ", runOnly: ['color-contrast', 'link-in-text-block']"
            asked = f"axe.run(document, {{resultTypes: ['violations']{only}}}).then((it) => JSON.stringify(it.violations))"
            got = self.driver.execute_cdp_cmd(
                "Runtime.evaluate", {"expression": asked, "contextId": world, "awaitPromise": True}
            )
            found = json.loads(got["result"]["value"])
            bad = [
                (it["id"], [node["html"][:200] for node in it["nodes"]][:3])
                for it in found
                if it["impact"] in ("serious", "critical")
            ]
            assert bad == [], (scheme, bad)

    def fits(self, *widths: int) -> None:
        """Nothing stands beside the window, and from 1280 pixels on no table has to be scrolled."""
        for width in widths:
            self.size(width, 900)
            assert self.run("return document.documentElement.scrollWidth") <= width
            cut = "return [...document.querySelectorAll('.scroll')].filter((it) => it.scrollWidth > it.clientWidth).length"
            assert width < 1280 or self.run(cut) == 0


def put(lab: Lab, *records: dict[str, Any]) -> None:
    gateway = lab.folder / "gateway"
    gateway = gateway if gateway.exists() else lab.clone("gateway")
    lines = "\n".join(json.dumps({"reason_code": "oversight.required", **keys}) for keys in records)
    ran = kt("raise", "--batch", "-", cwd=gateway, stdin=lines.encode())
    assert ran.code == 0, ran.err


def record(lab: Lab, name: str) -> dict[str, Any]:
    found: dict[str, Any] = kt("get", "--fetch", "--id", name, "--json", cwd=lab.folder / "gateway").json
    return found["escalation"]


DAY: list[dict[str, Any]] = [
    {
        "request_id": "mail",
        "severity": "high",
        "summary": "An agent wants to send an offer to every customer",
        "agent_id": "sales-assistant",
        "provider": "openai-prod",
        "model": "gpt-4o",
        "policy": "human-oversight",
        "event_context": {
            "policy_results": [
                {
                    "policy_kind": "human-oversight",
                    "verdict": "escalate",
                    "reason_code": "oversight.required",
                },
                {"policy_kind": "pii-detector", "verdict": "allow", "reason_code": "pii.none"},
            ],
            "excerpt": "Send our new offer to everyone in the address book.",
            "input": INPUT,
        },
        "action": ACTION,
    },
    *(
        {
            "request_id": f"case-{number}",
            "summary": f"Answer names a patient and case {410 + number}",
            "reason_code": "pii.detected",
            "policy": "pii-detector",
            "provider": "anthropic-eu",
            "model": "claude-sonnet",
            "event_context": {"excerpt": f"Patient {number} was seen on Monday."},
        }
        for number in range(3)
    ),
    {"request_id": "clause", "severity": "low", "summary": "Clause 17 of the supply contract was reworded"},
    {"request_id": "handed", "severity": "low", "summary": "Generated script reads the deployment keys"},
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    made = Lab(tmp_path_factory.mktemp("desk"))
    settings = POLICIES["policies/settings.yaml"] + (
        "reasons:\n  false_positive: [Known sender; nothing personal in it]\n"
        "  true_positive_blocked: [Would disclose personal data to a third party]\n"
    )
    # alice sees it all: the default route is a team of hers.
    made.put({**POLICIES, "policies/settings.yaml": settings}, "policies")
    made.clone("bob")
    return made


@pytest.fixture(scope="module")
def served(lab: Lab) -> Iterator[Served]:
    with desk(lab.clone("alice"), "--retry-timeout", "3", enter=False) as it:
        yield it


@pytest.fixture
def seat(chromium: Chrome, served: Served) -> Iterator[Seat]:
    """Alice at her desk. Whatever is done, the console stays empty, and nothing is asked of any other address."""
    made = Seat(chromium, served)
    chromium.get("about:blank")
    chromium.get_log("browser")
    chromium.get_log("performance")
    made.size(1200, 900)
    made.media("light")
    made.sit()
    yield made
    made.silent()
    events = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    asked = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    assert {url for url in asked if not url.startswith((f"{served.origin}/", "about:"))} == set()
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_door_opens_once_and_leaves_no_token_behind(seat: Seat, served: Served) -> None:
    assert seat.run("return location.hash") == ""
    assert served.token not in seat.driver.page_source
    assert seat.run("return document.cookie") == ""
    seat.driver.get(f"{served.origin}/#again")
    seat.driver.get(served.address)
    seat.driver.refresh()
    seat.says("This address has been used already")
    seat.accessible(*SCHEMES)


def test_a_whole_days_work_by_keyboard_alone(seat: Seat, lab: Lab) -> None:
    began = time.monotonic()
    put(lab, *DAY)
    # The open page hears of them by itself.
    seat.says("An agent wants to send an offer")
    assert len(seat.all(".queue .title")) == len(DAY)
    seat.press("?")
    seat.says("Claim the next")
    seat.press(Keys.ESCAPE)
    # The first one: read, note, rewrite, confirm.
    seat.press("n")
    seat.heading("send an offer to every customer")
    seat.says("Give it back")
    seat.press("o")
    seat.press("Asked sales who wanted this", Keys.TAB, Keys.ENTER)
    seat.says("Your note is on record")
    seat.press("w", "m")
    assert seat.driver.switch_to.active_element.get_attribute("name") == "amendment"
    ActionChains(seat.driver).key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL).perform()
    seat.press(json.dumps({**INPUT, "to": "one@example.com"}), Keys.ESCAPE)
    seat.press("e", "Only to the customer who asked")
    seat.submit()
    seat.heading("Rewrite this?")
    assert "one@example.com" in seat.find(".diff ins:last-of-type").text + seat.find(".diff").text
    # Whoever goes back finds what was typed, with the desk's key and with the browser's.
    for go_back in (lambda: seat.press(Keys.ESCAPE), seat.driver.back, lambda: seat.press(Keys.ESCAPE)):
        go_back()
        seat.says("Your decision")
        assert "one@example.com" in seat.find("#decide-amendment").get_attribute("value")
        assert seat.has("#decide-reason", "value") == "Only to the customer who asked"
        seat.submit()
        seat.heading("Rewrite this?")
    seat.press("y")
    seat.heading("It is decided")
    end = record(lab, "esc_mail")
    assert end["resolution"]["outcome"] == "rewritten"
    assert end["reviews"][0]["amendment"]["value"]["to"] == "one@example.com"
    assert end["notes"][0]["text"] == "Asked sales who wanted this"
    # Three alike: claimed in one commit, denied in one, with a reason of the settings.
    seat.press("1")
    seat.heading("Claimable")
    seat.press("j", Keys.TAB, Keys.ENTER)
    seat.heading("3 alike")
    seat.press("c")
    seat.says("You hold 3")
    seat.press("d", "t")
    seat.press(Keys.DOWN, Keys.DOWN, Keys.TAB)
    seat.until(lambda: "third party" in seat.find("#alike-reason").get_attribute("value"))
    seat.submit()
    seat.heading("Deny 3?")
    seat.accessible(*SCHEMES)
    seat.press("y")
    seat.heading("3 are decided")
    seat.accessible(*SCHEMES)
    for number in range(3):
        found = record(lab, f"esc_case-{number}")
        assert found["resolution"]["outcome"] == "denied"
        assert found["resolution"]["category"] == "true_positive_blocked"
    # One more by the list, claimed and given back; then handed on.
    seat.press("1")
    seat.heading("Claimable")
    seat.press("j", Keys.ENTER)
    seat.heading("Clause 17")
    seat.press("c")
    seat.says("You hold it now")
    seat.press("b")
    seat.says("It is back in the queue")
    seat.press("c")
    seat.says("You hold it now")
    seat.press("h", "team leg", Keys.TAB, "A question for lawyers", Keys.TAB, Keys.ENTER)
    seat.says("You handed it on")
    assert record(lab, "esc_clause")["route"]["team_id"] == "legal"
    seat.press("2")
    seat.heading("Decided by me")
    assert "Would disclose personal data" in seat.words
    assert "Only to the customer who asked" in seat.words
    seat.press("3")
    seat.heading("The store’s state")
    seat.says("Outcomes by policy")
    assert time.monotonic() - began < 180


def test_two_people_race_for_one(seat: Seat, lab: Lab) -> None:
    put(lab, {"request_id": "race", "summary": "Wanted by two"})
    mine = seat.driver.current_window_handle
    with desk(lab.folder / "bob", "--retry-timeout", "5", enter=False) as his:
        seat.driver.switch_to.new_window("window")
        other = Seat(seat.driver, his)
        other.sit()
        other.says("Wanted by two")
        other.sit("e/esc_race")
        theirs = seat.driver.current_window_handle
        seat.driver.switch_to.window(mine)
        seat.says("Wanted by two")
        seat.sit("e/esc_race")
        seat.press("o", "I would have asked the sender", Keys.ESCAPE)
        # Both claim in the same moment.
        at_once = "setTimeout(() => document.querySelector('form[action$=claim] button').click(), arguments[0] - Date.now())"
        moment = time.time() * 1000 + 1500
        for handle in (theirs, mine):
            seat.driver.switch_to.window(handle)
            seat.run(at_once, moment)
        told = []
        for handle in (theirs, mine):
            seat.driver.switch_to.window(handle)
            seat.until(lambda: seat.all("#trouble"))
            told.append(seat.words)
        holder = record(lab, "esc_race")["claim"]["claimed_by"]
        won = [("You hold it now" in words) for words in told]
        assert won == [holder == "bob", holder == "alice"]
        assert holder in told[won.index(False)]
        assert "Nothing that you typed is lost" in told[won.index(False)]
        kept = seat.run("return [...document.querySelectorAll('textarea')].map((it) => it.value)")
        assert "I would have asked the sender" in kept
        seat.driver.switch_to.window(theirs)
        seat.driver.close()
        seat.driver.switch_to.window(mine)
        seat.driver.get_log("performance")
        if holder == "alice":
            seat.press("b")
            seat.says("It is back in the queue")


def test_the_remote_goes_away_in_the_middle_of_a_typed_reason(seat: Seat, lab: Lab) -> None:
    put(lab, {"request_id": "storm", "severity": "high", "summary": "In a storm"})
    seat.says("In a storm")
    seat.sit("e/esc_storm")
    seat.press("c")
    seat.says("You hold it now")
    seat.press("d", "e", "A long and careful ")
    gone = lab.remote.with_name("gone.git")
    lab.remote.rename(gone)
    try:
        seat.until(lambda: seat.find("#away").is_displayed())
        seat.press("reason")
        seat.submit()
        seat.until(lambda: seat.all("#trouble"), 60)
        assert seat.has("#decide-reason", "value") == "A long and careful reason"
        assert seat.has("#outcome-denied", "checked")
    finally:
        gone.rename(lab.remote)
    seat.until(lambda: not seat.find("#away").is_displayed())
    seat.submit()
    seat.heading("Deny this?")
    seat.press("y")
    seat.heading("It is decided")
    assert record(lab, "esc_storm")["resolution"]["reason"] == "A long and careful reason"


def test_a_text_that_is_too_long_is_refused_and_stays_whole(seat: Seat, lab: Lab) -> None:
    put(lab, {"request_id": "long", "summary": "Pasted into"})
    seat.says("Pasted into")
    seat.sit("e/esc_long")
    seat.press("c")
    seat.says("You hold it now")
    seat.press("d")
    for length, said in ((20_000, "at most 16384"), (1_000_000, "too long to be sent")):
        seat.press("e")
        # As a paste does it, which cuts a text off where a field has a limit.
        seat.run("document.execCommand('selectAll')")
        seat.run("document.execCommand('insertText', false, 'x'.repeat(arguments[0]))", length)
        seat.submit()
        seat.says(said)
        assert len(seat.has("#decide-reason", "value")) == length
        seat.press(Keys.ESCAPE)
    assert ["413" in entry["message"] for entry in seat.driver.get_log("browser")] == [True]
    seat.run("document.querySelector('#decide-reason').value = ''")
    seat.press("b")
    seat.says("It is back in the queue")


def test_news_about_what_is_open_wait_for_the_reader(seat: Seat, lab: Lab) -> None:
    put(lab, {"request_id": "news", "summary": "Talked about"})
    seat.says("Talked about")
    seat.sit("e/esc_news")
    seat.press("c")
    seat.says("You hold it now")
    seat.press("e", "Half a rea")
    assert kt("note", "--id", "esc_news", "--text", "Look at page 3", cwd=lab.folder / "bob").code == 0
    seat.says("This has changed since you opened it")
    assert "Look at page 3" not in seat.words
    seat.press("son", Keys.ESCAPE, "v")
    seat.says("Look at page 3")
    assert seat.has("#decide-reason", "value") == "Half a reason"
    seat.press("b")
    seat.says("It is back in the queue")


PAGES = (
    "",
    "?view=all&q=nothing",
    "e/esc_case-0",
    "e/esc_look",
    "e/esc_look/alike",
    "e/esc_look/history",
    "decided",
    "state",
    "e/esc_none",
)


@pytest.fixture
def looked(seat: Seat, lab: Lab) -> Seat:
    """One that is held, with all that a page may have."""
    if seat.run("return fetch(`${location.pathname}e/esc_look`).then((it) => it.status === 404)"):
        put(
            lab,
            {**DAY[0], "request_id": "look"},
            {"request_id": "twin", **{k: v for k, v in DAY[0].items() if k != "request_id"}},
        )
        seat.until(lambda: seat.run("return document.querySelectorAll('a[href$=esc_look]').length"))
        seat.sit("e/esc_look")
        seat.press("c")
        seat.says("You hold it now")
        seat.driver.get_log("browser")
    return seat


WIDTHS = (360, 768, 1280, 1920)


def test_everybody_can_use_every_page(looked: Seat) -> None:
    """By axe-core, in light and dark, and at each width."""
    for page in PAGES:
        looked.driver.get(f"{looked.served.origin}{looked.served.room}{page}")
        if page == "state":
            looked.says("Outcomes by policy")
        looked.accessible(*SCHEMES)
        looked.fits(*WIDTHS)
    looked.sit("e/esc_look")
    looked.size(1200, 900)
    looked.press("w", "e", "So that nobody else gets it")
    looked.accessible(*SCHEMES)
    looked.fits(*WIDTHS)
    looked.press(Keys.ESCAPE, "?")
    looked.accessible(*SCHEMES)
    looked.press(Keys.ESCAPE)
    looked.submit()
    looked.heading("Rewrite this?")
    looked.accessible(*SCHEMES)
    looked.fits(*WIDTHS)
    # That one of the pages is not there, the console may say.
    looked.driver.get_log("browser")


def test_on_a_narrow_screen_there_is_room_to_read_until_an_outcome_is_chosen(looked: Seat) -> None:
    looked.size(360, 740)
    looked.sit("e/esc_look")
    assert looked.has("#bar", "offsetHeight") < 740 / 3
    assert not looked.find("#decide-reason").is_displayed()
    looked.press("d")
    looked.find("#decide-reason").send_keys("Too many people")
    looked.submit()
    looked.heading("Deny this?")
    looked.press(Keys.ESCAPE)
    looked.says("Your decision")
    assert looked.has("#decide-reason", "value") == "Too many people"


def test_it_prints_without_what_is_only_for_the_screen(looked: Seat) -> None:
    looked.sit("e/esc_look")
    assert base64.b64decode(looked.driver.print_page()).startswith(b"%PDF-")
    looked.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert not looked.find("#bar").is_displayed()
    assert looked.find("#case").is_displayed()
    assert looked.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    looked.sit("state")
    looked.says("Outcomes by policy")
    # A sheet of A4 within its margins; and the bars of the charts are on it.
    looked.size(680, 900)
    assert looked.run("return document.documentElement.scrollWidth") <= 680
    assert looked.run("return document.querySelector('rect.bar').getBoundingClientRect().width") > 0


def test_texts_of_strangers_make_no_element_and_run_nothing(seat: Seat, lab: Lab) -> None:
    words = [f"{text}\n{HIDDEN}" for text in HOSTILE] + ["<b>" + "x" * 20_000 + "</b>"]
    put(
        lab,
        *(
            {
                "request_id": f"hostile-{number}",
                "summary": text[:200].partition("\n")[0],
                "agent_id": text[:500],
                "model": text[:500],
                "labels": {text[:90].partition("\n")[0]: text[:500]},
                "event_context": {text[:90].partition("\n")[0]: text, "excerpt": text, "input": {"x": text}},
            }
            for number, text in enumerate(words)
        ),
        {
            "request_id": "hostile-all",
            "summary": "All of them",
            "labels": {text[:90].partition("\n")[0]: text[:500] for text in words},
            "event_context": {f"text-{number}": text for number, text in enumerate(words)},
        },
    )
    seat.says("All of them")
    made = "main :is(script, style, img, link, base, iframe, object, embed, meta, svg, [onerror], [onload], [style], a[href*='javascript'])"
    for name in ("all", "0"):
        seat.sit(f"e/esc_hostile-{name}")
        assert seat.run("return window.pwned") is None
        assert seat.all(made) == []
        assert seat.run("return document.documentElement.scrollWidth") <= 1200
    # Whoever copies a text gets what was there.
    seat.sit("e/esc_hostile-all")
    copied = seat.run(
        """
        for (const it of document.querySelectorAll("main details")) it.open = true;
        return [...document.querySelectorAll("main dt")].filter((it) => /^text-/.test(it.textContent.trim())).map((dt) => {
          getSelection().selectAllChildren(dt.nextElementSibling.querySelector(".text"));
          return [dt.textContent.trim(), getSelection().toString()];
        });
        """
    )
    assert dict(copied) == {f"text-{number}": text for number, text in enumerate(words)}
    seat.sit("?view=all")
    assert seat.all(made) == []
    assert seat.run("return window.pwned") is None


def test_what_a_page_of_ours_would_do_by_mistake_the_browser_refuses(seat: Seat) -> None:
    for deed in (
        "document.body.innerHTML = '<img src=x onerror=window.pwned=1>'",
        "document.body.append(Object.assign(document.createElement('script'), {text: 'window.pwned = 1'}))",
        "document.body.setAttribute('onclick', 'window.pwned = 1'); document.body.click()",
        "document.body.append(Object.assign(document.createElement('iframe'), {src: 'https://example.com/'}))",
        "fetch('https://example.com/').catch(() => {})",
    ):
        with contextlib.suppress(Exception):
            seat.run(deed)
        told: list[str] = []
        seat.until(lambda: told.extend(entry["message"] for entry in seat.driver.get_log("browser")) or told)  # noqa: B023
        assert all("Content Security Policy" in text or "'Trusted" in text for text in told), deed
        assert seat.run("return window.pwned") is None
    seat.driver.get("about:blank")
    seat.driver.get_log("performance")


EVIL = """<!doctype html><title>Evil</title><iframe id=frame src="{room}e/esc_look"></iframe>
<form id=form method=post action="{room}e/esc_look/unclaim" target=other><input name=csrf value=guess></form>
<script>
const told = [];
onload = async () => {{
  for (const [path, how] of [["", {{}}], ["live", {{}}], ["e/esc_look/unclaim", {{method: "POST", body: new URLSearchParams({{csrf: "x"}})}}]]) {{
    for (const mode of ["cors", "no-cors"]) {{
      try {{ told.push((await fetch("{room}" + path, {{mode, credentials: "include", ...how}})).status); }}
      catch (error) {{ told.push("refused"); }}
    }}
  }}
  let framed = "nothing";
  try {{ framed = document.querySelector("#frame").contentDocument.body.innerText; }} catch (error) {{ }}
  document.title = told.join() + " " + framed;
}};
</script>"""


def test_a_page_at_another_port_of_this_machine_can_do_nothing(looked: Seat, lab: Lab) -> None:
    """For a browser it is the same site: the cookie goes along, and only what the desk asks of a request is left."""
    room = f"{looked.served.origin}{looked.served.room}"
    page = EVIL.format(room=room).encode()

    class Evil(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: Any) -> None:
            """It says nothing."""

    before = lab.tip()
    with ThreadingHTTPServer(("127.0.0.1", 0), Evil) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        looked.driver.get(address)
        looked.until(lambda: " " in looked.driver.title, 60)
        told, _, framed = looked.driver.title.partition(" ")
        # A browser that fetches without asking gets an answer that it may not read; the desk has refused it.
        assert set(told.split(",")) <= {"refused", "0", "403"}
        assert framed == "nothing"
        looked.run("document.querySelector('#form').target = ''; document.querySelector('#form').submit()")
        looked.says("another site asks")
        # Nor does a link from there open a page.
        looked.driver.get(address)
        looked.run(
            "const it = document.createElement('a'); it.href = arguments[0]; document.body.append(it); it.click()",
            room,
        )
        looked.says("another site asks")
        server.shutdown()
    assert lab.tip() == before
    looked.driver.get("about:blank")
    looked.driver.get_log("browser")
    looked.driver.get_log("performance")


# --- thousands --------------------------------------------------------------------------------------


VIEWS = (
    "",
    "?view=mine",
    "?view=overdue",
    "?view=all",
    "decided",
    "state",
    "e/esc_many-7",
    "e/esc_many-7/alike",
)


@pytest.mark.parametrize(
    ("number_open", "starts", "within"),
    [
        pytest.param(500, 1, 5.0, id="slice"),
        pytest.param(10_000, 3, 1.0, id="all", marks=pytest.mark.soak),
    ],
)
def test_with_thousands_open_each_page_is_there_at_once(
    chromium: Chrome,
    tmp_path_factory: pytest.TempPathFactory,
    number_open: int,
    starts: int,
    within: float,
) -> None:
    lab = Lab(tmp_path_factory.mktemp("many"))
    lab.put(POLICIES, "policies")
    # Of a team that alice is not in, so that the rules have to look for the few that are hers.
    away = {"provider": "local", "model": "llama-70b", "policy": "code-sanitizer"}
    put(
        lab,
        *(
            {
                "request_id": f"many-{number}",
                "summary": f"Number {number}",
                **({} if number % 100 == 7 else away),
            }
            for number in range(number_open)
        ),
    )
    clone = lab.clone("alice")
    assert kt("list", "--limit", "1", cwd=clone).code == 0
    took: dict[str, list[float]] = {}
    for _ in range(starts):
        with desk(clone, enter=False) as it:
            seat = Seat(chromium, it)
            for view in VIEWS:
                chromium.get("about:blank")
                began = time.monotonic()
                seat.sit(view)
                took.setdefault(view, []).append(time.monotonic() - began)
            if starts == len(took[""]):
                seat.sit()
                typing_goes_on(seat, lab)
    # The machine may be busy with other tests at one time, not at each.
    assert max(min(times) for times in took.values()) < within, took


def typing_goes_on(seat: Seat, lab: Lab) -> None:
    """While news come in, no key waits."""
    seat.press("/")
    slowest = []
    for turn in range(2):
        took = []
        for number in range(3):
            put(lab, {"request_id": f"more-{turn}-{number}"})
            before = time.monotonic()
            seat.press(str(number))
            took.append(time.monotonic() - before)
        slowest.append(max(took))
    assert seat.find("#search").get_attribute("value") == "012012"
    # The machine may be busy with other tests at one time, not at each.
    assert min(slowest) < 0.5


# --- pictures ---------------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where pictures go: where SCREENSHOTS says, or nowhere that stays."""
    return Path(os.environ.get("SCREENSHOTS") or tmp_path)


def keep(seat: Seat, path: Path) -> None:
    """Take a picture, which shows something."""
    seat.run("scrollTo(0, 0)")
    seat.picture(path)
    assert 10_000 < path.stat().st_size < 250_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_picture_of_an_escalation(looked: Seat, pictures: Path, scheme: str) -> None:
    looked.media(scheme)
    looked.size(1200, 860)
    looked.sit("e/esc_look")
    looked.press("w", "e", "Only to the customer who asked", Keys.ESCAPE)
    keep(looked, pictures / f"desk-{scheme}.png")


def test_a_picture_of_the_queue_and_of_a_narrow_one(chromium: Chrome, lab: Lab, pictures: Path) -> None:
    (lab.folder / "fresh").mkdir()
    fresh = Lab(lab.folder / "fresh")
    fresh.put(POLICIES, "policies")
    put(fresh, *DAY)
    with desk(fresh.clone("alice"), enter=False) as it:
        seat = Seat(chromium, it)
        seat.size(1200, 620)
        seat.media("light")
        seat.sit()
        keep(seat, pictures / "desk-queue.png")
        seat.size(360, 740)
        seat.sit("e/esc_mail")
        seat.press("c")
        seat.says("You hold it now")
        keep(seat, pictures / "desk-narrow.png")
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    chromium.get("about:blank")
