"""Attention within a model: which tokens it goes to, how far, how much goes to prompts, and what tuning has changed.

`attention` gives the weights of every block, with or without prompts among the tokens. The views below use them:

    class_attention    what the tokens that the head reads attend to in the last block
    rollout            attention followed through all blocks (Abnar and Zuidema, ACL 2020, arXiv 2005.00928, section 3)
    prompt_views       what each prompt attends to, and which patches attend to it
    distances          mean attention distance (Dosovitskiy et al., ICLR 2021, arXiv 2010.11929, figure 7)
    prompt_shares      share of attention that goes to prompts
    linear_cka         similarity of two sets of features (Kornblith et al., ICML 2019, arXiv 1905.00414, section 3)

In every sequence the order is class token, registers, prompts, patches. Attention shows where a token gets its numbers
from. It does not show whether these counted for the answer: Jain and Wallace (NAACL 2019, arXiv 1902.10186) show how
much the two can differ. All arrays are float32.
"""
# torch types all that a Module holds as Tensor or Module, and timm declares `fused_attn` as final.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportOperatorIssue=false

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from timm.layers.attention import Attention, AttentionRope
from timm.layers.attention_pool import AttentionPoolLatent
from timm.models.eva import EvaAttention
from torch import Tensor
from torch.nn import functional as F

from vptlib.errors import UserError
from vptlib.prompting.blocks import ViT, heads, patch_sides
from vptlib.prompting.vit import PromptedViT
from vptlib.tuning.backbones import ClsMeanViT
from vptlib.tuning.methods import AdaptedModel

_BATCH = 16  # images at once, because all their attention weights are in memory; the results do not depend on it


# ---- the model while its attention is read ----------------------------------------------------------------------


@contextmanager
def opened(model: AdaptedModel | PromptedViT) -> Iterator[None]:
    """Evaluation mode, no gradients of parameters, prompts in textbook form; afterwards all is as before.

    The fast form does not serve here: it never has prompts and patches in one sequence.
    """
    modes = [(module, module.training) for module in model.modules()]
    parameters = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    prompted = [(module, module.fast) for module in model.modules() if isinstance(module, PromptedViT)]
    try:
        model.eval()
        model.requires_grad_(False)
        for module, _ in prompted:
            module.fast = False
        with torch.enable_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, required, gradient in parameters:
            parameter.requires_grad_(required)
            parameter.grad = gradient
        for module, fast in prompted:
            module.fast = fast


def grid_of(vit: ViT, images: Tensor) -> tuple[int, int]:
    """Rows and columns of patches that `vit` makes of images `B 3 H W`."""
    return tuple(vit.patch_embed.dynamic_feat_size(tuple(images.shape[-2:])))


def prompts_in(model: AdaptedModel) -> dict[int, int]:
    """Block → how many prompts are in its sequence."""
    net, blocks = model.in_use, range(len(model.vit.blocks))
    return {k: net.prompts_among(k) if isinstance(net, PromptedViT) else 0 for k in blocks}


def enters(model: AdaptedModel, block: int) -> bool:
    """Whether a new set of prompts enters at `block`; the outputs of earlier prompts are dropped there."""
    return prompts_in(model)[block] > 0 and block in model.in_use.layers


# ---- attention itself -------------------------------------------------------------------------------------------


def attention(model: AdaptedModel | PromptedViT, images: Tensor) -> list[Tensor]:
    """The attention weights of every block on images `B 3 H W`: `B H N N` each (head, from, to); rows sum to 1.

    N counts class token, registers, prompts and patches, in that order. The model is unchanged afterwards.

    Raises:
        UserError: blocks whose attention is not timm's plain one.
    """
    return _watched(model, images)[0]


def _watched(model: AdaptedModel | PromptedViT, images: Tensor) -> tuple[list[Tensor], Tensor | None]:
    """`attention`, and the tokens `B N D` that a head with an attention of its own pools (None for another head)."""
    blocks, pool = model.vit.blocks, model.vit.attn_pool
    for block in blocks:
        if not isinstance(getattr(block, "attn", None), Attention | AttentionRope | EvaAttention):
            raise UserError(
                f"the attention of {type(block).__name__} cannot be read: take method 'integrated-gradients', or a "
                "plain ViT."
            )
    seen: list[Tensor] = []
    pooled: list[Tensor] = []
    with opened(model), torch.no_grad(), ExitStack() as stack:
        for block in blocks:
            stack.enter_context(_unfused(block.attn))
            hook = block.attn.attn_drop.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
            stack.callback(hook.remove)
        if pool is not None:
            hook = pool.register_forward_pre_hook(lambda _, inputs: pooled.append(inputs[0]))
            stack.callback(hook.remove)
        model(images)
    return seen, pooled[0] if pooled else None


