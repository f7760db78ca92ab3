r"""Probe of V-JEPA 2-L on Something-Something v2 (arXiv 2506.09985).

  python train.py --config=configs/ssv2_vjepa2_l_probe.py \
    --workdir=runs/vjepa2_l_ssv2 \
    --config.init_from=hf://facebook/vjepa2-vitl-fpc64-256

The encoder is frozen; the attentive pool and the head are trained.

Hardware: not tried.
Expected: 73.7 top-1 (2 clips x 3 crops; the paper). That is the best of 20
probes on the validation split: learning rates {5e-3, 3e-3, 1e-3, 3e-4, 1e-4} x
weight decays {0.01, 0.1, 0.4, 0.8}. Here is one of them; sweep over
--config.optim.learning_rate and --config.optim.weight_decay for the others.

All else: as configs/k400_vjepa2_l_probe.py, but with 2 clips of a video.
"""

import ml_collections

from configs import k400_vjepa2_l_probe


def get_config() -> ml_collections.ConfigDict:
  config = k400_vjepa2_l_probe.get_config()
  config.model.heads = {'label': 174}
  config.data.dataset = 'something_something_v2'
  config.model.clips = config.data.clips = 2
  config.data.frames = 2 * 16
  return config
