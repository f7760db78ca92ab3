"""VideoPrism's sizes, and what starts from other weights."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vivit_jax.models import sizes
from vivit_jax.models.family import Grid
from vivit_jax.models.weights import Weights

Arrays = Mapping[str, np.ndarray]
TEXT = 'text_encoder'  # first part of the names of the text tower
CAP = 50.0
SIZES = {name: sizes.SIZES[name] for name in 'BL'} | {'g': sizes.GIANT}
# Grids of the position tables.
TABLES: Mapping[str, Grid] = {
  'B': (16, 16, 16),
  'L': (8, 16, 16),
  'g': (8, 16, 16),
}
# Config section `data` of the released models: pixels in [0, 1].
DATA: dict[str, Any] = {
  'frames': 16,
  'sampling': 'whole',
  'crop': (288, 288),
  'short_side': 288,
  'mean': (0.0, 0.0, 0.0),
  'std': (1.0, 1.0, 1.0),
}


def explain_missing(name: str, source: Weights, initial: Arrays) -> str | None:
  """Returns why the source may lack an array; see `Family.explain_missing`."""
  del source, initial
  if name.startswith('AuxiliaryTransformer/'):
    return 'the source is no video-text model'
  return None


def explain_unused(name: str, source: Weights, initial: Arrays) -> str | None:
  """Returns why the model may lack an array; see `Family.explain_unused`."""
  del source, initial
  if name.startswith(f'{TEXT}/'):
    return 'text tower of the video-text model'
  if name.startswith('AuxiliaryTransformer/'):
    return 'the model has no auxiliary layers'
  return None
