r"""Video Swin-B on Kinetics-400 (arXiv 2106.13230), from ImageNet-22k.

  python train.py --config=configs/k400_swin_b.py --workdir=runs/swin_b \
    --config.init_from=swin_base_patch4_window7_224_22k.pth

Hardware: as configs/k400_swin_t.py.
Expected: 82.7 top-1, 95.5 top-5 (4 x 3 views;
SwinTransformer/Video-Swin-Transformer's README). From ImageNet-1k: 80.6 and
94.6, with --config.optim.learning_rate=1e-3
--config.model.stochastic_depth=0.3.
"""

import ml_collections

from configs import k400_swin_s


def get_config() -> ml_collections.ConfigDict:
  config = k400_swin_s.get_config()
  config.model.size = 'B'
  config.model.stochastic_depth = 0.2
  config.optim.learning_rate = 3e-4
  config.optim.weight_decay = 0.05
  return config
