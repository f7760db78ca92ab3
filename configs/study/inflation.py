"""Table 1: how the kernel of an image ViT becomes that of tubelets."""

import ml_collections

from configs.study import base

TITLE = 'From an image model'
PAPER = """Table 1: Model 1 B on Kinetics-400, started from an image ViT:
central frame 79.2, uniform frame sampling 78.5, inflation 77.6, a random
kernel 73.2% top-1."""
HEADS = ('noun',)
START = 'image'
_MODEL = base.model('joint', layers=3)
ROWS = {
  'central frame': _MODEL | {'init_kernel': 'central_frame'},
  'uniform frame sampling': _MODEL
  | {'model.options.embedding': 'uniform_frames'},
  'inflation': _MODEL | {'init_kernel': 'inflation'},
  'random kernel': _MODEL | {'init_kernel': 'random'},
}
_LABELS = list(ROWS)
BETTER = list(zip(_LABELS, _LABELS[1:]))


def get_config() -> ml_collections.ConfigDict:
  config = base.get_config()
  config.optim.learning_rate = 5e-4
  config.optim.warmup_epochs = 0.1
  config.train.epochs = 0.5  # later, all kernels are good at nouns
  return config


def sweep() -> list[dict]:
  return base.runs(ROWS)
