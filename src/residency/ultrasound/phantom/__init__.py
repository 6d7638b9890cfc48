"""Phantoms: simulated fetal ultrasound studies with their answer sheets and whole truth."""

from residency.ultrasound.phantom.sheet import PhantomSummary, write_phantom
from residency.ultrasound.phantom.sites import HELD_OUT_SITE, SITES, TRAINING_SITES, Site, find_site
from residency.ultrasound.phantom.study import CATEGORIES, Drawing, draw_image

__all__ = [
    "CATEGORIES",
    "HELD_OUT_SITE",
    "SITES",
    "TRAINING_SITES",
    "Drawing",
    "PhantomSummary",
    "Site",
    "draw_image",
    "find_site",
    "write_phantom",
]
