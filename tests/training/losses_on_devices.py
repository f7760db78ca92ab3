"""Trains with every regulariser on; writes the losses and a sum of parameters.

The sum leaves out the biases of keys: softmax takes no notice of them, so their
gradient is rounding alone, and LAMB makes steps of full length from that.

With `every`, also with what makes more of a step: SAM, parts of the batch, a
rule and rates by layer, frozen parameters, weights of classes and heads, and
averaged weights. Run by test_curve.py, in one process or several:
losses_on_devices.py KIND STEPS DATA_DIR OUT [COORDINATOR PROCESSES PROCESS].
"""

import json
import pathlib
import sys

import jax
import numpy as np

from vivit_jax import distributed

REGULARISERS = {
  'augment__flip': 0.5,
  'augment__colour_jitter': 0.8,
  'augment__colour_drop': 0.3,
  'augment__randaugment_layers': 2,
  'augment__erasing': 0.7,
  'augment__mixup': 0.5,
  'augment__cutmix': 1.0,
  'augment__repeats': 2,
  'train__label_smoothing': 0.1,
}
OTHERS = {
  'data__crop_area': (0.08, 1.0),
  'augment__randaugment_scale': 'timm',
  'augment__erasing_fill': 'noise_per_frame',
  'optim__name': 'lamb',
  'optim__weight_decay': 0.05,
  'optim__layer_decay': 0.8,
  'optim__backbone_rate': 0.5,
  'optim__freeze': '^cls_',
  'optim__sam_rho': 0.05,
  'train__accumulate': 2,
  'train__ema': 0.9,
  'train__head_weights': {'verb': 0.5},
}


def main(
  kind: str, steps: str, data_dir: str, out: str, *together: str
) -> None:
  if together:
    distributed.initialise(together[0], int(together[1]), int(together[2]))
  # Only now: some of these compute, which jax takes for a process alone.
  import tiny

  from vivit_jax import config as configs
  from vivit_jax import models, parallel
  from vivit_jax.data import datasets, pipeline
  from vivit_jax.training import inputs, optim, step

  every = kind == 'every'
  config = tiny.config(
    data__frames=4,
    data__short_side=20,
    **REGULARISERS,
    **(OTHERS if every else {}),
  )
  source = datasets.open_split('moving_shapes', data_dir, 'train')
  config = configs.resolve_heads(config, source.label_names)
  network = tiny.model_config(
    'factorised_encoder', heads=config.model.heads, stochastic_depth=0.5
  )
  model = models.build(network)
  optimiser = optim.optimiser(config.optim, lambda _: 0.02, network)
  state = tiny.state(model, optimiser, config)
  state = parallel.replicate(state)
  nouns = len(source.label_names['noun'])
  weights = {'noun': np.linspace(0.2, 3.0, nouns, dtype=np.float32)}
  update = step.train_step(model, optimiser, config, weights if every else None)
  batches = pipeline.train_batches(
    source,
    config.data,
    config.augment,
    seed=1,
    batch_size=config.train.batch_size,
    process=jax.process_index(),
    processes=jax.process_count(),
  )
  losses = []
  for _ in range(int(steps)):
    arrays = parallel.shard(inputs.arrays(next(batches)))
    state, metrics = update(state, arrays)
    losses.append(float(parallel.unreplicate(metrics['loss'])))
  params = parallel.unreplicate(step.evaluation_params(state, config))
  result = {
    'devices': jax.device_count(),
    'losses': losses,
    'sum': sum(
      float(np.abs(x).sum())
      for path, x in jax.tree.leaves_with_path(params)
      if not jax.tree_util.keystr(path).endswith("['key']['bias']")
    ),
  }
  if distributed.first():
    pathlib.Path(out).write_text(json.dumps(result))


if __name__ == '__main__':
  main(*sys.argv[1:])
