"""Trains four steps with every regulariser on; prints losses and a digest.

With --all, also with what makes more of a step: SAM, parts of the batch, a rule
and rates by layer, weights of classes, and averaged weights. Run by
test_step.py in processes with different numbers of devices.
"""

import json
import sys

import jax
import numpy as np
import regularised

from vivit_jax import config as configs
from vivit_jax import models, parallel
from vivit_jax.augment import randaugment
from vivit_jax.training import optim, step


def main() -> None:
  config = regularised.config()
  if everything := '--all' in sys.argv:
    config.optim.name, config.optim.weight_decay = 'lamb', 0.05
    config.optim.layer_decay = 0.8
    config.optim.freeze = '^cls_'
    config.optim.sam_rho = 0.05
    config.train.accumulate, config.train.ema = 2, 0.9
    config.train.head_weights = {'verb': 0.5}
  config = configs.resolve(config)
  network = regularised.model_config({'noun': 3, 'verb': 4})
  model = models.build(network)
  optimiser = optim.optimiser(config.optim, lambda _: 0.05, network)
  state = step.initialise(model, optimiser, config)
  state = parallel.replicate(state)
  weights = {'noun': np.float32([0.2, 1.5, 3.0])} if everything else None
  train_step = step.train_step(model, optimiser, config, weights)
  draw = np.random.default_rng(0)
  losses = []
  for _ in range(4):
    batch = {
      'video': draw.integers(0, 256, (8, 4, 16, 16, 3)).astype(np.uint8),
      'labels': {
        'noun': draw.integers(0, 3, 8).astype(np.int32),
        'verb': draw.integers(0, 4, 8).astype(np.int32),
      },
      'randaugment': np.stack(
        [randaugment.draw(2, 10.0, 'all', draw) for _ in range(8)]
      ),
    }
    state, metrics = train_step(state, parallel.shard(batch))
    losses.append(float(parallel.unreplicate(metrics['loss'])))
  params = parallel.unreplicate(step.evaluation_params(state, config))
  print(
    json.dumps(
      {
        'devices': jax.device_count(),
        'losses': losses,
        'sum': sum(float(np.abs(x).sum()) for x in jax.tree.leaves(params)),
      }
    )
  )


if __name__ == '__main__':
  main()
