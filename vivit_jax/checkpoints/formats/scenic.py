"""The reference's checkpoints: flax msgpack, in three layouts."""

import dataclasses
import pathlib

from vivit_jax.checkpoints.formats import files, names
from vivit_jax.checkpoints.formats.weights import Weights

_ALIKE = (
  'Model 1 without class token and Model 4 have the same arrays: they are '
  "taken for the config's model.family"
)
# Nothing in the arrays of Models 3 and 4 tells it; it is the reference's own.
_ORDER = 'time_space'


def read(path: pathlib.Path) -> Weights:
  """Reads `checkpoint` or `checkpoint_<step>`, a file of scenic's.

  The parameters are in `optimizer/target`, one level further down in `params`,
  or in the newer `params`; the optimiser's own state is left.
  """
  tree = files.read_msgpack(path)
  optimizer = tree.get('optimizer')
  if isinstance(optimizer, dict) and isinstance(optimizer.get('target'), dict):
    layout, params = 'optimizer/target', optimizer['target']
  else:
    layout, params = 'params', tree.get('params')
  if isinstance(params, dict) and isinstance(params.get('params'), dict):
    layout, params = f'{layout}/params', params['params']
  if not isinstance(params, dict):
    raise files.damaged(path, 'it has neither optimizer/target nor params')
  arrays = dict(names.flatten(params))
  if 'embedding/kernel' not in arrays:
    raise files.damaged(path, 'it has no embedding/kernel')
  weights = Weights(f'scenic, flax msgpack ({layout})', arrays)
  alike = weights.family == 'joint or factorised_dot_product'
  return dataclasses.replace(
    weights, order=_ORDER, notes=(_ALIKE,) if alike else ()
  )
