"""Made-up evaluations, with names that do what names can do."""

import json

import numpy as np

from vivit_jax.evaluation import summary
from vivit_jax.evaluation.predictions import Table

HOSTILE = [
  '<script>alert(1)</script>',
  '"quoted" & \'single\'',
  '\u0642\u0641\u0632 \u0628\u0627\u0644\u0645\u0638\u0644\u0627\u062a',
  '\u8df3\u7ef3 \U0001f938',
  'x' * 200,
  '</style><img src=x onerror=alert(2)>',
  'zero\x00 and \u202eturned',
  'long words ' * 18,
  '$\\alpha$ </script>',
]


def names(classes: int) -> list[str]:
  """Returns names of classes, the hostile ones first."""
  plain = [f'activity {number}' for number in range(classes)]
  return [*HOSTILE, *plain][:classes]


def table(
  heads: dict[str, int],
  n: int,
  *,
  temporal: int = 1,
  spatial: int = 1,
  several: tuple[str, ...] = (),
  seed: int = 0,
  noise: float = 1.2,
) -> Table:
  """Returns predictions of n videos that are right now and then.

  `heads` has the classes of each; those in `several` are multi-label.
  """
  rng = np.random.default_rng(seed)
  logits, labels = {}, {}
  for head, classes in heads.items():
    if head in several:
      labels[head] = (rng.random((n, classes)) < 0.2).astype(np.float32)
      signal = labels[head]
    else:
      labels[head] = (np.arange(n) % classes).astype(np.int32)
      signal = np.eye(classes)[labels[head]]
    drawn = rng.normal(size=(n, temporal * spatial, classes))
    logits[head] = (3 * signal[:, None] + noise * drawn).astype(np.float32)
  return Table(
    ids=[f'clips/{number}<b>.mp4' for number in range(n)],
    logits=logits,
    labels=labels,
    class_names={head: names(classes) for head, classes in heads.items()},
    protocol={
      'dataset': 'videos/<i>mine</i>',
      'split': 'test',
      'unreadable': ['broken/<b>one</b>.mp4'],
      'temporal_views': temporal,
      'spatial_crops': spatial,
      'average': 'logits',
      'frames': 16,
      'sampling': 'clip',
      'stride': 2,
      'frames_per_second': None,
      'crop': [224, 224],
      'checkpoint': 'step 30',
      'step': 30,
      'class_order': "the checkpoint's",
    },
  )


def results(made: Table) -> dict:
  """Returns what metrics.json holds."""
  config = {'train': {'batch_size': 64, 'note': '<u>'}}
  return summary.summary(made) | {'config': config}


def write_curves(workdir) -> None:
  rows = [{'step': s, 'train/loss': 1 / s} for s in range(1, 50)]
  (workdir / 'metrics.jsonl').write_text('\n'.join(map(json.dumps, rows)))


class Videos:
  """A split of videos, of which frame t of video v is a grey of 10 v + t."""

  def __init__(self, ids: list[str], frames: int = 20, size=(40, 60)):
    self.ids = list(ids)
    self.frame_counts = np.full(len(self.ids), frames)
    self.frame_rates = np.full(len(self.ids), 10.0)
    self.size = size
    self.decoded = []

  def decode_frames(self, video, frames):
    self.decoded.append((video, list(frames)))
    for frame in frames:
      grey = (10 * video + frame) % 256
      yield frame, np.full((*self.size, 3), grey, np.uint8)
