"""The report of the comparison: one page that needs nothing else and tells the truth."""

from __future__ import annotations

import base64
import re

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.html_tree import Tree, inside, with_class

from offline_training.compare.report.figures import cost_chart, histogram_chart, pareto
from offline_training.compare.report.html_page import Panel, report_html
from offline_training.compare.report.markdown import table_markdown, table_text
from offline_training.compare.report.standings import COLOURED, Standings, best_of
from offline_training.compare.results import Comparison, Curves, Histogram
from offline_training.learning.store import write_text

HOSTILE = '<img src=x onerror="alert(1)">&\'|`*'
DETECTORS = [f'detector_{letter}' for letter in 'abcdefghi']
MEASURES = (
    'auroc',
    'aupr_anomaly',
    'aupr_success',
    'auout',
    'auin',
    'fpr95_anomaly',
    'fpr95_success',
    'tnr95_anomaly',
    'tnr95_success',
    'detection_accuracy',
)


def detector(name: str, **changes) -> dict:
    return {
        'name': name,
        'paper': 'Somebody, Some title, 2020',
        'inputs': 'logits',
        'passes': 1,
        'gradients': False,
        'exportable': True,
        'levels': ['pixel', 'frame'],
        'ms': 12.3,
        'fit_seconds': 4.0,
        'skipped': None,
        **changes,
    }


def one_set(name: str, group: str) -> dict:
    return {
        'name': name,
        'title': f'Title of {name}',
        'level': 'pixel',
        'group': group,
        'protocol': f'positive = what {name} calls so',
        'frames': 7,
        'normal_frames': 0,
    }


def result(name: str, set_name: str, rng: np.random.Generator) -> dict:
    measures = {key: float(rng.uniform(0.5, 0.98)) for key in MEASURES}
    auroc = measures['auroc']
    return {
        'detector': name,
        'set': set_name,
        'measures': measures,
        'intervals': {'auroc': [auroc - 0.01, auroc + 0.01]},
        'calibration': None,
        'components': None,
        'flipped': False,
    }


def curve() -> dict:
    return {
        'roc': [[0, 0], [0.1, 0.7], [1, 1]],
        'pr': [[0, 1], [0.7, 0.8], [1, 0.2]],
        'histogram': {'edges': [0, 1, 2], 'normal': [0.9, 0.1], 'anomalous': [0.2, 0.8]},
        'reliability': None,
    }


@pytest.fixture
def table() -> dict:
    rng = np.random.default_rng(5)
    sets = [one_set('set_p', 'pixel'), one_set('set_q', 'pixel'), one_set('set_e', 'errors')]
    return {
        'title': 'miniature',
        'created': '2026-01-02',
        'version': '1.2.3',
        'network': {
            'architecture': 'espnet',
            'weights': 'some.pth',
            'size': [480, 360],
            'classes': ['sky', 'road'],
            'ms': 41.2,
            'device': 'cpu',
        },
        'detectors': [detector(name, ms=10.0 + index) for index, name in enumerate(DETECTORS)],
        'sets': sets,
        'results': [result(name, one['name'], rng) for one in sets for name in DETECTORS],
        'segmentation': [
            {
                'name': 'clean',
                'miou': 0.5,
                'iou': {'sky': 0.8, 'road': 0.2},
                'psnr': None,
                'clean': None,
            },
            {
                'name': 'fgsm',
                'miou': 0.15,
                'iou': {'sky': 0.25, 'road': None},
                'psnr': 18.2,
                'clean': {'miou': 0.6, 'iou': {'sky': 0.9, 'road': 0.3}},
            },
        ],
    }


@pytest.fixture
def curves(table) -> dict:
    return {one['name']: {name: curve() for name in DETECTORS} for one in table['sets']}


@pytest.fixture
def panels() -> list[Panel]:
    shown = np.full((24, 32, 3), (200, 30, 60), dtype=np.uint8)
    return [
        Panel('frame 1', 'caption 1', [('input', shown), ('map', shown)], kind)
        for kind in ('attacks', 'best', 'worst')
    ]


