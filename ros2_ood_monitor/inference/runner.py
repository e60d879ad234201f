"""One frame in, one detection out: a bundle's networks on an engine, fused and scored."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType

import cv2
import numpy as np

from ros2_ood_monitor.bundle.manifest import DEFAULT_CHANNEL, SelfTest
from ros2_ood_monitor.bundle.model_bundle import ModelBundle
from ros2_ood_monitor.detection import UNLABELED, Detection, Region
from ros2_ood_monitor.frame import Float32Array, Frame, UInt8Array
from ros2_ood_monitor.inference.channel_scores import ChannelScorer, raw_statistics
from ros2_ood_monitor.inference.engines.base import EngineError
from ros2_ood_monitor.inference.engines.selection import open_chain
from ros2_ood_monitor.inference.fusion import (
    fused_logits,
    probability,
    single_maps,
)
from ros2_ood_monitor.inference.preprocessing import prepare
from ros2_ood_monitor.inference.regions import find_regions, strict_and_sensitive_regions


class RunnerError(RuntimeError):
    """A frame could not be scored; nothing may be concluded about it."""


class SelfTestError(RunnerError):
    """The engine does not reproduce the bundle's stored results; it must not be trusted."""


class Runner:
    """A bundle ready to run; belongs to the thread that opened it.

    `backend` and `threads` as in `engines.selection.open_chain`; raises EngineError. Maps without
    weight, and networks that only they read, are computed only with `all_maps`, for evaluation.
    Regions are sought where `region_of_interest` (H/4, W/4) is 1, everywhere if it is None.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        backend: str = 'auto',
        threads: int | None = None,
        all_maps: bool = False,
        region_of_interest: UInt8Array | None = None,
    ) -> None:
        self.bundle = bundle
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

        Raises RunnerError if the engine fails or a map holds NaN or infinity.
        """
        bundle = self.bundle
        started = time.perf_counter()
        try:
            image = prepare(frame.image, bundle.width, bundle.height, bundle.color_order)
            prepared = time.perf_counter()
            outputs = self._engine.run({'image': image})
            labels = np.asarray(outputs['labels'])
            maps = single_maps(outputs, self._maps)
        except (EngineError, ValueError) as error:
            raise RunnerError(f'the frame was not scored: {error}') from error
        inferred = time.perf_counter()
        _refuse_invalid(maps)
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
        regions, sensitive = self._regions(anomaly, *frame.image.shape[:2])
        published = cv2.LUT(labels[0].astype(np.uint8), self._published)
        size = (bundle.width, bundle.height)
        anomaly_map = cv2.resize(anomaly, size, interpolation=cv2.INTER_LINEAR)
        finished = time.perf_counter()
        return Detection(
            labels=np.asarray(published, np.uint8),
            anomaly_map=np.asarray(anomaly_map, np.float32),
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

    def _regions(
        self, anomaly: Float32Array, rows: int, columns: int
    ) -> tuple[tuple[Region, ...], tuple[Region, ...] | None]:
        """Return the regions of the strict and, if there is one, of the sensitive threshold."""
        if self._region_of_interest is not None:
            anomaly = anomaly * self._region_of_interest
        rule, (map_rows, map_columns) = self.bundle.regions, self.bundle.map_size
        scale = columns / map_columns, rows / map_rows
        strict, sensitive = rule.threshold, rule.sensitive_threshold
        if sensitive is None:
            return find_regions(anomaly, strict, rule.min_area, *scale), None
        return strict_and_sensitive_regions(anomaly, strict, sensitive, rule.min_area, *scale)

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
