"""The grid of heads: their configs, modules and initial state."""

import dataclasses
import functools
import itertools
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from vivit_jax import config as configs
from vivit_jax import files, models
from vivit_jax.checkpoints import load
from vivit_jax.checkpoints import workdir as workdirs
from vivit_jax.config import TrainConfig
from vivit_jax.config_checks import require
from vivit_jax.errors import nearest
from vivit_jax.models import attention_pools, builder, classifier, pools
from vivit_jax.models import family as families
from vivit_jax.models.blocks import Mode
from vivit_jax.training import optim, param_groups, step, validation

# optim.train of a run of train.py that trains one of the heads.
TRAIN = f'^({"|".join(classifier.OWN)})/'


@dataclasses.dataclass(frozen=True)
class Head:
  """One head: a value of `probe.pools`, its peak learning rate and decay."""

  pool: str
  rate: float
  decay: float

  @property
  def name(self) -> str:
    """The name in metrics, such as 'attention-vjepa,0.001,0.1'."""
    pool = self.pool.replace('/', '-')
    return f'{pool},{self.rate:.6g},{self.decay:.6g}'

  def scores(self, every: Mapping[str, float]) -> dict[str, float]:
    """Returns this head's own of the scores '<metric>/<head>' of all."""
    ending = f'/{self.name}'
    return {
      name.removesuffix(ending): value
      for name, value in every.items()
      if name.endswith(ending)
    }

  def config(self, config: TrainConfig) -> TrainConfig:
    """Returns the config by which train.py trains this head alone."""
    pool, _, form = self.pool.partition('/')
    keys = config.model.attention_pool
    if form:
      unset = families.AttentionPool()
      of_others = {
        key: getattr(unset, key)
        for key, owner in families.OF_ONE_FORM.items()
        if owner != form
      }
      keys = dataclasses.replace(keys, form=form, **of_others)
    if config.probe.average == 'frame':
      keys = dataclasses.replace(keys, per_frame=True)
    return dataclasses.replace(
      config,
      model=dataclasses.replace(config.model, pool=pool, attention_pool=keys),
      optim=dataclasses.replace(
        config.optim,
        learning_rate=self.rate,
        weight_decay=self.decay,
        train=TRAIN,
        freeze=None,
      ),
    )


def heads(config: TrainConfig) -> list[Head]:
  """Returns the heads of the config's grid, pool by pool."""
  probe, form = config.probe, config.model.attention_pool.form
  found = probe.pools or (builder.pool_of(config.model),)
  grid = itertools.product(
    (f'attention/{form}' if x == 'attention' else x for x in found),
    probe.learning_rates or (config.optim.learning_rate,),
    probe.weight_decays or (config.optim.weight_decay,),
  )
  return [Head(*values) for values in dict.fromkeys(grid)]


def with_pools(config: TrainConfig) -> TrainConfig:
  """Returns a config whose `probe.pools` name each pool and its form."""
  named = tuple(dict.fromkeys(head.pool for head in heads(config)))
  probe = dataclasses.replace(config.probe, pools=named)
  return dataclasses.replace(config, probe=probe)


def check(config: TrainConfig, folder: str | os.PathLike) -> None:
  """Runs all checks of a probe that need neither dataset nor weights.

  Raises:
    UserError: keys that a probe lacks or cannot use, or the workdir `folder`
      of another run.
  """
  probe, augment = config.probe, config.augment
  require(
    config.init_from is not None,
    'init_from is None: a probe needs the checkpoint of a trained encoder, '
    '--config.init_from=PATH.',
  )
  require(
    validation.period(config, 1) is not None,
    'train.validate_every is 0, but a probe chooses its head by validation: '
    'set it, or train.validate_epochs.',
  )
  stored = probe.tokens == 'stored'
  require(
    not stored or not (augment.mixup or augment.cutmix),
    "probe.tokens is 'stored', but augment.mixup and augment.cutmix mix the "
    "pixels of each batch: set them to 0, or probe.tokens to 'encoder'.",
  )
  require(
    not stored or jax.process_count() == 1,
    f"probe.tokens is 'stored', which one process writes and reads, but there "
    f"are {jax.process_count()}: set it to 'encoder'.",
  )
  files.check_local(folder)
  workdir = pathlib.Path(folder)
  require(
    not (workdir / 'config.json').exists()
    or (workdir / workdirs.GRID).is_dir(),
    f'{workdir} has a run of train.py, or lacks its folder {workdirs.GRID}: '
    'choose another --workdir.',
  )
  files.check_local(probe.folder or '')
  _check_pools(config)


