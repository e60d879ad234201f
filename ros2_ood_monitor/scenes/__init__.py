"""Procedural road scenes with labels, and anomalies that training never sees."""

from ros2_ood_monitor.scenes.generator import SceneGenerator
from ros2_ood_monitor.scenes.scene_frame import AnomalyEvent, SceneFrame, ViewEvent

__all__ = ['AnomalyEvent', 'SceneFrame', 'SceneGenerator', 'ViewEvent']
