r"""Video Swin-S on Kinetics-400 (arXiv 2106.13230).

  python train.py --config=configs/k400_swin_s.py --workdir=runs/swin_s \
    --config.init_from=swin_small_patch4_window7_224.pth

Hardware: as configs/k400_swin_t.py.
Expected: 80.6 top-1, 94.5 top-5 (4 x 3 views;
SwinTransformer/Video-Swin-Transformer's README), starting from an ImageNet-1k
Swin-S. Their batches add up the gradients of 8, hence 512 clips here.
"""

import ml_collections

from configs import k400_swin_t


def get_config() -> ml_collections.ConfigDict:
  config = k400_swin_t.get_config()
  config.model.size = 'S'
  config.train.batch_size = 512
  config.train.accumulate = 8
  return config