def typed(table: dict) -> Comparison:
    return Comparison.from_json(table, 'table')


def page(table: dict, curves: dict, panels=()) -> str:
    drawn = {
        set_name: {name: Curves.from_json(one, name) for name, one in rows.items()}
        for set_name, rows in curves.items()
    }
    return report_html(typed(table), drawn, panels)


def find(table: dict, name: str, set_name: str) -> dict:
    (row,) = [one for one in table['results'] if (one['detector'], one['set']) == (name, set_name)]
    return row


def heat_row(tree: Tree, name: str) -> list[list[str]]:
    """Return the cells of a row of the large table: AUROC, AP and FPR95 each."""
    (heat,) = with_class(tree.all, 'heat')
    (row,) = [
        one
        for one in inside(heat)
        if one['tag'] == 'tr' and one['attributes'].get('data-name') == name
    ]
    return [
        [span['text'] for span in cell['children'] if span['tag'] == 'span']
        for cell in row['children']
        if cell['tag'] == 'td'
    ][1:]


def test_the_page_is_balanced_and_complete(table, curves, panels):
    tree = Tree(page(table, curves, panels))
    headings = [one['text'] for one in tree.all if one['tag'] == 'h2']
    assert headings == [
        'Summary',
        'Quality against cost',
        'All detectors on all sets',
        'Unknown objects, per pixel',
        'Errors and unknown objects, per pixel',
        'Segmentation under attack',
        'Attacks',
        'Best frames',
        'Worst frames',
        'Detectors',
        'Protocol',
    ]
    text = tree.root['text']
    for name in DETECTORS:
        assert name in text
    for one in table['sets']:
        assert one['title'] in text
        assert one['protocol'] in text


def test_every_link_leads_to_a_part_of_the_page(table, curves, panels):
    tree = Tree(page(table, curves, panels))
    anchors = [one['attributes']['id'] for one in tree.all if 'id' in one['attributes']]
    assert len(anchors) == len(set(anchors))
    targets = [one['attributes']['href'] for one in tree.all if one['tag'] == 'a']
    assert len(targets) == 11 + 3
    assert {target[1:] for target in targets} <= set(anchors)


def test_the_page_needs_nothing_else(table, curves, panels):
    html = page(table, curves, panels)
    tree = Tree(html)
    for element in tree.all:
        assert element['tag'] not in {'link', 'iframe', 'object', 'embed', 'base'}
        for key in ('src', 'srcset', 'data', 'xlink:href', 'action'):
            assert (element['attributes'].get(key) or 'data:').startswith('data:')
        assert (element['attributes'].get('href') or '#').startswith('#')
        assert not [key for key in element['attributes'] if key.startswith('on')]
    for forbidden in ('http:', 'https:', 'url(', '@import', 'fetch(', 'XMLHttp'):
        assert forbidden not in html


def test_hostile_names_stay_text(table, curves, panels):
    table['title'] = table['network']['weights'] = table['network']['device'] = HOSTILE
    table['network']['architecture'] = HOSTILE
    for row in table['detectors']:
        row['paper'] = row['inputs'] = row['skipped'] = HOSTILE
    for one in table['sets']:
        one['title'] = one['protocol'] = HOSTILE
    renamed = DETECTORS[0] + HOSTILE
    table['detectors'][0]['name'] = renamed
    table['sets'][0]['name'] = 'set_p' + HOSTILE
    table['sets'][2]['group'] = HOSTILE
    for row in table['results']:
        row['flipped'] = True
        if row['detector'] == DETECTORS[0]:
            row['detector'] = renamed
        if row['set'] == 'set_p':
            row['set'] = 'set_p' + HOSTILE
    curves = {
        set_name: {renamed if name == DETECTORS[0] else name: one for name, one in rows.items()}
        for set_name, rows in curves.items()
    }
    curves['set_p' + HOSTILE] = curves.pop('set_p')
    table['segmentation'][1]['name'] = HOSTILE
    for row in table['segmentation']:
        row['iou'][HOSTILE] = 0.5
    table['segmentation'][1]['clean']['iou'][HOSTILE] = 0.5
    panels.append(Panel(HOSTILE, HOSTILE, [(HOSTILE, panels[0].images[0][1])], 'best'))
    tree = Tree(page(table, curves, panels))
    assert renamed in tree.root['text']
    shown = [one for one in tree.all if one['tag'] == 'img']
    assert len(shown) == 7
    assert not [one for one in tree.all if 'onerror' in one['attributes']]
    assert with_class(tree.all, 'curve', 'rest')[0]['children'][0]['tag'] == 'title'
    for line in table_markdown(typed(table)).splitlines():
        assert '<img' not in line.replace('\\<', '')
    assert 'onerror' in table_text(typed(table))


