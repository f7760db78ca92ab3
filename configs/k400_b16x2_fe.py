"""ViViT-B/16x2 FE (Model 2, factorised encoder) on Kinetics-400.

  python train.py --config=configs/k400_b16x2_fe.py --workdir=runs/k400_b16x2_fe

Hardware: docs/scaling.md estimates 8 x H100 and TPU v4-32.
Expected: 78.8 top-1 (4 x 3 views; paper, table 2), starting from an
ImageNet-21k ViT-B/16 (--config.init_from). The reference's released weights
score 78.4.

Hyperparameters: paper, section 4.1 and appendix. The other k400 configs differ
only in the model.
"""

import ml_collections

from vivit_jax import config as configs


def get_config() -> ml_collections.ConfigDict:
  config = configs.default()
  config.model.heads = {'label': 400}
  config.data.dataset = 'kinetics400'
  config.data.scale_jitter = (0.9, 1.33)
  config.data.short_videos = 'loop'
  config.augment.colour_jitter = 0.8
  config.augment.colour_drop = 0.1
  config.optim.learning_rate = 0.1
  config.train.epochs = 30.0
  return config
