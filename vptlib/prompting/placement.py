"""Prompts in other positions than among the tokens: ablations of Jia et al. (arXiv 2203.12119, section 4.3, fig. 5).

    add     added to the patch embeddings, element by element; the sequence keeps its length
    pixel   patches of learned pixels; they are embedded like those of the image, then act as shallow prompts
    pad     a frame of learned pixels around the image, which is shrunk to make room

The default, "prepend", is `vptlib.prompting.vit.PromptedViT` itself.
"""
# `uses_fast_form`, a property of `PromptedViT`, is a constant here.
# pyright: reportAssignmentType=false

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vptlib.errors import UserError
from vptlib.prompting.blocks import ViT, embed, run
from vptlib.prompting.vit import PromptedViT, first_prompts


class AddedPrompts(PromptedViT):
    """Prompts added to the patch embeddings, at the first block or (`deep`) at every one.

    Args:
        vit: as for `PromptedViT`.
        num_prompts: 1, the same for all patches, or as many as there are patches.
        deep, dropout, layers, shared, init: as for `PromptedViT`.

    Raises:
        UserError: another number of prompts.
    """

    def __init__(
        self,
        vit: ViT,
        num_prompts: int = 1,
        deep: bool = False,
        dropout: float = 0.0,
        layers: Sequence[int] | str | None = None,
        shared: bool = False,
        init: str | Tensor = "uniform",
    ):
        super().__init__(vit, num_prompts, deep, dropout, layers=layers, carry=True, shared=shared, init=init)
        if num_prompts not in (1, vit.patch_embed.num_patches):
            raise UserError(
                f"num_prompts is {num_prompts}, but added prompts must be 1 (the same for all patches) or "
                f"{vit.patch_embed.num_patches} (one for each)."
            )

    uses_fast_form = False

    def prompts_among(self, number: int) -> int:
        """No prompts are among the tokens."""
        return 0

    def _prompted_blocks(self, tokens: Tensor, read: int | None = None) -> Tensor:
        for number in range(self.layers[0], len(self.vit.blocks)):
            if number in self.layers:
                tokens = self._with_added(number, tokens)  # B N D
            tokens = run(self, number, tokens)
        return tokens

    def _with_added(self, number: int, tokens: Tensor) -> Tensor:
        prefix, patches = tokens.tensor_split([self.vit.num_prefix_tokens], dim=1)
        return torch.cat([prefix, patches + self.layer_prompts(number, len(tokens))], dim=1)


class PixelPrompts(PromptedViT):
    """Prompts that are patches of pixels (`1 P 3·h·w`); the backbone's own patch embedding makes tokens of them.

    Args:
        vit: as for `PromptedViT`; its patch embedding must be one convolution.
        num_prompts, dropout, init: as for `PromptedViT`; "uniform" has the bound of the official code.
    """

    def __init__(self, vit: ViT, num_prompts: int = 10, dropout: float = 0.0, init: str | Tensor = "uniform"):
        super().__init__(vit, num_prompts, deep=False, dropout=dropout)
        pixels = vit.patch_embed.proj.weight[0].numel()  # 3·h·w
        self.prompts = nn.Parameter(first_prompts(init, (1, num_prompts, pixels), vit))

    def layer_prompts(self, number: int, batch: int) -> Tensor:
        """The embedded patches, `P D`, or `B P D` with dropout."""
        embedding = self.vit.patch_embed
        prompts = F.linear(self.prompts[0], embedding.proj.weight.flatten(1), embedding.proj.bias)  # P D
        prompts = embedding.norm(prompts)
        if self.training and self.dropout.p > 0:
            return self.dropout(prompts.expand(batch, -1, -1))  # B P D
        return prompts


class FramedImages(PromptedViT):
    """A frame of learned pixels around every image; the image is shrunk to the middle.

    Args:
        vit: as for `PromptedViT`; its image size stays.
        num_prompts: width of the frame in pixels, on each side.

    Attributes:
        prompts: parameter `1 3 Q`: the Q pixels of the frame, row by row.

    Raises:
        UserError: a frame that leaves no image.
    """

    frame: Tensor  # bool H W

    def __init__(self, vit: ViT, num_prompts: int = 10, init: str | Tensor = "zero"):
        height, width = vit.patch_embed.img_size
        if not 0 < 2 * num_prompts < min(height, width):
            raise UserError(
                f"num_prompts is {num_prompts}, but a frame around images of {height} × {width} px must be 1 to "
                f"{(min(height, width) - 1) // 2} px wide."
            )
        super().__init__(vit, num_prompts=0, deep=False)
        self.num_prompts = num_prompts
        frame = torch.ones(height, width, dtype=torch.bool)
        frame[num_prompts:-num_prompts, num_prompts:-num_prompts] = False
        self.register_buffer("frame", frame, persistent=False)
        pixels = height * width - (height - 2 * num_prompts) * (width - 2 * num_prompts)
        self.prompts = nn.Parameter(first_prompts(init, (1, 3, pixels), vit))

    uses_fast_form = False

    def prompts_among(self, number: int) -> int:
        """No prompts are among the tokens."""
        return 0

    def stem(self, images: Tensor) -> Tensor:
        """Images `B 3 H W` to the tokens `B N D` of the framed images; not frozen here."""
        return embed(self.vit, self.framed(images))

    def framed(self, images: Tensor) -> Tensor:
        """Images `B 3 H W`, shrunk and framed, of the same size."""
        height, width = self.frame.shape
        inner = (height - 2 * self.num_prompts, width - 2 * self.num_prompts)
        small = F.interpolate(images, inner, mode="bilinear", antialias=True, align_corners=False)  # B 3 h w
        padded = F.pad(small, [self.num_prompts] * 4)  # B 3 H W
        border = padded.new_zeros(3, height, width).masked_scatter(self.frame, self.prompts[0])
        return padded + border

    def _prompted_blocks(self, tokens: Tensor, read: int | None = None) -> Tensor:
        for number in range(len(self.vit.blocks)):
            tokens = run(self, number, tokens)
        return tokens
