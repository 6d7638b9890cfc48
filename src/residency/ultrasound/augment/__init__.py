"""Augmentation: a picture, its samples and a generator in; a picture of the same size and samples true of it out."""

from residency.ultrasound.augment.draws import augment_draws
from residency.ultrasound.augment.plain import vary_grey
from residency.ultrasound.augment.study import TRANSFORMS, Transform, augment, augment_study

__all__ = ["TRANSFORMS", "Transform", "augment", "augment_draws", "augment_study", "vary_grey"]
