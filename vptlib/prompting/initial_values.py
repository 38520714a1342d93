"""First values of prompts, taken from images.

Jia et al. (arXiv 2203.12119, appendix B) start prompts from mean embeddings of the classes. Wang et al. (ICML 2024,
"Revisiting the Power of Prompt for Visual Tuning") start them from clusters of the patch tokens of each layer. Give the
result to `PromptedViT(init=...)`. Take images of the training set only.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from vptlib.errors import UserError
from vptlib.prompting.blocks import ViT, block_at, embed
from vptlib.prompting.vit import chosen_layers

# Most patch tokens of a layer that k-means uses, drawn at random where there are more.
MOST_TOKENS = 20_000


def class_means(vit: ViT, images: Tensor, labels: Tensor, layers: Sequence[int] | str) -> Tensor:
    """Means of the patch tokens that enter a layer, for each layer and class: `L C D`, one prompt a class.

    Args:
        vit: the frozen backbone.
        images: `N 3 H W`, preprocessed, of the training set.
        labels: int `N`, classes 0 to C - 1, each with an image.
        layers: as for `PromptedViT`.

    Raises:
        UserError: a class without images.
    """
    counts = torch.bincount(labels)
    if (counts == 0).any():
        raise UserError(f"class {int((counts == 0).nonzero()[0])} has no image: give at least one of each class.")
    means = [image_tokens.mean(dim=1) for image_tokens in _patch_tokens(vit, images, layers)]  # L of N D
    sums = [torch.zeros(len(counts), m.shape[1]).to(m).index_add(0, labels.to(m.device), m) for m in means]
    return torch.stack(sums) / counts[:, None].to(sums[0])


def cluster_centres(vit: ViT, images: Tensor, num_prompts: int, layers: Sequence[int] | str, seed: int = 0) -> Tensor:
    """The k-means centres of the patch tokens that enter a layer, for each layer: `L P D`.

    Args:
        vit, images, layers: as for `class_means`.
        num_prompts: centres per layer (P).
        seed: of k-means, and of the draw of tokens where there are more than `MOST_TOKENS`.

    Raises:
        UserError: fewer patch tokens than prompts.
    """
    return torch.stack([_centres(t.flatten(0, 1), num_prompts, seed) for t in _patch_tokens(vit, images, layers)])


def _centres(tokens: Tensor, count: int, seed: int) -> Tensor:
    """Tokens `M D` to centres `P D`."""
    from sklearn.cluster import MiniBatchKMeans

    if not 1 <= count <= len(tokens):
        raise UserError(f"num_prompts is {count}, but must be 1 to {len(tokens)}, the number of patch tokens.")
    drawn = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(seed))[: max(MOST_TOKENS, count)]
    means = MiniBatchKMeans(count, random_state=seed, n_init=3).fit(tokens[drawn].double().cpu().numpy())
    return torch.from_numpy(means.cluster_centers_).to(tokens)


@torch.no_grad()
def _patch_tokens(vit: ViT, images: Tensor, layers: Sequence[int] | str) -> list[Tensor]:
    """The patch tokens that enter each chosen layer, without prompts: `N n D`."""
    wanted = chosen_layers(layers, len(vit.blocks))
    parts = [_entering(vit, part.to(vit.patch_embed.proj.weight), wanted) for part in images.split(100)]
    return [torch.cat(of_layer) for of_layer in zip(*parts, strict=True)]


def _entering(vit: ViT, images: Tensor, wanted: tuple[int, ...]) -> list[Tensor]:
    tokens, found = embed(vit, images), []
    for number in range(len(vit.blocks)):
        if number in wanted:
            found.append(tokens[:, vit.num_prefix_tokens :])  # B n D
        tokens = block_at(vit, number, tokens.shape[1])(tokens)
    return found
