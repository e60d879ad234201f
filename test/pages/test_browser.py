"""The script of a page in a real browser: under its own policy it sorts, marks and chooses."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest

from ros2_ood_monitor.pages.axes import Axes
from ros2_ood_monitor.pages.builder import Page, Section, render
from ros2_ood_monitor.pages.charts import Chart, Dot
from ros2_ood_monitor.pages.heat_table import Heat, HeatColumn, HeatTable

BROWSER = shutil.which('chromium') or shutil.which('google-chrome')
VALUES = {'middle': 0.5, 'best': 9.5, 'worst': 0.25}

pytestmark = [
    pytest.mark.campaign,
    pytest.mark.skipif(BROWSER is None, reason='needs chromium or google-chrome'),
]


@pytest.fixture
def page(tmp_path, monkeypatch):
    templates = tmp_path / 'browsed' / 'templates'
    templates.mkdir(parents=True)
    (templates.parent / '__init__.py').touch()
    (templates / 'both.html').write_text(
        "{% from 'heat.html' import heat %}{% from 'chart.html' import chart %}"
        '{{ heat(view.heat) }}{{ chart(view.chart) }}'
    )
    monkeypatch.syspath_prepend(tmp_path)
    cells = {
        name: [Heat(f'{value:g}', 50), Heat(f'{-value:g}', 50)] for name, value in VALUES.items()
    }
    column = HeatColumn('a set', '', {**cells, 'absent': [None, None]})
    notes = dict.fromkeys([*VALUES, 'absent'], '1.0')
    view = {
        'heat': HeatTable(
            'heat', ('first', 'second'), 'Name', 'ms', notes, {'group': [column] * 30}
        ),
        'chart': Chart(
            Axes((0, 1), (0, 1), 100, 100), 'dots', [], [Dot(50, 50, 'dot', name='best')]
        ),
    }
    (templates / 'empty.html').touch()
    sections = [
        Section('both', 'One section with a long heading', 'both.html', view),
        *(Section(f'empty-{i}', 'Another long heading', 'empty.html', None) for i in range(9)),
    ]
    return render(Page('t', 'over', 'heading', 'lead', {}, sections), 'browsed')


def browse(tmp_path, html: str, width: int = 1280) -> str:
    """Return the elements of a page after its scripts have run."""
    file = tmp_path / 'page.html'
    file.write_text(html)
    return subprocess.run(
        [
            BROWSER,
            '--headless',
            '--no-sandbox',
            '--disable-gpu',
            '--no-first-run',
            '--disable-background-networking',
            '--disable-component-update',
            '--disable-sync',
            f'--user-data-dir={tmp_path / "profile"}',
            f'--window-size={width},900',
            '--dump-dom',
            file.as_uri(),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout


def ask(tmp_path, html: str, script: str, width: int = 1280):
    """Return the value of an expression, evaluated in the page."""
    without_policy = re.sub(r'<meta http-equiv[^>]*>', '', html)
    asking = f'<script>document.title = JSON.stringify((() => {{ {script} }})())</script></body>'
    answer = browse(tmp_path, without_policy.replace('</body>', asking), width)
    (title,) = re.findall('<title>(.*)</title>', answer)
    return json.loads(title)


def test_the_policy_lets_the_own_script_run(tmp_path, page):
    assert 'class="turn first sorts"' in browse(tmp_path, page)
    changed = page.replace("'use strict';", "'use strict'; ")
    assert 'class="turn first sorts"' not in browse(tmp_path, changed)


def test_a_column_head_sorts_with_missing_values_last(tmp_path, page):
    orders = ask(
        tmp_path,
        page,
        """
        const table = document.querySelector('.heat table');
        const order = () => [...table.tBodies[0].rows].map(row => row.dataset.name);
        const head = table.tHead.rows[1].cells[1];
        const key = new KeyboardEvent('keydown', {key: 'Enter'});
        head.click(); const down = order(); head.dispatchEvent(key); return [down, order()];
        """,
    )
    assert orders == [
        ['best', 'middle', 'worst', 'absent'],
        ['worst', 'middle', 'best', 'absent'],
    ]


def test_a_choice_shows_the_other_values(tmp_path, page):
    shown = """[...document.querySelector('.heat td:nth-child(3)').children].map(
        one => getComputedStyle(one).display)"""
    script = f"const a = {shown}; document.querySelector('#heat-1').click(); return [a, {shown}];"
    assert ask(tmp_path, page, script) == [['block', 'none'], ['none', 'block']]


def test_a_click_marks_a_name_everywhere_and_again_nowhere(tmp_path, page):
    counts = ask(
        tmp_path,
        page,
        """
        const dot = document.querySelector('circle');
        const click = () => dot.dispatchEvent(new MouseEvent('click', {bubbles: true}));
        const marked = () => document.querySelectorAll('.marked').length;
        click(); const once = marked(); click(); return [once, marked()];
        """,
    )
    assert counts == [2, 0]


@pytest.mark.parametrize('width', [1400, 1280, 500])
def test_a_page_is_never_wider_than_the_window(tmp_path, page, width):
    script = 'return [document.documentElement.scrollWidth, innerWidth];'
    content, window = ask(tmp_path, page, script, width)
    assert content <= window
