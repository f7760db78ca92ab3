"""TFDS builders of the datasets: names, citations, official counts.

They write no records: `prepare` does, on all cores, and resumes after a crash.
"""

from collections.abc import Mapping

import tensorflow_datasets as tfds

from vivit_jax.data import records
from vivit_jax.errors import UserError


class RecordBuilder(
  tfds.core.dataset_builder.FileReaderBuilder, skip_registration=True
):
  """A dataset in the format of `records`; a subclass is one dataset.

  Attributes:
    DESCRIPTION, CITATION, HOMEPAGE: of the dataset.
    CLASSES: official number of labels of each head; empty if the labels are
      the user's.
    COUNTS: official number of videos of each split, if known; keyed '1/train'
      in datasets with several splits into train and test.
    MULTIPLE: whether the user adds a name, as in videos/mine.
  """

  VERSION = tfds.core.Version('1.0.0')
  DESCRIPTION = ''
  CITATION = ''
  HOMEPAGE = ''
  CLASSES: Mapping[str, int] = {}
  COUNTS: Mapping[str, int] = {}
  MULTIPLE = False

  def __init_subclass__(cls, **options):
    # TFDS's own registry already has some of these names.
    super().__init_subclass__(skip_registration=True, **options)

  def _create_builder_config(self, builder_config, version):
    # The user may choose any name for a folder of videos.
    if isinstance(builder_config, str):
      return tfds.core.BuilderConfig(name=builder_config)
    return builder_config

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self,
      description=self.DESCRIPTION,
      citation=self.CITATION or None,
      homepage=self.HOMEPAGE or None,
      features=records.features(),
      disable_shuffling=True,
      metadata=tfds.core.MetadataDict(),
    )

  def _download_and_prepare(self, *_, **__) -> None:
    raise UserError(
      f'{self.info.full_name} is not prepared in {self.data_dir}: run '
      f'`{prepare_command(self.info.full_name.rpartition("/")[0])}`.'
    )


class Videos(RecordBuilder):
  """A folder of videos; the config is the user's name for it."""

  name = 'videos'
  DESCRIPTION = 'A folder of videos, with labels from a CSV file.'
  MULTIPLE = True


class SequenceExamples(RecordBuilder):
  """TFRecords for the reference code; the config is the user's name."""

  name = 'sequence_examples'
  DESCRIPTION = 'TFRecords of tf.SequenceExample, from DMVR or MediaSequence.'
  MULTIPLE = True


class MovingShapes(RecordBuilder):
  """The embedded dataset; `vivit_jax.data.moving_shapes` renders it."""

  name = 'moving_shapes'
  DESCRIPTION = 'Short videos of textured shapes that move and return.'


class Kinetics400(RecordBuilder):
  name = 'kinetics400'
  DESCRIPTION = '10 s clips of 400 human actions from YouTube.'
  CITATION = """@article{kay2017kinetics,
  title={The Kinetics Human Action Video Dataset},
  author={Kay, Will and Carreira, Jo{\\~a}o and Simonyan, Karen and others},
  journal={arXiv:1705.06950}, year={2017}}"""
  HOMEPAGE = 'https://github.com/cvdfoundation/kinetics-dataset'
  CLASSES = {'label': 400}


class Kinetics600(RecordBuilder):
  name = 'kinetics600'
  DESCRIPTION = '10 s clips of 600 human actions from YouTube.'
  CITATION = """@article{carreira2018short,
  title={A Short Note about Kinetics-600},
  author={Carreira, Jo{\\~a}o and Noland, Eric and Banki-Horvath, Andras and
          Hillier, Chloe and Zisserman, Andrew},
  journal={arXiv:1808.01340}, year={2018}}"""
  HOMEPAGE = 'https://github.com/cvdfoundation/kinetics-dataset'
  CLASSES = {'label': 600}


class Kinetics700(RecordBuilder):
  name = 'kinetics700'
  DESCRIPTION = '10 s clips of 700 human actions from YouTube.'
  CITATION = """@article{carreira2019short,
  title={A Short Note on the Kinetics-700 Human Action Dataset},
  author={Carreira, Jo{\\~a}o and Noland, Eric and Hillier, Chloe and
          Zisserman, Andrew},
  journal={arXiv:1907.06987}, year={2019}}"""
  HOMEPAGE = 'https://github.com/cvdfoundation/kinetics-dataset'
  CLASSES = {'label': 700}