def check_resumed(saved: TrainConfig, new: TrainConfig, folder: Any) -> None:
  """Raises a UserError if the run in `folder` has other heads."""
  keys = {'pool': 'pools', 'rate': 'learning_rates', 'decay': 'weight_decays'}
  different = []
  for field, key in keys.items():
    old, now = (
      list(dict.fromkeys(getattr(head, field) for head in heads(config)))
      for config in (saved, new)
    )
    if old != now:
      different.append(f'probe.{key} is {old} there and {now} now')
  require(
    not different,
    f'{folder} has a run of other heads: {"; ".join(different)}. Choose '
    'another --workdir, or the same values.',
  )


def _check_pools(config: TrainConfig) -> None:
  family = families.get(config.model.family)
  allowed = [pool for pool in family.pools if pool in pools.POOLS]
  if 'attention' in allowed:
    allowed += [f'attention/{form}' for form in attention_pools.FORMS]
  found = list(dict.fromkeys(head.pool for head in heads(config)))
  for pool in found:
    require(
      pool in allowed,
      f"probe.pools has '{pool}'; {family.name} takes {', '.join(allowed)}."
      f'{nearest(pool, allowed)}',
    )
  require(
    'token' not in found or len(found) == 1,
    "probe.pools has 'token' beside others, but only its encoder has a class "
    'token: probe it in another --workdir.',
  )
  average = config.probe.average
  averaged = ('mean', 'attention') if average == 'frame' else ('mean',)
  require(
    average is None or all(pool.startswith(averaged) for pool in found),
    f"probe.average is '{average}', but probe.pools has {', '.join(found)}: "
    "'clip' allows 'mean' and 'mean_norm', 'frame' also attention; or set it "
    'to None.',
  )


def check_trained(config: TrainConfig) -> None:
  """Raises a UserError if `optim.train` includes parameters of the encoder.

  The config has the heads of the dataset, and the model of one of the grid.
  """
  if config.optim.train in (None, TRAIN) and config.optim.freeze is None:
    return
  clip = config.data.frames, config.data.crop
  mask = param_groups.trainable(
    builder.shapes(config.model, *clip), config.optim
  )
  for name, trains in traverse_util.flatten_dict(mask, sep='/').items():
    require(
      trains == classifier.is_own(name),
      f"optim.train '{config.optim.train}' and optim.freeze "
      f"'{config.optim.freeze}' do not leave the head alone to be trained (as "
      f'for {name}): set both to None.',
    )


