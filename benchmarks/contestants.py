"""One program that computes a model, in a process of its own, on demand.

  python -m benchmarks.contestants ours --family=joint --size=Ti ...

It prints a line of JSON when it is ready: what compiling took, and the memory
that XLA states. Then it runs once for each line that it reads, `forward`,
`step` or `product`, and prints the seconds. `benchmarks.train_step` talks to
several by turns, so that they do not take memory and cores from one another.

`product` is the MLP's first product, some in a row, which is none of our doing:
what a library's products take, its model must take.
"""

import argparse
import contextlib
import dataclasses
import functools
import json
import math
import pathlib
import re
import resource
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vivit_jax.errors import UserError

WHATS = ('forward', 'step', 'product')
_PRODUCTS = 20  # in a row

Run = Callable[[], Any]  # returns when the result is there


@dataclasses.dataclass(frozen=True)
class Program:
  """A model in jax, and what is compiled of it.

  Attributes:
    model: a flax module.
    optimiser: optax's.
    forward: parameters and clips -> logits [B, K].
    step: parameters, optimiser's state, clips and labels -> the loss, and the
      first two after the update.
  """

  model: Any
  optimiser: Any
  forward: Callable[..., Any]
  step: Callable[..., Any]

  def shapes(self, arguments: argparse.Namespace) -> tuple:
    """Returns what `step` takes as shapes, without making it."""
    import jax

    sides = (arguments.frames, arguments.crop, arguments.crop, 3)
    video = jax.ShapeDtypeStruct((arguments.batch, *sides), np.float32)
    labels = jax.ShapeDtypeStruct((arguments.batch,), np.int32)
    clip = jax.ShapeDtypeStruct((1, *sides), np.float32)
    key = jax.random.key(0)
    params = jax.eval_shape(self.model.init, key, clip)['params']
    return params, jax.eval_shape(self.optimiser.init, params), video, labels

  def traceable(
    self, what: str, arguments: argparse.Namespace
  ) -> Callable[[], Any]:
    """Returns what traces and lowers 'forward' or 'step', for a batch's shapes.

    The shapes are found before, which traces the model's initialisation.
    """
    import jax

    params, opt_state, video, labels = self.shapes(arguments)
    if what == 'forward':
      jitted = jax.jit(self.forward)
      return functools.partial(jitted.lower, params, video)
    jitted = jax.jit(self.step, donate_argnums=(0, 1))
    return functools.partial(jitted.lower, params, opt_state, video, labels)

  def trace(self, what: str, arguments: argparse.Namespace) -> Any:
    """Returns 'forward' or 'step', traced and lowered, for a batch's shapes."""
    return self.traceable(what, arguments)()


def our_program(arguments: argparse.Namespace) -> Program:
  """Our model, with the options asked for, and optax's momentum."""
  from vivit_jax import models

  model = models.build(our_config(arguments))
  return _program(model, lambda logits: logits['label'])


def our_config(arguments: argparse.Namespace) -> Any:
  """Returns the `ModelConfig` with the options asked for."""
  from vivit_jax import models

  encoder = arguments.family == 'factorised_encoder'
  depth = 'spatial_layers' if encoder else 'layers'
  return models.ModelConfig(
    arguments.family,
    arguments.size,
    heads={'label': arguments.classes},
    attention=arguments.attention,
    scan=arguments.scan,
    remat=arguments.remat,
    dtype=arguments.dtype,
    options={'tubelet': tuple(arguments.tubelet), depth: arguments.layers},
  )


def plain_program(arguments: argparse.Namespace) -> Program:
  """The same in the reference's way (`benchmarks.plain`)."""
  from benchmarks import plain as reference

  width, heads, mlp, layers = _dimensions(arguments)
  model = reference.Model(
    family=arguments.family,
    layers=layers,
    temporal_layers=4,
    heads=heads,
    width=width,
    mlp=mlp,
    tubelet=tuple(arguments.tubelet),
    classes=arguments.classes,
    dtype=arguments.dtype,
  )
  return _program(model, lambda logits: logits)


def ours(arguments: argparse.Namespace) -> tuple[dict, Mapping[str, Run]]:
  return _in_jax(our_program(arguments), arguments)


def plain(arguments: argparse.Namespace) -> tuple[dict, Mapping[str, Run]]:
  return _in_jax(plain_program(arguments), arguments)


