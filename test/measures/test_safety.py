from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline_training.measures.safety import View, safety
from ros2_ood_monitor.alert import State

views = st.lists(st.builds(View, st.booleans(), st.sampled_from(State)), min_size=1)
shares = st.floats(0, 1)


@given(views, shares)
def test_gain_and_residual_hazard_are_the_hazard_without_a_monitor(seen, caution):
    found = safety(seen, caution)
    hazards = sum(view.hazardous for view in seen) / len(seen)
    assert found.safety_gain + found.residual_hazard == pytest.approx(hazards)
    assert 0 <= found.safety_gain <= hazards + 1e-12
    assert -1e-12 <= found.availability_cost <= 1 - hazards + 1e-12


@given(views, shares, st.integers(0, 99))
def test_a_more_severe_state_gains_safety_and_costs_availability(seen, caution, place):
    place %= len(seen)
    worse = list(seen)
    worse[place] = View(seen[place].hazardous, State.FAULT)
    before, after = safety(seen, caution), safety(worse, caution)
    assert after.safety_gain >= before.safety_gain
    assert after.residual_hazard <= before.residual_hazard
    assert after.availability_cost >= before.availability_cost


@given(views)
def test_a_monitor_that_says_nothing_is_worth_nothing_and_one_that_stops_all_is_safe(seen):
    silent = safety([View(view.hazardous, State.NOMINAL) for view in seen])
    assert (silent.safety_gain, silent.availability_cost) == (0, 0)
    strict = safety([View(view.hazardous, State.ALERT) for view in seen])
    hazards = sum(view.hazardous for view in seen) / len(seen)
    assert strict.residual_hazard == pytest.approx(0)
    assert strict.availability_cost == pytest.approx(1 - hazards)


def test_figures_by_hand():
    seen = [
        View(True, State.ALERT),
        View(True, State.CAUTION),
        View(True, State.NOMINAL),
        View(True, State.NOMINAL),
        View(False, State.CAUTION),
        View(False, State.NOMINAL),
    ]
    found = safety(seen, caution=0.5, hazard_share=0.25)
    assert found.safety_gain == pytest.approx(0.25 * 1.5 / 4)
    assert found.residual_hazard == pytest.approx(0.25 * 2.5 / 4)
    assert found.availability_cost == pytest.approx(0.75 * 0.5 / 2)


def test_a_share_of_views_that_are_not_there_is_refused():
    with pytest.raises(ValueError, match='only the others'):
        safety([View(False, State.NOMINAL)], hazard_share=0.5)
    with pytest.raises(ValueError, match='no views'):
        safety([])
