"""The report in a real browser: opened, searched, sorted, printed; and nothing of a record acts in it."""

from __future__ import annotations

import base64
import os
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import Tab
from office import HOSTILE
from selenium.common.exceptions import JavascriptException
from selenium.webdriver import Chrome
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from kt_escalation.model.text import visible

HEADS = ("id", "severity", "state", "created", "took", "route", "holder")
COLUMN = "#cases > tbody > tr:not(.detail) > :nth-child({})"
on = pytest.mark.parametrize("tab", ["busy", "hostile", "large"], indirect=True)


def column(tab: Tab, name: str) -> list[str]:
    """What stands in a column of the rows that are shown, of an escalation its id."""
    if name == "id":
        return tab.texts(".toggle")
    return tab.texts(COLUMN.format(HEADS.index(name) + 1))


@on
def test_it_opens_without_a_word_on_the_console_and_asks_for_nothing(tab: Tab) -> None:
    assert tab.find("h1").text == "Escalations"
    assert tab.found.endswith("escalations found")
    assert len(column(tab, "id")) == min(50, int(tab.found.partition(" ")[0].replace(",", "")))
    assert tab.run("return [...document.styleSheets].length") == 1


@on
def test_it_fits_a_wide_and_a_narrow_window(tab: Tab) -> None:
    for width in (1200, 390):
        tab.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False},
        )
        assert tab.run("return document.documentElement.scrollWidth") <= width
    tab.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


# --- find and sort ----------------------------------------------------------------------------------


def test_words_are_found_wherever_a_case_has_them(tab: Tab) -> None:
    tab.search("signed ORDER")
    names = column(tab, "id")
    assert 0 < len(names) < 50
    assert tab.found.startswith(f"{len(names)} of ")
    tab.all(".toggle")[0].click()
    [timeline] = tab.texts(".detail")
    assert "signed order" in timeline
    commit = tab.texts(".timeline code")[0]
    assert len(commit) == 12
    tab.search(f"{commit}{'0' * 28}")
    assert tab.found.startswith("1 of ")
    tab.search("nothing holds these words")
    assert tab.found.startswith("0 of ")
    assert column(tab, "id") == []
    tab.search("")
    assert len(column(tab, "id")) == 50


def test_filters_narrow_together(tab: Tab) -> None:
    tab.choose("state", "denied")
    tab.choose("severity", "high")
    tab.choose("route", "team legal")
    assert {*column(tab, "state")} == {"denied"}
    assert {*column(tab, "severity")} == {"high"}
    assert {*column(tab, "route")} == {"team legal"}
    tab.choose("severity", "all")
    assert len({*column(tab, "severity")}) > 1
    assert {*column(tab, "state")} == {"denied"}


def test_overdue_and_open_ones_are_those_that_the_page_counts(tab: Tab) -> None:
    counted = dict(zip(tab.texts(".tile dt"), tab.texts(".tile dd"), strict=True))
    for word in ("overdue", "open"):
        tab.choose("state", word)
        assert tab.found.startswith(f"{counted[word]} of ")
    assert len(tab.all("section tbody tr.late")) == 2 * int(counted["overdue"])


@pytest.mark.parametrize("name", HEADS)
def test_a_column_is_sorted_by_the_keyboard_and_says_so(tab: Tab, name: str) -> None:
    head = tab.find(f"#cases th[data-sort={name}]")
    assert head.get_attribute("aria-sort") == "none"
    head.find_element("tag name", "button").send_keys(Keys.ENTER)
    assert head.get_attribute("aria-sort") == "ascending"
    up = column(tab, name)
    head.find_element("tag name", "button").send_keys(Keys.SPACE)
    assert head.get_attribute("aria-sort") == "descending"
    down = column(tab, name)
    order = {"severity": ["critical", "high", "medium", "low"].index, "took": seconds, "holder": holder}.get(
        name, str
    )
    assert [order(x) for x in up] == sorted(map(order, up))
    assert [order(x) for x in down] == sorted(map(order, down), reverse=True)
    assert up != down


def seconds(text: str) -> int:
    """A duration such as `2d3h`, as far as it is told."""
    units, number, total = {"d": 86400, "h": 3600, "m": 60, "s": 1}, "", 0
    for char in text:
        if char in units:
            total, number = total + int(number) * units[char], ""
        else:
            number += char
    return total


