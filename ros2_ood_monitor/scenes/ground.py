"""The ground: road with markings, pavement, grass; a texture that repeats along the road."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from ros2_ood_monitor.frame import Float32Array, UInt8Array
from ros2_ood_monitor.scenes.classes import Label
from ros2_ood_monitor.scenes.texture import between, fractal, grain, pick, stream

VARIANTS = 20
_HALF_WIDTH = 24.0
_PERIOD = 40.0
_COLUMNS_PER_METRE = 16
_ROWS_PER_METRE = 12


@dataclass(frozen=True)
class Layout:
    """Edges across the road in metres from the ego lane's middle, left negative.

    `pavement` is where the pavement ends, `building` where the buildings' fronts stand (None in
    the country).
    """

    lane_width: float
    lanes: tuple[float, ...]
    """Middles of the lanes; the ego lane is 0, lanes left of `divide` carry oncoming traffic."""
    divide: float
    road: tuple[float, float]
    parking: tuple[bool, bool]
    pavement: tuple[float, float]
    building: tuple[float, float] | None


class Ground:
    """One kind of road: `layout`, colours and the class of each strip."""

    left = -_HALF_WIDTH
    width = 2 * _HALF_WIDTH
    period = _PERIOD
    columns_per_metre = _COLUMNS_PER_METRE
    rows_per_metre = _ROWS_PER_METRE
    wrap = 1
    """Rows repeated at the end of each texture, so that interpolation finds a neighbour."""
    label_scale = 64.0
    """Label entries per metre."""

    def __init__(self, layout: Layout, surface: Float32Array) -> None:
        self.layout = layout
        self._surface: UInt8Array = np.dstack(
            [np.clip(surface, 0, 255), np.full(surface.shape[:2], 255, np.float32)]
        ).astype(np.uint8)
        self._levels: dict[tuple[int, int], UInt8Array] = {}
        x = (np.arange(int(self.width * self.label_scale)) + 0.5) / self.label_scale + self.left
        self.labels: UInt8Array = np.full(x.shape, Label.GRASS, np.uint8)
        self.labels[(x > layout.pavement[0]) & (x < layout.pavement[1])] = Label.PAVEMENT
        self.labels[(x > layout.road[0]) & (x < layout.road[1])] = Label.ROAD

    def level(self, columns: float, rows: float) -> UInt8Array:
        """Return the RGBA texture for being shrunk by these factors."""
        key = (min(int(np.log2(max(columns, 1.0)) + 0.4), 5), min(int(np.log2(rows)), 6))
        found = self._levels.get(key)
        if found is None:
            height, width = self._surface.shape[:2]
            size = (width >> key[0], max(height >> key[1], 2))
            small = cv2.resize(self._surface, size, interpolation=cv2.INTER_AREA)
            found = np.ascontiguousarray(np.concatenate([small, small[: self.wrap]]), np.uint8)
            self._levels[key] = found
        return found


@lru_cache(maxsize=VARIANTS)
def ground(variant: int) -> Ground:
    """Return one of VARIANTS roads: streets, avenues, country roads."""
    rng = stream('ground', variant)
    layout = _layout(rng)
    return Ground(layout, _surface(rng, layout))


def _layout(rng: np.random.Generator) -> Layout:
    country = rng.random() < 0.2
    avenue = not country and rng.random() < 0.3
    lane = between(rng, 3.1, 3.7)
    right, left = (1, 3) if avenue else (0, 1)
    lanes = tuple(index * lane for index in range(-left, right + 1))
    divide = -1.5 * lane if avenue else -0.5 * lane
    parking = (not country and rng.random() < 0.6, not country and rng.random() < 0.6)
    edge = 0.25 + 0.3 * rng.random()
    road = (
        lanes[0] - lane / 2 - edge - 2.2 * parking[0],
        lanes[-1] + lane / 2 + edge + 2.2 * parking[1],
    )
    if country:
        walk = 1.6 * (rng.random() < 0.4)
        return Layout(lane, lanes, divide, road, parking, (road[0], road[1] + walk), None)
    pavement = (road[0] - between(rng, 2.0, 4.5), road[1] + between(rng, 2.0, 4.5))
    yard = between(rng, 1.0, 4.0) * (rng.random() < 0.5)
    building = (max(pavement[0] - yard, -19.0), min(pavement[1] + yard, 19.0))
    return Layout(lane, lanes, divide, road, parking, pavement, building)


def _surface(rng: np.random.Generator, layout: Layout) -> Float32Array:
    rows, columns = int(_PERIOD * _ROWS_PER_METRE), int(2 * _HALF_WIDTH * _COLUMNS_PER_METRE)
    x = (np.arange(columns) + 0.5) / _COLUMNS_PER_METRE - _HALF_WIDTH
    z = (np.arange(rows) + 0.5) / _ROWS_PER_METRE
    green = between(rng, 85, 125)
    surface = grain(rng, rows, columns, (green * 0.8, green, green * 0.45), 0.55)
    tint = between(rng, 120, 165)
    slabs = grain(rng, rows, columns, (tint, tint * 0.96, tint * 0.9), 0.16)
    side = between(rng, 0.6, 1.4)
    joints = (np.mod(x, side) < 0.06)[None] | (np.mod(z, _PERIOD / round(_PERIOD / side)) < 0.09)[
        :, None
    ]
    slabs[joints] *= 0.78
    paved = (x > layout.pavement[0]) & (x < layout.pavement[1])
    surface[:, paved] = slabs[:, paved]
    road = (x > layout.road[0]) & (x < layout.road[1])
    surface[:, road] = _asphalt(rng, layout, x, z)[:, road]
    for edge in layout.road:  # kerb
        surface[:, np.abs(x - edge) < 0.09] *= np.float32(1.25)
    if rng.random() < 0.45:
        surface *= _cast_shadow(rng, x, z)[..., None]
    return surface


def _asphalt(
    rng: np.random.Generator, layout: Layout, x: np.ndarray, z: np.ndarray
) -> Float32Array:
    rows, columns = len(z), len(x)
    tone = between(rng, 70, 115)
    road = grain(rng, rows, columns, (tone, tone, tone * 1.03), 0.2)
    for lane in layout.lanes:  # two worn wheel tracks in each lane
        for track in (-0.8, 0.8):
            worn = np.exp(-(((x - lane - track) / 0.35) ** 2)).astype(np.float32)
            road *= 1 + np.float32(between(rng, -0.1, 0.1)) * worn[None, :, None]
    for _ in range(pick(rng, 5)):  # repaired patches
        left, near = between(rng, *layout.road), between(rng, 0, _PERIOD - 6)
        patch = (x > left) & (x < left + between(rng, 0.8, 2.5))
        length = (z > near) & (z < near + between(rng, 1, 6))
        road[np.ix_(length, patch)] *= np.float32(between(rng, 0.75, 0.95))
    for _ in range(pick(rng, 5)):  # cracks
        start = between(rng, *layout.road)
        path = start + 0.8 * (fractal(rng, rows, 4, rows / 4, 5)[:, 0] - 0.5) * 3
        road[np.abs(x[None] - path[:, None]) < 0.035] *= np.float32(0.7)
    paint = np.zeros((rows, columns), bool)
    dash = (10.0, 20.0, 8.0, 5.0)[pick(rng, 4)]
    dashes = np.mod(z, dash) < dash * between(rng, 0.35, 0.55)
    half = between(rng, 0.06, 0.1)
    for lane in layout.lanes[:-1]:
        middle = lane + layout.lane_width / 2
        line = np.abs(x - middle) < half
        if abs(middle - layout.divide) < 0.1 and len(layout.lanes) > 2:
            line = np.abs(np.abs(x - middle) - 0.16) < half
            paint[:, line] = True
        else:
            paint[np.ix_(dashes, line)] = True
    if rng.random() < 0.7:
        for edge, sign in ((layout.lanes[0], -1), (layout.lanes[-1], 1)):
            border = np.abs(x - edge - sign * layout.lane_width / 2) < half
            paint[:, border] = True
    if rng.random() < 0.35:  # zebra crossing
        near = between(rng, 4, 30)
        bars = (np.mod(x, 1.0) < 0.5) & (x > layout.road[0]) & (x < layout.road[1])
        paint[np.ix_((z > near) & (z < near + 3.0), bars)] = True
    worn = fractal(rng, rows, columns, 12.0, 3)
    white = between(rng, 185, 235)
    warmth = 1.0 if rng.random() < 0.85 else 0.45
    color = np.array([white, white * (0.97 if warmth == 1 else 0.85), white * 0.95 * warmth])
    cover = np.clip((worn - between(rng, 0.2, 0.42)) * 6, 0, 1)[paint][:, None]
    road[paint] += (color.astype(np.float32) - road[paint]) * cover
    return road


def _cast_shadow(rng: np.random.Generator, x: np.ndarray, z: np.ndarray) -> Float32Array:
    """Return brightness where houses and trees beside the road keep the sun out."""
    sign = 1 if rng.random() < 0.5 else -1
    reach = between(rng, 0.0, 7.0)
    outline = np.zeros(len(z))
    for _ in range(6):
        begin, length = between(rng, 0, _PERIOD), between(rng, 5, 14)
        block = np.mod(z - begin, _PERIOD) < length
        outline[block] = np.maximum(outline[block], between(rng, 2, 9))
    ragged = 0.8 * (fractal(rng, len(z), 8, 20.0, 4)[:, 0] - 0.5)
    inside = sign * x[None] > (10 - reach - outline + ragged)[:, None]
    soft = cv2.GaussianBlur(inside.astype(np.float32), (5, 5), 0)
    return np.asarray(1 - between(rng, 0.35, 0.5) * soft, np.float32)
