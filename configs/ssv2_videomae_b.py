r"""VideoMAE-B, 16 frames, fine-tuned on Something-Something v2 (2203.12602).

  python train.py --config=configs/ssv2_videomae_b.py \
    --workdir=runs/ssv2_videomae_b --config.init_from=PRETRAINED

PRETRAINED is the authors' checkpoint.pth of 2400 epochs on the same videos, or
the folder of MCG-NJU/videomae-base-ssv2.
Hardware: not tried; 0.3 times the operations of configs/k400_videomae_b.py.
Expected: 70.8 top-1, 92.4 top-5 (2 x 3 views; MCG-NJU/VideoMAE's model zoo).

All else as configs/k400_videomae_b.py, but for the clips: a random frame of
each of 16 segments, and no flip, which would turn 'left to right' into its
opposite. The two test clips have the frames at 1/4 and 3/4 of each segment, the
authors' at 0 and 1/2. Their segments leave out up to 15 last frames.
"""

import ml_collections

from configs import k400_videomae_b


def get_config() -> ml_collections.ConfigDict:
  config = k400_videomae_b.get_config()
  config.model.heads = {'label': 174}
  config.data.dataset = 'something_something_v2'
  config.data.sampling = 'segments'
  config.augment.flip = 0.0
  config.train.epochs = 30.0
  config.evaluation.temporal_views = 2
  return config
