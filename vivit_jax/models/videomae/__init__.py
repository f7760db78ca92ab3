"""VideoMAE as a family (arXiv 2203.12602, and 2303.16727 for version 2).

Follows MCG-NJU/VideoMAE at commit 14ef8d8. Only the fine-tuned classifier and
the encoder are here; the decoder of the pretraining is not. The head starts at
zero, as in all families; the official one is normal, with deviation 2e-5.
"""

import dataclasses

from vivit_jax import typed
from vivit_jax.models import blocks, image_vit, layer_rules, sizes
from vivit_jax.models.family import (
  BUILD_KEYS,
  Family,
  ModelConfig,
  Published,
  register,
)
from vivit_jax.models.videomae import files, weights
from vivit_jax.models.videomae.network import VideoMAE
from vivit_jax.models.vivit import rollout


@dataclasses.dataclass(frozen=True)
class Options(sizes.Options):
  """Config keys of VideoMAE."""

  # Frames, height and width, in pixels; g has (2, 14, 14).
  tubelet: tuple[int, int, int] = typed.limited((2, 16, 16), at_least=1)
  # A norm of the tokens, as the pretraining has; fine-tuned models have none.
  final_norm: bool = False
  # None: as in model.size.
  layers: int | None = typed.limited(None, at_least=1)


def _build(config: ModelConfig, class_token: bool) -> VideoMAE:
  size, options = sizes.of(config), config.options
  return VideoMAE(
    width=size.width,
    depth=size.layers,
    options=blocks.vit_options(config),
    tubelet=options.tubelet,
    kernel_init='torch',
    positions='interleaved',
    class_token=class_token,
    final_norm=options.final_norm,
  )


FAMILY = register(
  Family(
    name='videomae',
    title='VideoMAE',
    options=Options,
    sizes=weights.SIZES,
    default_size='B',
    build=_build,
    grid=sizes.tubelet_grid,
    layers=layer_rules.of_one_encoder,
    data=weights.DATA,
    supports=BUILD_KEYS,
    check=sizes.check_heads,
    check_clip=sizes.check_tubelets,
    pools=('mean_norm', 'mean', 'attention'),
    pool_sizes=sizes.of_pool,
    imports=(files.READ,),
    resize=weights.RESIZE,
    explain_missing=weights.explain_missing,
    explain_unused=weights.explain_unused,
    reported_options=('gelu', 'norm_epsilon'),
    infer_sizes=image_vit.infer_sizes,
    describe=image_vit.describe,
    exports={'huggingface': files.write},
    attention_flow=rollout.joint,
    cam=r'Transformer/encoderblock_\d+/LayerNorm_0',
    clip=(16, 224),
    published=(
      Published('VideoMAE-S', 'S', parameters=22),
      Published('VideoMAE-B', 'B', parameters=87),
      Published('VideoMAE-L', 'L', parameters=305),
      Published('VideoMAE-H', 'H', parameters=633),
      Published('VideoMAE v2-g', 'g', {'tubelet': (2, 14, 14)}),
    ),
  )
)
