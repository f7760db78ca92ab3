"""What the studies share: small models, videos, training and seeds.

A study is a file beside this one. `python -m vivit_jax.study NAME` trains its
runs, and writes its table and figure to docs/study.md. It defines, besides
`get_config` and `sweep`:

  TITLE    its heading
  PAPER    what the paper found, in a sentence or two
  ROWS     label of each row -> overrides of the config
  BETTER   pairs of labels: in the paper, the first is better than the second
  VERDICTS optional: other words for the first, and the second, being better
  HEADS    the heads whose accuracies are compared; the figure shows the first
  VIEWS    optional: labels -> numbers of temporal views to score
  VIDEOS   optional: number of training videos
  START    optional: config of the image model that every run starts from
  FIGURES  optional: whether to list speed, arithmetic and memory
"""

import ml_collections

from configs import moving_shapes_ti8x2_fe

SEEDS = (0, 1, 2)


def get_config() -> ml_collections.ConfigDict:
  config = moving_shapes_ti8x2_fe.get_config()
  config.model.options.update(sizes())
  config.data.crop = (32, 32)
  config.data.short_side = 38
  config.optim.learning_rate = 1.5e-3
  config.train.epochs = 3.0
  config.evaluation.temporal_views = 1
  return config


def sizes() -> dict:
  return {'width': 96, 'attention_heads': 4, 'mlp_width': 384}


def model(family: str, **options) -> dict:
  """Returns the overrides for a small model of a family."""
  options = {'tubelet': (2, 8, 8), 'tubelet_init': 'random'} | sizes() | options
  named = {f'model.options.{key}': value for key, value in options.items()}
  return {'model.family': family} | named


def runs(rows: dict[str, dict]) -> list[dict]:
  """Returns the runs of a sweep: each row with each seed."""
  return [row | {'train.seed': seed} for row in rows.values() for seed in SEEDS]
