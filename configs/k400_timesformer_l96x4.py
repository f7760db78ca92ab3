r"""TimeSformer-L, divided, 96 x 4 on Kinetics-400; its size is B too.

  python train.py --config=configs/k400_timesformer_l96x4.py \
    --workdir=runs/tsf_l --config.init_from=jx_vit_base_p16_224-80ecf9dd.pth

Hardware: as configs/k400_timesformer_b8x32.py.
Expected: 80.6 top-1, 94.7 top-5 (1 x 3 views; facebookresearch/TimeSformer's
README).
"""

import ml_collections

from configs import k400_timesformer_b8x32


def get_config() -> ml_collections.ConfigDict:
  config = k400_timesformer_b8x32.get_config()
  config.data.frames = 96
  config.data.frames_per_second = 30 / 4
  return config