def test_numbers_are_those_of_the_table(table, curves):
    tree = Tree(page(table, curves, []))
    for name in DETECTORS:
        cells = heat_row(tree, name)
        assert len(cells) == 1 + 2 + 1  # the mean of a group of two, its sets, a group of one
        for place, set_name, positive in (
            (1, 'set_p', 'anomaly'),
            (2, 'set_q', 'anomaly'),
            (3, 'set_e', 'success'),
        ):
            measures = find(table, name, set_name)['measures']
            assert cells[place] == [
                f'{100 * measures[key]:.1f}'
                for key in ('auroc', f'aupr_{positive}', f'fpr95_{positive}')
            ]
        pair = [find(table, name, one)['measures']['auroc'] for one in ('set_p', 'set_q')]
        assert cells[0][0] == f'{100 * sum(pair) / 2:.1f}'


def test_the_details_of_a_set_name_every_measure_and_its_interval(table, curves):
    tree = Tree(page(table, curves, []))
    details = next(one for one in tree.all if one['tag'] == 'details')
    rows = [
        one for one in inside(details) if one['tag'] == 'tr' and 'data-name' in one['attributes']
    ]
    values = [
        find(table, row['attributes']['data-name'], 'set_p')['measures']['auroc'] for row in rows
    ]
    assert values == sorted(values, reverse=True)
    assert len(rows) == len(DETECTORS)
    first = [cell['text'] for cell in rows[0]['children'] if cell['tag'] == 'td']
    assert len(first) == len(MEASURES)
    low, high = values[0] - 0.01, values[0] + 0.01
    assert first[0] == f'{100 * values[0]:.1f}{100 * low:.1f}–{100 * high:.1f}'


def test_charts_have_one_curve_per_detector_and_colour_the_best(table, curves):
    del curves['set_q'][DETECTORS[3]]
    tree = Tree(page(table, curves, []))
    for label in ('ROC curves', 'Precision-recall curves'):
        charts = [one for one in tree.all if one['attributes'].get('aria-label') == label]
        drawn = [with_class(inside(chart), 'curve') for chart in charts]
        assert [len(one) for one in drawn] == [9, 8, 9]
        names = [{path['attributes']['data-name'] for path in paths} for paths in drawn]
        assert names[1] == set(DETECTORS) - {DETECTORS[3]}
        grey = len(with_class(inside(charts[0]), 'curve', 'rest'))
        keys = with_class(inside(charts[0]), 'key')
        assert len(keys) == 9 - grey
        # The best of the group, and the best of the set where it is not among them.
        assert len(keys) in (COLOURED, COLOURED + 1)
    histograms = [
        one for one in tree.all if one['attributes'].get('aria-label') == 'Histogram of scores'
    ]
    assert len(histograms) >= 2 * COLOURED + COLOURED - 1
    assert all(len(with_class(inside(one), 'normal')) == 1 for one in histograms)


def test_the_best_of_a_set_is_always_coloured(table, curves):
    worst = min(DETECTORS, key=lambda name: find(table, name, 'set_q')['measures']['auroc'])
    find(table, worst, 'set_q')['measures']['auroc'] = 0.1
    find(table, worst, 'set_p')['measures']['auroc'] = 0.9999
    tree = Tree(page(table, curves, []))
    roc = next(one for one in tree.all if one['attributes'].get('aria-label') == 'ROC curves')
    keys = with_class(inside(roc), 'key')
    assert keys[0]['attributes']['data-name'] == worst
    assert len(keys) == COLOURED + 1


