"""A probe: trains the grid of heads, and writes the best as a checkpoint."""

import dataclasses
import functools
import math
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from vivit_jax import config as configs
from vivit_jax import distributed, parallel
from vivit_jax.checkpoints import names
from vivit_jax.checkpoints import workdir as workdirs
from vivit_jax.checkpoints.metadata import (
  Description,
  has_checkpoints,
  last_description,
)
from vivit_jax.config import TrainConfig
from vivit_jax.data import pipeline
from vivit_jax.data.datasets import VideoSplit
from vivit_jax.errors import UserError
from vivit_jax.evaluation import forward
from vivit_jax.probing import grid as grids
from vivit_jax.probing import step as probe_step
from vivit_jax.probing import storing, winner
from vivit_jax.probing.grid import Grid
from vivit_jax.probing.tokens import Tokens
from vivit_jax.training import checks, experiment, loop, validation
from vivit_jax.training.step import TrainState


@dataclasses.dataclass(frozen=True)
class Probe(experiment.Experiment):
  """An experiment whose parameters are those of all heads.

  Attributes:
    grid: the heads.
    stored: the training tokens, if they are stored.
  """

  grid: Grid = None
  stored: Tokens | None = None

  @property
  def forward_operations(self) -> int:
    """The encoder's forward pass counts as the whole step."""
    return 0 if self.stored else super().forward_operations // 3

  def update(self) -> Callable[..., Any]:
    videos = len(self.source)
    schedule = experiment.schedule_of(self.grid.of_rate_1, videos)
    return probe_step.train_step(self.grid, schedule, self.class_weights)

  def batches(self, first_step: int) -> Iterator[Mapping[str, Any]]:
    if self.stored is None:
      return super().batches(first_step)
    config = self.config
    return pipeline.train_batches(
      self.source,
      config.data,
      config.augment,
      seed=config.train.seed,
      batch_size=config.train.batch_size,
      first_step=first_step,
      make=functools.partial(
        self.stored.training_batch, self.source, config.augment.repeats
      ),
    )

  def gradient_norms(self, state: Any, batch: Any) -> dict[str, float]:
    del state, batch
    return {'loss': math.nan}  # of every head

  def remark(self, scores: Mapping[str, float]) -> str:
    return f'  best head: {self.grid.best(scores).name}'


def probe(config: TrainConfig, folder: str | os.PathLike) -> int:
  """Trains the heads of a probe, or resumes; writes the best one at the end.

  Returns:
    The process's exit code, as `loop.train`.

  Raises:
    UserError: as `loop.train`; or a grid or tokens that are not possible.
  """
  folder = pathlib.Path(folder)
  grids.check(config, folder)
  inside = folder / workdirs.GRID
  built, state, encoder = build(config, folder, inside)
  frozen = sum(x.size for x in jax.tree.leaves(encoder))
  print(
    f'{"heads":<10} {len(built.grid.heads)} side by side, of the pools '
    f'{", ".join(built.grid.pools)}; {frozen:,} frozen parameters',
    flush=True,
  )
  code = loop.run(built, state, inside)
  if code == 0 and distributed.first():
    winner.write(built, built.grid, state, encoder, folder, inside)
  return code


def build(
  config: TrainConfig, folder: pathlib.Path, inside: pathlib.Path
) -> tuple[Probe, TrainState, Any]:
  """Returns the experiment, its initial state and the encoder's parameters.

  Writes stored tokens to `folder`; `inside` is the folder of the run.
  """
  start = config.init_from
  if (inside / 'config.json').exists():
    saved = workdirs.read_config(inside)
    grids.check_resumed(saved, grids.with_pools(config), inside)
    # The encoder may have moved: its digest is compared.
    config = dataclasses.replace(config, init_from=saved.init_from)
  given = grids.with_pools(config)
  config = grids.heads(given)[0].config(given)
  config, source = experiment.open_data(config, inside)
  grids.check_trained(dataclasses.replace(config, optim=given.optim))
  validation_source = checks.open_validation(config)
  grid = Grid(configs.with_heads(given, config.model.heads))
  finished = folder if has_checkpoints(folder) else None
  encoder, state = _initialise(grid, source.label_names, start, finished)
  digest = names.digest(encoder)
  description = Description(
    config,
    source.label_names,
    source.content,
    multi_label=sorted(source.multi_label),
    encoder=digest,
  )
  _check_encoder(inside, digest, start)
  checks.check_resumed(inside, description)
  fixed, stored = {'encoder': parallel.replicate(encoder)}, (None, None)
  if config.probe.tokens == 'stored':
    runner = storing.Encoder(grid, fixed, digest)
    stored = runner.store(folder, source, validation_source)
    fixed = {}
  built = Probe(
    config=config,
    source=source,
    model=grid.encoder,
    optimiser=None,  # each head has its own
    schedule=experiment.schedule_of(config, len(source)),
    steps=configs.training_steps(config, len(source)),
    validation_period=validation.period(config, len(source)),
    validation_source=validation_source,
    validate=_scorer(grid, fixed, validation_source, stored[1]),
    class_weights=experiment.class_weights(config, source),
    description=description,
    fixed=fixed,
    grid=grid,
    stored=stored[0],
  )
  return built, state, encoder


def _initialise(
  grid: Grid,
  label_names: Mapping[str, list[str]],
  start: str,
  finished: pathlib.Path | None,
) -> tuple[Any, TrainState]:
  """Returns `grid.initialise` from a checkpoint, else from a finished probe.

  A finished probe has its encoder, so it does without `init_from`.

  Raises:
    UserError: neither can be read.
  """
  try:
    return grid.initialise(label_names, start)
  except UserError as error:
    if finished is None:
      raise
    print(f'{error} The encoder of {finished} is used.', flush=True)
  return grid.initialise(label_names, os.fspath(finished))


def _check_encoder(inside: pathlib.Path, digest: str, start: str) -> None:
  """Raises a UserError if the heads in `inside` are on another encoder."""
  if not has_checkpoints(inside):
    return
  if digest != last_description(inside).encoder:
    raise UserError(
      f'{inside} has heads on another encoder than {start} is now: give '
      'the earlier weights (of the Hub, hf://OWNER/NAME@REVISION), or choose '
      'another --workdir.'
    )


def _scorer(
  grid: Grid,
  fixed: Mapping[str, Any],
  source: VideoSplit,
  stored: Tokens | None,
) -> Callable[[Any], dict[str, float]]:
  """Returns parameters -> scores of the best head, and those of each.

  Those of each are named '<metric>/<head>'. A head whose logits are not finite
  has none. An error ends the run: without it, another head might be best.
  """
  config = grid.config
  apply = probe_step.every_head(grid)

  def batches():
    if stored is None:
      return validation.batches(config, source)
    size = forward.padded_batch(config.train.batch_size)
    return stored.evaluation_batches(source, size)

  def validate(params) -> dict[str, float]:
    predictions = validation.predict(
      batches(), lambda batch: apply(params, fixed, batch), source
    )
    scores = {}
    for number, head in enumerate(grid.heads):
      logits = [x[:, number] for x in predictions.logits.values()]
      if all(np.isfinite(x).all() for x in logits):
        of_head = validation.scores(predictions, number, config)
        scores |= {f'{name}/{head.name}': x for name, x in of_head.items()}
    if not scores:
      print('\nno head has finite scores', flush=True)
    return scores | grid.best(scores).scores(scores)

  return validate
