"""What each optimisation gains, alone, against what it replaces.

  python -m benchmarks.trials
  python -m benchmarks.trials --only qkv tubelets --rounds=21

Both forms of a part of the model run by turns in this process, on the device
that JAX finds; a ratio below 1 says that the form that was tried is faster.
What was expected, and whether it was kept, is written beside it.
"""

import argparse
import dataclasses
import functools
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import einops
import flax.linen as nn
import jax
import jax.numpy as jnp

from vivit_jax import models
from vivit_jax.models import attention, embeddings, pixels

Form = tuple[Callable[..., Any], Sequence[Any]]  # a function, its arguments


@dataclasses.dataclass(frozen=True)
class Trial:
  """Two ways to compute the same.

  Attributes:
    what: was tried, instead of what, on which shapes.
    expected: before it was measured.
    kept: whether and where it is in the models, and why.
    forms: makes the form that was tried and the one that it replaces.
    training: whether the derivative by all arguments is measured too.
  """

  what: str
  expected: str
  kept: str
  forms: Callable[[], tuple[Form, Form]]
  training: bool = True


def _random(*shape: int) -> jax.Array:
  return jax.random.normal(jax.random.key(sum(shape)), shape)


def _tubelets() -> tuple[Form, Form]:
  video, kernel = _random(2, 16, 224, 224, 3), _random(2, 16, 16, 3, 768)
  ours = embeddings.TubeletEmbedding(768, (2, 16, 16))
  stem = nn.Conv(768, (2, 16, 16), (2, 16, 16), padding='VALID')

  def by(module):
    def embed(kernel):
      params = {'kernel': kernel, 'bias': jnp.zeros(768)}
      return module.apply({'params': params}, video)

    return embed

  return (by(ours), [kernel]), (by(stem), [kernel])


def _normalisation() -> tuple[Form, Form]:
  pixel = jax.random.randint(jax.random.key(0), (4, 16, 224, 224, 3), 0, 256)
  pixel, kernel = pixel.astype(jnp.uint8), _random(512, 3, 384)
  mean, std = jnp.asarray((0.45, 0.5, 0.4)), jnp.asarray((0.2, 0.25, 0.3))

  def product(video, kernel):
    tubelets = einops.rearrange(
      video, 'B (t f) (h p) (w q) C -> B t h w (f p q C)', f=2, p=16, q=16
    )
    return tubelets.astype(jnp.float32) @ kernel.reshape(-1, 384)

  def inside(kernel):
    shift = jnp.einsum('C,pCD->D', mean / std, kernel)
    return product(pixel, kernel / (255.0 * std)[:, None]) - shift

  def before(kernel):
    return product(pixels.normalise(pixel, mean, std), kernel)

  return (inside, [kernel]), (before, [kernel])


def _qkv() -> tuple[Form, Form]:
  inputs = _random(8, 197, 768), *(_random(768, 12, 64) for _ in range(3))

  def fused(x, *kernels):
    return jnp.einsum('BND,DcHd->cBNHd', x, jnp.stack(kernels, axis=1))

  def apart(x, *kernels):
    return jnp.stack([jnp.einsum('BND,DHd->BNHd', x, k) for k in kernels])

  return (fused, inputs), (apart, inputs)


def _attention(tried: str, before: str, *shape: int) -> tuple[Form, Form]:
  inputs = [_random(*shape) for _ in range(3)]
  first, second = (
    functools.partial(attention.attend, kind=kind) for kind in (tried, before)
  )
  return (first, inputs), (second, inputs)


def _options(tried: dict, before: dict) -> tuple[Form, Form]:
  """A small factorised encoder, built in two ways."""
  video = _random(2, 8, 112, 112, 3)

  def form(options):
    model = models.build(
      family='factorised_encoder',
      size='S',
      heads={'label': 10},
      tubelet=(2, 16, 16),
      **options,
    )
    params = jax.jit(model.init)(jax.random.key(0), video)['params']

    def features(params):
      found = model.apply({'params': params}, video, features=True)
      return found.pre_logits.astype(jnp.float32)

    return features, [params]

  return form(tried), form(before)


