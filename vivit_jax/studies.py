"""Tables and figures of studies: rows of runs that differ in their seeds."""

import dataclasses
import functools
import itertools
import math
import pathlib
import re
import time
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import jax
import numpy as np
from scipy import stats

from vivit_jax import config as configs
from vivit_jax import files, machine, models, parallel
from vivit_jax.data.scenes import NOUNS, VERBS
from vivit_jax.evaluation import evaluate, forward, intervals, metrics
from vivit_jax.evaluation.predictions import Table
from vivit_jax.models import arithmetic
from vivit_jax.sweeps import Run
from vivit_jax.training import optim, step

VERDICTS = ('as in the paper', 'the other way round')
_SIGNIFICANCE = 0.05
_ROUNDS = 9  # of measuring all rows by turns
_HEADS = {'noun': len(NOUNS), 'verb': len(VERBS)}
_PACKAGES = ('jax', 'flax', 'optax', 'numpy')


@dataclasses.dataclass(frozen=True)
class Row:
  """Runs of the same settings.

  Attributes:
    label: in the table.
    correct: of each head, bool [seeds, videos].
  """

  label: str
  correct: Mapping[str, np.ndarray]

  def cell(self, head: str) -> str:
    """Returns the mean over seeds and its 95% interval (Student's t)."""
    mean, half = self.interval(head)
    return f'{mean:.3f} ± {half:.3f}'

  def interval(self, head: str) -> tuple[float, float]:
    """Returns the mean over seeds, and half of its 95% interval."""
    scores = self.correct[head].mean(axis=1)
    spread = scores.std(ddof=1) / math.sqrt(len(scores))
    quantile = stats.t.ppf((1 + intervals.LEVEL) / 2, len(scores) - 1)
    return float(scores.mean()), float(quantile * spread)


@dataclasses.dataclass(frozen=True)
class Pair:
  """Two rows, compared on the same videos.

  Attributes:
    difference: of the mean accuracies, first - second.
    interval: 95%, paired bootstrap over videos, of the means over seeds.
    p: two-sided, t-test between the seeds' accuracies (Welch's).
  """

  difference: float
  interval: tuple[float, float]
  p: float

  def verdict(self, words: tuple[str, str] = VERDICTS) -> str:
    """Returns the first word if the first row is better, or the second."""
    low, high = self.interval
    if low <= 0 <= high or not self.p < _SIGNIFICANCE:
      return 'not resolved'
    return words[low < 0]


def compare(
  first: np.ndarray, second: np.ndarray, same_runs: bool = False
) -> Pair:
  """Compares two rows on the same videos; both are bool [seeds, videos].

  `same_runs`: whether both are of the same runs, scored in two ways. Then the
  t-test is paired.
  """
  gain = first.mean(axis=0) - second.mean(axis=0)
  interval = intervals.of_difference(
    lambda counts: float(counts @ gain / counts.sum()), len(gain)
  )
  scores = first.mean(axis=1), second.mean(axis=1)
  spread = (
    np.ptp(scores[0] - scores[1]) if same_runs else np.ptp(scores, 1).sum()
  )
  if spread == 0:  # the tests would divide by it
    p = float(scores[0][0] == scores[1][0])
  elif same_runs:
    p = float(stats.ttest_rel(*scores).pvalue)
  else:
    p = float(stats.ttest_ind(*scores, equal_var=False).pvalue)
  return Pair(float(gain.mean()), interval, p)