class Grid:
  """The heads of a probe, on one encoder.

  Attributes:
    config: of the first head; with the heads of the dataset.
    heads: all heads, pool by pool.
    pools: name of each pool -> its heads.
    configs: name of each pool -> config of its first head.
    encoder: the whole model of the first head, whose backbone is the encoder.
    average: what of the tokens is averaged; see `probe.average`.
    models: name of each pool -> module of pool and head, which reads tokens
      [B, N, D].
  """

  def __init__(self, config: TrainConfig):
    self._given, self.heads = config, heads(config)
    self.config = self.heads[0].config(config)
    self.pools: Mapping[str, list[Head]] = {}
    for head in self.heads:
      self.pools.setdefault(head.pool, []).append(head)
    self.configs = {
      pool: self.config_of(same[0]) for pool, same in self.pools.items()
    }
    self.encoder = models.build(self.config.model)
    per_frame = any(
      pool.startswith('attention') and one.model.attention_pool.per_frame
      for pool, one in self.configs.items()
    )
    self.average = 'frame' if per_frame else config.probe.average
    self.models: Mapping[str, nn.Module] = {
      pool: models.build(one.model).clone(
        backbone=pools.Given(), clips=1, reads_frame_numbers=False
      )
      for pool, one in self.configs.items()
    }

  def config_of(self, head: Head) -> TrainConfig:
    """Returns the config by which train.py trains a head alone."""
    return head.config(self._given)

  def rates(self, pool: str) -> tuple[jax.Array, jax.Array]:
    """Returns the learning rates and decays of a pool's heads, [G] each."""
    same = self.pools[pool]
    return tuple(
      jnp.array([getattr(head, key) for head in same], jnp.float32)
      for key in ('rate', 'decay')
    )

  def optimiser(self, rate: Any, decay: Any, schedule: Any):
    """Returns a head's optimiser; `schedule` is that of the learning rate 1."""
    config = dataclasses.replace(
      self.alone.optim, weight_decay=decay, layer_decay=1.0, backbone_rate=1.0
    )
    return optim.optimiser(config, lambda count: rate * schedule(count))

  @functools.cached_property
  def alone(self) -> TrainConfig:
    """The config of a head's own step, in which all parameters are trained."""
    own = dataclasses.replace(self.config.optim, train=None)
    return dataclasses.replace(self.config, optim=own)

  @property
  def of_rate_1(self) -> TrainConfig:
    """The config of the learning rate 1, whose schedule all heads scale."""
    unit = dataclasses.replace(self.config.optim, learning_rate=1.0)
    return dataclasses.replace(self.config, optim=unit)

  def rank(self, scores: Mapping[str, float]) -> float:
    """Returns `train.best_metric` of a head's scores; larger is better."""
    metric = self.config.train.best_metric
    value = scores.get(metric, math.nan)
    if math.isnan(value):
      return -math.inf
    return -value if configs.less_is_better(metric) else value

  def best(self, every: Mapping[str, float]) -> Head:
    """Returns the head with the best of the scores '<metric>/<head>'.

    The first one on ties.
    """
    return max(self.heads, key=lambda head: self.rank(head.scores(every)))

  def initialise(
    self, label_names: Mapping[str, list[str]], start: str
  ) -> tuple[Any, step.TrainState]:
    """Returns the encoder's parameters and the heads' initial state.

    Both are those of train.py: random by the seed, then from the checkpoint
    `start`.

    Raises:
      UserError: weights that cannot be read or do not fit.
    """
    encoder, own, opt_state = None, {}, {}
    video = jnp.zeros((1, self.config.data.frames, *self.config.data.crop, 3))
    key = jax.random.key(self.config.train.seed)
    for pool, same in self.pools.items():
      config = dataclasses.replace(self.configs[pool], init_from=start)
      model = models.build(config.model)
      params = jax.jit(model.init)(key, video)['params']
      first = encoder is None
      params = load.initialise(params, config, label_names, show=first)
      head = {k: x for k, x in params.items() if classifier.is_own(k)}
      if first:
        encoder = {k: x for k, x in params.items() if k not in head}
      optimiser = self.optimiser(0.0, jnp.float32(0.0), lambda count: 1.0)
      own[pool], opt_state[pool] = jax.tree.map(
        lambda x, same=same: np.broadcast_to(x, (len(same), *np.shape(x))),
        (head, optimiser.init(head)),
      )
    state = step.TrainState(jnp.int32(0), own, opt_state)
    return encoder, step.with_parameters(state, own, self.config)

  def select(self, tree: Mapping[str, Any], head: Head) -> Any:
    """Returns a head's part of a tree of all heads."""
    index = self.pools[head.pool].index(head)
    return jax.tree.map(lambda x: x[index], tree[head.pool])

  def encode(
    self,
    params: Any,
    video: jax.Array,
    frame_BxT: jax.Array | None,
  ) -> jax.Array:
    """Returns the tokens that all pools read, [B, N, D].

    For the pool 'token', N is 1: the class token.

    Args:
      params: of the encoder.
      video: float [B, T, H, W, 3], normalised.
      frame_BxT: see `blocks.Mode`.
    """
    mode = Mode(frame_BxT=frame_BxT)
    encoded = self.encoder.apply(
      {'params': params}, video, mode, method='encode'
    )
    if isinstance(self.encoder.pool, pools.Token):
      return encoded.summary[:, None]
    if self.average == 'frame':
      return encoded.of_frames
    x = encoded.to_pool
    if self.average == 'clip':
      return x.mean(axis=1, keepdims=True, dtype=jnp.float32).astype(x.dtype)
    return x
