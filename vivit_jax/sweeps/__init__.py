"""Sweeps: what a config file's `sweep()` returns, and the runs it stands for.

A config file may define, beside `get_config`,

  from vivit_jax import sweeps

  def sweep():
    return sweeps.product(
      sweeps.values('optim.learning_rate', [0.1, 0.3]),
      sweeps.values('train.batch_size', [32, 64]),
      sweeps.fixed({'train.epochs': 10.0}),
    )

which is a list of overrides, dicts of dotted keys to values, one for each run;
a list written by hand does as well. `python sweep.py` runs them: `grid` plans
the runs, `folders` is what they leave, `processes` trains them, `reports` tells
of them.
"""

from vivit_jax.sweeps.grid import Overrides as Overrides
from vivit_jax.sweeps.grid import Run as Run
from vivit_jax.sweeps.grid import chain as chain
from vivit_jax.sweeps.grid import fixed as fixed
from vivit_jax.sweeps.grid import names as names
from vivit_jax.sweeps.grid import plan as plan
from vivit_jax.sweeps.grid import product as product
from vivit_jax.sweeps.grid import read as read
from vivit_jax.sweeps.grid import values as values