@contextmanager
def _unfused(attn: Attention | AttentionRope | EvaAttention) -> Iterator[None]:
    """Attention in plain steps, so that its weights pass through `attn_drop`, where a hook can read them."""
    fused, attn.fused_attn = attn.fused_attn, False
    try:
        yield
    finally:
        attn.fused_attn = fused


def readers(vit: ViT, tokens: int) -> Tensor:
    """How much the head reads of each of `tokens` N tokens after the last block, `N`, with sum 1.

    This is for heads that read the same of every image; for others see `pool_shares`.
    """
    patches = vit.patch_embed.num_patches if not vit.dynamic_img_size else tokens - vit.num_prefix_tokens
    shares = torch.zeros(tokens)
    if isinstance(vit, ClsMeanViT):
        shares[0], shares[-patches:] = 0.5, 0.5 / patches
    elif vit.global_pool == "token":
        shares[: len(heads(vit))] = 1 / len(heads(vit))  # of a distilled DeiT: both class tokens
    else:
        shares[-patches:] = 1 / patches
        if getattr(vit, "pool_include_prefix", False):
            shares[: vit.num_prefix_tokens] = 1 / patches
    return shares / shares.sum()


def pool_shares(vit: ViT, pooled: Tensor) -> Tensor:
    """How much a head with an attention of its own reads of each of the tokens `B n D`: `B n`, mean over heads, sum 1.

    SigLIP and PE have such a head: learned queries attend to the tokens after the last block (timm's "map").

    Raises:
        UserError: an attention of another kind.
    """
    pool = vit.attn_pool
    if not isinstance(pool, AttentionPoolLatent):
        raise UserError(
            f"attention maps cannot follow this backbone's head ({type(pool).__name__}): take method "
            "'integrated-gradients'."
        )
    if pool.pos_embed is not None:
        pooled = pooled + pool.pos_embed  # B n D
    queries = pool.q(pool.latent).unflatten(-1, (pool.num_heads, pool.head_dim)).transpose(1, 2)  # 1 H m d
    keys = pool.kv(pooled).unflatten(-1, (2, pool.num_heads, pool.head_dim))[:, :, 0].transpose(1, 2)  # B H n d
    scores = pool.scale * pool.q_norm(queries) @ pool.k_norm(keys).mT  # B H m n
    shares = scores.softmax(dim=-1).mean(dim=1)  # B m n
    return shares[:, 0] if pool.pool == "token" else shares.mean(dim=1)


def class_attention(model: AdaptedModel, images: Tensor) -> Tensor:
    """Share of attention from the tokens that the head reads to each patch in the last block: `B h w`, mean over heads.

    Attention on class token, registers and prompts is left out, so a map sums to less than 1. If the head pools
    patches, it reads the patches.
    """
    height, width = grid_of(model.vit, images)
    weights, read = _attention_and_readers(model, images)
    from_read = torch.einsum("bn,bnm->bm", read, weights[-1].mean(dim=1))  # B N
    return from_read[:, -height * width :].unflatten(1, (height, width))


@torch.no_grad()
def _attention_and_readers(model: AdaptedModel, images: Tensor) -> tuple[list[Tensor], Tensor]:
    """`attention`, and how much the head reads of each token after the last block, `B N`: nothing of prompts."""
    weights, pooled = _watched(model, images)
    prompts, prefix = prompts_in(model)[len(weights) - 1], model.vit.num_prefix_tokens
    count = weights[-1].shape[-1] - prompts  # tokens without prompts
    if pooled is None:
        shares = readers(model.vit, count).to(weights[-1]).expand(len(images), -1)  # B N-P
    else:
        shares = pool_shares(model.vit, pooled)
        shares = F.pad(shares, (count - shares.shape[1], 0))  # B N-P; some heads do not get the class token
    left, right = shares.tensor_split([prefix], dim=1)
    return weights, torch.cat([left, shares.new_zeros(len(images), prompts), right], dim=1)


