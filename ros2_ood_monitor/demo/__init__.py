"""`make demo`: a camera process and a monitor process over DDS, with faults at known times."""
