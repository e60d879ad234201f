"""What stands and moves along an endless road, made chunk by chunk."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ros2_ood_monitor.scenes import pedestrians, street_furniture, vegetation, vehicles
from ros2_ood_monitor.scenes.buildings import VARIANTS as HOUSES
from ros2_ood_monitor.scenes.buildings import House, house
from ros2_ood_monitor.scenes.ground import Ground
from ros2_ood_monitor.scenes.sprite import Sprite
from ros2_ood_monitor.scenes.texture import between, pick, stream

CHUNK = 40.0
"""Metres of road made at a time."""
VIEW = 4
"""Chunks in view ahead of the camera's own."""


@dataclass(frozen=True)
class Standing:
    """An upright sprite that faces the camera; walks at `speed` through its `phases`."""

    phases: tuple[Sprite, ...]
    x: float
    z: float
    base: float = 0.0
    speed: float = 0.0
    shadow: float = 0.0
    """Width in metres of the shadow at its foot."""
    angle: float = 0.0
    """Turned by this much about its middle, radians."""


@dataclass(frozen=True)
class Vehicle:
    """A vehicle whose near end is at z and whose middle is at x."""

    faces: vehicles.Vehicle
    x: float
    z: float
    oncoming: bool = False


@dataclass(frozen=True)
class Terrace:
    """A house whose front is at x and begins at z."""

    house: House
    x: float
    z: float


@dataclass(frozen=True)
class Chunk:
    """The fixed things of one stretch of road."""

    houses: list[Terrace] = field(default_factory=list)
    standing: list[Standing] = field(default_factory=list)
    parked: list[Vehicle] = field(default_factory=list)


class World:
    """One road: its ground and everything along it; `keys` name its random stream."""

    def __init__(self, ground: Ground, *keys: int | str) -> None:
        self.ground, self.keys = ground, keys
        rng = stream(*keys, 'traffic')
        self.density = between(rng, 0.3, 1.0)
        self.green = between(rng, 0.1, 1.0)
        self.oncoming_speed = between(rng, 7, 13)
        self._chunks: dict[int, Chunk] = {}

    def chunk(self, number: int) -> Chunk:
        """Return what stands from z = number * 40 m to the next chunk."""
        found = self._chunks.get(number)
        if found is None:
            for old in [key for key in self._chunks if key < number - 2 * VIEW]:
                del self._chunks[old]
            found = self._chunks[number] = self._make(number)
        return found

    def _make(self, number: int) -> Chunk:
        rng = stream(*self.keys, 'chunk', number + 1000)
        chunk = Chunk()
        start = number * CHUNK
        for side in (-1, 1):
            if self.ground.layout.building is not None:
                self._houses(rng, chunk, start, side)
            self._plants(rng, chunk, start, side)
            self._street(rng, chunk, start, side)
        return chunk

    def _houses(self, rng: np.random.Generator, chunk: Chunk, start: float, side: int) -> None:
        assert self.ground.layout.building is not None
        x = self.ground.layout.building[side > 0]
        z, end = start, start + CHUNK
        while True:
            if rng.random() < 0.25:
                z += between(rng, 2, 8)
            home = house(pick(rng, HOUSES))
            if z + home.front.width > end:
                break
            chunk.houses.append(Terrace(home, x + side * between(rng, 0, 0.5), z))
            z += home.front.width + 0.02

    def _plants(self, rng: np.random.Generator, chunk: Chunk, start: float, side: int) -> None:
        layout = self.ground.layout
        edge = layout.pavement[side > 0]
        rows: list[tuple[float, float, int]] = []  # nearest and farthest x, most plants
        if layout.building is None:
            rows += [(edge + side * 2, edge + side * 5, 4), (edge + side * 5, edge + side * 16, 9)]
        else:
            front = layout.building[side > 0]
            rows.append((front + side * 3, front + side * 9, 5))  # seen in the gaps
            if abs(edge - layout.road[side > 0]) > 2.6:
                kerb = layout.road[side > 0] + side * 0.8
                rows.append((kerb, kerb + side * 0.3, 3))
        for near, far, most in rows:
            for _ in range(pick(rng, int(most * self.green) + 2)):
                make, count = (
                    (vegetation.tree, vegetation.VARIANTS)
                    if rng.random() < 0.7 or (len(rows) > 1 and abs(far - near) < 1)
                    else (vegetation.bush, vegetation.VARIANTS)
                )
                sprite = make(pick(rng, count))
                x, z = between(rng, near, far), start + between(rng, 0, CHUNK)
                chunk.standing.append(Standing((sprite,), x, z, shadow=sprite.width * 0.7))

    def _street(self, rng: np.random.Generator, chunk: Chunk, start: float, side: int) -> None:
        layout = self.ground.layout
        kerb = layout.road[side > 0] + side * 0.45
        walk = abs(layout.pavement[side > 0] - layout.road[side > 0])
        if rng.random() < 0.75:
            post = street_furniture.lamp_post(pick(rng, street_furniture.VARIANTS))
            post = post.mirrored() if side > 0 else post
            chunk.standing.append(Standing((post,), kerb, start + between(rng, 0, CHUNK)))
        if rng.random() < 0.6:
            z = start + between(rng, 0, CHUNK)
            plate = street_furniture.sign(pick(rng, street_furniture.VARIANTS))
            chunk.standing.append(Standing((street_furniture.sign_post(),), kerb, z + 0.05))
            chunk.standing.append(Standing((plate,), kerb, z, street_furniture.POST_HEIGHT - 0.2))
        if walk > 1.2:
            for _ in range(pick(rng, int(7 * self.density) + 2)):
                phases = pedestrians.pedestrian(pick(rng, pedestrians.VARIANTS))
                away = rng.random() < 0.5
                if not away:
                    phases = tuple(phase.mirrored() for phase in phases)
                x = layout.road[side > 0] + side * between(rng, 0.7, max(walk - 0.4, 0.8))
                speed = between(rng, 0.8, 1.6) * (1 if away else -1)
                z = start + between(rng, 0, CHUNK)
                chunk.standing.append(Standing(phases, x, z, 0.0, speed, 0.9))
        if layout.parking[side > 0]:
            z = start + between(rng, 0, 8)
            while z < start + CHUNK - 7:
                if rng.random() < 0.55 * self.density + 0.15:
                    faces = vehicles.vehicle(pick(rng, vehicles.VARIANTS))
                    x = layout.road[side > 0] - side * between(rng, 1.1, 1.3)
                    chunk.parked.append(Vehicle(faces, x, z, side < 0))
                z += between(rng, 6.8, 9.5)

    def traffic(self, camera_z: float, time: float) -> list[Vehicle]:
        """Return the oncoming cars in view at a time (seconds since the clip's start)."""
        layout = self.ground.layout
        found: list[Vehicle] = []
        for lane_number, lane in enumerate(layout.lanes):
            if lane >= layout.divide:
                continue
            shift = self.oncoming_speed * (1 + 0.1 * lane_number) * time
            first = int((camera_z + shift) // CHUNK)
            for number in range(first, first + VIEW):
                rng = stream(*self.keys, 'oncoming', lane_number, number + 1000)
                if rng.random() < 0.75 * self.density:
                    faces = vehicles.vehicle(pick(rng, vehicles.VARIANTS))
                    z = number * CHUNK + between(rng, 0, CHUNK - 8) - shift
                    found.append(Vehicle(faces, lane + between(rng, -0.3, 0.3), z, oncoming=True))
        return found
