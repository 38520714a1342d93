"""Names by which others call a pre-trained ViT, and the names of the same weights in timm.

`load_backbone` takes timm's names. People bring those of Hugging Face (`google/vit-base-patch16-224`), of torch.hub
(`dinov2_vits14`) and of papers (`ViT-B/16`). They get an error with the right name, because a name that is nearly right
may stand for other weights.
"""

import re

import timm

_SIZES = {"t": "tiny", "ti": "tiny", "s": "small", "b": "base", "l": "large", "h": "huge", "g": "giant"}
_SIZES |= {"bigg": "gigantic", "7b": "7b"}
_HUB = re.compile(r"^(?:hf[-_]hub:)?(?:timm/)?")


def without_hub(name: str) -> str:
    """`name` without timm's marks of a hub: `hf-hub:timm/NAME`, `hf_hub:timm/NAME` and `timm/NAME` become `NAME`."""
    return _HUB.sub("", name)


def timm_names(name: str) -> list[str]:
    """The names in timm of what others call `name`, the likeliest first; empty if it is not known."""
    plain = without_hub(name).rpartition("/")[2] if "/" in name and not _IN_PAPERS.match(name.lower()) else name
    for pattern, *templates in _RULES:
        if found := re.fullmatch(pattern, plain.lower()):
            parts = {key: _SIZES.get(value or "", value or "") for key, value in found.groupdict().items()}
            names = [template.format(**parts) for template in templates]
            offered = timm.list_pretrained([name.split(".")[0] + ".*" for name in names])
            return [name for name in names if name in offered]
    return []


_IN_PAPERS = re.compile(r"vit-(?:ti|[sblhg])/\d+")  # ViT-B/16: its slash is no folder

# Pattern of the name in small letters, without its owner; then the names in timm, of which those that exist are given.
_RULES = [
    # Hugging Face's google/: the weights of Dosovitskiy et al., not the later ones of "augreg" where timm has both
    (r"vit-(?P<s>base|large|huge)-patch(?P<p>\d+)-(?P<i>\d+)-in21k", "vit_{s}_patch{p}_{i}.orig_in21k"),
    (
        r"vit-(?P<s>tiny|small|base|large)-patch(?P<p>\d+)-(?P<i>\d+)",
        "vit_{s}_patch{p}_{i}.orig_in21k_ft_in1k",
        "vit_{s}_patch{p}_{i}.augreg_in21k_ft_in1k",
    ),
    (r"deit-(?P<s>tiny|small|base)-patch16-(?P<i>\d+)", "deit_{s}_patch16_{i}.fb_in1k"),
    (r"deit-(?P<s>tiny|small|base)-distilled-patch16-(?P<i>\d+)", "deit_{s}_distilled_patch16_{i}.fb_in1k"),
    (r"vit-mae-(?P<s>base|large)", "vit_{s}_patch16_224.mae"),
    (r"vit-mae-huge", "vit_huge_patch14_224.mae"),
    (r"dino[-_]vit(?P<s>[sb])(?P<p>8|16)", "vit_{s}_patch{p}_224.dino"),
    (r"dino-?v2", "vit_small_patch14_dinov2.lvd142m", "vit_base_patch14_dinov2.lvd142m"),
    (r"dinov2-(?P<s>small|base|large|giant)(?:-imagenet1k-1-layer)?", "vit_{s}_patch14_dinov2.lvd142m"),
    (r"dinov2-with-registers-(?P<s>small|base|large|giant).*", "vit_{s}_patch14_reg4_dinov2.lvd142m"),
    (r"dinov2_vit(?P<s>[sblg])14(?:_lc)?", "vit_{s}_patch14_dinov2.lvd142m"),
    (r"dinov2_vit(?P<s>[sblg])14_reg(?:_lc)?", "vit_{s}_patch14_reg4_dinov2.lvd142m"),
    (r"dino-?v3", "vit_small_patch16_dinov3.lvd1689m", "vit_base_patch16_dinov3.lvd1689m"),
    (r"dinov3[-_]vit(?P<s>s|b|l|7b)16(?:-pretrain-lvd1689m)?", "vit_{s}_patch16_dinov3.lvd1689m"),
    (r"dinov3[-_]vit(?P<s>s|h)16plus(?:-pretrain-lvd1689m)?", "vit_{s}_plus_patch16_dinov3.lvd1689m"),
    (r"dinov3[-_]vit(?P<s>l|7b)16-pretrain-sat493m", "vit_{s}_patch16_dinov3.sat493m"),
    (r"siglip-?2", "vit_base_patch16_siglip_224.v2_webli"),
    (r"siglip2-so400m-patch14-384", "vit_so400m_patch14_siglip_378.v2_webli"),
    (r"siglip2-(?P<s>base|large|so400m)-patch(?P<p>\d+)-(?P<i>\d+)", "vit_{s}_patch{p}_siglip_{i}.v2_webli"),
    (r"siglip2-giant-opt-patch16-(?P<i>\d+)", "vit_giantopt_patch16_siglip_{i}.v2_webli"),
    (r"siglip", "vit_base_patch16_siglip_224.webli"),
    (r"siglip-(?P<s>base|large|so400m)-patch(?P<p>\d+)-(?P<i>\d+)", "vit_{s}_patch{p}_siglip_{i}.webli"),
    (r"siglip-base-patch16-256-multilingual", "vit_base_patch16_siglip_256.webli_i18n"),
    # OpenAI's own weights were trained with QuickGELU
    (r"clip-vit-(?P<s>base|large)-patch(?P<p>\d+)", "vit_{s}_patch{p}_clip_quickgelu_224.openai"),
    (r"(?:clip-vit-large-patch14-336|vit-l[-/]14@336px)", "vit_large_patch14_clip_quickgelu_336.openai"),
    (r"clip-vit-(?P<s>b|l|h|g|bigg)-(?P<p>\d+)-laion2b.*", "vit_{s}_patch{p}_clip_224.laion2b"),
    (r"aimv2-(?P<s>large|huge|1b|3b)-patch14-(?P<i>\d+)", "aimv2_{s}_patch14_{i}.apple_pt"),
    (r"aimv2-large-patch14-(?P<i>\d+)-distilled", "aimv2_large_patch14_{i}.apple_pt_dist"),
    (r"pe-core-(?P<s>[tsbl])(?P<p>\d+)-(?P<i>\d+)", "vit_pe_core_{s}_patch{p}_{i}.fb"),
    (r"pe-core-g14-448", "vit_pe_core_gigantic_patch14_448.fb"),
    (r"eva-?02", "eva02_small_patch14_224.mim_in22k", "eva02_base_patch14_224.mim_in22k"),
    # papers, torchvision and OpenCLIP: the supervised weights, then CLIP's
    (
        r"vit[-_]?(?P<s>ti|[sblhg])[-_/]?(?P<p>\d+)",
        "vit_{s}_patch{p}_224.augreg_in21k",
        "vit_{s}_patch{p}_224.orig_in21k",
        "vit_{s}_patch{p}_clip_quickgelu_224.openai",
        "vit_{s}_patch{p}_clip_224.laion2b",
    ),
]
