"""Pages need nothing else, and any text stays text."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import cv2
import jinja2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.html_tree import Tree, inside, with_class

from ros2_ood_monitor.pages.axes import Axes
from ros2_ood_monitor.pages.builder import Page, Section, render
from ros2_ood_monitor.pages.charts import Chart, Dot, Label
from ros2_ood_monitor.pages.charts import Path as Line
from ros2_ood_monitor.pages.heat_table import Heat, HeatColumn, HeatTable
from ros2_ood_monitor.pages.images import ImageRow, data_uri

ROOT = Path(__file__).parents[2]
EVERYTHING = """
{% from 'chart.html' import chart %}
{% from 'heat.html' import heat %}
{% from 'bars.html' import bars %}
{% from 'image_rows.html' import image_rows %}
{{ chart(view.chart) }}{{ heat(view.heat) }}{{ bars(view.bars, view.bars) }}
{{ image_rows(view.rows) }}<p title="{{ view.text }}">{{ view.text|breakable }}</p>
"""


@pytest.fixture(scope='module')
def package(tmp_path_factory):
    """A package with templates of its own: one that shows everything, one that is wrong."""
    folder = tmp_path_factory.mktemp('pages')
    templates = folder / 'a_page_of_its_own' / 'templates'
    templates.mkdir(parents=True)
    (templates.parent / '__init__.py').touch()
    (templates / 'everything.html').write_text(EVERYTHING)
    (templates / 'undefined.html').write_text('{{ view.forgotten }}')
    (templates / 'style.css').write_text('.of-its-own { color: red; }')
    sys.path.insert(0, str(folder))
    yield 'a_page_of_its_own'
    sys.path.remove(str(folder))


def everything(text: str) -> Page:
    """A page with `text` in every place that takes text."""
    heat = HeatColumn(text, text, {text: [Heat(text, 50, True, True), None]}, {text: text})
    view = {
        'text': text,
        'chart': Chart(
            Axes((0, 1), (0, 1), 100, 100),
            text,
            [Line('M0 0', 'curve', text, text)],
            [Dot(1, 2, 'dot', name=text, title=text)],
            [Label(1, 2, text, 'label', text, text)],
            [(0.5, text)],
            [(0.5, text)],
            text,
            text,
        ),
        'heat': HeatTable('heat', [text, text], text, text, {text: text}, {text: [heat]}),
        'bars': {text: 0.5},
        'rows': [ImageRow(text, text, [(text, np.zeros((4, 4, 3), np.uint8))])],
    }
    section = Section('anchor', text, 'everything.html', view, {'part': text})
    return Page(text, text, text, text, {text: text}, [section])


def shape(page: str) -> list[tuple[str, list[str]]]:
    """Elements and the names of their attributes, without optional line breaks."""
    return [
        (one['tag'], sorted(one['attributes'])) for one in Tree(page).all if one['tag'] != 'wbr'
    ]


# Characters that mean something to HTML, SVG, CSS, JavaScript or Jinja, and any others.
texts = st.text(min_size=1, max_size=20) | st.lists(
    st.sampled_from(
        [
            '<',
            '>',
            '"',
            "'",
            '&',
            '/',
            '{{',
            '}}',
            '{%',
            '%}',
            '</style>',
            '</script>',
            '<!--',
            '<img src=x onerror=alert(1)>',
            '" onload="',
            '&lt;',
            '&amp',
            '_',
            ' ',
            'a',
            '\x00',
            ']]>',
        ]
    ),
    min_size=1,
    max_size=8,
).map(''.join)


@given(texts)
@settings(max_examples=200, deadline=None)
def test_any_text_anywhere_stays_text(package, text):
    html = render(everything(text), package)
    assert shape(html) == shape(render(everything('word'), package))
    tree = Tree(html)
    shown = {one['attributes'].get('title') for one in tree.all if one['tag'] == 'p'}
    assert text in shown


@pytest.mark.parametrize('field', [field.name for field in fields(Page) if field.type == 'str'])
def test_every_text_of_a_page_is_shown(package, field):
    page = replace(everything('word'), **{field: 'of <this> field alone'})
    assert 'of <this> field alone' in Tree(render(page, package)).root['text']


def test_a_page_needs_nothing_else(package):
    html = render(everything('word'), package)
    for element in Tree(html).all:
        assert element['tag'] not in {'link', 'iframe', 'object', 'embed', 'base'}
        assert (element['attributes'].get('src') or 'data:').startswith('data:')
        assert (element['attributes'].get('href') or '#').startswith('#')
        assert not [key for key in element['attributes'] if key.startswith('on')]
    for forbidden in ('http:', 'https:', 'url(', '@import', 'fetch(', 'XMLHttp'):
        assert forbidden not in html


def test_a_page_allows_its_own_script_and_no_other(package):
    tree = Tree(render(everything('word'), package))
    (script,) = [one for one in tree.all if one['tag'] == 'script']
    (policy,) = [
        one['attributes']['content']
        for one in tree.all
        if one['attributes'].get('http-equiv') == 'Content-Security-Policy'
    ]
    digest = base64.b64encode(hashlib.sha256(script['text'].encode()).digest()).decode()
    assert policy.startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}'" in policy


def test_the_style_of_the_package_follows_that_of_all_pages(package):
    (style,) = [
        one for one in Tree(render(everything('word'), package)).all if one['tag'] == 'style'
    ]
    assert style['text'].index(':root') < style['text'].index('.of-its-own')


def test_the_contents_lead_to_every_section(package):
    tree = Tree(render(everything('word'), package))
    (contents,) = [one for one in tree.all if one['tag'] == 'nav']
    targets = [one['attributes']['href'] for one in inside(contents) if one['tag'] == 'a']
    assert targets == ['#anchor', '#part']


def test_a_name_that_is_not_defined_is_an_error(package):
    page = replace(everything('word'), sections=[Section('a', 'a', 'undefined.html', {})])
    with pytest.raises(jinja2.UndefinedError, match='forgotten'):
        render(page, package)


def test_parts_of_a_chart_are_marked_by_name_and_spoken(package):
    tree = Tree(render(everything('word'), package))
    (svg,) = [one for one in tree.all if one['tag'] == 'svg']
    assert (svg['attributes']['role'], svg['attributes']['aria-label']) == ('img', 'word')
    named = [one['tag'] for one in inside(svg) if one['attributes'].get('data-name') == 'word']
    assert named == ['path', 'circle', 'text']
    assert len(with_class(inside(svg), 'grid')) == 2


def test_images_are_embedded_in_their_colours_and_shrunk():
    shown = np.zeros((500, 1000, 3), dtype=np.uint8)
    shown[:, :500], shown[:, 500:] = (220, 20, 20), (20, 20, 220)
    data = data_uri(shown).removeprefix('data:image/webp;base64,')
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == (320, 640, 3)
    np.testing.assert_allclose(decoded[160, 100, ::-1], (220, 20, 20), atol=12)
    np.testing.assert_allclose(decoded[160, 540, ::-1], (20, 20, 220), atol=12)


def test_the_package_itself_needs_no_templates():
    loaded = subprocess.run(
        [sys.executable, '-c', 'import ros2_ood_monitor, sys; print(*sys.modules)'],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout.split()
    assert 'ros2_ood_monitor' in loaded
    assert not {'jinja2', 'markupsafe', 'torch'} & set(loaded)


def test_templates_are_packaged():
    tops = ('ros2_ood_monitor', 'offline_training')
    folders = {path.parent for top in tops for path in ROOT.glob(f'{top}/**/templates/*')}
    packages = {'.'.join(path.parent.relative_to(ROOT).parts) for path in folders}
    setup = (
        (ROOT / 'setup.py').read_text(encoding='utf-8').replace('{PACKAGE}', 'ros2_ood_monitor')
    )
    assert packages == set(re.findall(r"'([^']+)': \['templates/\*'\]", setup)) != set()