def torch(arguments: argparse.Namespace) -> tuple[dict, Mapping[str, Run]]:
  """Hugging Face's ViViT, which is Model 1, on PyTorch with fused attention.

  Nothing of jax is imported, which that interpreter may not have.
  """
  import torch
  import transformers

  width, heads, mlp, layers = _dimensions(arguments)
  device = 'cuda' if torch.cuda.is_available() else 'cpu'
  settings = transformers.VivitConfig(
    image_size=arguments.crop,
    num_frames=arguments.frames,
    tubelet_size=list(arguments.tubelet),
    hidden_size=width,
    num_hidden_layers=layers,
    num_attention_heads=heads,
    intermediate_size=mlp,
    num_labels=arguments.classes,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    attn_implementation='sdpa',
  )
  model = transformers.VivitForVideoClassification(settings).to(device)
  dtype = getattr(torch, arguments.dtype)
  video, labels = _clips(arguments)
  video = torch.as_tensor(np.moveaxis(video, -1, 2).copy(), device=device)
  labels = torch.as_tensor(labels, dtype=torch.long, device=device)
  optimiser = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
  compiled = torch.compile(model) if device == 'cuda' else model

  def logits():
    with torch.autocast(device, dtype, enabled=dtype != torch.float32):
      return compiled(pixel_values=video).logits

  def forward():
    with torch.inference_mode():
      return logits().float().cpu()

  def step():
    optimiser.zero_grad(set_to_none=True)
    loss = torch.nn.functional.cross_entropy(logits().float(), labels)
    loss.backward()
    optimiser.step()
    return loss.item()

  x, kernel = (
    torch.as_tensor(m, device=device, dtype=dtype) for m in _matrices(arguments)
  )

  def product():
    with torch.inference_mode():
      for _ in range(_PRODUCTS):
        y = x @ kernel
      return y[0, 0].item()

  about = {
    'threads': torch.get_num_threads(),
    'version': torch.__version__,
    'device': torch.cuda.get_device_name() if device == 'cuda' else device,
  }
  return about, {'forward': forward, 'step': step, 'product': product}


def _program(model: Any, label: Callable[[Any], Any]) -> Program:
  """Returns the forward pass and the step of a model of one head."""
  import jax
  import jax.numpy as jnp
  import optax

  optimiser = optax.sgd(0.01, momentum=0.9)

  def forward(params, video):
    return label(model.apply({'params': params}, video))

  def step(params, opt_state, video, labels):
    def loss_of(params):
      logits = forward(params, video).astype(jnp.float32)
      return optax.softmax_cross_entropy_with_integer_labels(
        logits, labels
      ).mean()

    loss, gradient = jax.value_and_grad(loss_of)(params)
    updates, opt_state = optimiser.update(gradient, opt_state, params)
    return loss, optax.apply_updates(params, updates), opt_state

  return Program(model, optimiser, forward, step)


def _in_jax(
  program: Program, arguments: argparse.Namespace
) -> tuple[dict, Mapping[str, Run]]:
  """Compiles a model's forward pass and its step, where they are asked for."""
  import jax
  import jax.numpy as jnp

  # What compiling takes is told: nothing is loaded from a disk.
  jax.config.update('jax_enable_compilation_cache', False)
  video, labels = _clips(arguments)
  clip = (1, *video.shape[1:])
  random = jax.jit(lambda key: program.model.init(key, jnp.zeros(clip)))
  params = jax.block_until_ready(random(jax.random.key(0)))['params']
  state = [params, program.optimiser.init(params)]
  about: dict[str, Any] = {
    'version': f'jax {jax.__version__}',
    'device': jax.local_devices()[0].device_kind,
  }
  runs = {}
  if 'forward' in arguments.what:
    jitted = _compile(about, 'forward', program, arguments)
    runs['forward'] = lambda: np.asarray(jitted(state[0], video))
  if 'step' in arguments.what:
    stepped = _compile(about, 'step', program, arguments)

    def run():
      loss, *state[:] = stepped(*state, video, labels)
      return float(loss)

    runs['step'] = run
  if 'product' in arguments.what:
    x, kernel = (jnp.asarray(m, arguments.dtype) for m in _matrices(arguments))
    multiply = jax.jit(jnp.matmul)
    runs['product'] = lambda: [
      multiply(x, kernel).block_until_ready() for _ in range(_PRODUCTS)
    ]
  return about, runs


def _compile(
  about: dict, what: str, program: Program, arguments: argparse.Namespace
) -> Any:
  """Traces and compiles; notes seconds, and bytes besides the arguments."""
  begin = time.perf_counter()
  compiled = program.trace(what, arguments).compile()
  about[f'{what} compile'] = time.perf_counter() - begin
  about[f'{what} memory'] = compiled.memory_analysis().temp_size_in_bytes
  return compiled