def test_missing_values_do_not_crash_and_are_shown_as_missing(table, curves, panels):
    table['detectors'][1]['ms'] = None
    table['detectors'][2]['fit_seconds'] = None
    table['detectors'][3]['skipped'] = 'no tap of that name'
    table['network']['ms'] = None
    table['results'] = [row for row in table['results'] if row['detector'] != DETECTORS[3]]
    find(table, DETECTORS[0], 'set_p')['measures'] = {}
    find(table, DETECTORS[1], 'set_p')['measures'] = dict.fromkeys(MEASURES)
    find(table, DETECTORS[2], 'set_p')['intervals'] = {'auroc': [None, 0.5]}
    find(table, DETECTORS[4], 'set_e')['calibration'] = {'ece': 0.0512, 'ace': None}
    curves['set_e'][DETECTORS[4]]['reliability'] = {
        'confidence': [0.2, 0.6, 0.9],
        'accuracy': [None, 0.5, None],
        'samples': [0, 10, 30],
    }
    curves['set_p'][DETECTORS[5]]['roc'] = []
    table['segmentation'][1]['miou'] = None
    html = page(table, curves, panels)
    tree = Tree(html)
    assert 'nan' not in tree.root['text'].replace('finance', '').lower().split()
    assert '"nan' not in html.lower()
    assert 'None' not in tree.root['text']
    assert heat_row(tree, DETECTORS[0])[:2] == [['–'] * 3] * 2
    assert 'no tap of that name' in tree.root['text']
    assert 'ECE 5.1' in tree.root['text']
    diagrams = [
        one for one in tree.all if one['attributes'].get('aria-label') == 'Reliability diagram'
    ]
    assert [len([dot for dot in inside(one) if dot['tag'] == 'circle']) for one in diagrams] == [1]
    assert DETECTORS[3] in table_markdown(typed(table))
    assert DETECTORS[3] not in table_text(typed(table))


def test_empty_parts_are_left_out(table, curves):
    table['sets'].append(one_set('set_without_results', 'attack'))
    table['segmentation'] = []
    for row in table['detectors']:
        row['ms'] = None
    tree = Tree(page(table, curves, []))
    headings = {one['text'] for one in tree.all if one['tag'] == 'h2'}
    assert not headings & {
        'Attacked frames',
        'Segmentation under attack',
        'Attacks',
        'Quality against cost',
    }
    assert 'set_without_results' not in tree.root['text']


def test_a_table_without_any_result_is_still_a_page(table):
    table['results'] = []
    tree = Tree(page(table, {}, []))
    assert {one['text'] for one in tree.all if one['tag'] == 'h2'} == {
        'Detectors',
        'Segmentation under attack',
        'Protocol',
    }
    assert table_markdown(typed(table))
    assert table_text(typed(table))


def test_flipped_scores_are_warned_of(table, curves):
    assert not with_class(Tree(page(table, curves, [])).all, 'warning')
    row = find(table, DETECTORS[2], 'set_q')
    row['flipped'], row['measures']['auroc'] = True, 0.31
    (warning,) = with_class(Tree(page(table, curves, [])).all, 'warning')
    assert f'{DETECTORS[2]} on set_q' in warning['text']
    assert f'- {DETECTORS[2]} on set_q' in table_markdown(typed(table))


def test_class_bars_are_as_long_as_the_numbers(table, curves):
    tree = Tree(page(table, curves, []))
    rows = with_class(tree.all, 'bar-row')
    assert [row['text'] for row in rows] == ['sky90.0 → 25.0', 'road30.0 → –']
    assert [
        [
            (bar['attributes']['class'], bar['attributes']['style'])
            for bar in inside(row)
            if bar['tag'] == 'i'
        ]
        for row in rows
    ] == [[('before', 'width:90.0%'), ('after', 'width:25.0%')], [('before', 'width:30.0%')]]
    assert '−75.0' in tree.root['text']  # mIoU from 60 to 15


