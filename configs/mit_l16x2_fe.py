"""ViViT-L/16x2 FE (Model 2) on Moments in Time.

  python train.py --config=configs/mit_l16x2_fe.py --workdir=runs/mit_l16x2_fe

Hardware: as configs/k400_l16x2_fe.py.
Expected: 38.5 top-1, 64.1 top-5 (4 x 3 views; paper, table 6), starting from
an ImageNet-21k ViT-L/16 (--config.init_from).
"""

import ml_collections

from configs import k400_l16x2_fe


def get_config() -> ml_collections.ConfigDict:
  config = k400_l16x2_fe.get_config()
  config.model.heads = {'label': 305}
  config.data.dataset = 'moments_in_time'
  config.optim.learning_rate = 0.25
  config.train.epochs = 10.0
  return config