class SomethingSomethingV2(RecordBuilder):
  name = 'something_something_v2'
  DESCRIPTION = 'Short videos of people acting on objects.'
  CITATION = """@inproceedings{goyal2017something,
  title={The "Something Something" Video Database for Learning and Evaluating
         Visual Common Sense},
  author={Goyal, Raghav and Ebrahimi Kahou, Samira and Michalski, Vincent and
          others},
  booktitle={ICCV}, year={2017}}"""
  CLASSES = {'label': 174}
  COUNTS = {'train': 168913, 'validation': 24777, 'test': 27157}


class EpicKitchens100(RecordBuilder):
  name = 'epic_kitchens_100'
  DESCRIPTION = 'Actions in kitchens, each with a verb and a noun.'
  CITATION = """@article{damen2022rescaling,
  title={Rescaling Egocentric Vision: Collection, Pipeline and Challenges for
         EPIC-KITCHENS-100},
  author={Damen, Dima and Doughty, Hazel and Farinella, Giovanni Maria and
          others},
  journal={International Journal of Computer Vision}, year={2022}}"""
  HOMEPAGE = 'https://epic-kitchens.github.io'
  CLASSES = {'verb': 97, 'noun': 300}
  COUNTS = {'train': 67217, 'validation': 9668}


class MomentsInTime(RecordBuilder):
  name = 'moments_in_time'
  DESCRIPTION = '3 s clips of 305 actions and events.'
  CITATION = """@article{monfort2019moments,
  title={Moments in Time Dataset: one million videos for event understanding},
  author={Monfort, Mathew and Andonian, Alex and Zhou, Bolei and others},
  journal={IEEE Transactions on Pattern Analysis and Machine Intelligence},
  year={2019}}"""
  HOMEPAGE = 'http://moments.csail.mit.edu'
  CLASSES = {'label': 305}


class Ucf101(RecordBuilder):
  name = 'ucf101'
  DESCRIPTION = 'Clips of 101 human actions from YouTube.'
  CITATION = """@article{soomro2012ucf101,
  title={UCF101: A Dataset of 101 Human Actions Classes From Videos in The
         Wild},
  author={Soomro, Khurram and Zamir, Amir Roshan and Shah, Mubarak},
  journal={arXiv:1212.0402}, year={2012}}"""
  HOMEPAGE = 'https://www.crcv.ucf.edu/data/UCF101.php'
  CLASSES = {'label': 101}
  COUNTS = {
    '1/train': 9537,
    '1/test': 3783,
    '2/train': 9586,
    '2/test': 3734,
    '3/train': 9624,
    '3/test': 3696,
  }


class Hmdb51(RecordBuilder):
  name = 'hmdb51'
  DESCRIPTION = 'Clips of 51 human actions from films and the web.'
  CITATION = """@inproceedings{kuehne2011hmdb,
  title={HMDB: A Large Video Database for Human Motion Recognition},
  author={Kuehne, Hildegard and Jhuang, Hueihan and Garrote, Est{\\'i}baliz and
          Poggio, Tomaso and Serre, Thomas},
  booktitle={ICCV}, year={2011}}"""
  CLASSES = {'label': 51}
  COUNTS = {  # 70 videos of each class for training, 30 for testing
    f'{number}/{split}': count
    for number in (1, 2, 3)
    for split, count in (('train', 51 * 70), ('test', 51 * 30))
  }


BUILDERS = {
  builder.name: builder
  for builder in (
    Videos,
    MovingShapes,
    Kinetics400,
    Kinetics600,
    Kinetics700,
    SomethingSomethingV2,
    EpicKitchens100,
    MomentsInTime,
    Ucf101,
    Hmdb51,
    SequenceExamples,
  )
}


def prepare_command(dataset: str) -> str:
  """Returns the command line that prepares a dataset."""
  command = f'python -m vivit_jax.data.prepare {dataset}'
  match dataset.split('/')[0]:
    case 'moving_shapes':
      return command
    case 'sequence_examples':
      return f'{command} --videos=FOLDER'
    case 'videos':
      return f'{command} --videos=FOLDER --annotations=CSV'
  return f'{command} --videos=FOLDER --annotations=FOLDER'


def names() -> str:
  """Returns the names of all datasets, for messages."""
  return ', '.join(
    f'{name}/NAME' if builder.MULTIPLE else name
    for name, builder in BUILDERS.items()
  )
