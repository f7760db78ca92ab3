r"""VideoMAE-B, 16 frames, fine-tuned on Kinetics-400 (arXiv 2203.12602).

  python train.py --config=configs/k400_videomae_b.py \
    --workdir=runs/videomae_b --config.init_from=PRETRAINED

PRETRAINED is the authors' checkpoint.pth of 1600 epochs, or the folder of
MCG-NJU/videomae-base.
Hardware: not tried. 240,000 videos x 2 clips x 75 epochs x 3 x 180 G
multiply-adds are 3.9e19 operations: 55 hours of an H100 at a fifth of its
bfloat16 peak. --config.model.dtype=bfloat16, --config.train.accumulate=N and
--config.model.remat=full save memory.
Expected: 81.5 top-1, 95.1 top-5 (5 x 3 views; MCG-NJU/VideoMAE's model zoo).

Optimiser, schedule, augmentation and views: that project's configuration; 384
videos, 2 clips each. Differences, beside those of docs/augmentation.md: its
training clips are 16 frames spread over 64 (a step of 4.27, here 4), its test
clips begin at multiples of 4 frames, and the two clips of a video are
neighbours in its batch, so mixup pairs others.
"""

import ml_collections

from vivit_jax import config as configs


def get_config() -> ml_collections.ConfigDict:
  config = configs.default('videomae')
  config.model.heads = {'label': 400}
  config.model.stochastic_depth = 0.1
  config.model.depth_rates = 'reference'
  config.data.dataset = 'kinetics400'
  config.data.sampling = 'clip'
  config.data.stride = 4
  config.data.short_videos = 'hold'
  config.data.crop_area = (0.08, 1.0)
  config.augment.randaugment_layers = 4
  config.augment.randaugment_magnitude = 7.0
  config.augment.randaugment_scale = 'timm'
  config.augment.randaugment_deviation = 0.5
  config.augment.erasing = 0.25
  config.augment.erasing_fill = 'noise_per_frame'
  config.augment.mixup = 0.8
  config.augment.cutmix = 1.0
  config.augment.repeats = 2
  config.optim.name = 'adamw'
  config.optim.learning_rate = 5e-4 * 384 / 256
  config.optim.warmup_epochs = 5.0
  config.optim.final_rate = 1e-6 / 5e-4
  config.optim.weight_decay = 0.05
  config.optim.weight_decay_on = 'matrices'
  config.optim.layer_decay = 0.75
  config.optim.clip_norm = None
  config.train.batch_size = 2 * 384
  config.train.epochs = 75.0
  config.train.label_smoothing = 0.1
  config.evaluation.temporal_views = 5
  config.evaluation.spatial_crops = 3
  config.evaluation.average = 'probabilities'
  return config
