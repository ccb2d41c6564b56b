"""A prompt file is data: it reaches no Python, ends in time, and what it makes is bounded.

Normal ones render as ever.
"""

from __future__ import annotations

import faulthandler
import hashlib
import os
from pathlib import Path

import pytest
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cbt_ray.errors import InputError
from cbt_ray.prompts import HOME, Prompts
from cbt_ray.rating.scale_file import load_scale
from cbt_ray.reading.trial import tried
from cbt_ray.study.protocol import Phase
from cbt_ray.work.samples import Sample, fault_of, samples
from tests.study.example import loaded
from tests.therapy.spoken import ENGLISH

PHASE = Phase(name="first", sessions=(1, 2), goals="g", techniques="t")
DEEP = "recursion|steps|takes more than 0.5 s"
"""Which of its bounds ends it hangs on the machine."""
HOSTILE = {
    "reaches-python": ("{{ cycler.__init__.__globals__.os.getpid() }}", "unsafe"),
    "reaches-classes": ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
    "reaches-by-a-filter": ("{{ ''|attr('__class__') }}", "unsafe"),
    "reaches-by-a-format": ("{{ '{0.__class__}'.format(1) }}", "unsafe"),
    "reads-a-file-by-a-model": (
        "{{ phase.parse_file('/etc/passwd') }}",
        "no attribute 'parse_file'",
    ),
    "unpickles-by-a-model": (
        "{{ phase.parse_raw('x', allow_pickle=True) }}",
        "no attribute 'parse_raw'",
    ),
    "never-ends": (
        "{% for a in range(99999999) %}{% for b in range(99999999) %}x{% endfor %}{% endfor %}",
        "steps",
    ),
    "never-ends-in-silence": (
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
        "steps",
    ),
    "loops-over-lists": (
        "".join(f"{{% for a{n} in [1,2,3,4,5,6,7,8,9] %}}" for n in range(15))
        + "{% endfor %}" * 15,
        "steps",
    ),
    "endless-range": ("{{ range(10**30) }}", "steps"),
    "power": ("{{ 10**(10**8) }}", "bits"),
    "product": ("{{ 'x' * 10**10 }}", "characters"),
    "wide-filter": ("{{ 'x'|center(10**10) }}", "width"),
    "wide-method": ("{{ 'x'.zfill(10**10) }}", "width"),
    "wide-format": ("{{ '%010000000000d' % 1 }}", "width"),
    "wide-format-of-a-text": ("{{ '{:>10000000000}'.format(1) }}", "width"),
    "many-bytes": ("{{ (5).to_bytes(10**10, 'big') }}", "width"),
    "grows": (
        "{% set n = namespace(x='xx') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor "
        "%}",
        "characters",
    ),
    "grows-as-a-block": (
        "{% set n = namespace(x='xx') %}{% for i in range(60) %}{% set n.x %}{{ n.x }}{{ n.x }}{% "
        "endset %}{% endfor %}",
        "characters",
    ),
    "grows-as-a-list": (
        "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor "
        "%}",
        "entries",
    ),
    "grows-as-lists-of-lists": (
        "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor "
        "%}",
        "characters",
    ),
    "grows-as-names": (
        "{% set n = namespace(x=1) %}{% for i in range(60) %}{% set n.x = namespace(a=n.x, b=n.x) "
        "%}{% endfor %}{{ n }}",
        "characters",
    ),
    "grows-in-a-macro": (
        "{% macro m(x) %}{% for i in range(90000) %}{{ x }}{% endfor %}{% endmacro %}{{ m('x' * "
        "3000000) }}",
        "steps",
    ),
    "grows-as-plain-text": (
        "{% macro m() %}{% for i in range(90000) %}"
        + "x" * 900_000
        + "{% endfor %}{% endmacro %}{{ m() }}",
        "steps",
    ),
    "grows-by-joining": ("{{ range(40000)|list|join('x' * 4000000) }}", "characters"),
    "grows-by-a-method-that-joins": ("{{ ('x' * 4000000).join('x' * 4000000) }}", "characters"),
    "grows-by-a-format": ("{{ ('{0}' * 1000000).format('x' * 4000000) }}", "characters"),
    "grows-by-a-sign": ("{{ ('%s' * 9999) % ('x' * 4000000) }}", "characters"),
    "grows-by-tabs": ("{{ ('\t' * 4000000).expandtabs(9999) }}", "characters"),
    "grows-by-indents": ("{{ ('\n' * 4000000)|indent('x' * 4000000) }}", "characters"),
    "grows-by-translating": ("{{ ('a' * 4000000).translate({97: 'b' * 4000000}) }}", "characters"),
    "compares-for-long": (
        "{% set x = 'x' * 3000000 %}{% set y = 'x' * 2999999 ~ 'x' %}{% for i in range(90000) %}{{ "
        "x == y }}{% endfor %}",
        "steps",
    ),
    "changes-for-long": (
        "{% set x = 'x' * 4000000 %}{% for i in range(90000) %}{% set y = x|upper %}{% endfor %}",
        "steps",
    ),
    "grows-by-replacing": (
        "{% set n = namespace(x='xx') %}{% for i in range(60) %}{% set n.x = n.x.replace('x', n.x) "
        "%}{% endfor %}",
        "characters",
    ),
    "calls-itself": ("{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}", DEEP),
    "brings-itself": ("{% include 'hostile.j2' %}", DEEP),
    "extends-itself": ("{% extends 'hostile.j2' %}", DEEP),
    "leaves-the-folder": (
        "{% include '../../../etc/passwd' %}",
        "expected the name of a prompt file",
    ),
    "absolute": ("{% include '/etc/passwd' %}", "expected the name of a prompt file"),
    "nested": ("{% if 1 %}" * 3000 + "{% endif %}" * 3000, "recursion|nested"),
    "brackets": ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "recursion|nested"),
    "signs": ("{{ " + "-" * 20000 + "1 }}", "recursion|nested"),
    "takes-long-in-one-step": (
        "{{ ('a b ' * 900000)|wordwrap(1)|length }}",
        "takes more than 0.5 s|width|characters",
    ),
    "divides-by-zero": ("{{ 1 / 0 }}", "division by zero"),
    "unknown-name": ("Hello {{ nobody }}", "'nobody' is undefined"),
    "torn": ("You are {{ patient", "unexpected end of template"),
    "unknown-tag": ("{% do x %}", "unknown tag"),
    "nul": ("a\0b", "without NUL"),
    "large": ("x" * 2_000_000, "at most 1,048,576 bytes"),
}