@dataclass(frozen=True)
class Rollout:
    """The origin of what the head reads, followed back through all blocks.

    Attributes:
        patches: `B h w`, share that comes from each patch's embedding.
        prompts: `B L P`, share that comes from each prompt as it enters at its layer; L and P are 0 without prompts.
        prefix: `B`, share that comes from class token and registers, which are the same for every image.
    """

    patches: np.ndarray
    prompts: np.ndarray
    prefix: np.ndarray


def rollout(model: AdaptedModel, images: Tensor) -> Rollout:
    """Attention rollout, from the tokens that the head reads back to the input; all shares of an image sum to 1.

    Each block counts as ½ attention (mean over heads) and ½ residual stream. A share that reaches a prompt at the layer
    where the prompt enters stays there: it did not come from the image.
    """
    height, width = grid_of(model.vit, images)
    prefix, inside = model.vit.num_prefix_tokens, prompts_in(model)
    weights, share = _attention_and_readers(model, images)  # B N
    of_prompts = []  # B P each, last layer first
    for block in reversed(range(len(weights))):
        share = 0.5 * share + 0.5 * torch.einsum("bn,bnm->bm", share, weights[block].mean(dim=1))  # B N
        count = inside[block]
        left, prompts, right = share.split([prefix, count, share.shape[1] - prefix - count], dim=1)
        if enters(model, block):
            of_prompts.append(prompts)
            prompts = prompts.new_zeros(len(images), inside.get(block - 1, 0))  # dropped after the block before
        elif inside.get(block - 1, 0) != count:
            prompts = prompts.new_zeros(len(images), inside.get(block - 1, 0))
        share = torch.cat([left, prompts, right], dim=1)
    found = torch.stack(of_prompts[::-1], dim=1) if of_prompts else torch.zeros(len(images), 0, 0)
    patches = share[:, prefix:].unflatten(1, (height, width))
    return Rollout(*(t.cpu().numpy() for t in (patches, found, share[:, :prefix].sum(dim=1))))


# ---- prompts ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PromptViews:
    """Attention from and to prompts, mean over heads; P prompts in each of the L blocks that have prompts.

    Attributes:
        blocks: their numbers, `L`.
        attends_to: `B L P h w`, share of a prompt's attention that each patch gets. The output of a deep prompt is
            dropped, so this attention has no effect there: it shows what a prompt is like, not what it does.
        attended_by: `B L P h w`, share of a patch's attention that the prompt gets.
        from_class_token: `B L P`, share of the class token's attention that the prompt gets; zeros without one.
    """

    blocks: tuple[int, ...]
    attends_to: np.ndarray
    attended_by: np.ndarray
    from_class_token: np.ndarray


def prompt_views(model: AdaptedModel, images: Tensor) -> PromptViews:
    """What each prompt attends to, and what attends to it, on images `B 3 H W`.

    Raises:
        UserError: a model without prompts in its sequence.
    """
    inside = {block: count for block, count in prompts_in(model).items() if count}
    if not inside:
        raise UserError(f"method {model.method!r} has no prompts among its tokens: take vpt-shallow or vpt-deep.")
    grid, prefix = grid_of(model.vit, images), model.vit.num_prefix_tokens
    area = grid[0] * grid[1]
    weights = attention(model, images)
    rows = {"to": [], "by": [], "cls": []}
    for block, count in inside.items():
        mean, prompts = weights[block].mean(dim=1), slice(prefix, prefix + count)  # B N N
        rows["to"].append(mean[:, prompts, -area:].unflatten(2, grid))  # B P h w
        rows["by"].append(mean[:, -area:, prompts].transpose(1, 2).unflatten(2, grid))  # B P h w
        rows["cls"].append(mean[:, 0, prompts] if prefix else mean.new_zeros(len(images), count))  # B P
    found = {name: torch.stack(parts, dim=1).cpu().numpy() for name, parts in rows.items()}
    return PromptViews(tuple(inside), found["to"], found["by"], found["cls"])


