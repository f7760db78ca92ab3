r"""STAM-32 with ViT-B/16 on Kinetics-400: 32 frames of a video.

  python train.py --config=configs/k400_stam_b32.py --workdir=runs/stam32 \
    --config.init_from=PATH

Hardware: not tried.
Expected: 79.95 top-1 (1 x 1 view; Alibaba-MIIL/STAM's README) for the authors'
training, which has not been released: see configs/k400_stam_b16.py.
"""

import ml_collections

from configs import k400_stam_b16


def get_config() -> ml_collections.ConfigDict:
  config = k400_stam_b16.get_config()
  config.data.frames = 32
  return config