def holder(text: str) -> str:
    """Nobody comes before everybody."""
    return "" if text == "–" else text


def test_pages_of_rows_are_turned(tab: Tab) -> None:
    first = column(tab, "id")
    assert not tab.find("#back").is_enabled()
    tab.find("#on").send_keys(Keys.ENTER)
    second = column(tab, "id")
    assert len(second) == 50
    assert not {*first} & {*second}
    assert tab.find("#place").text.startswith("51 to 100 of ")
    tab.find("#back").send_keys(Keys.ENTER)
    assert column(tab, "id") == first


def test_a_timeline_is_unfolded_by_the_keyboard_and_tells_it_all(tab: Tab) -> None:
    tab.choose("state", "approved")
    tab.search("raise gateway")
    button = tab.all(".toggle")[0]
    name = button.text
    assert button.get_attribute("aria-expanded") == "false"
    button.send_keys(Keys.ENTER)
    # The row is made anew, and keeps the keyboard.
    button = tab.driver.switch_to.active_element
    assert button.text == name
    assert button.get_attribute("aria-expanded") == "true"
    steps = [text for text in tab.texts(".timeline li") if text]
    assert "raise by gateway" in steps[0]
    assert "resolve as approved by " in steps[-1]
    button.send_keys(Keys.ENTER)
    assert tab.all(".detail") == []


def test_an_address_leads_to_an_escalation(tab: Tab) -> None:
    name = column(tab, "id")[-1]
    tab.search("nothing holds these words")
    tab.run("location.hash = arguments[0]", name)
    assert tab.driver.switch_to.active_element.text == name
    assert tab.find("#search").get_attribute("value") == ""
    tab.open(f"#{name}")
    WebDriverWait(tab.driver, 10).until(lambda driver: driver.switch_to.active_element.text == name)
    link = tab.find("table a[href^='#esc_']")
    target = link.text
    link.click()
    assert tab.driver.switch_to.active_element.text == target


@pytest.mark.parametrize("tab", ["large"], indirect=True)
def test_ten_thousand_are_searched_sorted_and_shown(tab: Tab) -> None:
    assert tab.found == "10,000 of 10,000 escalations found"
    tab.find("#cases th[data-sort=took] button").click()
    assert len(column(tab, "id")) == 50
    name = column(tab, "id")[40]
    tab.search(name[-8:])
    assert tab.found == "1 of 10,000 escalations found"
    assert column(tab, "id") == [name]
    tab.search("approved file")
    assert 1_000 < int(tab.found.split(" ")[0].replace(",", "")) < 10_000


# --- strangers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("tab", ["hostile"], indirect=True)
def test_what_strangers_wrote_is_shown_and_does_nothing(tab: Tab) -> None:
    for number in range(len(tab.all(".toggle"))):
        tab.all(".toggle")[number].click()
    assert len(tab.all(".detail")) == len(HOSTILE)
    shown = "\n".join(tab.texts("body"))
    words = tab.texts(".timeline .words")
    for text in HOSTILE:
        assert text in shown
        assert any(said.startswith(text) and visible("\x00 \x1b[2J \u202e") in said for said in words)
        tab.search(text[:12])
        assert not tab.found.startswith("0 ")
    assert tab.run("return window.pwned") is None
    assert tab.run("return Object.prototype.pwned") is None
    made = (
        "script, style, img, link, base, iframe, object, embed, a:not([href^='#']), meta[http-equiv=refresh]"
    )
    assert tab.run("return document.querySelectorAll(arguments[0]).length", made) == 3
    assert tab.run("return document.querySelectorAll('[onerror], [onload], [style], [src]').length") == 0
    assert tab.run("return document.documentElement.scrollWidth") <= 1200


def test_the_policy_holds_even_where_a_text_would_become_html(
    chromium: Chrome, pages: dict[str, Path]
) -> None:
    """What the page's script never does, done on purpose: the browser refuses it."""
    tab = Tab(chromium, pages["busy"])
    tab.open()
    for deed in (
        "document.body.innerHTML = '<img src=x onerror=window.pwned=1>'",
        "document.body.append(Object.assign(document.createElement('script'), {text: 'window.pwned = 1'}))",
        "document.body.setAttribute('onclick', 'window.pwned = 1'); document.body.click()",
        "document.body.append(Object.assign(document.createElement('img'), {src: 'https://example.com/x.png'}))",
        "document.body.append(Object.assign(document.createElement('iframe'), {src: 'https://example.com/'}))",
        "fetch('https://example.com/').catch(() => {})",
    ):
        with suppress(JavascriptException):
            tab.run(deed)
        said: list[str] = []
        WebDriverWait(chromium, 10).until(lambda _: said.extend(tab.logs()[0]) or said)  # noqa: B023
        assert all("Content Security Policy" in text or "'Trusted" in text for text in said), deed
        assert tab.run("return window.pwned") is None


