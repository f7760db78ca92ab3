r"""TimeSformer-HR, divided, 16 frames of 448 pixels on Something-Something v2.

  python train.py --config=configs/ssv2_timesformer_hr16.py \
    --workdir=runs/ssv2_hr --config.init_from=jx_vit_base_p16_224-80ecf9dd.pth

Hardware: as configs/k400_timesformer_b8x32.py.
Expected: 61.8 top-1, 86.9 top-5 (1 x 3 views; facebookresearch/TimeSformer's
README). Training resizes the short side to 448 to 512 pixels.
"""

import ml_collections

from configs import ssv2_timesformer_b8


def get_config() -> ml_collections.ConfigDict:
  config = ssv2_timesformer_b8.get_config()
  config.data.frames = 16
  config.data.crop = (448, 448)
  config.data.short_side = 448
  config.data.scale_jitter = (1.0, 512 / 448)
  return config
