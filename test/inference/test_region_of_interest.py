"""Where regions are sought: horizon, polygon, and what leaves no room."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from support.tiny_bundle import MAP, anomaly_image, channel, make_tiny_bundle

from ros2_ood_monitor.bundle.model_bundle import ModelBundle
from ros2_ood_monitor.cli import main
from ros2_ood_monitor.frame import Frame, UInt8Array
from ros2_ood_monitor.inference.region_of_interest import region_of_interest
from ros2_ood_monitor.inference.runner import Runner
from ros2_ood_monitor.parameter import ParameterError
from ros2_ood_monitor.parameters import check_parameter

ROWS, COLUMNS = MAP  # 12 and 16


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """Return a bundle with two operating points."""
    regions = {'threshold': 0.5, 'min_area': 4, 'sensitive_threshold': 0.3}
    directory = make_tiny_bundle(
        tmp_path_factory.mktemp('roi') / 'bundle', {'object': channel(regions=regions)}
    )
    return ModelBundle.load(directory)


def area(bundle: ModelBundle, horizon: float = 0.0, polygon: str = '') -> UInt8Array | None:
    return region_of_interest(
        bundle,
        {'region_of_interest.horizon': horizon, 'region_of_interest.polygon': polygon},
    )


def test_by_default_regions_are_sought_everywhere(bundle):
    assert area(bundle) is None


@pytest.mark.parametrize(
    ('horizon', 'first'), [(0.01, 0), (0.5, 6), (0.54, 6), (0.55, 7), (0.9, 11)]
)
def test_a_row_belongs_to_the_side_of_the_horizon_that_its_centre_is_on(bundle, horizon, first):
    inside = area(bundle, horizon)
    assert not inside[:first].any()
    assert inside[first:].all()


def test_a_polygon_is_in_shares_from_the_upper_left(bundle):
    inside = area(bundle, polygon='0.5,0 1,0 1,0.5 0.5,0.5')
    rows, columns = np.nonzero(inside)
    assert (rows.min(), columns.max()) == (0, COLUMNS - 1)
    assert ROWS // 2 - 1 <= rows.max() <= ROWS // 2
    assert COLUMNS // 2 - 1 <= columns.min() <= COLUMNS // 2
    whole = area(bundle, polygon='0,0 1,0 1,1 0,1')
    assert whole.all()


def test_a_triangle_holds_its_centre_and_not_the_corners_beside_its_tip(bundle):
    inside = area(bundle, polygon='0,1 0.5,0 1,1')
    assert inside[ROWS // 2, COLUMNS // 2]
    assert not inside[0, 0]
    assert not inside[0, -1]
    assert inside[-1].sum() >= COLUMNS - 2


def test_both_together_are_what_lies_in_both(bundle):
    both = area(bundle, 0.5, '0,0 0.5,0 0.5,1 0,1')
    np.testing.assert_array_equal(
        both, area(bundle, 0.5) & area(bundle, polygon='0,0 0.5,0 0.5,1 0,1')
    )


@pytest.mark.parametrize(
    ('horizon', 'polygon'), [(1.0, ''), (0.9, '0,0 1,0 0.5,0.5'), (0.0, '0,0 0.01,0 0,0.01')]
)
def test_what_leaves_no_room_for_a_region_is_refused(bundle, horizon, polygon):
    with pytest.raises(ParameterError, match='bundle tiny has 4; choose'):
        area(bundle, horizon, polygon)


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('0,0 1,1', 'three or more corners'),
        ('0,0 0.5,0.5 1,1', 'around an area'),
        ('0,0 1,0 0,2', 'from 0 to 1'),
        ('0,0 1,0 0,nan', 'from 0 to 1'),
        ('0,0 1,0 0', "'x,y x,y x,y'"),
        ('left', "'x,y x,y x,y'"),
    ],
)
def test_a_polygon_that_is_none_is_refused_where_it_is_set(text, reason):
    with pytest.raises(ParameterError, match=reason) as error:
        check_parameter('region_of_interest.polygon', text, 'my.yaml')
    assert str(error.value).startswith('region_of_interest.polygon in my.yaml must')


def found(bundle: ModelBundle, inside: UInt8Array | None):
    # The patch covers rows 16 to 32 of 48 and columns 24 to 44 of 64.
    with Runner(bundle, region_of_interest=inside) as runner:
        return runner.infer(Frame(anomaly_image()))


def test_regions_outside_are_not_there_and_the_scores_stay(bundle):
    everywhere, below = found(bundle, None), found(bundle, area(bundle, 0.75))
    assert everywhere.regions
    assert everywhere.sensitive_regions
    assert below.regions == below.sensitive_regions == ()
    assert below.scores == everywhere.scores
    assert below.statistics == everywhere.statistics
    np.testing.assert_array_equal(below.anomaly_map, everywhere.anomaly_map)


def test_a_region_on_the_border_is_cut_there(bundle):
    (region,) = found(bundle, area(bundle, 0.5)).regions
    assert region.y == 24
    (whole,) = found(bundle, None).regions
    assert whole.y <= 16
    assert region.y + region.height == whole.y + whole.height


def test_a_folder_is_replayed_with_the_region_of_interest_of_the_configuration(bundle, tmp_path):
    (tmp_path / 'images').mkdir()
    for number in range(6):
        bgr = anomaly_image(number)[:, :, ::-1]
        cv2.imwrite(str(tmp_path / 'images' / f'{number}.png'), bgr)
    config = tmp_path / 'roi.yaml'
    words = ['replay', '--bundle', str(bundle.directory), str(tmp_path / 'images')]

    def regions(horizon: float) -> list[int]:
        config.write_text(
            f'/**:\n  ros__parameters:\n    region_of_interest:\n      horizon: {horizon}\n'
        )
        output = tmp_path / f'out_{horizon}'
        assert main([*words, '--config', str(config), '--output', str(output)]) == 0
        lines = map(json.loads, (output / 'alerts.jsonl').read_text().splitlines())
        return [line['regions'] for line in lines if line['regions'] is not None]

    assert set(regions(0.0)) == {1}
    assert set(regions(0.75)) == {0}
