"""From a frame to a detection: preprocessing, engines, fusion."""
