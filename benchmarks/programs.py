"""The programs that benchmarks compile: our model, and variants of it.

A form replaces one design choice of our model, to measure its effect:

  attention=X     model.attention=X, instead of 'auto'
  remat=X         model.remat=X, with stacked blocks (model.scan)
  embedding=conv  a 3D convolution, instead of a reshape and a matrix product
  views=whole     evaluates all views of a video at once, instead of in parts

The plain model has flax's attention and a 3D convolution, as the reference code
does. Models have no dropout or stochastic depth.
"""

import contextlib
import dataclasses
import functools
import importlib
import math
import types
from collections.abc import Callable
from typing import Any
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags

from benchmarks import measure
from vivit_jax import config as configs
from vivit_jax import models, parallel
from vivit_jax.config import TrainConfig
from vivit_jax.errors import UserError
from vivit_jax.evaluation import forward as evaluation
from vivit_jax.evaluation import views
from vivit_jax.models import embeddings
from vivit_jax.models import family as families
from vivit_jax.models.attention import ATTENTIONS
from vivit_jax.models.blocks import REMAT_POLICIES
from vivit_jax.models.sizes import Size
from vivit_jax.training import optim
from vivit_jax.training import step as training

# Family -> sizes in torchvision; widths differ by stage.
HIERARCHIES = {'mvit': ('S',), 'video_swin': ('T', 'S', 'B')}
_OF_MEANS = ('videoprism', 'vjepa2')  # with the pool of `torch_models`
NO_PLAIN = (*HIERARCHIES, 'videoprism')  # flax's attention has no cap
_KEYS = {f'attention={kind}': {'attention': kind} for kind in ATTENTIONS} | {
  f'remat={kind}': {'remat': kind, 'scan': True} for kind in REMAT_POLICIES
}
FORMS = (*_KEYS, 'embedding=conv', 'views=whole')
_CLASSES = 400
_VIEWS = 12  # 4 x 3, as in the paper


def define(values: flags.FlagValues) -> None:
  """Defines the flags of a model and its input."""
  enum = functools.partial(flags.DEFINE_enum, flag_values=values)
  every = list(families.every())
  enum('family', 'factorised_encoder', every, 'Model family.')
  text = "Model size; default: the family's, of mvit S, of video_swin T."
  flags.DEFINE_string('size', None, text, flag_values=values)
  enum('dtype', 'float32', ['float32', 'bfloat16'], 'Computation dtype.')
  measure.define_counts(
    values,
    layers=(None, 'Number of blocks; default: from --size.'),
    frames=(32, 'Frames of a clip.'),
    crop=(224, 'Height and width of a clip.'),
    batch=(1, 'Clips per device.'),
  )


def size(args: types.SimpleNamespace) -> Size:
  """Returns the `Size` of a ViT for --size, with --layers blocks if given."""
  size = families.get(args.family).sizes[args.size]
  return dataclasses.replace(size, layers=args.layers or size.layers)


def complete(args: types.SimpleNamespace) -> None:
  """Sets the default of --size.

  Raises:
    UserError: the family lacks the size, --layers, or cannot read the clips.
  """
  kind, crop = families.get(args.family), (args.crop, args.crop)
  args.size = args.size or HIERARCHIES.get(args.family, (kind.default_size,))[0]
  if args.layers and args.family in HIERARCHIES:
    raise UserError(f'{args.family} takes no --layers: set --size.')
  if args.size not in kind.sizes:
    raise UserError(f'--size is {args.size}; it is one of {list(kind.sizes)}.')
  kind.check_clip(kind.options(), args.frames, crop)


def tokens(args: types.SimpleNamespace) -> int:
  """Returns the number of tokens of a batch, without class tokens."""
  kind, crop = families.get(args.family), (args.crop, args.crop)
  return args.batch * math.prod(kind.grid(kind.options(), args.frames, crop))


def _depth(args: types.SimpleNamespace) -> dict[str, int]:
  """Returns the option for --layers, if it is given."""
  options = families.get(args.family).options
  key = 'layers' if hasattr(options, 'layers') else 'spatial_layers'
  return {} if args.layers is None else {key: args.layers}


