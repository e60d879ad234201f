"""The one table of runtime parameters.

From it come the check of configuration files, the declaration of ROS parameters, the defaults of
`SupervisionConfig`, `config/monitor.yaml` and the table in `docs/parameters.md`; a test keeps the
last two in step.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from ros2_ood_monitor.parameter import Parameter, ParameterError, Value
from ros2_ood_monitor.polygon import read_polygon
from ros2_ood_monitor.printable import read_name

_TABLE = (
    Parameter('bundle', '', 'Directory of the model bundle.'),
    Parameter(
        'require_certified',
        False,
        'Refuse, with a FAULT, a bundle whose rate of false alarms is not certified.',
    ),
    Parameter(
        'backend',
        'auto',
        'Inference engine; auto takes the fastest one that is installed.',
        choices=('auto', 'tensorrt', 'openvino', 'onnxruntime'),
    ),
    Parameter(
        'threads', 0, 'Processor threads of the engine; 0 leaves it the choice.', '', 0, 1024
    ),
    Parameter(
        'camera.name',
        'camera',
        'Name of the camera in alerts, diagnostics and the names of bags: letters, digits, '
        'spaces, _, - and dots.',
        read=read_name,
    ),
    Parameter('camera.image_topic', 'image', 'Topic of the camera images.'),
    Parameter(
        'camera.image_transport',
        'raw',
        'raw listens to sensor_msgs/Image on the image topic, compressed to '
        'sensor_msgs/CompressedImage on <image topic>/compressed.',
        choices=('raw', 'compressed'),
    ),
    Parameter(
        'region_of_interest.horizon',
        0.0,
        'Unknown regions are sought from this share of the image height downwards; alarms of '
        'channels see the whole image, as they were calibrated.',
        '',
        0,
        1,
    ),
    Parameter(
        'region_of_interest.polygon',
        '',
        "Unknown regions are sought inside these corners, 'x,y x,y x,y' in shares of the image "
        'from its upper left; empty is everywhere. A region that crosses the border is cut there.',
        read=read_polygon,
    ),
    Parameter(
        'second_look_every',
        0,
        'The most unusual part of every so many-th frame is looked at again at double size, for '
        'small and distant objects; 0 is never. Each such look costs as much as a frame. A region '
        'counts when it is seen in trigger_frames of trigger_window frames, so with 3 or more '
        'and the defaults such a region would never count.',
        '',
        0,
        10,
    ),
    Parameter(
        'supervision.heartbeat_hz',
        10.0,
        'How often the alert is repeated, whatever else happens.',
        'Hz',
        10,
        100,
    ),
    Parameter(
        'supervision.startup_timeout_s',
        10.0,
        'Waiting longer than this for the engines to load or for the first image is a FAULT.',
        's',
        0.1,
        3600,
        live=True,
    ),
    Parameter(
        'supervision.stale_after_s',
        0.4,
        'No image for this long is a FAULT; at least three periods of the camera.',
        's',
        0.05,
        60,
        live=True,
    ),
    Parameter(
        'supervision.frozen_after_s',
        0.3,
        'Pixel-identical images (three or more) for this long are a FAULT.',
        's',
        0.05,
        60,
        live=True,
    ),
    Parameter(
        'supervision.max_age_ms',
        300.0,
        'Oldest image that may be scored: from its stamp to its arrival, and from its arrival to '
        'its result; beyond it is a FAULT.',
        'ms',
        1,
        60000,
        live=True,
    ),
    Parameter(
        'supervision.check_stamp_age',
        True,
        'Compare image stamps with the ROS clock; false for recordings and for cameras with a '
        'clock of their own, then only the order of the stamps is checked.',
        live=True,
    ),
    Parameter(
        'supervision.max_future_ms',
        100.0,
        'A stamp further ahead of the ROS clock than this is a FAULT.',
        'ms',
        0,
        60000,
        live=True,
    ),
    Parameter(
        'supervision.black_level',
        8.0,
        'An image with 99 % of its pixels at or below this grey level (0 to 255) is a FAULT.',
        '',
        0,
        255,
        live=True,
    ),
    Parameter(
        'supervision.white_level',
        250.0,
        'An image with 99 % of its pixels at or above this grey level (0 to 255) is a FAULT.',
        '',
        0,
        255,
        live=True,
    ),
    Parameter(
        'supervision.min_contrast',
        4.0,
        'An image whose darkest and brightest percent are closer than this many grey levels is a '
        'FAULT.',
        '',
        0,
        255,
        live=True,
    ),
    Parameter(
        'supervision.max_megapixels',
        34.0,
        'A compressed image that claims more pixels is a FAULT and is not decoded.',
        'million pixels',
        0.01,
        400,
        live=True,
    ),
    Parameter(
        'supervision.max_image_mb',
        64.0,
        'A compressed image of more bytes is a FAULT and is not decoded.',
        'MB',
        0.1,
        1000,
        live=True,
    ),
    Parameter(
        'supervision.check_color',
        True,
        'An image without any colour is a FAULT, if the network was trained on colour.',
        live=True,
    ),
    Parameter(
        'supervision.trigger_frames',
        3,
        'An unknown region seen in this many of the last trigger_window frames is a CAUTION; one '
        'that passes the strict threshold of the bundle is an ALERT.',
        'frames',
        1,
        1000,
        live=True,
    ),
    Parameter(
        'supervision.trigger_window',
        5,
        'Frames among which trigger_frames are counted; fewer than those count as those.',
        'frames',
        1,
        1000,
        live=True,
    ),
    Parameter(
        'supervision.release_frames',
        5,
        'A state is left only after this many good frames in a row.',
        'frames',
        1,
        1000,
        live=True,
    ),
    Parameter(
        'supervision.release_s',
        0.5,
        'A state is left no sooner than this after its cause ended.',
        's',
        0,
        60,
        live=True,
    ),
    Parameter(
        'supervision.latch',
        False,
        'Keep ALERT and FAULT until reset, even after their cause ended.',
        live=True,
    ),
    Parameter(
        'supervision.restart_attempts',
        3,
        'How often a failed engine is restarted before the monitor gives up (and stays in FAULT).',
        '',
        0,
        100,
    ),
    Parameter(
        'supervision.restart_backoff_s',
        0.5,
        'Wait before the first restart; doubles with every further one.',
        's',
        0,
        60,
    ),
    Parameter(
        'overlay.jpeg_quality',
        80,
        'Quality of the compressed overlay image.',
        '',
        1,
        100,
        live=True,
    ),
    Parameter(
        'black_box.directory',
        '',
        'Where the seconds around an ALERT are written as MCAP bags; empty writes none.',
    ),
    Parameter('black_box.seconds', 10.0, 'Length of the ring in memory.', 's', 0.1, 600),
    Parameter('black_box.ring_mb', 64, 'Largest size of the ring in memory.', 'MB', 1, 65536),
    Parameter(
        'black_box.quota_mb',
        1024,
        'Largest size of all bags in the directory; the oldest are deleted first.',
        'MB',
        1,
        1048576,
    ),
)

PARAMETERS: Mapping[str, Parameter] = {parameter.name: parameter for parameter in _TABLE}
"""Every runtime parameter by its full name."""


def default(name: str) -> Any:
    """Return the default of the parameter `name`."""
    return PARAMETERS[name].default


def check_parameter(name: str, value: object, source: str = '') -> Value:
    """Return `value` as the parameter's type; raises ParameterError, also for an unknown name."""
    if name not in PARAMETERS:
        place = f' in {source}' if source else ''
        close = difflib.get_close_matches(name, PARAMETERS, 1, 0.5)
        hint = f'; did you mean {close[0]!r}?' if close else ''
        raise ParameterError(f'unknown key {name!r}{place}{hint}')
    return PARAMETERS[name].check(value, source)
