r"""Video Swin-B on Kinetics-600 (arXiv 2106.13230), from ImageNet-22k.

  python train.py --config=configs/k600_swin_b.py --workdir=runs/k600_swin_b \
    --config.init_from=swin_base_patch4_window7_224_22k.pth

Hardware: as configs/k400_swin_t.py.
Expected: 84.0 top-1, 96.5 top-5 (4 x 3 views;
SwinTransformer/Video-Swin-Transformer's README).
"""

import ml_collections

from configs import k400_swin_b


def get_config() -> ml_collections.ConfigDict:
  config = k400_swin_b.get_config()
  config.model.heads = {'label': 600}
  config.data.dataset = 'kinetics600'
  return config
