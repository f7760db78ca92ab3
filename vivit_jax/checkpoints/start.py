"""Parameters to start training from: `init_from` of a config."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vivit_jax.checkpoints import adapt, formats
from vivit_jax.checkpoints.formats import names
from vivit_jax.config import TrainConfig, token_grid
from vivit_jax.models import stacking


def load(params: Any, config: TrainConfig) -> Any:
  """Returns parameters with what `config.init_from` gives them.

  Prints an account of all arrays. Step and optimiser are not taken over.

  Args:
    params: the model's own initial ones, layers stacked or not.
    config: says where from, and how.

  Raises:
    UserError: a file that cannot be read, or weights that do not fit.
  """
  source = formats.read(config.init_from)
  fresh = dict(
    names.flatten(jax.tree.map(np.asarray, stacking.unstack(params)))
  )
  adapted = adapt.adapt(
    source, fresh, grid=token_grid(config), kernel=config.init_kernel
  )
  print(f'starting from {config.init_from} ({source.format}):')
  print(adapted.table(), flush=True)
  for note in source.notes:
    print(f'{"note":>10}  {note}', flush=True)
  loaded = names.unflatten(adapted.arrays)
  if config.model.scan:
    loaded = stacking.stack(loaded)
  return jax.tree.map(lambda _, x: jnp.asarray(x), params, loaded)