def prompt_shares(model: AdaptedModel, images: Tensor) -> np.ndarray:
    """Share of attention on prompts in each block, mean over heads, images and all other tokens: `L`; 0 without any."""
    prefix, inside = model.vit.num_prefix_tokens, prompts_in(model)
    shares = torch.zeros(len(inside))
    for part in images.split(_BATCH):
        for (block, count), weights in zip(inside.items(), attention(model, part), strict=True):
            to_prompts = weights[..., prefix : prefix + count].sum(dim=-1)  # B H N
            others = torch.cat([to_prompts[..., :prefix], to_prompts[..., prefix + count :]], dim=-1)
            shares[block] += float(others.mean()) * len(part) / len(images)
    return shares.numpy()


# ---- what tuning has changed ------------------------------------------------------------------------------------


def distances(model: AdaptedModel, images: Tensor) -> np.ndarray:
    """Mean attention distance of each head in pixels of the model's input, `L H`.

    This is the mean, over patches and images, of the distance from a patch to what it attends to. Attention on tokens
    that are not patches is left out, and the rest is scaled to sum 1. A head with even attention has `even_distance`.
    """
    apart = _patch_distances(model.vit, images)  # N N
    found = []  # L H for each part
    for part in images.split(_BATCH):
        of_blocks = [weights[..., -len(apart) :, -len(apart) :] for weights in attention(model, part)]  # B H N N each
        shares = [among / among.sum(dim=-1, keepdim=True).clamp(min=1e-12) for among in of_blocks]
        means = [(among.cpu() * apart).sum(dim=-1).mean(dim=2).sum(dim=0) for among in shares]  # H each
        found.append(torch.stack(means))
    return (sum(found, torch.tensor(0.0)) / len(images)).numpy()


def even_distance(vit: ViT, images: Tensor) -> float:
    """The mean attention distance, in pixels, of a head that attends to all patches equally."""
    return float(_patch_distances(vit, images).mean())


def _patch_distances(vit: ViT, images: Tensor) -> Tensor:
    rows, columns = grid_of(vit, images)
    tall, wide = patch_sides(vit)
    corners = torch.cartesian_prod(torch.arange(rows) * float(tall), torch.arange(columns) * float(wide))  # N 2
    return torch.cdist(corners, corners)  # N N


def layer_features(model: AdaptedModel, images: Tensor) -> list[np.ndarray]:
    """The output of each block, as the mean of its patch tokens: `B D` for each of L blocks."""
    height, width = grid_of(model.vit, images)
    seen: list[list[Tensor]] = [[] for _ in model.vit.blocks]

    def keep(number: int):
        return lambda _, __, tokens: seen[number].append(tokens[:, -height * width :].mean(dim=1))

    hooks = [block.register_forward_hook(keep(number)) for number, block in enumerate(model.vit.blocks)]
    try:
        with opened(model), torch.no_grad():
            for part in images.split(_BATCH):
                model(part)
    finally:
        for hook in hooks:
            hook.remove()
    return [torch.cat(parts).cpu().numpy() for parts in seen]


def linear_cka(a: np.ndarray, b: np.ndarray) -> float:
    """Linear CKA of features `B D` and `B E` of the same images: 1 if they differ only in rotation and scale.

    |a'b|² / (|a'a| |b'b|), all columns centred (Kornblith et al., equations 3 and 4, by the Gram matrices). With few
    images it is too high, even for unrelated features. Take many images, and the same number for each comparison.

    Raises:
        UserError: different numbers of images, fewer than 3, or features that do not vary.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if len(a) != len(b) or len(a) < 3:
        raise UserError(f"features of {len(a)} and {len(b)} images: give those of the same 3 images or more.")
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    gram_a, gram_b = a @ a.T, b @ b.T  # B B
    scale = np.linalg.norm(gram_a) * np.linalg.norm(gram_b)
    if not scale > 0:
        raise UserError("features that are the same for all images have no similarity to measure: take other images.")
    return float((gram_a * gram_b).sum() / scale)


def kept(model: AdaptedModel, frozen: AdaptedModel, images: Tensor) -> np.ndarray:
    """CKA of each block's features to those of the frozen backbone, `L`: 1 if tuning kept them, less if it did not."""
    pairs: Sequence = list(zip(layer_features(model, images), layer_features(frozen, images), strict=True))
    return np.array([linear_cka(a, b) for a, b in pairs], dtype=np.float32)
