"""Runtime monitor that tells a robot when its camera network sees something unknown."""

__version__ = '0.2.0'
