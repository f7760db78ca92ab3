"""ViT sizes, shared by ViViT and its relatives."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Size:
  """Number of blocks and attention heads, width D, hidden width of the MLP."""

  layers: int
  attention_heads: int
  width: int
  mlp: int


# B, L and H: paper, section 4.1. Ti and S: DeiT (arXiv 2012.12877).
SIZES = {
  'Ti': Size(12, 3, 192, 768),
  'S': Size(12, 6, 384, 1536),
  'B': Size(12, 12, 768, 3072),
  'L': Size(24, 16, 1024, 4096),
  'H': Size(32, 16, 1280, 5120),
}
