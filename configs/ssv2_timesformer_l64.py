r"""TimeSformer-L, divided, 64 frames on Something-Something v2; its size is B.

  python train.py --config=configs/ssv2_timesformer_l64.py \
    --workdir=runs/ssv2_l --config.init_from=jx_vit_base_p16_224-80ecf9dd.pth

Hardware: as configs/k400_timesformer_b8x32.py.
Expected: 62.0 top-1, 87.5 top-5 (1 x 3 views; facebookresearch/TimeSformer's
README).
"""

import ml_collections

from configs import ssv2_timesformer_b8


def get_config() -> ml_collections.ConfigDict:
  config = ssv2_timesformer_b8.get_config()
  config.data.frames = 64
  return config
