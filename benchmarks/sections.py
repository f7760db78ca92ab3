"""What `python -m benchmarks` runs: the commands of each section of results."""

import dataclasses

_FULL_JOINT = '--family=joint --size=B'
_SMALL = '--size=S --frames=16 --crop=112 --batch=4'
_SMALLEST = '--frames=8 --crop=112 --batch=2'
_BARE = '--what forward step product'
_GPU = '--size=B --dtype=bfloat16 --against ours'


@dataclasses.dataclass(frozen=True)
class Section:
  """One section of RESULTS.md.

  Attributes:
    name: of `--only`.
    title: its heading.
    commands: modules of this room with their flags, run one after another.
    torch: whether they take --torch_python.
    gpu: whether they are for a machine with a GPU, and not for others.
    extra: whether they run only where `--only` names them.
  """

  name: str
  title: str
  commands: tuple[str, ...]
  torch: bool = False
  gpu: bool = False
  extra: bool = False


SECTIONS = (
  Section(
    'input_pipeline',
    'Input pipeline',
    ('input_pipeline --goals_alone --rounds=2 --seconds=2',),
  ),
  Section(
    'train_step',
    'Training step',
    (
      f'train_step {_FULL_JOINT} --what forward --rounds=2',
      f'train_step --family=joint {_SMALL} {_BARE} --rounds=5',
      f'train_step {_FULL_JOINT} {_SMALLEST} {_BARE} --rounds=5',
      f'train_step --family=factorised_encoder {_SMALL} --rounds=3',
      f'train_step --family=factorised_self_attention {_SMALL} --rounds=3',
      f'train_step --family=factorised_dot_product {_SMALL} --rounds=3',
    ),
    torch=True,
  ),
  Section('trials', 'What was tried', ('trials --rounds=3',)),
  Section('memory', 'Memory', ('memory --configs',)),
  Section('fits', 'What fits', ('memory --families',), extra=True),
  Section('compile_time', 'Compilation', ('compile_time --rounds=1',)),
  Section('copies', 'Copies', ('copies',), extra=True),
  Section('start_up', 'Start', ('start_up --rounds=1',)),
  Section(
    'end_to_end', 'Training end to end', ('end_to_end --rounds=1 --seconds=2',)
  ),
  Section('logging_cost', 'Logging', ('logging_cost --turns=8',)),
  Section('views', 'Views', ('views',)),
  Section('weak_scaling', 'Weak scaling', ('weak_scaling',), extra=True),
  Section('checkpoint_stall', 'Checkpoints', ('checkpoint_stall',), extra=True),
  Section(
    'gpu',
    'On a GPU',
    # Without `plain`, which would not fit beside the others.
    (
      *(f'train_step {_GPU} --batch={batch}' for batch in (8, 16, 32)),
      *(
        f'train_step --family=joint {_GPU} torch --batch={batch}'
        for batch in (2, 4, 8)
      ),
    ),
    torch=True,
    gpu=True,
  ),
)
