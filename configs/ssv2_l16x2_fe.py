"""ViViT-L/16x2 FE (Model 2) on Something-Something v2.

  python train.py --config=configs/ssv2_l16x2_fe.py --workdir=runs/ssv2_l16x2_fe

Hardware: as configs/k400_l16x2_fe.py.
Expected: 65.9 top-1, 89.9 top-5 (paper, table 6), starting from a Kinetics-400
model (--config.init_from).

RandAugment (paper, table 7: 2 layers, magnitude 20) applies only colour
operations, as the reference's code does. No flip: it would turn 'left to right'
into its opposite.
"""

import ml_collections

from configs import k400_l16x2_fe


def get_config() -> ml_collections.ConfigDict:
  config = k400_l16x2_fe.get_config()
  config.model.heads = {'label': 174}
  config.model.stochastic_depth = 0.3
  config.data.dataset = 'something_something_v2'
  config.augment.flip = 0.0
  config.augment.colour_jitter = 0.0
  config.augment.colour_drop = 0.0
  config.augment.randaugment_layers = 2
  config.augment.randaugment_magnitude = 20.0
  config.augment.randaugment_operations = 'colour'
  config.augment.mixup = 0.3
  config.optim.learning_rate = 0.5
  config.train.epochs = 35.0
  config.train.label_smoothing = 0.3
  config.evaluation.spatial_crops = 1
  return config
