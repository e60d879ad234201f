"""The lifecycle node in a real ROS 2, seen and driven from another node."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy', reason="needs rclpy: pip install '.[ros]', or a sourced ROS 2")

import cv2
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Log
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import Image
from std_msgs.msg import Bool, Float32
from std_srvs.srv import Trigger
from support.dds_domain import own_domain
from support.ros_peer import LATCHED, RELIABLE, Camera, Peer, Spinner, read_alert
from support.tiny_bundle import anomaly_image, normal_image

from ros2_ood_monitor.bus import rclpy as ros_bus
from ros2_ood_monitor.bus.base import MiddlewareError
from ros2_ood_monitor.bus.rclpy import RosMiddleware, ros_type
from ros2_ood_monitor.inference.engines.selection import BACKENDS, available_backends
from ros2_ood_monitor.messages.cv_bridge_images import CvBridgeError, to_cv2
from ros2_ood_monitor.messages.topics import IMAGE, OPTIONAL, PUBLISHED, camera_input
from ros2_ood_monitor.node import black_box
from ros2_ood_monitor.node.lifecycle_node import OodMonitorNode

# A busy test machine may hold up the camera's thread; the defaults are tested elsewhere.
PATIENT = {
    'supervision.stale_after_s': 3.0,
    'supervision.max_age_ms': 3000.0,
    'threads': 1,
}


@pytest.fixture
def domain() -> Iterator[int]:
    with own_domain() as number:
        yield number


@pytest.fixture
def peer(domain: int) -> Iterator[Peer]:
    peer = Peer(domain)
    yield peer
    peer.close()


class Robot(Spinner):
    """Runs the monitor under test."""

    def __init__(self, domain_id: int, parameters: dict[str, Any], *arguments: str) -> None:
        super().__init__(domain_id)
        self.node = OodMonitorNode(
            context=self.context,
            parameter_overrides=[Parameter(k, value=v) for k, v in parameters.items()],
            cli_args=['--ros-args', *arguments] if arguments else None,
        )
        self.executor.add_node(self.node)


@pytest.fixture
def start(domain: int) -> Iterator[Any]:
    robots: list[Robot] = []

    def start(*arguments: str, **parameters: Any) -> Robot:
        robots.append(Robot(domain, {**PATIENT, **parameters}, *arguments))
        return robots[-1]

    yield start
    for robot in robots:
        robot.close()


@pytest.fixture
def bundle(tiny_bundle: Path) -> str:
    if not available_backends():
        pytest.skip('needs openvino or onnxruntime')
    return str(tiny_bundle)


def transit(peer: Peer, label: str) -> bool:
    request = ChangeState.Request(transition=Transition(label=label))
    return bool(peer.call(ChangeState, 'ood_monitor/change_state', request).success)


def lifecycle_state(peer: Peer) -> str:
    response = peer.call(GetState, 'ood_monitor/get_state', GetState.Request())
    return str(response.current_state.label)


def set_parameter(peer: Peer, name: str, value: Any) -> Any:
    wanted = ParameterMessage(name=name, value=Parameter(name, value=value).get_parameter_value())
    request = SetParameters.Request(parameters=[wanted])
    (result,) = peer.call(SetParameters, 'ood_monitor/set_parameters', request).results
    return result


def listen_to_the_log(peer: Peer) -> Callable[[], list[str]]:
    kept = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    messages = peer.listen(Log, '/rosout', kept)
    return lambda: [message.msg for _, message in messages]


def activate(peer: Peer) -> None:
    assert transit(peer, 'configure')
    assert transit(peer, 'activate')


def test_these_tests_stay_on_the_loopback_interface(peer):
    if 'fastrtps' not in get_rmw_implementation_identifier():
        pytest.skip('only the Fast DDS of the tests binds no other interface')
    sockets = set()
    for descriptor in os.listdir('/proc/self/fd'):
        with contextlib.suppress(FileNotFoundError):  # of the listing itself, and of other threads
            sockets.add(os.readlink(f'/proc/self/fd/{descriptor}'))
    bound = [
        line.split()[1].partition(':')[0]
        for line in Path('/proc/self/net/udp').read_text().splitlines()[1:]
        if f'socket:[{line.split()[9]}]' in sockets
    ]
    addresses = {'.'.join(str(byte) for byte in bytes.fromhex(word)[::-1]) for word in bound}
    assert addresses == {'127.0.0.1', '239.255.0.1'}  # the second one is the multicast group


def test_alert_beats_ten_times_a_second_before_anything_is_configured(peer, start):
    unsafe = peer.listen(Bool, 'ood/unsafe', LATCHED)
    start()
    alerts = peer.got['ood/alert']
    peer.wait(lambda: len(alerts) >= 25, '25 alerts')
    seconds = alerts[24][0] - alerts[4][0]
    assert seconds < 20 / 10 * 1.2, f'20 alerts took {seconds:.2f} s'
    sequence = [int(read_alert(message)['seq']) for _, message in alerts]
    assert np.all(np.diff(sequence) == 1)
    assert peer.alert()['state'] == 'INITIALIZING'
    assert peer.alert()['level'] == b'\x02'
    assert [message.data for _, message in unsafe] == [True] * len(unsafe)


def test_late_listener_gets_the_alert_and_may_request_its_deadline(peer, start):
    robot = start()
    peer.wait_state('INITIALIZING')
    (info,) = robot.node.get_publishers_info_by_topic('/ood/alert')
    assert info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert info.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    assert info.qos_profile.deadline.nanoseconds == 200_000_000
    assert info.qos_profile.liveliness_lease_duration.nanoseconds == 500_000_000


def test_quality_of_service_can_be_overridden(start):
    publisher = 'qos_overrides./ood/score.publisher'
    robot = start(**{f'{publisher}.depth': 7, f'{publisher}.reliability': 'best_effort'})
    (info,) = robot.node.get_publishers_info_by_topic('/ood/score')
    assert info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
    # DDS discovery does not carry the depth; only some RMWs add it to the graph.
    (score,) = (each for each in robot.node.publishers if each.topic_name == '/ood/score')
    assert score.qos_profile.depth == 7


def test_normal_view_is_nominal_and_results_carry_the_header(peer, start, bundle):
    for topic, cls in (('segmentation', Image), ('anomaly_map', Image), ('score', Float32)):
        peer.listen(cls, f'ood/{topic}')
    start(bundle=bundle)
    activate(peer)
    with Camera(peer, normal_image) as camera:
        peer.wait_state('NOMINAL')
        labels, anomaly = peer.next('ood/segmentation'), peer.next('ood/anomaly_map')
        peer.next('ood/score')
    for message in (labels, anomaly):
        assert message.header.frame_id == 'front_optical'
        assert (message.header.stamp.sec, message.header.stamp.nanosec) in camera.sent
        assert (message.height, message.width) == (48, 64)
    assert (labels.encoding, anomaly.encoding) == ('mono8', '32FC1')
    values = np.frombuffer(anomaly.data, np.float32)
    assert 0 <= values.min() <= values.max() <= 1


def test_unknown_object_raises_the_alarm(peer, start, bundle):
    peer.listen(Bool, 'ood/unsafe', LATCHED)
    start(bundle=bundle)
    activate(peer)
    with Camera(peer, normal_image) as camera:
        peer.wait_state('NOMINAL')
        assert not peer.next('ood/unsafe').data
        camera.shown = anomaly_image
        alert = peer.wait_state('ALERT')
        assert float(alert['evidence']) >= float(alert['threshold'])
        assert peer.next('ood/unsafe').data


def test_classes_and_regions_are_published_with_vision_msgs(peer, start, bundle):
    vision = pytest.importorskip('vision_msgs.msg', reason='needs vision_msgs')
    peer.listen(vision.Detection2DArray, 'ood/regions')
    peer.listen(vision.LabelInfo, 'ood/label_info', LATCHED)
    start(bundle=bundle)
    activate(peer)
    with Camera(peer, anomaly_image):
        peer.wait_state('ALERT')
        peer.wait(lambda: peer.got['ood/regions'][-1][1].detections, 'a region')
    box = peer.got['ood/regions'][-1][1].detections[0].bbox
    assert 24 <= box.center.position.x <= 44
    (_, info), *_ = peer.got['ood/label_info']
    assert info.class_map[0].class_name == 'road'


def test_without_vision_msgs_everything_else_is_published_after_one_warning(
    peer, start, bundle, monkeypatch
):
    logged = listen_to_the_log(peer)
    for module in ('vision_msgs', 'vision_msgs.msg'):
        monkeypatch.setitem(sys.modules, module, None)
    robot = start(bundle=bundle)
    activate(peer)
    peer.listen(Image, 'ood/segmentation')
    with Camera(peer, anomaly_image):
        peer.wait_state('ALERT')
        peer.next('ood/segmentation')
    published = {
        name for name, _ in robot.node.get_publisher_names_and_types_by_node('ood_monitor', '/')
    }
    assert {f'/{topic.name}' for topic in PUBLISHED if not topic.name.startswith('/')} - {
        '/ood/regions',
        '/ood/label_info',
    } <= published
    assert not {'/ood/regions', '/ood/label_info'} & published
    warnings = [text for text in logged() if 'vision' in text]
    assert len(warnings) == 1
    assert 'not published: ood/regions and ood/label_info' in warnings[0]
    assert 'sudo apt install' in warnings[0]


def test_compressed_camera_and_remapped_topic(peer, start, bundle):
    start(
        '-r',
        'image:=/front/camera',
        bundle=bundle,
        **{'camera.image_transport': 'compressed'},
    )
    activate(peer)

    def png(image: np.ndarray) -> bytes:
        return cv2.imencode('.png', image[:, :, ::-1])[1].tobytes()

    with Camera(peer, normal_image, '/front/camera/compressed', png):
        peer.wait_state('NOMINAL')


def test_alert_beats_while_simulated_time_stands_still(peer, start, bundle):
    start(bundle=bundle, use_sim_time=True)
    activate(peer)
    with Camera(peer, normal_image):
        assert 'in the future' in peer.wait_state('FAULT')['message']
        for _ in range(5):
            peer.next('ood/alert')


def test_dead_camera_is_a_fault(peer, start, bundle):
    start(bundle=bundle, **{'supervision.stale_after_s': 1.0})
    activate(peer)
    with Camera(peer, normal_image):
        peer.wait_state('NOMINAL')
    peer.wait_state('FAULT', 'no image for')


def test_inactive_node_keeps_alerting_and_lets_go_of_the_camera(peer, start, bundle):
    start(bundle=bundle)
    activate(peer)
    with Camera(peer, normal_image):
        peer.wait_state('NOMINAL')
        assert peer.node.count_subscribers('image') == 1
        assert transit(peer, 'deactivate')
        assert peer.wait_state('INITIALIZING', 'not active')['level'] == b'\x02'
        assert lifecycle_state(peer) == 'inactive'
        peer.next('ood/alert')  # it goes on
        assert transit(peer, 'activate')
        peer.wait_state('NOMINAL')
        assert transit(peer, 'deactivate')
        assert transit(peer, 'cleanup')
        assert transit(peer, 'shutdown')
        assert lifecycle_state(peer) == 'finalized'
        peer.wait_state('INITIALIZING', 'not active')


def test_bundle_that_is_not_there_is_refused_and_can_be_corrected(peer, start, bundle, tmp_path):
    start(bundle=str(tmp_path / 'nothing'))
    assert not transit(peer, 'configure')
    assert lifecycle_state(peer) == 'unconfigured'
    assert 'manifest.json does not exist' in peer.wait_state('FAULT')['message']
    assert set_parameter(peer, 'bundle', bundle).successful
    activate(peer)
    with Camera(peer, normal_image):
        peer.wait_state('NOMINAL')


def test_an_uncertified_bundle_is_refused_where_a_certified_one_is_required(peer, start, bundle):
    start(bundle=bundle, require_certified=True)
    assert not transit(peer, 'configure')
    assert 'is UNCERTIFIED' in peer.wait_state('FAULT')['message']
    assert set_parameter(peer, 'require_certified', False).successful
    activate(peer)
    with Camera(peer, normal_image):
        peer.wait_state('NOMINAL')
    assert peer.alert()['calibration'] == 'uncertified'
    assert not set_parameter(peer, 'require_certified', True).successful


def test_wrong_start_parameters_are_named_in_the_alert(peer, start, bundle):
    start(
        bundle=bundle,
        **{
            'supervision.stale_afer_s': 1.0,
            'supervision.black_level': 300,
            'camera.image_topic': 'front camera',
        },
    )
    assert not transit(peer, 'configure')
    message = peer.wait_state('FAULT')['message']
    assert "did you mean 'supervision.stale_after_s'" in message
    assert 'supervision.black_level must be 0 to 255' in message
    assert 'camera.image_topic: failed to resolve name' in message


def test_whole_number_will_do_for_a_number(peer, start, bundle):
    robot = start(bundle=bundle, **{'supervision.stale_after_s': 2})
    assert robot.node.get_parameter('supervision.stale_after_s').value == 2.0
    assert transit(peer, 'configure')


def test_black_box_without_mcap_is_a_fault_not_the_end(peer, start, bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(black_box.importlib.util, 'find_spec', lambda name: None)
    start(bundle=bundle, **{'black_box.directory': str(tmp_path)})
    assert not transit(peer, 'configure')
    assert "pip install '.[bags]'" in peer.wait_state('FAULT')['message']


def test_live_parameter_takes_effect(peer, start, bundle):
    start(bundle=bundle)
    activate(peer)
    with Camera(peer, normal_image):
        peer.wait_state('NOMINAL')
        assert set_parameter(peer, 'supervision.black_level', 200.0).successful
        peer.wait_state('FAULT', 'black')
        assert set_parameter(peer, 'supervision.black_level', 8.0).successful
        peer.wait_state('NOMINAL')


@pytest.mark.parametrize(
    ('name', 'value', 'reason'),
    [
        ('bundle', '/elsewhere', 'clean up'),
        ('camera.name', 'rear', 'start the node with the new value'),
        ('supervision.stale_after_s', -1.0, 'range'),
        ('supervision.black_level', 251.0, 'must be below supervision.white_level'),
        ('backend', 'abacus', ''),
        ('region_of_interest.polygon', '0,0 1,1', 'three or more corners'),
        ('region_of_interest.horizon', 0.5, 'clean up'),
    ],
)
def test_other_parameters_are_refused_with_a_reason(peer, start, bundle, name, value, reason):
    robot = start(bundle=bundle)
    assert transit(peer, 'configure')
    before = robot.node.get_parameter(name).value
    result = set_parameter(peer, name, value)
    assert not result.successful
    assert reason in result.reason
    assert robot.node.get_parameter(name).value == before


def test_exception_in_a_transition_is_a_fault_not_a_silence(peer, start, bundle, monkeypatch):
    robot = start(bundle=bundle)

    def broken(_: object) -> None:
        raise ZeroDivisionError('a defect')

    monkeypatch.setattr(robot.node.monitor_node, 'load', broken)
    assert not transit(peer, 'configure')
    assert lifecycle_state(peer) == 'unconfigured'
    assert 'on_configure failed: a defect' in peer.wait_state('FAULT')['message']


def test_latched_alert_needs_a_reset(peer, start, bundle):
    start(bundle=bundle, **{'supervision.latch': True})
    activate(peer)
    with Camera(peer, normal_image) as camera:
        peer.wait_state('NOMINAL')
        camera.shown = lambda number: normal_image(number) // 32
        peer.wait_state('FAULT', 'black')
        refused = peer.call(Trigger, 'ood_monitor/reset', Trigger.Request())
        assert not refused.success
        assert 'persists' in refused.message
        camera.shown = normal_image
        peer.wait(lambda: peer.alert()['latched'] == 'true', 'the latch')

        def reset() -> bool:
            return bool(peer.call(Trigger, 'ood_monitor/reset', Trigger.Request()).success)

        while not reset():  # the release is debounced: good frames must follow
            peer.next('ood/alert')
        peer.wait_state('NOMINAL')


def test_engine_that_cannot_be_opened_is_a_fault_and_ends_the_process(peer, start, bundle):
    missing = set(BACKENDS) - set(available_backends())
    if not missing:
        pytest.skip('every engine works here')
    robot = start(bundle=bundle, backend=missing.pop(), **{'supervision.restart_attempts': 0})
    activate(peer)
    peer.wait_state('FAULT', 'backend')
    peer.wait(lambda: robot.node.monitor_node.monitor.failed, 'giving up')


def test_diagnostics_name_engine_bundle_and_camera(peer, start, bundle):
    peer.listen(DiagnosticArray, '/diagnostics')
    start(bundle=bundle)
    activate(peer)
    with Camera(peer, normal_image):
        peer.wait_state('NOMINAL')
        (status,) = peer.next('/diagnostics').status
    assert status.name.startswith('ood_monitor: ')
    values = {item.key: item.value for item in status.values}
    assert values['bundle'] == 'tiny'
    assert values['image_publishers'] == '1'
    assert values['engine']


def test_last_alert_says_stopped(peer, domain):
    robot = Robot(domain, PATIENT)
    peer.wait_state('INITIALIZING')
    robot.close()
    peer.wait(lambda: 'has stopped' in peer.alert()['message'], 'the last alert')


def test_overlay_is_drawn_only_for_listeners_and_cv_bridge_reads_it(peer, start, bundle):
    start(bundle=bundle)
    activate(peer)
    with Camera(peer, normal_image):
        peer.wait_state('NOMINAL')
        peer.listen(Image, 'ood/overlay', RELIABLE)
        overlay, labels = peer.next('ood/overlay'), None
        peer.listen(Image, 'ood/segmentation')
        labels = peer.next('ood/segmentation')
    assert overlay.encoding == 'rgb8'
    try:
        bgr, classes = to_cv2(overlay, 'bgr8'), to_cv2(labels, 'mono8')
    except CvBridgeError as error:
        pytest.skip(str(error))
    pixels = np.frombuffer(overlay.data, np.uint8).reshape(overlay.height, overlay.width, 3)
    assert np.array_equal(bgr[:, :, ::-1], pixels)
    assert classes.shape == (48, 64)


def test_middleware_without_events_is_served_too(peer, start, monkeypatch):
    robot = start()
    real = ros_bus.SubscriptionEventCallbacks

    def without_lost_messages(message_lost: Any = None) -> Any:
        if message_lost is not None:
            raise ros_bus.UnsupportedEventTypeError('not here')
        return real()

    monkeypatch.setattr(ros_bus, 'SubscriptionEventCallbacks', without_lost_messages)
    bus, topic = RosMiddleware(robot.node), camera_input('other')
    bus.subscribe(topic, lambda _: None)
    assert robot.node.count_subscribers('other') == 1


def test_every_message_of_this_ros_has_the_fields_we_know(monkeypatch):
    for topic in PUBLISHED:
        if topic not in OPTIONAL or importlib.util.find_spec('vision_msgs') is not None:
            ros_type(topic.type_name)
    monkeypatch.setattr(
        Image, 'get_fields_and_field_types', classmethod(lambda cls: {'header': 'std_msgs/Header'})
    )
    with pytest.raises(MiddlewareError, match='has other fields'):
        ros_type(IMAGE)
    with pytest.raises(MiddlewareError, match='ros-\\$ROS_DISTRO-nonsense-msgs'):
        ros_type('nonsense_msgs/msg/Nothing')
