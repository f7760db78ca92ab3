"""ViViT-L/16x2 FE (Model 2) on Kinetics-400.

  python train.py --config=configs/k400_l16x2_fe.py --workdir=runs/k400_l16x2_fe

Hardware: docs/scaling.md estimates 8 x H100 and TPU v4-32.
Expected: 81.7 top-1, 93.8 top-5 (4 x 3 views; paper, table 6), starting from
an ImageNet-21k ViT-L/16 (--config.init_from). The reference's released
weights score 80.3.

The temporal encoder has 24 layers, as in the reference's large configs and in
the paper's 995.3 GFLOPs.
"""

import ml_collections

from configs import k400_b16x2_fe


def get_config() -> ml_collections.ConfigDict:
  config = k400_b16x2_fe.get_config()
  config.model.size = 'L'
  config.model.options.temporal_layers = 24
  return config