class Study:
  """The finished runs of a study.

  Args:
    module: the study, see configs/study/base.py.
    runs: from `sweeps.plan`, row by row.
    folder: of the runs.
  """

  def __init__(
    self, module: ModuleType, runs: Sequence[Run], folder: pathlib.Path
  ):
    self._study, self._folder = module, folder
    seeds = len(runs) // len(module.ROWS)
    views = getattr(module, 'VIEWS', {})
    self._runs = {
      label: runs[i * seeds : (i + 1) * seeds]
      for i, label in enumerate(module.ROWS)
    }
    # Key of a row, as in BETTER -> its label and number of views.
    self._cases = {
      (label, count) if label in views else label: (label, count)
      for label in self._runs
      for count in views.get(label, (1,))
    }

  def score(self) -> None:
    """Scores each run on the test videos, unless it was after its training."""
    for label, views in self._cases.values():
      for run in self._runs[label]:
        workdir, out = self._folder / run.name, self._out(run, views)
        report, trained = out / 'report.html', workdir / 'finished'
        if report.exists():
          if report.stat().st_mtime >= trained.stat().st_mtime:
            continue
        print(f'{run.name}, {views} views:', flush=True)
        evaluate.evaluate(workdir, views=f'{views}x1', out=out)

  def _out(self, run: Run, views: int) -> pathlib.Path:
    return self._folder / run.name / 'evaluation' / f'test_{views}'

  @functools.cached_property
  def rows(self) -> dict[Any, Row]:
    """The rows of the table, by their key in BETTER."""
    rows = {}
    for key, (label, views) in self._cases.items():
      found = []
      for run in self._runs[label]:
        table = Table.read(self._out(run, views))
        found.append(metrics.correct(table.averaged(), table.labels))
      name = label
      if isinstance(key, tuple):
        name += f', {views} view{"s" * (views > 1)}'
      heads = [x for x in found[0] if re.fullmatch('(noun|verb)/top1', x)]
      correct = {
        head.partition('/')[0]: np.stack([x[head] for x in found])
        for head in sorted(heads, reverse=True)
      }
      rows[key] = Row(name, correct)
    return rows

  def text(self, command: str, figure: str) -> str:
    """Returns the study's section of study.md."""
    study = self._study
    heads = list(next(iter(self.rows.values())).correct)
    facts = self._facts()
    header = ['', *heads, *facts[0]]
    body = [
      [row.label, *(row.cell(x) for x in heads), *more.values()]
      for row, more in zip(self.rows.values(), facts, strict=True)
    ]
    pairs, words = [], getattr(study, 'VERDICTS', VERDICTS)
    for head, (better, worse) in itertools.product(study.HEADS, study.BETTER):
      one, other = self.rows[better], self.rows[worse]
      same = self._cases[better][0] == self._cases[worse][0]
      pair = compare(one.correct[head], other.correct[head], same)
      low, high = pair.interval
      pairs.append([
        f'{one.label} > {other.label}', head, f'{pair.difference:+.3f}',
        f'{low:+.3f} to {high:+.3f}', f'{pair.p:.2g}', pair.verdict(words),
      ])  # fmt: skip
    seeds = len(next(iter(self._runs.values())))
    lines = [
      f'## {study.TITLE}', '', study.PAPER, '',
      f'Here, top-1 accuracy on the test videos, {seeds} seeds:', '',
      *_table(header, body), '', f'![{study.TITLE}]({figure})', '',
      *_table(['pair', '', 'difference', '95%', 'p, seeds', ''], pairs),
      '', f'    {command}', '',
      machine.describe(*_PACKAGES),
    ]  # fmt: skip
    return '\n'.join(lines)

  def _facts(self) -> list[dict[str, str]]:
    """Returns further columns of each row; {} without FIGURES."""
    if not getattr(self._study, 'FIGURES', False):
      return [{} for _ in self._cases]
    print('measuring speed', flush=True)
    first = [self._runs[label][0].config for label, _ in self._cases.values()]
    programs = [_Program(configs.with_heads(x, _HEADS)) for x in first]
    every = [[x.seconds() for x in programs] for _ in range(_ROUNDS)]
    return [
      {
        'forward, ms a clip': f'{1000 * passed:.2f}',
        'training, clips/s': f'{1 / update:.0f}',
        **program.sizes(),
      }
      for program, (passed, update) in zip(programs, np.median(every, axis=0))
    ]

  def write(self, out: pathlib.Path, name: str, command: str) -> None:
    """Writes the figure, and the section between its marks in study.md."""
    out.mkdir(parents=True, exist_ok=True)
    self._draw(out / f'study_{name}.svg')
    section = self.text(command, f'study_{name}.svg')
    begin, end = f'<!-- {name} -->', f'<!-- end of {name} -->'
    block = f'{begin}\n{section}\n{end}'
    path = out / 'study.md'
    text = path.read_text('utf-8') if path.exists() else '# Studies\n'
    if begin in text and end in text:
      head, _, rest = text.partition(begin)
      text = head + block + rest.partition(end)[2]
    else:
      text = f'{text.rstrip()}\n\n{block}\n'
    with files.replacing(path) as unfinished:
      unfinished.write_text(text, 'utf-8')
    print(f'\n{section}\n\n{path}')

  def _draw(self, path: pathlib.Path) -> None:
    """Draws each row's mean, interval and seeds."""
    import matplotlib
    from matplotlib.figure import Figure

    head, rows = self._study.HEADS[0], list(self.rows.values())
    figure = Figure(figsize=(7, 0.8 + 0.36 * len(rows)), layout='constrained')
    axes = figure.subplots()
    for place, row in enumerate(rows):
      scores = row.correct[head].mean(axis=1)
      mean, half = row.interval(head)
      axes.plot(scores, [place] * len(scores), 'o', color='#8fb4dc', ms=5)
      axes.errorbar(mean, place, xerr=half, fmt='D', color='#1f4e8c', capsize=3)
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(
      f'{head}, top-1 accuracy on test videos: seeds, mean, 95% interval'
    )
    axes.grid(axis='x', color='#dddddd')
    axes.spines[['top', 'right']].set_visible(False)
    repeatable = matplotlib.rc_context({'svg.hashsalt': path.stem})
    with files.replacing(path) as unfinished, repeatable:
      figure.savefig(unfinished, format='svg', metadata={'Date': None})


