"""ObsNet (Besnier, Bursuc, Picard, Briot, ICCV 2021)."""
