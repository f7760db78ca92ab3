"""Video transformers as Flax modules, built from explicit arguments."""

from vivit_jax.models.build import SIZES as SIZES
from vivit_jax.models.build import build as build
from vivit_jax.models.factorised_encoder import (
  FactorisedEncoder as FactorisedEncoder,
)