# --- light, dark and paper --------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where pictures go: where SCREENSHOTS says, or nowhere that stays."""
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path)
    folder.mkdir(exist_ok=True)
    return folder


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_picture_in_light_and_dark(tab: Tab, pictures: Path, scheme: str) -> None:
    tab.open(prefers_color_scheme=scheme)
    paper, ink = tab.run("const it = getComputedStyle(document.body); return [it.backgroundColor, it.color]")
    assert (brightness(paper) > brightness(ink)) == (scheme == "light")
    assert contrast(paper, ink) > 7
    tab.picture(pictures / f"report-{scheme}.png", 1200, 1040)
    assert 20_000 < (pictures / f"report-{scheme}.png").stat().st_size < 200_000


def top_of(tab: Tab, name: str) -> int:
    """How far down the page a heading stands."""
    asked = "return document.getElementById(arguments[0]).getBoundingClientRect().top + scrollY"
    return int(tab.run(asked, name))


def test_a_picture_of_the_charts(tab: Tab, pictures: Path) -> None:
    tab.picture(pictures / "report-charts.png", 1200, 1300, top_of(tab, "time"))
    assert 20_000 < (pictures / "report-charts.png").stat().st_size < 200_000


def test_a_picture_of_a_timeline(tab: Tab, pictures: Path) -> None:
    tab.search("the lease of")
    tab.all(".toggle")[0].click()
    tab.picture(pictures / "report-timeline.png", 1200, 720, top_of(tab, "escalations"))
    assert 20_000 < (pictures / "report-timeline.png").stat().st_size < 200_000


def numbers(colour: str) -> list[float]:
    return [int(part) / 255 for part in colour.strip("rgb()").split(",")]


def brightness(colour: str) -> float:
    """The relative luminance of a colour (WCAG 2.2)."""
    red, green, blue = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in numbers(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours (WCAG 2.2)."""
    low, high = sorted((brightness(one), brightness(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_is_readable_in_light_and_dark(tab: Tab, scheme: str) -> None:
    """Each text against what stands behind it, by the ratio that WCAG asks for."""
    tab.open(prefers_color_scheme=scheme)
    tab.all(".toggle")[0].click()
    pairs = tab.run(
        """
        const behind = (it) => {
          for (; it; it = it.parentElement) {
            const colour = getComputedStyle(it).backgroundColor;
            if (!colour.startsWith("rgba(")) return colour;
          }
        };
        const found = new Map();
        const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
        while (walker.nextNode()) {
          const it = walker.currentNode.parentElement, style = getComputedStyle(it);
          if (!walker.currentNode.data.trim() || !it.checkVisibility()) continue;
          const colour = it instanceof SVGElement ? style.fill : style.color;
          found.set(`${colour} ${behind(it)}`, [colour, behind(it), it.tagName]);
        }
        return [...found.values()];
        """
    )
    assert len(pairs) > 5
    assert [pair for pair in pairs if contrast(pair[0], pair[1]) < 4.5] == []


def test_it_prints_with_all_that_is_folded_up(tab: Tab, tmp_path: Path) -> None:
    assert not tab.find("details table").is_displayed()
    # Selenium prints as Chromium does to a file, which lets the page get ready for paper.
    pdf = base64.b64decode(tab.driver.print_page())
    assert pdf.startswith(b"%PDF-")
    assert pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") > 3
    tab.run("dispatchEvent(new Event('beforeprint'))")
    tab.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert tab.find("details table").is_displayed()
    assert not tab.find("form").is_displayed()
    assert tab.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_without_its_script_the_figures_and_the_queue_are_there(tab: Tab) -> None:
    tab.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    tab.open()
    shown = tab.find("main").text
    tab.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert "most severe, then oldest first" in shown
    assert "Outcomes by policy" in shown
    assert "kt escalation list --limit 0" in shown
