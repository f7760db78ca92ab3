"""Table 4: regularisers, added one after another, on few videos."""

import ml_collections

from configs.study import base

TITLE = 'Regularisers on a tenth of the videos'
PAPER = """Table 4: Model 2 L on Epic Kitchens (actions), each line with those
above: none 39.6 (from Kinetics), stochastic depth 40.2, RandAugment 41.1,
label smoothing 43.1, mixup 43.7% top-1."""
HEADS = ('verb',)
VIDEOS = 1600
_ADDED = {
  'none': {},
  '+ stochastic depth': {'model.stochastic_depth': 0.2},
  '+ RandAugment': {
    'augment.randaugment_layers': 2, 'augment.randaugment_magnitude': 10.0,
  },
  '+ label smoothing': {'train.label_smoothing': 0.2},
  '+ mixup': {'augment.mixup': 0.1},
}  # fmt: skip
ROWS, _all = {}, {}
for _label, _more in _ADDED.items():
  _all = _all | _more
  ROWS[_label] = _all
_LABELS = list(ROWS)
BETTER = list(zip(_LABELS[1:], _LABELS))


def get_config() -> ml_collections.ConfigDict:
  config = base.get_config()
  config.train.epochs = 30.0
  return config


def sweep() -> list[dict]:
  return base.runs(ROWS)
