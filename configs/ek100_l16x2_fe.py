"""ViViT-L/16x2 FE (Model 2) on Epic Kitchens 100, with verb and noun heads.

  python train.py --config=configs/ek100_l16x2_fe.py --workdir=runs/ek100_l

Hardware: as configs/k400_l16x2_fe.py.
Expected: 44.0 action, 66.4 verb, 56.8 noun top-1 (4 x 1 views; paper, table 6)
starting from a Kinetics-400 model (--config.init_from). The reference's
released weights score 43.6 action top-1.

RandAugment (paper, table 7: 2 layers, magnitude 15) applies only colour
operations, as the reference's code does.
"""

import ml_collections

from configs import k400_l16x2_fe


def get_config() -> ml_collections.ConfigDict:
  config = k400_l16x2_fe.get_config()
  config.model.heads = {'noun': 300, 'verb': 97}
  config.model.stochastic_depth = 0.2
  config.data.dataset = 'epic_kitchens_100'
  config.augment.colour_jitter = 0.0
  config.augment.colour_drop = 0.0
  config.augment.randaugment_layers = 2
  config.augment.randaugment_magnitude = 15.0
  config.augment.randaugment_operations = 'colour'
  config.augment.mixup = 0.1
  config.optim.learning_rate = 0.5
  config.train.best_metric = 'joint/top1'
  config.train.epochs = 50.0
  config.train.label_smoothing = 0.2
  config.evaluation.spatial_crops = 1
  return config
