"""VideoPrism's sizes, and what starts from other weights."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from vivit_jax.models import image_vit, sizes
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


def table_of(arrays: Arrays) -> Grid | None:
  """Returns the grid of the position tables, which is square in space.

  None: a table is missing, or no square.
  """
  counts = [
    arrays[name].shape[1] if name in arrays else 0
    for name in (
      f'{encoder}Transformer/{image_vit.POSITIONS}'
      for encoder in ('Temporal', 'Spatial')
    )
  ]
  side = math.isqrt(counts[1])
  square = 0 not in counts and side**2 == counts[1]
  return (counts[0], side, side) if square else None


def infer_sizes(arrays: Arrays) -> dict[str, Any]:
  """Returns option -> size; `Family.infer_sizes`."""
  table = table_of(arrays)
  return image_vit.infer_sizes(arrays) | ({'table': table} if table else {})


def explain_missing(name: str, source: Weights, initial: Arrays) -> str | None:
  """Returns why the source may lack an array; see `Family.explain_missing`."""
  del source, initial
  if name.startswith('AuxiliaryTransformer/'):
    return 'the checkpoint is no video-text model'
  return None


def explain_unused(name: str, source: Weights, initial: Arrays) -> str | None:
  """Returns why the model may lack an array; see `Family.explain_unused`."""
  del source, initial
  if name.startswith(f'{TEXT}/'):
    return 'text tower of the video-text model'
  if name.startswith('AuxiliaryTransformer/'):
    return 'the model has no auxiliary layers'
  return None