def _embedding_of(name: str) -> contextlib.AbstractContextManager:
  """Replaces our embedding while a model that needs another one is traced."""
  if name in ('plain', 'embedding=conv'):
    return mock.patch.object(embeddings, 'TubeletEmbedding', _convolution)
  return contextlib.nullcontext()


def _convolution(width, tubelet, kernel_init, dtype, name) -> nn.Module:
  """Returns a tubelet embedding as in the reference code."""
  return nn.Conv(
    width,
    tubelet,
    tubelet,
    'VALID',
    kernel_init=kernel_init,
    dtype=dtype,
    name=name,
  )


def model_config(name: str, args: types.SimpleNamespace) -> models.ModelConfig:
  """Returns the config of a form of our model; see `bare`."""
  keys = _KEYS | {'plain': {'attention': 'flax'}}
  pool = {} if args.family not in _OF_MEANS else {'pool': 'mean'}
  return models.ModelConfig(
    args.family,
    args.size,
    heads={'label': _CLASSES},
    dtype=args.dtype,
    options=_depth(args),
    **pool,
    **keys.get(name, {}),
  )


def bare(
  name: str, args: types.SimpleNamespace
) -> tuple[Callable, dict[str, tuple[Callable, tuple]]]:
  """Returns a model's initialisation, and its programs with argument shapes.

  Initialisation maps a key to the state, (params, opt_state). The programs:

    forward  params, video [B, T, H, W, 3] -> logits [B, K]
    step     state, video, labels [B] -> loss, new state
    views    params, videos [B, V, T, H, W, 3] -> logits [B, V, K]

  Args:
    name: 'ours', 'plain', or one of `FORMS`.
    args: values of the flags in `define`.
  """
  config = model_config(name, args)
  model, optimiser = models.build(config), optax.sgd(0.01, momentum=0.9)
  sides = (args.frames, args.crop, args.crop, 3)

  def initialise(key):
    params = model.init(key, jnp.zeros((1, *sides)))['params']
    return params, optimiser.init(params)

  def forward(params, video):
    with _embedding_of(name):
      return model.apply({'params': params}, video)['label']

  def step(state, video, labels):
    def loss_of(params):
      logits = forward(params, video).astype(jnp.float32)
      losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
      return losses.mean()

    params, opt_state = state
    loss, gradient = jax.value_and_grad(loss_of)(params)
    updates, opt_state = optimiser.update(gradient, opt_state, params)
    return loss, (optax.apply_updates(params, updates), opt_state)

  def every_view(params, videos):
    max_clips = None if name == 'views=whole' else evaluation.max_clips(sides)
    apply = lambda clips, _: {'label': forward(params, clips)}  # noqa: E731
    return views.of_each_view(apply, videos, max_clips=max_clips)['label']

  state = jax.eval_shape(initialise, jax.random.key(0))
  video, videos = (
    jax.ShapeDtypeStruct((args.batch, *lead, *sides), np.float32)
    for lead in ((), (_VIEWS,))
  )
  labels = jax.ShapeDtypeStruct((args.batch,), np.int32)
  return jax.jit(initialise), {
    'forward': (jax.jit(forward), (state[0], video)),
    'step': (jax.jit(step, donate_argnums=0), (state, video, labels)),
    'views': (jax.jit(every_view), (state[0], videos)),
  }


def config(name: str, batch: int, **changes: Any) -> TrainConfig:
  """Returns a changed config from configs/; `batch` is clips per device."""
  keys = importlib.import_module(f'configs.{name}').get_config()
  changes['train.batch_size'] = batch * jax.local_device_count()
  keys.update_from_flattened_dict(changes)
  return configs.resolve(keys)


def running_step(config: TrainConfig) -> Callable[[], Any]:
  """Returns a function that starts train.py's step.

  Each call transfers a batch and may return before the metrics are computed.
  """
  model = models.build(config.model)
  optimiser = optim.optimiser(config.optim, lambda _: 1e-3, config.model)
  _, shapes = training.shapes(model, optimiser, config)
  step = training.train_step(model, optimiser, config)
  state = parallel.replicate(training.initialise(model, optimiser, config))
  batch = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), shapes)
  compiled, _ = parallel.compiled(step, state, batch)

  def begin():
    nonlocal state
    state, metrics = compiled(state, batch)
    return metrics

  return begin
