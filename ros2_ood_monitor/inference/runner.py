"""One frame in, one detection out: a bundle's networks on an engine, fused and scored."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType

import cv2
import numpy as np

from ros2_ood_monitor.bundle.manifest import DEFAULT_CHANNEL, SelfTest
from ros2_ood_monitor.bundle.model_bundle import ModelBundle
from ros2_ood_monitor.detection import UNLABELED, Detection, Region
from ros2_ood_monitor.frame import Float32Array, Frame, UInt8Array
from ros2_ood_monitor.inference.channel_scores import ChannelScorer, raw_statistics
from ros2_ood_monitor.inference.engines.base import Array, EngineError
from ros2_ood_monitor.inference.engines.selection import open_chain
from ros2_ood_monitor.inference.fusion import (
    fused_logits,
    probability,
    single_maps,
)
from ros2_ood_monitor.inference.preprocessing import prepare
from ros2_ood_monitor.inference.regions import find_regions, strict_and_sensitive_regions
from ros2_ood_monitor.inference.second_look import (
    Window,
    inside,
    most_unusual,
    moved,
    with_new,
    with_window,
)


class RunnerError(RuntimeError):
    """A frame could not be scored; nothing may be concluded about it."""


class SelfTestError(RunnerError):
    """The engine does not reproduce the bundle's stored results; it must not be trusted."""