def told(prompts: Prompts, name: str = "hostile.j2") -> list[str]:
    sample = Sample(name, "prompts", {"phase": PHASE, "patient": "A"})
    [said] = tried([lambda: fault_of(prompts, sample)])
    return said


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_prompt_is_one_line(name: str, tmp_path: Path) -> None:
    text, expected = HOSTILE[name]
    (tmp_path / "hostile.j2").write_text(text)
    said = told(Prompts(tmp_path))
    assert len(said) == 1
    assert any(part in said[0] for part in expected.split("|")), said


def test_file_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "bytes.j2").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "folder.j2").mkdir()
    (tmp_path / "zero.j2").symlink_to("/dev/zero")
    (tmp_path / "broken.j2").symlink_to("/nowhere")
    os.mkfifo(tmp_path / "fifo.j2")
    prompts = Prompts(tmp_path)
    expected = ["no.j2: expected", "UTF-8", "a folder", "a device", "there is none", "a FIFO"]
    for name, said in zip(
        ["no", "bytes", "folder", "zero", "broken", "fifo"], expected, strict=True
    ):
        [line] = told(prompts, f"{name}.j2")
        assert said in line


@pytest.mark.parametrize("name", ["../x.j2", "/etc/passwd", "", "a/../../x.j2", "a\0b"])
def test_name_that_leaves_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected the name of a prompt file"):
        Prompts(tmp_path).path(name)


