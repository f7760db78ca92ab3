r"""VideoMAE-L, 16 frames, fine-tuned on Kinetics-400 (arXiv 2203.12602).

  python train.py --config=configs/k400_videomae_l.py \
    --workdir=runs/videomae_l --config.init_from=PRETRAINED

PRETRAINED is the authors' checkpoint.pth of 1600 epochs, or the folder of
MCG-NJU/videomae-large.
Hardware: not tried; 1.5 times the operations of configs/k400_videomae_b.py.
Expected: 85.2 top-1, 96.8 top-5 (5 x 3 views; MCG-NJU/VideoMAE's model zoo).

All else as configs/k400_videomae_b.py, with 128 videos and their rate.
"""

import ml_collections

from configs import k400_videomae_b


def get_config() -> ml_collections.ConfigDict:
  config = k400_videomae_b.get_config()
  config.model.size = 'L'
  config.optim.learning_rate = 2e-3 * 128 / 256
  config.optim.final_rate = 1e-6 / 2e-3
  config.train.batch_size = 2 * 128
  config.train.epochs = 35.0
  return config
