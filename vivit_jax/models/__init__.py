"""Video transformers as Flax modules, built from explicit arguments."""

from vivit_jax.models.base import Features as Features
from vivit_jax.models.build import FAMILIES as FAMILIES
from vivit_jax.models.build import SIZES as SIZES
from vivit_jax.models.build import build as build
