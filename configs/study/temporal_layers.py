"""Table 3: layers of the temporal encoder of Model 2."""

from configs.study import base

TITLE = 'Layers of the temporal encoder'
PAPER = """Table 3: Model 2 B on Kinetics-400 with 0, 1, 4, 8 and 12 layers
over time: 75.8, 78.6, 78.8, 78.8 and 78.9% top-1. Without layers, tokens are
averaged."""
HEADS = ('verb',)
ROWS = {
  f'{layers} layer{"s" * (layers != 1)}': {
    'model.options.temporal_layers': layers
  }
  for layers in (0, 1, 2, 4)
}
BETTER = [
  ('1 layer', '0 layers'), ('2 layers', '1 layer'), ('4 layers', '2 layers'),
]  # fmt: skip

get_config = base.get_config


def sweep() -> list[dict]:
  return base.runs(ROWS)