class _Program:
  """Forward pass and training step of a config, on blank clips."""

  def __init__(self, config: configs.TrainConfig):
    self._config, model = config, models.build(config.model)
    optimiser = optim.optimiser(config.optim, lambda _: 0.1, config.model)
    shapes = step.shapes(model, optimiser, config)
    self._state, self._batch = jax.tree.map(
      lambda x: np.zeros(x.shape, x.dtype), shapes
    )
    self._update, self._memory = parallel.compiled(
      step.train_step(model, optimiser, config), *shapes
    )
    self._forward = forward.every_view(model, config.data)
    self.seconds()  # compiles

  def seconds(self) -> tuple[float, float]:
    """Runs both, and returns their times for each clip."""
    batch = {
      name: parallel.unshard(self._batch[name])[:, None]
      for name in ('video', 'frame_numbers')
      if name in self._batch
    }
    start = time.perf_counter()
    jax.block_until_ready(self._forward(self._state.params, batch))
    between = time.perf_counter()
    self._state, _ = jax.block_until_ready(
      self._update(self._state, self._batch)
    )
    clips = len(batch['video'])
    return (between - start) / clips, (time.perf_counter() - between) / clips

  def sizes(self) -> dict[str, str]:
    """Returns parameters, arithmetic of a clip, and memory of a step."""
    config = self._config
    products = arithmetic.forward_multiply_adds(
      config.model, config.data.frames, config.data.crop
    )
    parameters = sum(x.size for x in jax.tree.leaves(self._state.params))
    return {
      'parameters, M': f'{parameters / len(jax.local_devices()) / 1e6:.2f}',
      'multiply-adds, M': f'{products / 1e6:.1f}',
      'memory of a step, MB': f'{self._memory / 1e6:.0f}',
    }


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
  """Returns the lines of a Markdown table."""
  lines = [header, ['---'] * len(header), *rows]
  return [f'| {" | ".join(cells)} |' for cells in lines]
