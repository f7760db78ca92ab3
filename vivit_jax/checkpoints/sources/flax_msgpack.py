"""Reads the msgpack of a Flax training state."""

import pathlib

from flax import serialization

from vivit_jax.checkpoints import names
from vivit_jax.errors import damaged
from vivit_jax.models.weights import File


def open_file(path: pathlib.Path) -> File:
  """Opens a msgpack file.

  The parameters are in `optimizer/target` (older Flax) or `params`, or in a
  subtree `params` of either. The optimiser's state is ignored.

  Raises:
    UserError: a file without parameters.
  """
  tree = serialization.msgpack_restore(path.read_bytes())
  optimizer = tree.get('optimizer')
  if isinstance(optimizer, dict) and isinstance(optimizer.get('target'), dict):
    layout, params = 'optimizer/target', optimizer['target']
  else:
    layout, params = 'params', tree.get('params')
  if isinstance(params, dict) and isinstance(params.get('params'), dict):
    layout, params = f'{layout}/params', params['params']
  if not isinstance(params, dict):
    raise damaged(path, 'it has neither optimizer/target nor params')
  arrays = names.flatten(params)
  return File(path, 'msgpack', list(arrays), lambda: dict(arrays), layout)
