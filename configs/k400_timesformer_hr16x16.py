r"""TimeSformer-HR, divided, 16 x 16 at 448 pixels on Kinetics-400.

  python train.py --config=configs/k400_timesformer_hr16x16.py \
    --workdir=runs/tsf_hr --config.init_from=jx_vit_base_p16_224-80ecf9dd.pth

Hardware: as configs/k400_timesformer_b8x32.py.
Expected: 79.6 top-1, 94.0 top-5 (1 x 3 views; facebookresearch/TimeSformer's
README). Training resizes the short side to 448 to 512 pixels.
"""

import ml_collections

from configs import k400_timesformer_b8x32


def get_config() -> ml_collections.ConfigDict:
  config = k400_timesformer_b8x32.get_config()
  config.data.frames = 16
  config.data.frames_per_second = 30 / 16
  config.data.crop = (448, 448)
  config.data.short_side = 448
  config.data.scale_jitter = (1.0, 512 / 448)
  return config
