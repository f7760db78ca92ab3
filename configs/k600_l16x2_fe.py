"""ViViT-L/16x2 FE (Model 2) on Kinetics-600.

  python train.py --config=configs/k600_l16x2_fe.py --workdir=runs/k600_l16x2_fe

Hardware: as configs/k400_l16x2_fe.py.
Expected: 82.9 top-1, 94.6 top-5 (4 x 3 views; paper, table 6), starting from
an ImageNet-21k ViT-L/16 (--config.init_from). The reference's released
weights score 81.6.
"""

import ml_collections

from configs import k400_l16x2_fe


def get_config() -> ml_collections.ConfigDict:
  config = k400_l16x2_fe.get_config()
  config.model.heads = {'label': 600}
  config.data.dataset = 'kinetics600'
  return config