TRIALS = {
  'tubelets': Trial(
    'patch embedding as reshape and product, not 3D convolution; B, 2 clips',
    'faster: a stride that is the kernel needs no convolution',
    'kept',
    _tubelets,
  ),
  'normalisation': Trial(
    'uint8 pixels normalised inside the first product, not before; S, 4 clips',
    'a pass over the pixels saved',
    'not kept: XLA fuses normalising with the reshape already, and mixed or '
    'recoloured clips are not uint8 any more',
    _normalisation,
  ),
  'qkv': Trial(
    'query, key, value by one product, not three; B, 8 sequences of 197',
    'slightly faster: one large product',
    'not kept: weights would have to be copied together at each step',
    _qkv,
  ),
  'heads_first': Trial(
    "attention with heads first, not flax's; B, 16 sequences of 197",
    'faster: XLA fuses it whole',
    'kept (`plain`)',
    lambda: _attention('plain', 'flax', 16, 197, 12, 64),
  ),
  'heads_first_short': Trial(
    "the same; B's time attention, 196 sequences of 16",
    'faster',
    'kept (`plain`)',
    lambda: _attention('plain', 'flax', 196, 16, 12, 64),
  ),
  'blocked': Trial(
    'attention to blocks of 100 keys, not to all; S, 4 sequences of 393',
    'faster forwards on CPUs: XLA fuses it',
    'kept on CPUs for 257 to 1023 tokens, where no derivative is asked for',
    lambda: _attention('blocked', 'plain', 4, 393, 6, 64),
    training=False,
  ),
  'chunked': Trial(
    'attention in chunks, not at once; B, a sequence of 3137',
    'faster where the scores leave the caches, and far less memory',
    'kept from 1024 tokens on',
    lambda: _attention('chunked', 'plain', 1, 3137, 12, 64),
  ),
  'stacked': Trial(
    'layers stacked, not one by one; Model 2 S, 2 clips of 8 x 112 x 112',
    'slower by a little, compiled sooner',
    'an option, `model.scan`',
    lambda: _options({'scan': True}, {}),
  ),
  'remat_dots': Trial(
    'stacked, and all but the products computed again; the same',
    'slower by a little, less memory',
    "an option, `model.remat = 'dots'`",
    lambda: _options({'scan': True, 'remat': 'dots'}, {'scan': True}),
  ),
  'remat_full': Trial(
    'stacked, and all computed again; the same',
    'slower by a third, least memory',
    "an option, `model.remat = 'full'`",
    lambda: _options({'scan': True, 'remat': 'full'}, {'scan': True}),
  ),
  'bfloat16': Trial(
    'computation in bfloat16, not float32; the same',
    'faster on accelerators alone',
    "an option, `model.dtype = 'bfloat16'`",
    lambda: _options({'dtype': 'bfloat16'}, {}),
  ),
}


def rows(names: Sequence[str], rounds: int) -> Iterator[str]:
  """Yields the lines of a table in Markdown."""
  heads = ('tried', 'expected', 'forward: tried / before', 'and back', 'kept')
  yield f'| {" | ".join(heads)} |'
  yield '|---' * len(heads) + '|'
  for name in names:
    trial = TRIALS[name]
    forms = trial.forms()
    forward, back = ratio(forms, rounds), ''
    if trial.training:
      derivatives = [(_derivative(*form), form[1]) for form in forms]
      back = ratio(derivatives, rounds)
    cells = (trial.what, trial.expected, forward, back, trial.kept)
    yield f'| {" | ".join(cells)} |'


def _derivative(function: Callable, arguments: Sequence[Any]) -> Callable:
  places = tuple(range(len(arguments)))
  return jax.grad(lambda *x: jnp.sum(function(*x) ** 2), places)


def ratio(forms: Sequence[Form], rounds: int) -> str:
  """Returns the ratio of the first form's time to the second's, as a cell."""
  seconds = []
  for function, arguments in forms:
    compiled = jax.jit(function).lower(*arguments).compile()
    seconds.append(functools.partial(_seconds, compiled, arguments))
  for run in seconds:
    run()
  ratios = [seconds[0]() / seconds[1]() for _ in range(rounds)]
  quarters = statistics.quantiles(ratios, n=4)
  return f'{quarters[1]:.2f} ({quarters[0]:.2f} to {quarters[2]:.2f})'


def _seconds(function: Callable, arguments: Sequence[Any]) -> float:
  begin = time.perf_counter()
  jax.block_until_ready(function(*arguments))
  return time.perf_counter() - begin


def main(argv: Sequence[str]) -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--only', nargs='+', choices=TRIALS, default=[*TRIALS])
  parser.add_argument('--rounds', type=int, default=11, help='at least 2')
  arguments = parser.parse_args(argv)
  if arguments.rounds < 2:
    parser.error('--rounds is at least 2')
  for line in rows(arguments.only, arguments.rounds):
    print(line, flush=True)
  print('\nMedians of rounds by turns, and quartiles.')


if __name__ == '__main__':
  main(sys.argv[1:])
