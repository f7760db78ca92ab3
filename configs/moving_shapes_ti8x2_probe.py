r"""A probe of the demo's encoder: nouns, read from frozen features.

  python train.py --config=configs/moving_shapes_ti8x2_fe.py \
    --workdir=runs/verbs --config.model.pool=mean \
    --config.model.heads="{'verb': 8}" --config.train.epochs=3
  python -m vivit_jax.probe --config=configs/moving_shapes_ti8x2_probe.py \
    --config.init_from=runs/verbs --workdir=runs/nouns

The encoder has seen no nouns. docs/probing.md has the scores.
"""

import ml_collections

from configs import moving_shapes_ti8x2_fe


def get_config() -> ml_collections.ConfigDict:
  config = moving_shapes_ti8x2_fe.get_config()
  config.model.pool = 'mean'
  config.model.heads = {'noun': 8}
  config.optim.b2 = 0.999
  config.train.epochs = 3.0
  config.probe.tokens = 'stored'
  config.probe.clips = 2
  config.probe.pools = ('mean', 'attention/videoglue')
  config.probe.learning_rates = (1e-2, 3e-3, 1e-3)
  config.probe.weight_decays = (0.05,)
  return config
