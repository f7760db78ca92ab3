r"""Probe of V-JEPA 2-L on Something-Something v2 (arXiv 2506.09985).

  python -m vivit_jax.probe --config=configs/ssv2_vjepa2_l_probe.py \
    --workdir=runs/vjepa2_l_ssv2 \
    --config.init_from=hf://facebook/vjepa2-vitl-fpc64-256

The encoder is frozen; 20 attentive pools with heads are trained side by side.

Hardware: not tried.
Expected: 73.7 top-1 (2 clips x 3 crops; the paper), the best of the 20 probes
on the validation split.

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
