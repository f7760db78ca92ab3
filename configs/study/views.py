"""Views and clip length: clips of half a motion, and of all of it."""

from configs.study import base

TITLE = 'Views of short clips and of whole videos'
PAPER = """Section 4: extra views help less when each clip covers more of the
video. Videos have 18 frames; the motion happens once and starts anywhere. Clips
have 8 frames at stride 1 (short clips) or 2 (whole videos)."""
HEADS = ('verb', 'noun')
ROWS = {
  'short clips': {'data.stride': 1},
  'whole videos': {'data.stride': 2},
}
VIEWS = {
  'short clips': (1, 2, 3, 6, 11),
  'whole videos': (1, 2, 3),
}
_SHORT, _LONG = ROWS
BETTER = [
  ((_SHORT, 3), (_SHORT, 1)), ((_SHORT, 11), (_SHORT, 3)),
  ((_LONG, 3), (_LONG, 1)), ((_LONG, 1), (_SHORT, 11)),
]  # fmt: skip

get_config = base.get_config


def sweep() -> list[dict]:
  return base.runs(ROWS)