def test_images_are_embedded_in_their_colours_and_shrunk(table, curves):
    shown = np.zeros((500, 1000, 3), dtype=np.uint8)
    shown[:, :500], shown[:, 500:] = (220, 20, 20), (20, 20, 220)
    tree = Tree(page(table, curves, [Panel('t', 'c', [('half red', shown)], 'worst')]))
    (image,) = [one for one in tree.all if one['tag'] == 'img']
    data = image['attributes']['src'].removeprefix('data:image/webp;base64,')
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == (320, 640, 3)
    np.testing.assert_allclose(decoded[160, 100, ::-1], (220, 20, 20), atol=12)
    np.testing.assert_allclose(decoded[160, 540, ::-1], (20, 20, 220), atol=12)


def test_the_report_is_written_with_its_folder(table, curves, panels, tmp_path):
    path = tmp_path / 'new' / 'report.html'
    write_text(path, report_html(typed(table), {}, panels))
    assert path.read_text(encoding='utf-8') == page(table, {}, panels)
    assert [one.name for one in path.parent.iterdir()] == ['report.html']


def test_the_summary_names_the_best_and_a_cheaper_one_close_by(table, curves):
    table['sets'] = table['sets'][:1]
    table['results'] = [row for row in table['results'] if row['set'] == 'set_p']
    for index, row in enumerate(table['results']):
        row['measures']['auroc'] = 0.7 + 0.01 * index
    for row, ms in zip(table['detectors'], (1, 1, 1, 1, 1, 1, 30, 20, 100), strict=True):
        row['ms'] = ms
    (card,) = with_class(Tree(page(table, curves, [])).all, 'card')
    assert with_class(inside(card), 'winner')[0]['text'] == DETECTORS[8]
    assert '78.0 % AUROC' in card['text']
    # One point behind; everything cheaper is three or more.
    assert f'Cheaper: {DETECTORS[7]}, 77.0 % at 20.0 ms' in card['text']


def test_a_mean_needs_every_set_of_the_group(table):
    find(table, DETECTORS[0], 'set_q')['measures']['auroc'] = None
    find(table, DETECTORS[0], 'set_p')['measures']['auroc'] = 1.0
    standings = Standings(typed(table))
    assert standings.mean(DETECTORS[0], standings.groups['pixel'], 'auroc') is None
    assert standings.ranked(standings.groups['pixel'])[-1] == DETECTORS[0]
    assert standings.ranked(standings.groups['pixel'][:1])[0] == DETECTORS[0]


def test_colours_differ_within_a_group_and_are_kept_between_groups(table):
    for row in table['results']:  # the same order everywhere
        row['measures']['auroc'] = 0.9 - 0.01 * DETECTORS.index(row['detector'])
    hues = Standings(typed(table)).hues()
    assert list(hues['pixel']) == DETECTORS[:COLOURED]
    assert hues['pixel'] == hues['errors']
    for row in table['results']:
        if row['set'] == 'set_e' and row['detector'] == DETECTORS[8]:
            row['measures']['auroc'] = 0.99
    hues = Standings(typed(table)).hues()
    assert len(set(hues['errors'].values())) == COLOURED
    shared = set(hues['pixel']) & set(hues['errors'])
    assert len(shared) == COLOURED - 1
    assert all(hues['pixel'][name] == hues['errors'][name] for name in shared)


def test_best_ties_as_printed():
    values = {'a': 0.97123, 'b': 0.97119, 'c': 0.9650, 'd': None}
    assert best_of(values, 'auroc') == {'a', 'b'}
    assert best_of(values, 'fpr95_anomaly') == {'c'}
    assert best_of({'a': None}, 'auroc') == set()


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_the_front_is_what_no_other_one_beats(pairs):
    quality = {f'd{index}': value / 10 for index, (value, _) in enumerate(pairs)}
    cost = {f'd{index}': float(value) for index, (_, value) in enumerate(pairs)}
    front = pareto(quality, cost)
    for name in cost:
        beaten = any(
            quality[other] >= quality[name]
            and cost[other] <= cost[name]
            and (quality[other], cost[other]) != (quality[name], cost[name])
            for other in cost
        )
        same = any((quality[other], cost[other]) == (quality[name], cost[name]) for other in front)
        assert same is not beaten


