"""The page in a real browser: drawn, quiet, read by everybody, and its viewer works at 600
sessions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from cbt_ray.report import ReportData, ReportedSession, render
from tests.analysis.tables import made_up
from tests.report import study
from tests.report.browser import DESK, PHONE, Visit, browser, violations, visit, write
from tests.report.sample import EVIL, sample, sessions_of

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from playwright.sync_api import Browser

LINKED = f"#session={quote('smollm2-tuned/ada/2', safe='')}"
FILTER_MS = 200


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, chrome: Browser) -> Path:
    """A small study whose every text tries to break out of the page."""
    return write(render(sample(made_up())), tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def data(chrome: Browser) -> ReportData:
    """600 sessions, three judges."""
    rows = study.rows()
    return sample(
        rows, analysis=study.analysis(), sessions=sessions_of(rows, 24, "something of no weight")
    )


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, data: ReportData) -> Path:
    """The same, with transcripts beside the page."""
    return write(render(data, "beside"), tmp_path_factory.mktemp("large"))


@pytest.fixture(scope="module")
def tab(chrome: Browser, large: Path) -> Iterator[Visit]:
    """One tab for all tests of the viewer: to start one takes as long as a test."""
    with visit(chrome, large) as found:
        yield found


@pytest.fixture
def viewer(tab: Visit, large: Path) -> Iterator[Visit]:
    """The viewer as it is when the page has been opened."""
    tab.tab.goto("about:blank")
    tab.tab.goto(large.as_uri())
    tab.tab.wait_for_selector(".reader h3")
    yield tab
    assert tab.problems == []


# ---- the page ------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [PHONE, 768, DESK])
@pytest.mark.parametrize("page", ["hostile", "large"])
def test_quiet_and_inside_the_window(
    chrome: Browser, page: str, width: int, request: pytest.FixtureRequest
) -> None:
    file: Path = request.getfixturevalue(page)
    with visit(chrome, file, width) as found:
        found.tab.wait_for_selector(".reader h3")
        found.tab.evaluate(
            "document.querySelectorAll('details').forEach(node => { node.open = true; })"
        )
        assert found.tab.evaluate("document.documentElement.scrollWidth") == width
        assert found.problems == []
        assert all(url.startswith(file.parent.as_uri()) for url in found.requests)
        assert len(found.requests) == (1 if page == "hostile" else 2)


def test_hostile_text_does_nothing(chrome: Browser, hostile: Path) -> None:
    with visit(chrome, hostile, address=LINKED) as found:
        assert found.tab.title() == "demo: report"
        assert (
            found.tab.locator(".turn.therapist p").first.text_content() == f"therapist says {EVIL}"
        )
        assert found.of("img, .reader script") == 0


def test_an_injected_script_would_not_run(chrome: Browser, hostile: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(
        hostile.read_text().replace(
            "</main>", "<script>document.title = 'broken'</script></main>", 1
        )
    )
    with visit(chrome, file) as found:
        assert found.tab.title() == "demo: report"
        assert "Content Security Policy" in found.problems[0]


def test_every_figure_is_drawn(chrome: Browser, large: Path) -> None:
    with visit(chrome, large) as found:
        found.tab.evaluate(
            "document.querySelectorAll('details').forEach(node => { node.open = true; })"
        )
        assert found.of("figure") > 12
        for figure in found.tab.locator("figure").all():
            name = str(figure.get_attribute("id")).removeprefix("fig-")
            drawings = figure.locator(".panels svg:visible").all()
            assert drawings, name
            for drawing in drawings:
                box = drawing.bounding_box()
                assert box is not None, name
                assert min(box["width"] / 2.5, box["height"]) > 40, name
                assert drawing.locator("text").count() > 1, name
                assert drawing.evaluate(CONTENT_INSIDE) is True, f"{name}: text is cut off"


CONTENT_INSIDE = """svg => { const frame = svg.getBoundingClientRect(), near = 2;
  return Array.from(svg.querySelectorAll('text')).every(node => {
    const box = node.getBoundingClientRect();
    return box.left >= frame.left - near && box.right <= frame.right + near
      && box.top >= frame.top - near && box.bottom <= frame.bottom + near; }); }"""


@pytest.mark.parametrize(
    ("page", "width"), [("hostile", PHONE), ("hostile", DESK), ("large", PHONE), ("large", DESK)]
)
def test_axe_finds_nothing_serious(
    chrome: Browser, page: str, width: int, request: pytest.FixtureRequest
) -> None:
    """Of the list of sessions, whose entries are all built alike, those of one arm are shown.

    Where it is dark nothing but colours is another.
    """
    file = request.getfixturevalue(page)
    with visit(chrome, file, width, "#arm=willow-tuned", color_scheme="light") as found:
        found.tab.wait_for_selector(".reader h3")
        found.tab.evaluate(
            "document.querySelectorAll('details').forEach(node => { node.open = true; })"
        )
        assert violations(found.tab) == []
        found.tab.emulate_media(color_scheme="dark")
        assert violations(found.tab, "color-contrast", "link-in-text-block") == []


def test_dark_mode_and_print_have_their_own_colours(chrome: Browser, large: Path) -> None:
    def paper(found: Visit) -> str:
        return str(found.tab.evaluate("getComputedStyle(document.body).backgroundColor"))

    with (
        visit(chrome, large, color_scheme="light") as light,
        visit(chrome, large, color_scheme="dark") as dark,
    ):
        assert paper(light) == "rgb(253, 253, 251)"
        assert paper(dark) == "rgb(21, 24, 27)"
        dark.tab.emulate_media(media="print")
        assert paper(dark) == "rgb(255, 255, 255)"
        assert not dark.tab.locator("#viewer").is_visible()
        assert not dark.tab.locator("nav.contents").is_visible()
        assert dark.tab.locator("#t-methods-patients").is_visible(), "printed, though folded"
        assert not dark.tab.locator("#provenance pre").is_visible(), "the study file is not"
        assert len(dark.tab.pdf()) > 50_000


def test_what_is_wider_than_the_screen_says_so_until_its_end_was_seen(
    chrome: Browser, large: Path
) -> None:
    with visit(chrome, large, PHONE) as found:
        table = found.tab.locator(".table:has(#t-primary)")
        found.tab.wait_for_selector(".table.more:has(#t-primary)")
        table.evaluate("node => { node.scrollLeft = node.scrollWidth; }")
        found.tab.wait_for_selector(".table:not(.more):has(#t-primary)")
    with visit(chrome, large, DESK) as found:
        found.tab.wait_for_timeout(200)
        assert not found.of(".table.more:has(#t-primary)")


def test_the_forest_plot_has_a_layout_for_a_narrow_screen(chrome: Browser, large: Path) -> None:
    for width, layout in ((PHONE, "slim"), (DESK, "wide")):
        with visit(chrome, large, width) as found:
            seen = [one for one in ("wide", "slim") if found.tab.is_visible(f"#fig-forest .{one}")]
            assert seen == [layout]


def test_the_keyboard_alone_is_enough(chrome: Browser, hostile: Path) -> None:
    with visit(chrome, hostile) as found:
        focused: Callable[[], str] = lambda: str(  # noqa: E731
            found.tab.evaluate("document.activeElement.textContent")
        ).strip()
        found.tab.keyboard.press("Tab")
        assert focused() == "Skip to the report"
        found.tab.keyboard.press("Tab")
        assert focused() == "Question and answer"
        found.tab.keyboard.press("Enter")
        assert found.hash == "#question"
        seen = set()
        for _ in range(200):
            found.tab.keyboard.press("Tab")
            seen.add(str(found.tab.evaluate("document.activeElement.closest('section')?.id")))
            outline = found.tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            if found.tab.evaluate("document.activeElement === document.body"):
                break
            assert outline != "none"
        assert {"question", "effects", "models", "transcripts"} <= seen


def test_an_address_opens_what_is_folded(chrome: Browser, large: Path) -> None:
    with visit(chrome, large, address="#t-items") as found:
        assert found.tab.locator("#t-items").is_visible()


# ---- the viewer ----------------------------------------------------------------------------------


def totals(session: ReportedSession) -> float | None:
    own = [
        rating.total
        for rating in session.ratings
        if rating.judge == "judge" and rating.total is not None
    ]
    return sum(own) / len(own) if own else None


FILTERS: dict[str, Callable[[ReportedSession], bool]] = {
    "arm=birch-tuned": lambda s: s.arm == "birch-tuned",
    "patient=Ada Lund": lambda s: s.patient == "Ada Lund",
    "phase=termination": lambda s: s.phase == "termination",
    "flag=repetition": lambda s: "repetition" in s.flags,
    "flag=none": lambda s: not s.flags,
    "end=not_reached": lambda s: s.reason == "not_reached",
    "rating=unrated": lambda s: totals(s) is None,
    "from=60": lambda s: (totals(s) or 0) >= 60,
    "to=49.5": lambda s: (totals(s) or 999) <= 49.5,
    "find=ben maple": lambda s: "ben" in s.patient.lower() and "maple" in s.arm,
}


def cleared(viewer: Visit) -> None:
    viewer.tab.locator(".filters button").click()
    viewer.tab.wait_for_selector(".list li:nth-child(600)", state="attached")


def test_each_filter_lists_what_it_says(viewer: Visit, data: ReportData) -> None:
    for wanted, holds in FILTERS.items():
        name, value = wanted.split("=")
        expected = sum(map(holds, data.sessions))
        assert 0 < expected < len(data.sessions), wanted
        assert viewer.pick(name, value) == expected, wanted
        assert viewer.text(".count") == f"{expected} of {len(data.sessions)} sessions"
        assert f"{name}=" in viewer.hash
        cleared(viewer)
        assert f"{name}=" not in viewer.hash, wanted


def test_filters_combine_are_remembered_and_cleared(viewer: Visit, data: ReportData) -> None:
    viewer.pick("arm", "maple-tuned")
    count = viewer.pick("from", "62")
    assert count == sum(s.arm == "maple-tuned" and (totals(s) or 0) >= 62 for s in data.sessions)
    assert "maple-tuned" in viewer.heading(), "a session that matches is open"
    viewer.tab.reload()
    viewer.tab.wait_for_selector(".reader h3")
    assert viewer.of(".list li") == count
    cleared(viewer)
    assert viewer.hash.count("=") == 1


def test_nothing_matches(viewer: Visit) -> None:
    assert viewer.pick("find", "nobody at all") == 0
    assert viewer.text(".reader") == "No session matches."


def test_order_by_total(viewer: Visit) -> None:
    viewer.pick("order", "low")
    shown = viewer.tab.locator(".list li a > span:nth-child(2)").all_text_contents()
    known = [float(text) for text in shown if text != "unrated"]
    assert known == sorted(known)
    assert shown[-1] == "unrated"


def test_a_filter_takes_less_than_the_blink_of_an_eye(viewer: Visit) -> None:
    script = """() => { const select = document.querySelector('.filters [name=arm]'), times = [];
      for (const value of ['birch-tuned', '', 'maple-instruct', '']) {
        const begun = performance.now(); select.value = value;
        select.dispatchEvent(new Event('input', {bubbles: true}));
        document.querySelector('.list').offsetHeight; times.push(performance.now() - begun); }
      return times; }"""
    times = viewer.tab.evaluate(script)
    assert max(times) < FILTER_MS, times


def test_keys(viewer: Visit) -> None:
    viewer.tab.locator("#viewer").scroll_into_view_if_needed()
    press = viewer.tab.keyboard.press
    first = viewer.heading()
    press("j")
    assert viewer.heading() == "Ada Lund, session 2, arm birch-instruct"
    press("k")
    assert viewer.heading() == first
    press("n")
    press("n")
    assert viewer.tab.locator(".turn[aria-current]").get_attribute("id") == "turn-2"
    assert viewer.hash.endswith("turn=2")
    press("p")
    assert viewer.tab.locator(".turn[aria-current]").get_attribute("id") == "turn-1"
    press("/")
    viewer.tab.keyboard.type("eda")
    assert viewer.of(".list li") == 120
    press("Escape")
    assert viewer.of(".list li") == 600
    viewer.tab.locator(".list a").first.focus()
    press("ArrowDown")
    assert viewer.heading() == "Ada Lund, session 2, arm birch-instruct"
    assert viewer.tab.evaluate("document.activeElement.getAttribute('aria-current')") == "true"


def test_deep_links_to_a_session_and_a_turn_and_the_way_back(chrome: Browser, large: Path) -> None:
    address = "#arm=willow-tuned&session=willow-tuned.cleo.r1.s03&turn=9"
    with visit(chrome, large, address=address) as found:
        found.tab.wait_for_selector(".turn[aria-current]")
        assert found.heading() == "Cleo Marsh, session 3, arm willow-tuned"
        assert found.tab.locator(".turn[aria-current]").get_attribute("id") == "turn-9"
        assert found.of(".list li") == 100
        found.tab.locator(".list li a").first.click()
        found.tab.wait_for_selector(".reader h3:has-text('Ada Lund, session 1, arm willow-tuned')")
        found.tab.go_back()
        found.tab.wait_for_selector(".reader h3:has-text('Cleo')")
        found.tab.evaluate("location.hash = '#session=birch-tuned.ben.r1.s02'")
        found.tab.wait_for_selector(".reader h3:has-text('Ben')")
        assert found.problems == []


def test_several_judges_stand_side_by_side(viewer: Visit) -> None:
    viewer.tab.evaluate("location.hash = '#session=birch-tuned.ada.r1.s07'")
    viewer.tab.wait_for_selector(".ratings label:nth-of-type(4)")
    names = viewer.tab.locator(".ratings label").all_inner_texts()
    assert [name.split("\n")[1] for name in names] == [
        "judge, plain view, replicate 1",
        "judge, plain view, replicate 2",
        "rater one (human), plain view, replicate 1",
        "rater two (human), plain view, replicate 1",
    ]
    assert viewer.of(".ratings tbody tr:not(.why)") == len(study.ITEMS)
    assert viewer.of(".ratings tbody tr:first-child td") == 4
    viewer.tab.locator(".ratings input").nth(2).check()
    assert viewer.text(".ratings thead .picked") == "3"


def test_a_session_without_transcript_says_why(viewer: Visit) -> None:
    viewer.pick("end", "not_reached")
    viewer.tab.wait_for_selector(".turns .empty")
    assert viewer.text(".reader .turns") == "No transcript: not reached."


def test_transcripts_that_are_not_beside_the_page_or_are_anothers(
    chrome: Browser, data: ReportData, tmp_path: Path
) -> None:
    page = render(data, "beside")
    file = write(page, tmp_path)
    chunk = tmp_path / next(iter(page.beside))
    chunk.write_text(
        chunk.read_text().replace("cbtRayTranscripts(", "cbtRayTranscripts('another' + ", 1)
    )
    with visit(chrome, file) as found:
        found.tab.wait_for_selector(".reader .problem")
        assert "belongs to another report" in found.text(".reader .problem")
    chunk.unlink()
    with visit(chrome, file) as found:
        found.tab.wait_for_selector(".reader .problem")
        assert "is not beside this page" in found.text(".reader .problem")


def test_inside_and_beside_show_the_same(
    chrome: Browser, data: ReportData, viewer: Visit, tmp_path: Path
) -> None:
    with visit(chrome, write(render(data, "inside"), tmp_path)) as inside:
        inside.tab.wait_for_selector(".reader h3")
        assert len(inside.requests) == 1
        assert inside.text(".reader") == viewer.text(".reader")


def test_a_page_without_transcripts_has_no_viewer(
    chrome: Browser, data: ReportData, tmp_path: Path
) -> None:
    page = render(data, "none")
    assert page.beside == {}
    assert json.dumps("something of no weight")[1:-1] not in page.html
    with visit(chrome, write(page, tmp_path)) as found:
        assert found.of("#viewer") == 0
        assert found.problems == []
