"""The datasets that can be prepared: descriptions and official numbers."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Dataset:
  """Facts on a dataset."""

  description: str
  citation: str | None = None
  homepage: str | None = None
  # Official number of labels of each head; empty if the labels are the user's.
  classes: Mapping[str, int] = dataclasses.field(default_factory=dict)
  # Official number of videos of each split, if known; keyed '1/train' in
  # datasets with several splits into train and test.
  counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
  named: bool = False  # the user adds a name, as in videos/mine


def _kinetics(classes: int, citation: str) -> Dataset:
  return Dataset(
    f'10 s clips of {classes} human actions from YouTube.',
    citation,
    'https://github.com/cvdfoundation/kinetics-dataset',
    {'label': classes},
  )


DATASETS = {
  'videos': Dataset(
    'A folder of videos, with labels from a CSV file.', named=True
  ),
  'moving_shapes': Dataset(
    'Short videos of textured shapes that move and return.'
  ),
  'kinetics400': _kinetics(
    400, 'Kay et al., The Kinetics Human Action Video Dataset, 2017.'
  ),
  'kinetics600': _kinetics(
    600, 'Carreira et al., A Short Note about Kinetics-600, 2018.'
  ),
  'kinetics700': _kinetics(
    700,
    'Carreira et al., A Short Note on the Kinetics-700 Human Action Dataset, '
    '2019.',
  ),
  'something_something_v2': Dataset(
    'Short videos of people acting on objects.',
    'Goyal et al., The "Something Something" Video Database for Learning and '
    'Evaluating Visual Common Sense, ICCV 2017.',
    classes={'label': 174},
    counts={'train': 168913, 'validation': 24777, 'test': 27157},
  ),
  'epic_kitchens_100': Dataset(
    'Actions in kitchens, each with a verb and a noun.',
    'Damen et al., Rescaling Egocentric Vision, IJCV 2022.',
    'https://epic-kitchens.github.io',
    {'verb': 97, 'noun': 300},
    {'train': 67217, 'validation': 9668},
  ),
  'moments_in_time': Dataset(
    '3 s clips of 305 actions and events.',
    'Monfort et al., Moments in Time Dataset: one million videos for event '
    'understanding, TPAMI 2019.',
    'http://moments.csail.mit.edu',
    {'label': 305},
  ),
  'ucf101': Dataset(
    'Clips of 101 human actions from YouTube.',
    'Soomro et al., UCF101: A Dataset of 101 Human Actions Classes From Videos '
    'in The Wild, 2012.',
    'https://www.crcv.ucf.edu/data/UCF101.php',
    {'label': 101},
    {
      '1/train': 9537,
      '2/train': 9586,
      '3/train': 9624,
      '1/test': 3783,
      '2/test': 3734,
      '3/test': 3696,
    },
  ),  # fmt: skip
  'hmdb51': Dataset(
    'Clips of 51 human actions from films and the web.',
    'Kuehne et al., HMDB: A Large Video Database for Human Motion Recognition, '
    'ICCV 2011.',
    classes={'label': 51},
    counts={  # 70 videos of each class for training, 30 for testing
      f'{number}/{split}': 51 * count
      for number in (1, 2, 3)
      for split, count in (('train', 70), ('test', 30))
    },
  ),
  'sequence_examples': Dataset(
    'TFRecords of tf.SequenceExample, from DMVR or MediaSequence.', named=True
  ),
}


def prepare_command(dataset: str) -> str:
  """Returns the command line that prepares a dataset."""
  command = f'python -m vivit_jax.data.prepare {dataset}'
  name = dataset.split('/')[0]
  if name != 'moving_shapes':
    command += ' --videos=FOLDER'
    if name != 'sequence_examples':
      command += ' --annotations=PATH'
  return command


def names() -> str:
  """Returns the names of all datasets, for messages."""
  return ', '.join(
    f'{name}/NAME' if dataset.named else name
    for name, dataset in DATASETS.items()
  )
