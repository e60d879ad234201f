"""Puts a world into a canvas, back to front."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

from ros2_ood_monitor.scenes import sky
from ros2_ood_monitor.scenes.canvas import FAR, Canvas
from ros2_ood_monitor.scenes.classes import Label
from ros2_ood_monitor.scenes.pedestrians import PHASES
from ros2_ood_monitor.scenes.sprite import Sprite
from ros2_ood_monitor.scenes.weather import Weather
from ros2_ood_monitor.scenes.world import CHUNK, VIEW, Standing, Terrace, Vehicle, World

Thing = Standing | Vehicle | Terrace

_REACH = 110.0
_HOUSE_DEPTH_HALF = 4.5


def paint(
    canvas: Canvas,
    world: World,
    weather: Weather,
    time: float,
    speed: float,
    moving: Sequence[Vehicle],
    extra: Sequence[Standing] = (),
) -> None:
    """Paint everything in view.

    Args:
        canvas: Fresh canvas of the frame.
        world: The road.
        weather: For the sky and for the light on walls.
        time: Seconds since the clip's start.
        speed: Of the camera in m/s; walkers are where they were placed when it reaches them.
        moving: Cars in traffic; z in the world.
        extra: Things with z counted from the camera.
    """
    camera = canvas.pose
    variant = weather.sky_variant
    canvas.sky(sky.panorama(weather.sky, variant))
    town = Label.BUILDING if world.ground.layout.building else Label.TREE
    canvas.front(sky.skyline(town, variant), camera.x, FAR, shade=0.9)
    canvas.ground(world.ground)
    first = int(camera.z // CHUNK)
    chunks = [world.chunk(number) for number in range(max(first - 1, 0), first + VIEW)]
    walking = [_walked(item, time, speed) for chunk in chunks for item in chunk.standing]
    vehicles = [*(item for chunk in chunks for item in chunk.parked), *moving]
    front = world.ground.layout.building or (-np.inf, np.inf)
    behind: list[Thing] = [item for item in walking if not front[0] < item.x < front[1]]
    behind += [item for chunk in chunks for item in chunk.houses]
    street: list[Thing] = [item for item in walking if front[0] < item.x < front[1]]
    street += vehicles
    for walker in walking:
        _shadow(canvas, walker, camera.z)
    for vehicle in vehicles:
        _shadow(canvas, vehicle, camera.z)
    for thing in extra:
        _shadow(canvas, thing, 0.0)
    _paint_sorted(canvas, weather, [(item, camera.z) for item in behind], time)
    _paint_sorted(
        canvas,
        weather,
        [*((item, camera.z) for item in street), *((item, 0.0) for item in extra)],
        time,
    )


def _walked(item: Standing, time: float, speed: float) -> Standing:
    if not item.speed:
        return item
    z = item.z + item.speed * (time - item.z / speed)
    return Standing(item.phases, item.x, z, item.base, item.speed, item.shadow)


def _paint_sorted(
    canvas: Canvas, weather: Weather, things: Iterable[tuple[Thing, float]], time: float
) -> None:
    ahead = [(item.z - origin, item) for item, origin in things if item.z - origin < _REACH]
    for z, item in sorted(ahead, key=lambda pair: -pair[0]):
        if isinstance(item, Standing):
            phase = int(time * PHASES * 1.1 + item.x * 7) % len(item.phases)
            canvas.front(item.phases[phase], item.x, z, item.base, item.angle)
        elif isinstance(item, Vehicle):
            _vehicle(canvas, weather, item, z)
        else:
            _house(canvas, weather, item, z)


def _house(canvas: Canvas, weather: Weather, item: Terrace, z: float) -> None:
    left = item.x < canvas.pose.x
    shade = weather.shades[0 if left else 1]
    canvas.side(item.house.front, item.x, z, item.house.front.width, shade)
    center = item.x + (-_HOUSE_DEPTH_HALF if left else _HOUSE_DEPTH_HALF)
    canvas.front(item.house.end, center, z, shade=weather.shades[2])


def _vehicle(canvas: Canvas, weather: Weather, item: Vehicle, z: float) -> None:
    faces = item.faces
    side, end = (faces.side_reversed, faces.nose) if item.oncoming else (faces.side, faces.rear)
    half = end.width / 2
    if item.x - half > canvas.pose.x:
        canvas.side(side, item.x - half, z, side.width, weather.shades[1])
    elif item.x + half < canvas.pose.x:
        canvas.side(side, item.x + half, z, side.width, weather.shades[0])
    canvas.front(end, item.x, z, shade=weather.shades[2])


def _shadow(canvas: Canvas, item: Standing | Vehicle, origin: float) -> None:
    z = item.z - origin
    if not -10 < z < 60:
        return
    if isinstance(item, Vehicle):
        end, side = item.faces.rear, item.faces.side
        canvas.shadow(_spot(), item.x, z + side.width / 2, end.width * 1.25, side.width * 1.1)
    elif item.shadow:
        canvas.shadow(_spot(), item.x, z, item.shadow, item.shadow)


@lru_cache(maxsize=1)
def _spot() -> Sprite:
    """Return the blurred dark spot under things."""
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    alpha = (np.clip(1.25 - np.hypot(x, y) * 1.25, 0, 1) * 165).astype(np.uint8)
    return Sprite(np.zeros((32, 32, 3), np.uint8), alpha, 1, 1, Label.ROAD)
