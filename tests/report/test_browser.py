"""The page in a real browser: the viewer works, nothing is requested, nothing overflows a phone, no error is thrown.

A probe is put into a copy of the page; it uses the page as a reader would and leaves what it saw in an attribute.
"""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from cbt_ray.report import render
from tests.analysis.tables import made_up
from tests.needs import needs
from tests.report.sample import EVIL, sample

HEAD = "<script>window.errors = []; window.onerror = function (m) { errors.push(m); };</script>"
PROBE = """<script>
function pick(name, value) {
  var select = document.querySelector('.filters').elements[name];
  select.value = value;
  select.dispatchEvent(new Event('change', {bubbles: true}));
  return document.querySelectorAll('.list li').length;
}
function key(name) { document.body.dispatchEvent(new KeyboardEvent('keydown', {key: name, bubbles: true})); }
function heading() { return document.querySelector('.reader h3').textContent; }
var seen = {};
async function probe() {
  var wait = function () { return new Promise(function (go) { setTimeout(go, 50); }); };
  seen.linked = heading();
  seen.turn = document.querySelector('.turn.therapist p').textContent;
  seen.ratings = document.querySelectorAll('.ratings dt').length;
  key('j'); await wait(); seen.next = heading();
  key('k'); await wait(); seen.back = heading();
  seen.all = document.querySelectorAll('.list li').length;
  seen.tuned = pick('arm', 'smollm2-tuned');
  seen.early = pick('flag', 'early_end');
  seen.empty = pick('phase', 'middle');
  seen.none = document.querySelector('.reader').textContent;
  location.hash = '#session=' + encodeURIComponent('smollm2-instruct/ben-li/3'); await wait(); seen.deep = heading();
  seen.width = [document.documentElement.scrollWidth, innerWidth];
  seen.requests = performance.getEntriesByType('resource').map(function (e) { return e.name; });
  seen.title = document.title;
  seen.small = Array.from(document.querySelectorAll('figure svg')).filter(function (s) {
    return s.getBoundingClientRect().width < 10; }).length;
  seen.errors = errors;
}
probe().catch(function (error) { seen.errors = [String(error)]; })
  .then(function () { parent.postMessage(JSON.stringify(seen), '*'); });
</script></body>"""
FRAME = """<!DOCTYPE html><script>
addEventListener('message', function (event) { document.documentElement.setAttribute('data-seen', event.data); });
</script><iframe src="ADDRESS" width="WIDTH" height="900" style="border: 0"></iframe>"""  # a window cannot be narrower than 500


def browse(folder: Path, address: str, width: int) -> dict[str, Any]:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    needs("browser", browser is not None)
    page = render(sample(made_up()))
    report, frame = folder / "report.html", folder / "frame.html"
    report.write_text(page.replace("<title>", HEAD + "<title>", 1).replace("</body>", PROBE), encoding="utf-8")
    frame.write_text(FRAME.replace("ADDRESS", report.name + address).replace("WIDTH", str(width)), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--virtual-time-budget=5000"]
    command = [str(browser), *flags, f"--user-data-dir={folder / 'profile'}", "--window-size=1400,1000", "--dump-dom"]
    done = subprocess.run([*command, frame.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    seen = re.search(r'data-seen="([^"]*)"', done.stdout)
    assert seen, done.stderr[-2000:]
    return {"asked": width, **json.loads(html.unescape(seen[1]))}


@pytest.fixture(scope="module", params=[390, 1300])
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return browse(tmp_path_factory.mktemp("browser"), f"#session={quote('smollm2-tuned/ada/2', safe='')}", request.param)


def test_no_error_no_request_and_hostile_text_did_nothing(seen: dict[str, Any]) -> None:
    assert seen["errors"] == []
    assert seen["requests"] == []
    assert seen["title"] == "demo: report"
    assert seen["turn"] == f"therapist says {EVIL}"


def test_no_horizontal_overflow_and_every_figure_is_drawn(seen: dict[str, Any]) -> None:
    assert seen["width"][0] <= seen["width"][1] == seen["asked"]
    assert seen["small"] == 0


def test_deep_links_and_keys(seen: dict[str, Any]) -> None:
    assert seen["linked"] == "ada, session 2, arm smollm2-tuned"
    assert seen["next"] == "ada, session 3, arm smollm2-tuned"
    assert seen["back"] == seen["linked"]
    assert seen["deep"] == "ben-li, session 3, arm smollm2-instruct"
    assert seen["ratings"] == 3


def test_filters(seen: dict[str, Any]) -> None:
    assert (seen["all"], seen["tuned"], seen["early"], seen["empty"]) == (12, 6, 2, 0)
    assert seen["none"] == "No session matches."