def test_the_cost_chart_has_a_dot_per_timed_detector_and_rings():
    quality = {'a': 0.9, 'b': 0.99, 'c': 1.0, 'd': 0.2}
    chart = cost_chart(quality, {'a': 10.0, 'b': 100.0, 'c': 400.0}, {'a': 0}, hollow=['c'])
    dots = {dot.name: dot for dot in chart.dots}
    assert set(dots) == {'a', 'b', 'c'}
    assert [name for name in dots if 'ring' in dots[name].kind] == ['c']
    x = [dots[name].x for name in 'abc']
    assert (x[1] - x[0]) / (x[2] - x[1]) == pytest.approx(np.log(10) / np.log(4), abs=0.01)
    heights = [dots[name].y for name in 'abc']
    assert heights == sorted(heights, reverse=True)
    assert cost_chart({'d': 0.2}, {}, {}) is None


def test_a_histogram_shows_square_roots_of_the_shares():
    chart = histogram_chart(Histogram((0, 1, 2), normal=(1.0, 0), anomalous=(0.25, 0.75)))
    paths = {path.kind: path.d for path in chart.paths}
    tops = {
        kind: [float(point.split()[1]) for point in paths[kind][1:].split('L')]
        for kind in ('normal', 'anomalous')
    }
    base = max(tops['normal'])
    assert base - tops['anomalous'][1] == pytest.approx((base - min(tops['normal'])) / 2, abs=0.2)


def test_markdown_has_a_table_per_group_with_the_best_in_bold(table):
    text = table_markdown(typed(table))
    assert [line for line in text.splitlines() if line.startswith('## ')] == [
        '## Unknown objects, per pixel',
        '## Errors and unknown objects, per pixel',
    ]
    for one in table['sets']:
        assert one['protocol'] in text
    tables = re.findall(r'(?:^\|.*\n)+', text, flags=re.MULTILINE)
    assert len(tables) == 2
    for rows in tables:
        assert len({line.count('|') for line in rows.splitlines()}) == 1
        assert len(rows.splitlines()) == 2 + len(DETECTORS)
    best = max(DETECTORS, key=lambda name: find(table, name, 'set_e')['measures']['auroc'])
    measures = find(table, best, 'set_e')['measures']
    (line,) = [line for line in tables[1].splitlines() if best in line]
    cells = [cell.strip() for cell in line.strip('|').split('|')]
    assert cells[0] == best
    assert cells[2].split(' / ')[0] == f'**{100 * measures["auroc"]:.1f}**'
    assert cells[2].replace('*', '').split(' / ')[1:] == [
        f'{100 * measures["aupr_success"]:.1f}',
        f'{100 * measures["fpr95_success"]:.1f}',
    ]


def test_markdown_cells_survive_pipes(table):
    table['detectors'][0]['name'] = 'a|b'
    for row in table['results']:
        if row['detector'] == DETECTORS[0]:
            row['detector'] = 'a|b'
    for line in table_markdown(typed(table)).splitlines():
        if line.startswith('| a'):
            assert line.startswith('| a\\|b |')
            assert len(re.findall(r'(?<!\\)\|', line)) in (4, 6)


def test_the_terminal_shows_means_per_group(table):
    lines = table_text(typed(table)).splitlines()
    for name in DETECTORS:
        (line,) = [line for line in lines if name in line]
        pair = [find(table, name, one)['measures']['auroc'] for one in ('set_p', 'set_q')]
        assert f'{100 * sum(pair) / 2:.1f}' in line
    assert sum(line.count(' * ') for line in lines if 'detector_' in line) >= 2