def test_prompts_of_the_project_render_as_jinja_renders_them() -> None:
    studies, prompts = (loaded(), loaded(courses__write="turns")), Prompts()
    plain = Environment(  # noqa: S701  no HTML
        loader=FileSystemLoader(str(HOME / "en")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    scales = [load_scale(prompts, "ctrs")]
    kinds = {"a": "one", "b": "other"}
    known = [one for study in studies for one in samples(study, ENGLISH, scales, kinds)]
    assert {sample.prompt for sample in known} == {file.name for file in (HOME / "en").glob("*.j2")}
    for sample in known:
        values = sample.values or {}
        assert (
            prompts.render(sample.prompt, **values)
            == plain.get_template(sample.prompt).render(**values).strip()
        )


def test_everything_a_prompt_may_use_renders_as_jinja_renders_it(tmp_path: Path) -> None:
    text = (
        "{% macro item(n, last) %}{{ n }}{% if not last %}, {% endif %}{% endmacro %}"
        "{% set words = ['a', 'b', 'c'] %}"
        "{% for word in words if word != 'b' %}{{ loop.index }}/{{ loop.length }} {{ item(word, "
        "loop.last) }}{% else %}-"
        "{% endfor %}"
        "{% for key, value in {'x': 1, 'y': 2}.items() %}{{ key ~ value }}{% endfor %}"
        "{% set block %}{{ words|join('+')|upper }}{% endset %}{{ block }} {{ '%05.2f' % 3.14159 "
        "}} {{ '{:>5}'.format('a') }}"
        "{{ 2 ** 10 + 3 * 4 }} {{ 'ab' * 3 }} {{ [1] + [2] }} {{ phase.goals|replace('g', "
        "'h')|center(9) }}"
        "{% for a in [[1, [2]], [3, []]] recursive %}{{ a is sequence }}{% endfor %}{% with z = 1 "
        "%}{{ z }}{% endwith %}"
        "{% filter indent(2) %}a\nb{% endfilter %}{{ words|map('upper')|list }}{{ range(3)|list "
        "}}{{ missing is defined }}"
    )
    (tmp_path / "own.j2").write_text(text)
    plain = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)  # noqa: S701
    assert (
        Prompts(tmp_path).render("own.j2", phase=PHASE)
        == plain.from_string(text).render(phase=PHASE).strip()
    )


def test_version_holds_what_a_prompt_brings_in(tmp_path: Path) -> None:
    prompts = Prompts(tmp_path)
    (tmp_path / "alone.j2").write_text("Be kind.")
    (tmp_path / "part.j2").write_text("Be brief.")
    (tmp_path / "whole.j2").write_text("{% include 'part.j2' %} Be kind.")
    assert prompts.hash("alone.j2") == {"alone.j2": hashlib.sha256(b"Be kind.").hexdigest()[:16]}
    before = prompts.hash("whole.j2")
    other = tmp_path / "other"
    other.mkdir()
    (other / "whole.j2").write_text((tmp_path / "whole.j2").read_text())
    (other / "part.j2").write_text("Be long.")
    assert Prompts(other).hash("whole.j2") != before
    assert prompts.render("whole.j2") == "Be brief. Be kind."


def test_prompt_that_brings_in_what_a_value_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.j2").write_text("{% include patient %}")
    with pytest.raises(InputError, match="in quotes"):
        Prompts(tmp_path).hash("own.j2")


def test_what_comes_after_a_task_that_ends_the_process_is_done() -> None:
    def forever() -> list[str]:
        while True:
            pass

    def dies() -> list[str]:
        faulthandler.disable()
        os.abort()

    answers = list(tried([lambda: ["one"], forever, lambda: ["three"], dies, list]))
    assert answers == [
        ["one"],
        ["it takes more than 0.5 s"],
        ["three"],
        ["it ends the process (SIGABRT)"],
        [],
    ]
