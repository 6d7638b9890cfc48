"""An examined run in, one page that a clinician can read out. Shows numbers, computes none."""
