"""Views and clip length: clips of half a motion, and of all of it."""

from configs.study import base

TITLE = 'Views of short clips and of whole videos'
PAPER = """Section 4: the more of a video the clips cover, the less more views
help."""
HEAD = 'verb'
ROWS = {
  '8 frames of 18, stride 1': {'data.stride': 1},
  '8 frames of 18, stride 2': {'data.stride': 2},
}
VIEWS = {
  '8 frames of 18, stride 1': (1, 2, 3, 6, 11),
  '8 frames of 18, stride 2': (1, 2, 3),
}
_SHORT, _LONG = ROWS
BETTER = [
  ((_SHORT, 3), (_SHORT, 1)), ((_SHORT, 11), (_SHORT, 3)),
  ((_LONG, 3), (_LONG, 1)), ((_LONG, 1), (_SHORT, 11)),
]  # fmt: skip

get_config = base.get_config


def sweep() -> list[dict]:
  return base.runs(ROWS)
