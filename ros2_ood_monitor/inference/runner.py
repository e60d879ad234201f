"""One frame in, one judgement out: a bundle's networks on an engine, fused and scored."""

from __future__ import annotations

import time
from types import TracebackType

import cv2
import numpy as np

from ros2_ood_monitor.bundle.manifest import map_source
from ros2_ood_monitor.bundle.model_bundle import ModelBundle, SelfTest
from ros2_ood_monitor.detection import Detection
from ros2_ood_monitor.frame import Float32Array, Frame, Header
from ros2_ood_monitor.inference.engines.base import EngineError
from ros2_ood_monitor.inference.engines.selection import open_chain
from ros2_ood_monitor.inference.fusion import (
    find_regions,
    frame_score,
    frame_statistic,
    fused_logits,
    probability,
    single_maps,
    tail_scale,
)
from ros2_ood_monitor.inference.preprocessing import prepare

UNLABELED = 255


class DetectorError(RuntimeError):
    """A frame could not be judged; nothing may be concluded about it."""


class SelfTestError(DetectorError):
    """The engine does not reproduce the bundle's stored results; it must not be trusted."""


class Detector:
    """A bundle ready to run; belongs to the thread that opened it.

    `backend` and `threads` as in `engines.selection.open_chain`; raises EngineError. Maps that
    the fusion gives no weight are computed only with `all_maps`, for evaluation.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        backend: str = 'auto',
        threads: int | None = None,
        all_maps: bool = False,
    ) -> None:
        self.bundle = bundle
        self._maps = tuple(
            name
            for name, weight in zip(bundle.fusion.maps, bundle.fusion.weights, strict=True)
            if weight != 0 or all_maps
        )
        sources = dict.fromkeys(map_source(name)[0] for name in self._maps)
        self._engine = open_chain(
            list(bundle.networks.values()),
            ['labels', *sources],
            backend,
            bundle.engines,
            threads,
        )
        self._published = np.full(256, UNLABELED, np.uint8)
        self._published[: len(bundle.classes)] = np.arange(len(bundle.classes))
        if bundle.void_label is not None:
            self._published[bundle.void_label] = UNLABELED
        self._reference = np.array(bundle.frame_score.reference)
        self._tail_scale = tail_scale(self._reference)

    @property
    def description(self) -> str:
        """The engine's library, version, device and precision."""
        return self._engine.description

    def detect(self, frame: Frame) -> Detection:
        """Judge `frame`; timings are of `prepare`, `inference`, `fusion` and `total`.

        Raises DetectorError if the engine fails or a map holds NaN or infinity.
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
            raise DetectorError(f'the frame was not judged: {error}') from error
        inferred = time.perf_counter()
        _refuse_invalid(maps)
        logits = fused_logits(maps, bundle.fusion)
        anomaly = probability(logits)
        statistic = frame_statistic(logits, bundle.frame_score.top_fraction)
        rows, columns = frame.image.shape[:2]
        map_rows, map_columns = bundle.map_size
        regions = find_regions(
            anomaly,
            bundle.regions.threshold,
            bundle.regions.min_area,
            columns / map_columns,
            rows / map_rows,
        )
        detection_labels = cv2.LUT(labels[0].astype(np.uint8), self._published)
        size = (bundle.width, bundle.height)
        anomaly_map = cv2.resize(anomaly, size, interpolation=cv2.INTER_LINEAR)
        score = frame_score(statistic, self._reference, self._tail_scale)
        finished = time.perf_counter()
        return Detection(
            labels=np.asarray(detection_labels, np.uint8),
            anomaly_map=np.asarray(anomaly_map, np.float32),
            statistic=statistic,
            score=score,
            regions=regions,
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

        Finds a wrong engine, preprocessing or colour order before it judges a camera's frame.
        """
        atol, rtol = self.bundle.atol, self.bundle.rtol
        for stored in self.bundle.selftest:
            try:
                detection = self.detect(stored_frame(stored))
            except DetectorError as error:
                raise SelfTestError(f'self-test frame {stored.path.name}: {error}') from error
            allowed = atol + rtol * abs(stored.statistic)
            deviation = abs(detection.statistic - stored.statistic)
            if deviation > allowed:
                raise SelfTestError(
                    f'self-test frame {stored.path.name} scores {detection.statistic:.6g} on '
                    f'{self.description}, but the bundle states {stored.statistic:.6g} '
                    f'(deviation {deviation:.3g}, allowed {allowed:.3g}); try another backend or '
                    'export the bundle again'
                )

    def close(self) -> None:
        """Free the engine."""
        self._engine.close()

    def __enter__(self) -> Detector:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def stored_frame(stored: SelfTest) -> Frame:
    """Read a self-test frame of a bundle; raises SelfTestError if it is not an image."""
    image = cv2.imread(str(stored.path), cv2.IMREAD_COLOR)
    if image is None:
        raise SelfTestError(f'{stored.path} is not a readable image; export the bundle again')
    return Frame(Header(), np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8))


def _refuse_invalid(maps: dict[str, Float32Array]) -> None:
    for name, values in maps.items():
        if not np.isfinite(values).all():
            count = int(np.count_nonzero(~np.isfinite(values)))
            raise DetectorError(
                f'the {name} map holds {count} NaN or infinite values of {values.size}, so the '
                'frame was not judged; check the image and the networks'
            )
