"""The image being painted: a pinhole camera above a flat road, painted back to front.

Metres: x to the right, z ahead of the camera, height above the road. Angles of yaw and pitch are
small, so they shift the image instead of turning it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from ros2_ood_monitor.frame import Float32Array, UInt8Array
from ros2_ood_monitor.scenes.classes import Label
from ros2_ood_monitor.scenes.ground import Ground
from ros2_ood_monitor.scenes.sprite import Sprite

NEAR = 1.2
"""Nothing nearer than this many metres is painted."""
FAR = 150.0
"""Distance of the skyline in metres."""
DEPTH_CODES_PER_METRE = 1.5
SKY_CODE = 255


@dataclass(frozen=True)
class Pose:
    """Where the camera is and looks: metres, radians."""

    x: float = 0.0
    z: float = 0.0
    height: float = 1.4
    yaw: float = 0.0
    pitch: float = 0.0


class Canvas:
    """Colours, labels and depths of one frame.

    `rgba` uint8 (H, W, 4), `labels` uint8 (H, W), `depth` uint8 (H, W): 1.5 codes per metre, 255
    the sky.
    """

    def __init__(self, width: int, height: int, pose: Pose) -> None:
        self.width, self.height, self.pose = width, height, pose
        self.focal = 0.9 * width
        self.center = width / 2 - self.focal * math.tan(pose.yaw)
        self.horizon = 0.44 * height + self.focal * math.tan(pose.pitch)
        self.rgba: UInt8Array = np.empty((height, width, 4), np.uint8)
        self.labels: UInt8Array = np.full((height, width), Label.SKY, np.uint8)
        self.depth: UInt8Array = np.full((height, width), SKY_CODE, np.uint8)
        self._columns: Float32Array = np.arange(width, dtype=np.float32) + 0.5
        self._rows: Float32Array = np.arange(height, dtype=np.float32) + 0.5

    def sky(self, panorama: UInt8Array) -> None:
        """Fill everything with the sky; the foot of the panorama is the horizon."""
        scale = panorama.shape[1] / (2 * self.width)
        left = panorama.shape[1] / 2 - self.center * scale
        top = panorama.shape[0] - self.horizon * scale
        matrix = np.array([[scale, 0, left], [0, scale, top]])
        cv2.warpAffine(
            panorama,
            matrix,
            (self.width, self.height),
            self.rgba,
            cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            cv2.BORDER_REPLICATE,
        )

    def ground(self, ground: Ground) -> None:
        """Paint the ground below the horizon."""
        first = max(int(np.ceil(self.horizon + 0.5)), 0)
        if first >= self.height:
            return
        camera = self.pose
        reach = self.focal * camera.height
        z = np.minimum(reach / (self._rows[first:] - self.horizon), FAR)
        along = np.mod(z + camera.z, ground.period).astype(np.float32)
        across = np.outer(z / self.focal, self._columns - self.center).astype(np.float32)
        across += np.float32(camera.x - ground.left)
        self.labels[first:] = ground.labels[
            np.clip(across * ground.label_scale, 0, len(ground.labels) - 1).astype(np.intp)
        ]
        self.depth[first:] = _depth_code(z)[:, None]
        # Rows far away span many metres of road: each band of rows gets its own prefiltering.
        texels = z * z / reach * ground.rows_per_metre
        bands = np.clip(np.log2(np.maximum(texels, 1)) + 0.4, 0, 6).astype(np.intp)
        starts = [0, *(np.flatnonzero(np.diff(bands)) + 1).tolist(), len(z)]
        for begin, end in pairwise(starts):
            middle = float(z[(begin + end) // 2])
            texture = ground.level(
                middle / self.focal * ground.columns_per_metre, 2.0 ** int(bands[begin])
            )
            rows, columns = texture.shape[:2]
            map_x = across[begin:end] * np.float32(columns / ground.width) - np.float32(0.5)
            map_y = along[begin:end] * np.float32((rows - ground.wrap) / ground.period)
            self.rgba[first + begin : first + end] = cv2.remap(
                texture,
                map_x,
                np.repeat(map_y[:, None], self.width, axis=1),
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )

    def front(
        self,
        sprite: Sprite,
        x: float,
        z: float,
        base: float = 0.0,
        angle: float = 0.0,
        shade: float = 1.0,
    ) -> None:
        """Paint an upright sprite that faces the camera.

        Args:
            sprite: What.
            x: Middle of the sprite, metres from the ego lane's middle.
            z: Metres ahead of the camera.
            base: Height of its lower edge above the road.
            angle: Turned by this much about its middle, radians.
            shade: Brightness.
        """
        if z < NEAR:
            return
        per_metre = self.focal / z
        left = self.center + (x - sprite.width / 2 - self.pose.x) * per_metre
        bottom = self.horizon + (self.pose.height - base) * per_metre
        box = (left, bottom - sprite.height * per_metre, left + sprite.width * per_metre, bottom)
        self._paste(sprite, box, angle, shade, int(_depth_code(z)))

    def shadow(self, sprite: Sprite, x: float, z: float, width: float, length: float) -> None:
        """Lay a dark sprite on the ground; labels and depths stay."""
        near, far = max(z - length / 2, NEAR), z + length / 2
        if far <= near:
            return
        drop = self.focal * self.pose.height
        left, right = (
            self.center + (x + side * width / 2 - self.pose.x) * self.focal / z for side in (-1, 1)
        )
        box = (left, self.horizon + drop / far, right, self.horizon + drop / near)
        self._paste(sprite, box, 0.0, 1.0, None)

    def _paste(
        self,
        sprite: Sprite,
        box: tuple[float, float, float, float],
        angle: float,
        shade: float,
        depth: int | None,
    ) -> None:
        left, top, right, bottom = box
        x0, x1 = max(int(left), 0), min(int(right) + 1, self.width)
        y0, y1 = max(int(top), 0), min(int(bottom) + 1, self.height)
        if x0 >= x1 or y0 >= y1 or bottom - top < 1.5 or right - left < 0.4:
            return
        rows, columns = sprite.shape
        texture = sprite.level(columns / (right - left), rows / (bottom - top))
        rows, columns = texture.shape[:2]
        cos, sin = math.cos(angle), math.sin(angle)
        scale_x, scale_y = columns / (right - left), rows / (bottom - top)
        # Inverse map: image -> centre of the box -> turned -> texture.
        from_x, from_y = x0 + 0.5 - (left + right) / 2, y0 + 0.5 - (top + bottom) / 2
        matrix = np.array(
            [
                [
                    cos * scale_x,
                    sin * scale_x,
                    (cos * from_x + sin * from_y) * scale_x + columns / 2 - 0.5,
                ],
                [
                    -sin * scale_y,
                    cos * scale_y,
                    (cos * from_y - sin * from_x) * scale_y + rows / 2 - 0.5,
                ],
            ]
        )
        patch = cv2.warpAffine(
            texture, matrix, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        self._blend(np.asarray(patch, np.uint8), x0, y0, shade, sprite.label, depth)

    def side(self, sprite: Sprite, x: float, z: float, length: float, shade: float = 1.0) -> None:
        """Paint an upright sprite along the road: its left edge at z, its right at z + length."""
        offset = x - self.pose.x
        near, far = max(z, NEAR), min(z + length, FAR)
        if far <= near or abs(offset) < 0.05:
            return
        edges = sorted(self.center + self.focal * offset / depth for depth in (near, far))
        x0, x1 = max(int(np.ceil(edges[0] - 0.5)), 0), min(int(edges[1] + 0.5), self.width)
        if x0 >= x1:
            return
        depths = self.focal * offset / (self._columns[x0:x1] - np.float32(self.center))
        nearest = float(depths.min())
        rise = (sprite.height - self.pose.height) * self.focal / nearest
        y0 = max(int(self.horizon - max(rise, 0.0)), 0)
        y1 = min(int(self.horizon + self.pose.height * self.focal / nearest) + 1, self.height)
        if y0 >= y1:
            return
        rows, columns = sprite.shape
        middle = float(depths[len(depths) // 2])
        texture = sprite.level(
            middle * middle / (self.focal * abs(offset)) * columns / length,
            middle / self.focal * rows / sprite.height,
        )
        rows, columns = texture.shape[:2]
        map_x = (depths - np.float32(z)) * np.float32(columns / length) - np.float32(0.5)
        below = np.outer(self._rows[y0:y1] - np.float32(self.horizon), depths / self.focal)
        map_y = (below + np.float32(sprite.height - self.pose.height)) * np.float32(
            rows / sprite.height
        ) - np.float32(0.5)
        patch = cv2.remap(
            texture,
            np.repeat(map_x[None].astype(np.float32), y1 - y0, axis=0),
            map_y.astype(np.float32),
            cv2.INTER_LINEAR,
        )
        codes = _depth_code(depths)
        self._blend(np.asarray(patch, np.uint8), x0, y0, shade, sprite.label, codes)

    def _blend(
        self,
        patch: UInt8Array,
        x0: int,
        y0: int,
        shade: float,
        label: int,
        depth: int | UInt8Array | None,
    ) -> None:
        height, width = patch.shape[:2]
        window = (slice(y0, y0 + height), slice(x0, x0 + width))
        alpha = patch[..., 3]
        if shade != 1.0:
            patch = np.asarray(cv2.multiply(patch, np.array([shade, shade, shade, 1.0])), np.uint8)
        rest = 255 - alpha
        under = cv2.multiply(self.rgba[window], cv2.merge([rest] * 4), scale=1 / 255)
        self.rgba[window] = cv2.add(patch, under)
        if depth is not None:
            solid = alpha > 127
            np.copyto(self.labels[window], np.uint8(label), where=solid)
            np.copyto(self.depth[window], np.asarray(depth, np.uint8), where=solid)


def _depth_code(z: Float32Array | float) -> UInt8Array:
    codes = np.asarray(z, np.float32) * np.float32(DEPTH_CODES_PER_METRE)
    return np.asarray(np.minimum(codes, 254), np.uint8)
