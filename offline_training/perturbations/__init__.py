"""Image degradations of the field: weather, darkness, lens, sensor; seeded, with a severity.

They make frame-level anomaly sets and show how a monitor behaves as conditions degrade.
"""

from __future__ import annotations

import numpy as np

from offline_training.perturbations import (
    blur,
    color,
    flare,
    fog,
    frost,
    night,
    rain,
    sensor,
    soiling,
)
from offline_training.perturbations.base import Perturbation
from ros2_ood_monitor.frame import UInt8Array

CORRUPTIONS = 'Hendrycks and Dietterich, Benchmarking Neural Network Robustness, 2019'
DIRTY_LENS = 'Gu et al., Removing Image Artifacts due to Dirty Camera Lenses, 2009'
PERTURBATIONS: dict[str, Perturbation] = {
    'fog': Perturbation(
        fog.fog,
        'weather',
        'extinction grows with its square; 1 is a visibility of 20 m',
        'Koschmieder, 1924; Narasimhan and Nayar, Vision and the Atmosphere, 2002',
    ),
    'rain': Perturbation(
        rain.rain,
        'weather',
        'rate, so veil and number of drops; 1 is 200 mm per hour',
        'Garg and Nayar, Vision and Rain, 2007; Weber et al., 2015; Halder et al., 2019',
    ),
    'frost': Perturbation(
        frost.frost,
        'weather',
        'time that ice has grown from the edges; 1 covers nearly the whole window',
        f'{CORRUPTIONS}; Libbrecht, The physics of snow crystals, 2005',
    ),
    'night': Perturbation(
        night.night,
        'light',
        'stops of daylight lost, and so noise; 1 leaves 1.5 % outside the headlights',
        'EMVA standard 1288; Foi et al., Poissonian-Gaussian noise modeling, 2008',
    ),
    'lens_flare': Perturbation(
        flare.lens_flare,
        'light',
        'light of sun, veil, star and ghosts, in proportion',
        'Hullin et al., Physically-based real-time lens flare rendering, 2011; CIE 146; LaREx',
    ),
    'gaussian_noise': Perturbation(
        sensor.gaussian_noise,
        'sensor',
        'standard deviation, in proportion; 1 is 60 grey levels',
        CORRUPTIONS,
    ),
    'shot_noise': Perturbation(
        sensor.shot_noise,
        'sensor',
        'noise of counted photons, in proportion; 1 is 4 photons in a white pixel',
        f'EMVA standard 1288; {CORRUPTIONS}',
    ),
    'salt_noise': Perturbation(
        sensor.salt_noise,
        'sensor',
        'share of white and black pixels, in proportion; 1 is a quarter',
        CORRUPTIONS,
    ),
    'dead_pixels': Perturbation(
        sensor.dead_pixels,
        'sensor',
        'number of faults, in proportion; 1 is 2 % of the sites, 4 % of the columns',
        'Leung et al., Analysis of Defect Development in Digital Imagers, 2009; Bayer, 1976',
    ),
    'defocus_blur': Perturbation(
        blur.defocus_blur,
        'optics',
        'radius of the disk, in proportion; 1 is 3.2 % of the shorter side',
        CORRUPTIONS,
    ),
    'motion_blur': Perturbation(
        blur.motion_blur,
        'optics',
        'length of the track, in proportion; 1 is 10 % of the shorter side',
        CORRUPTIONS,
    ),
    'mud': Perturbation(
        soiling.mud,
        'optics',
        'number of splashes; 1 hides about half of the image',
        f'{DIRTY_LENS}; LaREx',
    ),
    'soiling': Perturbation(
        soiling.soiling,
        'optics',
        'thickness of the film and number of dried drops',
        f'{DIRTY_LENS}; Uricar et al., SoilingNet, 2019',
    ),
    'color_jitter': Perturbation(
        color.color_jitter,
        'colour',
        'change of brightness, contrast, saturation and hue; 1 turns the hue by up to 138 degrees',
        'ColorJitter of torchvision; DAAIN',
    ),
    'vertical_flip': Perturbation(
        sensor.vertical_flip, 'geometry', 'all or nothing: any severity above 0 flips', 'DAAIN'
    ),
}

SEEN_IN_TRAINING = frozenset(
    {
        'shot_noise',
        'defocus_blur',
        'motion_blur',
        'night',
        'rain',
        'soiling',
        'dead_pixels',
    }
)
"""The kinds that a trained part may have seen; figures count the others apart."""


def perturb(name: str, image: UInt8Array, severity: float, seed: int) -> UInt8Array:
    """Return a perturbed copy of an image uint8 RGB (H, W, 3); the same seed, the same result.

    At one seed the change grows with `severity` in 0..1, and 0 changes nothing: a fog, not
    another fog, becomes denser.

    Raises:
        TypeError: the image is not uint8 (H, W, 3).
        ValueError: the name is unknown or the severity outside 0..1.

    >>> image = np.full((60, 80, 3), 90, np.uint8)
    >>> light, dense = (perturb('fog', image, severity, seed=3) for severity in (0.2, 0.9))
    >>> bool((dense > light).all())
    True
    >>> bool((perturb('fog', image, 0.0, seed=3) == image).all())
    True
    """
    if name not in PERTURBATIONS:
        known = ', '.join(PERTURBATIONS)
        raise ValueError(f'unknown perturbation {name!r}; choose one of {known}')
    return PERTURBATIONS[name].apply(np.random.default_rng(seed), image, severity)