class Runner:
    """A bundle ready to run; belongs to the thread that opened it.

    `backend` and `threads` as in `engines.selection.open_chain`; raises EngineError. Maps without
    weight, and networks that only they read, are computed only with `all_maps`, for evaluation.
    Regions are sought where `region_of_interest` (H/4, W/4) is 1, everywhere if it is None. The
    most unusual part of every `second_look_every`-th frame is looked at again, enlarged, for small
    regions; 0 = of none. Raises RunnerError if the bundle is not calibrated for that.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        backend: str = 'auto',
        threads: int | None = None,
        all_maps: bool = False,
        region_of_interest: UInt8Array | None = None,
        second_look_every: int = 0,
    ) -> None:
        if second_look_every and bundle.regions.second_look is None:
            raise RunnerError(
                f'the bundle {bundle.name} is not calibrated for a second look; set '
                'second_look_every to 0, or train it again with this version'
            )
        self.bundle = bundle
        self._second_look_every = second_look_every
        self._frames = 0
        self._region_of_interest = region_of_interest
        self._maps = bundle.needed_maps(all_maps)
        self._engine = open_chain(
            list(bundle.networks.values()),
            bundle.needed_outputs(all_maps),
            backend,
            bundle.engines,
            threads,
        )
        self._published = np.full(256, UNLABELED, np.uint8)
        self._published[: len(bundle.classes)] = np.arange(len(bundle.classes))
        if bundle.void_label is not None:
            self._published[bundle.void_label] = UNLABELED
        self._scorer = ChannelScorer(bundle.channels)

    @property
    def description(self) -> str:
        """The engine's library, version, device and precision."""
        return self._engine.description

    def infer(self, frame: Frame) -> Detection:
        """Score `frame`; timings are of `prepare`, `inference`, `fusion` and `total`.

        Where there was a second look `second_look` is among them; regions and anomaly map are then
        of both looks, and everything else of the first. Raises RunnerError if the engine fails or
        a map holds NaN or infinity.
        """
        detection, anomaly = self._first_look(frame)
        self._frames += 1
        if not self._second_look_every or self._frames % self._second_look_every:
            return detection
        started = time.perf_counter()
        detection = self._with_second_look(frame.image, anomaly, detection)
        second = (time.perf_counter() - started) * 1e3
        stages = dict(detection.timings)
        total = stages.pop('total') + second
        return replace(detection, timings={**stages, 'second_look': second, 'total': total})

    def look_again(self, image: UInt8Array, window: Window) -> Float32Array:
        """Return the anomaly map (H/4, W/4) of a window of a camera image uint8 RGB (H, W, 3).

        Raises RunnerError as `infer` does.
        """
        part = np.ascontiguousarray(image[window.slices(image.shape)])
        _, maps = self._run(self._prepared(part))
        fusion = self.bundle.channels[DEFAULT_CHANNEL].fusion
        assert fusion is not None
        return probability(fused_logits(maps, fusion))

    def _first_look(self, frame: Frame) -> tuple[Detection, Float32Array]:
        """Return the detection without a second look, and the anomaly map (H/4, W/4)."""
        bundle = self.bundle
        started = time.perf_counter()
        image = self._prepared(frame.image)
        prepared = time.perf_counter()
        outputs, maps = self._run(image)
        inferred = time.perf_counter()
        logits = {
            name: fused_logits(maps, channel.fusion)
            for name, channel in bundle.channels.items()
            if channel.fusion is not None
        }
        try:
            statistics = raw_statistics(bundle.channels, logits, outputs)
        except ValueError as error:
            raise RunnerError(f'the frame was not scored: {error}') from error
        anomaly = probability(logits[DEFAULT_CHANNEL])
        rule = bundle.regions
        regions, sensitive = self._regions(
            self._of_interest(anomaly),
            rule.threshold,
            rule.sensitive_threshold,
            *frame.image.shape[:2],
        )
        labels = np.asarray(outputs['labels'])[0].astype(np.uint8)
        published = cv2.LUT(labels, self._published)
        anomaly_map = self._at_input_size(anomaly)
        finished = time.perf_counter()
        detection = Detection(
            labels=np.asarray(published, np.uint8),
            anomaly_map=anomaly_map,
            scores=self._scorer.scores(statistics),
            regions=regions,
            sensitive_regions=sensitive,
            statistics=statistics,
            maps=maps,
            timings={
                'prepare': (prepared - started) * 1e3,
                'inference': (inferred - prepared) * 1e3,
                'fusion': (finished - inferred) * 1e3,
                'total': (finished - started) * 1e3,
            },
        )
        return detection, anomaly

    def _with_second_look(
        self, image: UInt8Array, anomaly: Float32Array, first: Detection
    ) -> Detection:
        """Return the first look's detection with what an enlarged window of `image` adds."""
        rule = self.bundle.regions.second_look
        assert rule is not None
        window = most_unusual(self._of_interest(anomaly))
        seen = self.look_again(image, window)
        sought = seen
        if self._region_of_interest is not None:
            sought = seen * inside(self._region_of_interest, window)
        rows, columns = window.slices(image.shape)
        regions, sensitive = (
            moved(each or (), columns.start, rows.start)
            for each in self._regions(
                sought,
                rule.threshold,
                rule.sensitive_threshold,
                rows.stop - rows.start,
                columns.stop - columns.start,
            )
        )
        return replace(
            first,
            anomaly_map=self._at_input_size(with_window(anomaly, window, seen)),
            regions=with_new(first.regions, regions),
            sensitive_regions=with_new(first.sensitive_regions or (), sensitive),
        )

    def _prepared(self, image: UInt8Array) -> UInt8Array:
        bundle = self.bundle
        try:
            return prepare(image, bundle.width, bundle.height, bundle.color_order)
        except ValueError as error:
            raise RunnerError(f'the frame was not scored: {error}') from error

    def _run(self, prepared: UInt8Array) -> tuple[Mapping[str, Array], dict[str, Float32Array]]:
        """Return the networks' outputs and the maps (H/4, W/4) that are fused."""
        try:
            outputs = self._engine.run({'image': prepared})
            maps = single_maps(outputs, self._maps)
        except (EngineError, ValueError) as error:
            raise RunnerError(f'the frame was not scored: {error}') from error
        _refuse_invalid(maps)
        return outputs, maps

    def self_test(self) -> None:
        """Run the bundle's stored frames; raises SelfTestError unless they score as stated.

        Finds a wrong engine, preprocessing or colour order before it scores a camera's frame.
        """
        for stored in self.bundle.selftest:
            try:
                detection = self.infer(stored_frame(stored))
            except RunnerError as error:
                raise SelfTestError(f'self-test frame {stored.path.name}: {error}') from error
            for name, stated in stored.statistics.items():
                self._compare(stored, name, stated, detection.statistics[name])

    def close(self) -> None:
        """Free the engine."""
        self._engine.close()

    def __enter__(self) -> Runner:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _of_interest(self, anomaly: Float32Array) -> Float32Array:
        """Return the map (H/4, W/4) with 0 where no regions are sought."""
        if self._region_of_interest is None:
            return anomaly
        return anomaly * self._region_of_interest

    def _regions(
        self,
        anomaly: Float32Array,
        strict: float,
        sensitive: float | None,
        rows: int,
        columns: int,
    ) -> tuple[tuple[Region, ...], tuple[Region, ...] | None]:
        """Return the regions of the strict and, if there is one, of the sensitive threshold."""
        least = self.bundle.regions.min_area
        map_rows, map_columns = self.bundle.map_size
        scale = columns / map_columns, rows / map_rows
        if sensitive is None:
            return find_regions(anomaly, strict, least, *scale), None
        return strict_and_sensitive_regions(anomaly, strict, sensitive, least, *scale)

    def _at_input_size(self, anomaly: Float32Array) -> Float32Array:
        size = (self.bundle.width, self.bundle.height)
        resized = cv2.resize(anomaly, size, interpolation=cv2.INTER_LINEAR)
        return np.asarray(resized, np.float32)

    def _compare(self, stored: SelfTest, name: str, stated: float, found: float) -> None:
        allowed = self.bundle.atol + self.bundle.rtol * max(abs(stated), self._spread(name))
        deviation = abs(found - stated)
        if deviation > allowed:
            where = '' if name == DEFAULT_CHANNEL else f' for {name}'
            raise SelfTestError(
                f'self-test frame {stored.path.name} scores {found:.6g}{where} on '
                f'{self.description}, but the bundle states {stated:.6g} '
                f'(deviation {deviation:.3g}, allowed {allowed:.3g}); try another backend or '
                'export the bundle again'
            )

    def _spread(self, name: str) -> float:
        """Return the deviation of the normal sample of a statistic; 0 for fused logits."""
        channel, _, statistic = name.partition('.')
        own = {each.name: each for each in self.bundle.channels[channel].statistics}
        return float(np.std(own[statistic].reference)) if statistic else 0.0


def stored_frame(stored: SelfTest) -> Frame:
    """Read a self-test frame of a bundle; raises SelfTestError if it is not an image."""
    image = cv2.imread(str(stored.path), cv2.IMREAD_COLOR)
    if image is None:
        raise SelfTestError(f'{stored.path} is not a readable image; export the bundle again')
    return Frame(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8))


def _refuse_invalid(maps: Mapping[str, Float32Array]) -> None:
    for name, values in maps.items():
        if not np.isfinite(values).all():
            count = int(np.count_nonzero(~np.isfinite(values)))
            raise RunnerError(
                f'the {name} map holds {count} NaN or infinite values of {values.size}, so the '
                'frame was not scored; check the image and the networks'
            )
