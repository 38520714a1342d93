"""What the name of a folder says of the images in it: a split, a container of images, or something other than images.

A split's name may have a number, a date or a plain word with it: `01_train`, `train2017`, `training_set`.
"""

import re
import unicodedata
from collections.abc import Iterable

_WORDS = {
    "train": "train training trainset trainingset trn trainval 訓練 学習 トレーニング",
    "val": "val valid validation validate dev valset validset validationset 検証",
    "test": "test testing testset tests tst テスト 試験",
    "evaluation": "eval evaluation evalset evaluationset 評価",
}
_KIND_OF = {word: kind for kind, words in _WORDS.items() for word in words.split()}
_PLAIN_WORDS = """
    set sets data dataset datasets image images img imgs picture pictures pic pics photo photos folder dir split seg
    sample samples class classes cropped resized jpg jpeg png x px v1 v2 v3 ilsvrc データ セット 画像 用
"""
_CONTAINER_WORDS = "image images img imgs data dataset picture pictures photo photos jpegimages 画像"
_BESIDE_WORDS = """
    mask masks groundtruth ground truth gt annotation annotations label labels segmentation segmentations bbox bboxes
    unlabelled unlabeled holdout hold held out doc docs documents prediction predictions pred heatmap heatmaps
"""
_PLAIN, _CONTAINERS, _NOT_CLASSES = (
    frozenset(words.split()) for words in (_PLAIN_WORDS, _CONTAINER_WORDS, _BESIDE_WORDS)
)
# Of those, the ones that nobody calls a class.
_NEVER_CLASSES = (
    "groundtruth",
    "masks",
    "annotations",
    "unlabelled",
    "unlabeled",
    "holdout",
    "segmentations",
    "bboxes",
)


def split_kind(name: str) -> str | None:
    """ "seg_train", "Training Set" → "train"; also "val", "test" and "evaluation". None for any other name."""
    first, *others = _words_of(name) or [""]
    words = others if first.isdigit() else [first, *others]
    kinds = [_KIND_OF[word] for word in words if word in _KIND_OF]
    if not kinds or not all(word in _KIND_OF or _is_plain(word) for word in words):
        return None
    if set(kinds) == {"train", "val"}:  # train_val, as in Pascal VOC
        return "train"
    return kinds[0] if len(kinds) == 1 else None


def roles_of(kinds: Iterable[str]) -> dict[str, str]:
    """Kind of split → "train" or "test"; with training and validation images alone, the latter test."""
    there = set(kinds)
    held_out = next((kind for kind in ("test", "evaluation", "val") if kind in there), None)
    alone = there == {"val"}
    return {kind: "test" if kind == held_out and not alone else "train" for kind in there}


def is_container(name: str) -> bool:
    """Whether a folder of this name just holds the images: `images`, `data`."""
    return "".join(_words_of(name)) in _CONTAINERS


def is_beside(name: str) -> bool:
    """Whether a folder of this name lies with images, but does not hold them: `masks`, `ground_truth`, `labels`."""
    words = [word for word in _words_of(name) if not _is_plain(word)]
    return bool(words) and all(word in _NOT_CLASSES for word in words)


def is_never_a_class(name: str) -> bool:
    """Whether a folder of this name among class folders is surely a mistake."""
    return "".join(_words_of(name)) in _NEVER_CLASSES


def _is_plain(word: str) -> bool:
    return word in _PLAIN or (word.isdigit() and len(word) > 2)


def _words_of(name: str) -> list[str]:
    """ "01_trainImages" → ["01", "train", "images"]; a single digit behind a word stays with it: "test1"."""
    text = unicodedata.normalize("NFKC", name).strip()
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower()
    text = re.sub(r"(?<=[^\W\d_])(?=\d{3})", " ", text)
    text = re.sub(r"(?<=\d)(?=[^\W\d_])", " ", text)
    text = re.sub("(データ|セット|画像|用)", r" \1 ", text)
    joined = re.sub(r"\b(train|training|val|valid|validation|test|testing)(data|images|imgs|dataset)\b", r"\1 \2", text)
    return [word for word in re.split(r"[\W_]+", joined) if word]
