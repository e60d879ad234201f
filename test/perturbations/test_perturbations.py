"""Perturbations: pure, seeded, growing with severity, and each true to its physical model."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from offline_training.perturbations import PERTURBATIONS, perturb
from offline_training.perturbations.depth import street_depth
from offline_training.perturbations.flare import _star, ghost_centres
from offline_training.perturbations.rain import SKY

NAMES = list(PERTURBATIONS)
SEEDS = st.integers(0, 2**32 - 1)
UNIT = st.floats(0, 1, allow_subnormal=True)


def street(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Coloured boxes under a bright sky: edges, flat parts and grain as images have them."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), rng.uniform(20, 200, 3))
    image[: height // 3] = (215, 225, 235)
    for _ in range(20):
        y, x = rng.integers(0, height), rng.integers(0, width)
        image[y : y + 12, x : x + 9] = rng.uniform(0, 255, 3)
    return np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


def grey(level: int, height: int = 60, width: int = 80) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def linear(image: np.ndarray) -> np.ndarray:
    """sRGB to light, written once more."""
    code = image / 255
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)


def change(image: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(image.astype(int) - other).mean())


@pytest.mark.parametrize('name', NAMES)
@settings(max_examples=6, deadline=None)
@given(seed=SEEDS, severity=UNIT)
def test_pure_and_seeded(name, seed, severity):
    image = street(seed % 5)
    before = image.copy()
    image.flags.writeable = False
    first = perturb(name, image, severity, seed)
    assert first.shape == image.shape
    assert first.dtype == np.uint8
    assert not np.shares_memory(first, image)
    assert np.array_equal(first, perturb(name, image, severity, seed))
    assert np.array_equal(image, before)


@pytest.mark.parametrize('name', NAMES)
def test_severity_zero_changes_nothing_and_one_is_plain_to_see(name):
    image = street(1)
    same = perturb(name, image, 0.0, 3)
    assert np.array_equal(same, image)
    assert not np.shares_memory(same, image)
    assert change(image, perturb(name, image, 1.0, 3)) > 3


@pytest.mark.parametrize('name', NAMES)
@settings(max_examples=12, deadline=None)
@given(seed=SEEDS, severities=st.tuples(UNIT, UNIT), scene=st.integers(0, 30))
def test_change_grows_with_severity(name, seed, severities, scene):
    image = street(scene)
    less, more = (change(image, perturb(name, image, s, seed)) for s in sorted(severities))
    assert more >= less - 0.05


@pytest.mark.parametrize('name', [n for n in NAMES if n not in ('vertical_flip', 'defocus_blur')])
def test_seeds_differ(name):
    image = street(2)
    assert not np.array_equal(perturb(name, image, 0.8, 1), perturb(name, image, 0.8, 2))


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('size', [(32, 32), (33, 127), (121, 40)])
def test_odd_sizes_and_views(name, size):
    image = street(0, *size)
    view = image[:, ::-1]
    result = perturb(name, view, 0.7, 5)
    assert result.shape == view.shape
    assert np.array_equal(result, perturb(name, np.ascontiguousarray(view), 0.7, 5))


def test_every_perturbation_works_at_hd():
    image = cv2.resize(street(0), (1280, 720))
    for name in NAMES:
        assert perturb(name, image, 0.5, 0).shape == (720, 1280, 3)


@pytest.mark.parametrize('level', [0, 255])
@pytest.mark.parametrize('name', NAMES)
def test_black_and_white_images_survive(name, level):
    result = perturb(name, grey(level), 1.0, 0)
    assert result.shape == (60, 80, 3)


def test_registry_says_what_a_report_needs():
    assert {'fog', 'rain', 'frost', 'night', 'mud', 'lens_flare', 'dead_pixels'} <= set(NAMES)
    for name, entry in PERTURBATIONS.items():
        assert entry.apply.__name__ == name
        assert entry.severity
        assert entry.source


@pytest.mark.parametrize('severity', [-0.1, 1.01, float('nan')])
def test_severity_outside_0_to_1_is_refused(severity):
    with pytest.raises(ValueError, match=r'severity of fog is .*give 0\.\.1'):
        perturb('fog', grey(9), severity, 0)


@pytest.mark.parametrize(
    'image',
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(image):
    with pytest.raises(TypeError, match=r'give uint8 RGB \(H, W, 3\)'):
        perturb('rain', image, 0.5, 0)


def test_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match=r"unknown perturbation 'snow'.*fog, rain"):
        perturb('snow', grey(9), 0.5, 0)


def with_sky(level: int) -> np.ndarray:
    """Grey scene with a white strip at the left, so that all have the same ambient light."""
    image = grey(level, 90, 120)
    image[:, :12] = 255
    return image


@pytest.mark.parametrize('severity', [0.3, 0.6, 1.0])
def test_fog_is_koschmieders_law(severity):
    dark, middle, light = (with_sky(level) for level in (0, 120, 200))
    seen = [linear(perturb('fog', image, severity, 4))[:, 12:] for image in (dark, middle, light)]
    transmission = (seen[2] - seen[0]) / (linear(np.array(200)) - linear(np.array(0)))
    expected = seen[0] + transmission * linear(np.array(120))
    assert np.abs(seen[1] - expected).max() < 0.012  # two roundings to 8 bits
    depth = street_depth(90, 120)[:, 12:, None]
    clear = transmission > 0.1  # elsewhere rounding to 8 bits hides it
    extinction = -np.log(transmission[clear]) / np.broadcast_to(depth, clear.shape)[clear]
    assert np.median(extinction) == pytest.approx(3 / 20 * severity**2, rel=0.35)


def test_fog_is_densest_at_the_horizon():
    foggy = perturb('fog', with_sky(0), 0.4, 0)[:, 40:80].mean(axis=(1, 2))
    horizon = int(0.46 * 90)
    assert foggy[horizon] > 1.3 * foggy[-10]
    assert street_depth(90, 120)[horizon].max() > 100
    assert street_depth(90, 120)[-1].max() < 5


def test_rain_is_streaks_along_one_direction():
    image = with_sky(40)
    rainy = perturb('rain', cv2.resize(image, (240, 180)), 0.8, 1).astype(float)[90:, 40:].mean(2)
    sideways, along = np.abs(np.diff(rainy, axis=1)).mean(), np.abs(np.diff(rainy, axis=0)).mean()
    assert sideways > 2 * along
    assert (rainy >= 39.5).all()  # drops show the bright sky


def test_the_veil_of_rain_hides_what_is_far(monkeypatch):
    monkeypatch.setattr(sys.modules['offline_training.perturbations.rain'], 'DROPS', 0)
    rainy = linear(perturb('rain', with_sky(0), 1.0, 1))[:, 12:]
    sky = SKY * linear(np.array(255))
    expected = 1 - np.exp(-0.312 * 200**0.67 / 1000 * street_depth(90, 120)[:, 12:])
    assert np.abs(rainy / sky - expected[..., None]).max() < 0.02
    assert rainy[41].mean() > 3 * rainy[-1].mean() > 0


def test_frost_grows_inwards_and_does_not_melt():
    image = street(3, 120, 160)
    early, late = (perturb('frost', image, s, 7).astype(int) - image for s in (0.2, 0.6))
    middle = np.s_[50:70, 65:95]
    border = np.ones(image.shape[:2], bool)
    border[8:-8, 8:-8] = False
    assert np.abs(early[middle]).max() == 0
    assert np.abs(early[border]).mean() > 8
    frozen = np.abs(early).max(axis=2) > 12
    assert (np.abs(late).max(axis=2)[frozen] > 6).mean() > 0.97


def test_night_is_dark_noisy_and_coloured():
    bright = grey(180, 90, 120)
    nights = np.stack([perturb('night', bright, 0.9, seed) for seed in range(12)]).astype(float)
    assert nights.mean() < 80
    pool, corner = nights[:, 52:60, 55:65].mean(), nights[:, -8:, :8].mean()
    assert pool > 1.5 * corner
    pixel_noise = np.diff(nights[..., 1], axis=2).std() / nights[..., 1].mean()
    assert pixel_noise > 0.1
    reddest = (nights[:, 52:60, 55:65, 0] / nights[:, 52:60, 55:65, 2]).mean(axis=(1, 2))
    assert reddest.max() > 1.15 > 1.02 > reddest.min()  # sodium lamps and cold white ones


def test_gaussian_noise_has_its_deviation():
    noisy = perturb('gaussian_noise', grey(128, 120, 160), 0.5, 0).astype(float)
    assert noisy.std() == pytest.approx(30, rel=0.02)
    assert noisy.mean() == pytest.approx(128, abs=0.5)
    assert abs(stats.kurtosis(noisy, axis=None)) < 0.1


@pytest.mark.parametrize('level', [16, 64, 128])
def test_shot_noise_counts_are_poisson(level):
    # At severity 1 a white pixel holds 4 photons; a count is a step of 63.75 grey levels.
    noisy = perturb('shot_noise', grey(level, 120, 160), 1.0, 0)
    counts = np.rint(noisy / 63.75)
    assert np.abs(noisy - counts * 63.75).max() <= 0.5
    poisson = stats.poisson(4 * level / 255)
    for count in range(4):
        assert (counts == count).mean() == pytest.approx(poisson.pmf(count), abs=0.03)


def test_shot_noise_variance_follows_the_light():
    spread = [
        perturb('shot_noise', grey(level, 120, 160), 0.2, 0).astype(float).var()
        for level in (50, 100, 200)
    ]
    photons = 4 / 0.2**2
    assert spread == pytest.approx([level * 255 / photons for level in (50, 100, 200)], rel=0.08)


def test_salt_and_pepper_share():
    noisy = perturb('salt_noise', grey(100, 120, 160), 0.4, 0)
    assert set(np.unique(noisy)) == {0, 100, 255}
    assert (noisy == 0).mean() == pytest.approx(0.05, rel=0.12)
    assert (noisy == 255).mean() == pytest.approx(0.05, rel=0.12)


def point_spread(name: str, side: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Light that one white pixel leaves, and the covariance of where it went."""
    image = grey(0, side, side)
    image[side // 2, side // 2] = 255
    light = linear(perturb(name, image, 1.0, seed))[..., 1]
    place = np.argwhere(light > 0) - side // 2
    return light, np.cov(place.T, aweights=light[light > 0])


def test_defocus_spreads_a_point_into_a_disk():
    light, covariance = point_spread('defocus_blur', 101)
    assert light.sum() == pytest.approx(1, rel=0.03)
    radius = 0.032 * 101 + 0.5
    assert np.allclose(covariance, np.eye(2) * radius**2 / 4, rtol=0.15, atol=0.1)
    y, x = np.mgrid[-50:51, -50:51]
    assert not light[np.hypot(y, x) > radius + 1].any()
    assert np.ptp(light[np.hypot(y, x) < radius - 1]) < 0.1 * light.max()


@pytest.mark.parametrize('seed', range(4))
def test_motion_spreads_a_point_into_a_line(seed):
    light, covariance = point_spread('motion_blur', 101, seed)
    assert light.sum() == pytest.approx(1, rel=0.05)
    across, along = np.sqrt(12 * np.linalg.eigvalsh(covariance))
    assert along == pytest.approx(10.1 + 0.7, rel=0.1)  # 10 % of the side; a pixel is not a point
    assert across < 2


def test_color_jitter_maps_colours_not_places():
    image = street(4)
    order = np.random.default_rng(0).permutation(image.shape[0] * image.shape[1])

    def shuffle(shown: np.ndarray) -> np.ndarray:
        return shown.reshape(-1, 3)[order].reshape(shown.shape)

    for seed in range(4):
        shuffled_first = perturb('color_jitter', shuffle(image), 0.8, seed)
        assert np.array_equal(shuffled_first, shuffle(perturb('color_jitter', image, 0.8, seed)))
        ramp = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
        assert np.ptp(perturb('color_jitter', ramp, 0.8, seed).astype(int), axis=2).max() <= 1


def test_vertical_flip_is_all_or_nothing():
    image = street(5)
    for severity in (1e-9, 0.5, 1.0):
        assert np.array_equal(perturb('vertical_flip', image, severity, 0), image[::-1])


def cover_of(name: str, severity: float, seed: int) -> np.ndarray:
    """Share of each pixel's own light that dirt takes, from two scenes it is equally lit in."""
    dark, light = with_sky(60), with_sky(170)
    seen_light, seen_dark = (linear(perturb(name, s, severity, seed)) for s in (light, dark))
    return 1 - ((seen_light - seen_dark) / (linear(light) - linear(dark) + 1e-9))[:, 12:, 1]


def test_mud_hides_about_half_has_soft_rims_and_stays():
    covers = [cover_of('mud', 1.0, seed) for seed in range(8)]
    assert 0.3 < np.mean(covers) < 0.75
    for seed, cover in enumerate(covers):
        assert cover.max() > 0.95
        assert max(np.abs(np.diff(cover, axis=axis)).max() for axis in (0, 1)) < 0.75
        half = cover_of('mud', 0.5, seed)
        assert (cover - half).min() > -0.03
        assert (half < 0.02).any()
    muddy = perturb('mud', grey(200), 1.0, 0).astype(int)
    covered = muddy[..., 0] < 120
    assert (muddy[covered][:, 0] >= muddy[covered][:, 2]).all()  # brown


def test_soiling_is_translucent_everywhere():
    for seed in range(4):
        cover = cover_of('soiling', 1.0, seed)
        assert cover.min() > 0
        # What is behind still shows, blurred, also where the dirt is densest.
        assert cover.max() < 0.95
        assert 0.1 < cover.mean() < 0.7


@pytest.mark.parametrize('seed', range(4))
def test_lens_flare_only_adds_light(seed):
    image = street(6, 90, 120)
    flared = perturb('lens_flare', image, 0.7, seed)
    assert (flared >= image).all()
    sun = perturb('lens_flare', grey(0, 90, 120), 0.5, seed).min(axis=2)
    y, x = np.argwhere(sun > 250).mean(axis=0)
    assert 0 < y < 0.36 * 90
    assert 0.05 * 120 < x < 0.95 * 120


@pytest.mark.parametrize(('blades', 'rays'), [(5, 10), (6, 6), (7, 14), (8, 8)])
def test_a_flare_has_two_rays_per_pair_of_edges(blades, rays):
    angle = np.linspace(0, 2 * np.pi, 7200, endpoint=False).astype(np.float32)
    star = _star(np.random.default_rng(0), angle, np.full_like(angle, 0.2), blades)
    bright = star > star.max() / 2
    assert (bright & ~np.roll(bright, 1)).sum() == rays


def test_ghosts_lie_on_the_line_from_the_sun_through_the_centre():
    sun, centre = np.array([30.0, 12.0]), np.array([80.0, 60.0])
    ghosts = ghost_centres(np.random.default_rng(0), sun, (120, 160)) - centre
    assert 6 <= len(ghosts) <= 12
    axis = sun - centre
    assert np.abs(ghosts[:, 0] * axis[1] - ghosts[:, 1] * axis[0]).max() < 1e-9
    assert (ghosts @ axis).min() < 0  # most lie opposite the sun


def test_faulty_pixels_stay_faulty_and_good_ones_exact():
    image = street(7, 90, 120)
    changed = [
        (perturb('dead_pixels', image, severity, 2) != image).any(axis=2)
        for severity in (0.2, 0.5, 1.0)
    ]
    shares = [mask.mean() for mask in changed]
    assert shares == sorted(shares)
    assert 0.02 < shares[1] < 0.5
    assert changed[1][changed[0]].mean() > 0.98
    assert changed[2][changed[1]].mean() > 0.98


def test_hot_pixels_are_coloured_crosses_and_lines_run_through():
    black = perturb('dead_pixels', grey(0, 200, 300), 0.3, 1)
    lit = black[black.max(axis=2) > 200]
    assert len(lit) > 20
    assert (lit.min(axis=1) < 100).mean() > 0.9
    bright = perturb('dead_pixels', grey(200, 200, 300), 1.0, 1) != 200
    assert bright.any(axis=2).all(axis=0).any()
    assert bright.any(axis=2).all(axis=1).any()
