"""Endless, licence-free, labelled driving scenes for training, tests and demonstrations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ros2_ood_monitor.scenes.canvas import Canvas, Pose
from ros2_ood_monitor.scenes.classes import VOID
from ros2_ood_monitor.scenes.ground import VARIANTS as GROUNDS
from ros2_ood_monitor.scenes.ground import ground
from ros2_ood_monitor.scenes.painter import paint
from ros2_ood_monitor.scenes.scene_frame import AnomalyEvent, SceneFrame, ViewEvent
from ros2_ood_monitor.scenes.texture import between, pick, stream
from ros2_ood_monitor.scenes.vehicles import VARIANTS as VEHICLES
from ros2_ood_monitor.scenes.vehicles import vehicle
from ros2_ood_monitor.scenes.weather import Atmosphere, draw_weather
from ros2_ood_monitor.scenes.world import Standing, Vehicle, World

_ENCOUNTERS = 0.4
"""Share of stills in which a vehicle is close; in a sequence each one is so for a moment."""
FOG_M, FOG = 12.0, (203, 206, 208)
"""Visibility in metres, and colour, of fog; training sees 45 m and more."""
_CLOSE = (1.0, 9.0)
"""Metres ahead of the camera at which a vehicle is close."""


class SceneGenerator:
    """Clips and single frames of `width` x `height` pixels.

    The town's houses, trees, cars and people are the same for every seed; the seed and an index
    choose road, traffic, weather, light and motion. Equal arguments give equal pixels in
    every process and with NumPy 1 and 2; another OpenCV may paint a few
    pixels in a hundred otherwise.

    Raises:
        ValueError: The seed is negative or the image smaller than 32x24.
    """

    def __init__(self, seed: int, width: int, height: int) -> None:
        if seed < 0 or width < 32 or height < 24:
            raise ValueError(
                f'scenes with seed {seed}, {width}x{height}: give a seed >= 0 and at least 32x24.'
            )
        self.seed, self.width, self.height = seed, width, height

    def clip(
        self,
        index: int,
        frames: int,
        fps: float = 15.0,
        anomalies: Sequence[AnomalyEvent] = (),
        views: Sequence[ViewEvent] = (),
    ) -> Iterator[SceneFrame]:
        """Yield the frames of one sequence.

        Frame n shows time n / fps. The first frames of a longer clip equal those of a shorter
        one, and frames outside the events equal those of the same clip without events.

        Args:
            index: Which sequence.
            frames: How many frames.
            fps: Frames per second.
            anomalies: What enters when.
            views: When the whole view is another.
        """
        keys = (self.seed, 'clip', index)
        drive = _Drive(*keys)
        atmosphere = Atmosphere(draw_weather(stream(*keys, 'weather')), self.width, self.height)
        weather = replace(atmosphere.weather, visibility=FOG_M, haze=FOG, headlights=False)
        fog = Atmosphere(weather, self.width, self.height)
        intruders = []
        if anomalies:
            # Imported here, so that nothing that trains can even load them.
            from ros2_ood_monitor.scenes.anomalies import Intruder

            aspect = self.width / self.height
            intruders = [
                Intruder(event, stream(*keys, 'anomaly', number), aspect)
                for number, event in enumerate(anomalies)
            ]
        for number in range(frames):
            time = number / fps
            present = [found for intruder in intruders if (found := intruder.at(time))]
            noise = stream(*keys, 'frame', number)
            pose = drive.pose(time)
            view = next((each.kind for each in views if each.lasts_at(time)), None)
            if view == 'warehouse':
                yield self._elsewhere(pose.z, noise)
            else:
                air = fog if view == 'fog' else atmosphere
                yield self._frame(drive, air, pose, time, noise, present)

    def scene(self, index: int) -> SceneFrame:
        """Return one frame unlike all others, without anomalies: for training sets of stills."""
        keys = (self.seed, 'scene', index)
        drive = _Drive(*keys)
        atmosphere = Atmosphere(draw_weather(stream(*keys, 'weather')), self.width, self.height)
        rng = stream(*keys, 'frame')
        time = drive.encounter(rng) if rng.random() < _ENCOUNTERS else between(rng, 0, 4)
        moving = drive.pose(time)
        pose = Pose(
            moving.x + between(rng, -0.6, 0.6),
            moving.z,
            moving.height,
            moving.yaw + between(rng, -0.1, 0.1),
            moving.pitch + between(rng, -0.02, 0.02),
        )
        return self._frame(drive, atmosphere, pose, time, rng, [])

    def _elsewhere(self, z: float, rng: np.random.Generator) -> SceneFrame:
        """Return a frame of a world in which nothing has a label."""
        from ros2_ood_monitor.scenes.warehouse import warehouse

        labels = np.full((self.height, self.width), VOID, np.uint8)
        image = warehouse(self.width, self.height, z, rng)
        return SceneFrame(image, labels, labels == VOID)

    def _frame(
        self,
        drive: _Drive,
        atmosphere: Atmosphere,
        pose: Pose,
        time: float,
        rng: np.random.Generator,
        extra: Sequence[Standing],
    ) -> SceneFrame:
        canvas = Canvas(self.width, self.height, pose)
        moving = [*drive.world.traffic(pose.z, time), *drive.ahead(time, pose.z)]
        paint(canvas, drive.world, atmosphere.weather, time, drive.speed, moving, extra)
        image = atmosphere.expose(canvas, rng)
        return SceneFrame(image, canvas.labels, canvas.labels == VOID)


@dataclass(frozen=True)
class _Wave:
    """A smooth wobble: the sum of two sine waves."""

    amplitude: float
    period: float
    phase: float

    def at(self, time: float) -> float:
        angle = 2 * math.pi * time / self.period + self.phase
        return self.amplitude * (0.7 * math.sin(angle) + 0.3 * math.sin(2.3 * angle + 1))


class _Drive:
    """How the camera and the cars ahead of it move in one world."""

    def __init__(self, *keys: int | str) -> None:
        rng = stream(*keys, 'drive')
        self.world = World(ground(pick(rng, GROUNDS)), *keys)
        self.speed = between(rng, 7, 13)
        self._start = between(rng, 5, 45)
        self._height = between(rng, 1.25, 1.6)
        self._yaw0, self._pitch0 = between(rng, -0.03, 0.03), between(rng, -0.025, 0.025)
        self._x = _Wave(between(rng, 0.1, 0.35), between(rng, 5, 9), between(rng, 0, 6))
        self._yaw = _Wave(between(rng, 0.008, 0.025), between(rng, 4, 8), between(rng, 0, 6))
        self._pitch = _Wave(between(rng, 0.001, 0.003), between(rng, 0.7, 1.2), 0.0)
        self._ahead: list[tuple[Vehicle, _Wave]] = []
        layout = self.world.ground.layout
        for lane in layout.lanes:
            if lane < layout.divide or rng.random() > 0.5:
                continue
            # In the ego lane nothing drives nearer than where anomalies land (20 m).
            gap = between(rng, 27, 40) if lane == 0 else between(rng, 9, 35)
            car = Vehicle(vehicle(pick(rng, VEHICLES)), lane, gap)
            self._ahead.append((car, _Wave(5.0, between(rng, 8, 14), between(rng, 0, 6))))

    def encounter(self, rng: np.random.Generator) -> float:
        """Return a time at which a vehicle is close, or any time if none is found soon."""
        time = 0.0
        for _ in range(12):
            time = between(rng, 0, 12)
            camera = self.pose(time).z
            moving = [*self.world.traffic(camera, time), *self.ahead(time, camera)]
            if any(_CLOSE[0] < vehicle.z - camera < _CLOSE[1] for vehicle in moving):
                break
        return time

    def pose(self, time: float) -> Pose:
        return Pose(
            self._x.at(time),
            self._start + self.speed * time,
            self._height,
            self._yaw0 + self._yaw.at(time),
            self._pitch0 + self._pitch.at(time),
        )

    def ahead(self, time: float, camera_z: float) -> list[Vehicle]:
        """Return the cars that drive in the camera's direction."""
        return [
            Vehicle(car.faces, car.x, camera_z + car.z + gap.at(time)) for car, gap in self._ahead
        ]
