r"""STAM-64 with ViT-B/16 on Kinetics-400: 64 frames of a video.

  python train.py --config=configs/k400_stam_b64.py --workdir=runs/stam64 \
    --config.init_from=PATH

Hardware: not tried.
Expected: 80.5 top-1 (1 x 1 view; Alibaba-MIIL/STAM's README) for the authors'
training, which has not been released: see configs/k400_stam_b16.py.
"""

import ml_collections

from configs import k400_stam_b16


def get_config() -> ml_collections.ConfigDict:
  config = k400_stam_b16.get_config()
  config.data.frames = 64
  return config