def _clips(arguments: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
  """Returns normalised clips [B, T, H, W, 3] and labels [B], random."""
  draw = np.random.default_rng(0)
  sides = (arguments.frames, arguments.crop, arguments.crop, 3)
  video = draw.standard_normal((arguments.batch, *sides), np.float32)
  labels = draw.integers(0, arguments.classes, arguments.batch)
  return video, labels.astype(np.int32)


def _matrices(arguments: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
  """Returns tokens [B N, D] and an MLP's first kernel [D, 4 D], random."""
  width, _, mlp, _ = _dimensions(arguments)
  sides = (arguments.frames, arguments.crop, arguments.crop)
  tokens = math.prod(
    side // part for side, part in zip(sides, arguments.tubelet)
  )
  draw = np.random.default_rng(0)
  x = draw.standard_normal((arguments.batch * tokens, width), np.float32)
  return x, draw.standard_normal((width, mlp), np.float32)


def dimensions(size: str) -> tuple[int, int, int, int]:
  """Returns a size's width, attention heads, MLP and layers."""
  from vivit_jax.models.sizes import SIZES

  found = SIZES[size]
  return found.width, found.attention_heads, found.mlp, found.layers


def _dimensions(arguments: argparse.Namespace) -> tuple[int, int, int, int]:
  """Returns width, attention heads, MLP and layers."""
  *others, layers = arguments.dimensions or dimensions(arguments.size)
  return *others, arguments.layers or layers


CONTESTANTS = {'ours': ours, 'plain': plain, 'torch': torch}
PROGRAMS = {'ours': our_program, 'plain': plain_program}


def check_tubelets(arguments: argparse.Namespace) -> None:
  """Raises a UserError if clips have no whole tubelets."""
  sides = (arguments.frames, arguments.crop, arguments.crop)
  if any(p < 1 or side % p for side, p in zip(sides, arguments.tubelet)):
    raise UserError(
      f'clips of {" x ".join(map(str, sides))} cannot be cut into tubelets of '
      f'{"x".join(map(str, arguments.tubelet))}; change --frames or --crop.'
    )


def title(family: str) -> str:
  """Returns the paper's number of a model, and its family in words."""
  from vivit_jax.models import family as families

  number = 1 + list(families.every()).index(family)
  return f'{number} {family.replace("_", " ")}'


def define(parser: argparse.ArgumentParser) -> None:
  """Adds the flags that a model and its input have."""
  parser.add_argument('--family', '--model', default='factorised_encoder')
  parser.add_argument('--size', default='B')
  parser.add_argument('--layers', type=int, help="None: the size's own")
  # Found by who has jax, for those that have it not.
  parser.add_argument('--dimensions', type=int, nargs=4, help=argparse.SUPPRESS)
  parser.add_argument('--tubelet', type=int, nargs=3, default=[2, 16, 16])
  parser.add_argument('--frames', type=int, default=32)
  parser.add_argument('--crop', type=int, default=224)
  parser.add_argument('--batch', type=int, default=1)
  parser.add_argument('--classes', type=int, default=400)
  parser.add_argument('--attention', default='auto')
  parser.add_argument('--scan', action='store_true')
  parser.add_argument('--remat', default='none')
  parser.add_argument('--dtype', default='float32')
  parser.add_argument(
    '--what', nargs='+', default=['forward', 'step'], help=f'of {WHATS}'
  )


def with_defaults(**changes: Any) -> argparse.Namespace:
  """Returns the flags of `define`, some of them changed."""
  parser = argparse.ArgumentParser()
  define(parser)
  return argparse.Namespace(**vars(parser.parse_args([])) | changes)


def _peak() -> int:
  """Returns the most memory that this program has had, bytes.

  Linux counts the program before it, which started this one, in `ru_maxrss`.
  """
  try:
    status = pathlib.Path('/proc/self/status').read_text()
    return 1024 * int(re.search(r'VmHWM:\s+(\d+)', status)[1])
  except (OSError, TypeError):
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
  parser = argparse.ArgumentParser()
  parser.add_argument('contestant', choices=CONTESTANTS)
  define(parser)
  arguments = parser.parse_args()
  about, runs = CONTESTANTS[arguments.contestant](arguments)
  print(json.dumps(about), flush=True)
  for line in sys.stdin:
    begin = time.perf_counter()
    runs[line.strip()]()
    seconds = time.perf_counter() - begin
    print(json.dumps({'seconds': seconds, 'peak': _peak()}), flush=True)


if __name__ == '__main__':
  # Ctrl-C reaches this process too; who started it says so, and is gone.
  with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
    main()
