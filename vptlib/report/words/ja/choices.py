"""Codes in a word or two: choices, steps, levels, parts of a plan."""

from vptlib.evidence.curves import A_AHEAD, B_AHEAD, CROSSES, OPEN
from vptlib.evidence.recommendation import (
    FULL,
    LARGER_INPUT,
    MORE_LABELS,
    MORE_SEEDS,
    MORE_TEST_IMAGES,
    NO_ANSWER,
    NOTHING_WORKS,
    PROMPT,
    TRAIN_LONGER,
)
from vptlib.evidence.stages import LABEL_MORE, OPERATE, OUT_OF_SIGHT, PILOT, STUDY_MORE

# ---- codes in a word or two -------------------------------------------------------------------------------------

# The steps that ask for more, in a few words and as a headline for someone who has to act on it.
CHOICES = {
    MORE_SEEDS: "シードを増やす",
    MORE_TEST_IMAGES: "テスト画像を増やす",
    LARGER_INPUT: "入力サイズを大きくする",
    TRAIN_LONGER: "学習を延ばす",
    MORE_LABELS: "学習用のラベルを増やす",
    NOTHING_WORKS: "使える手法がない",
    NO_ANSWER: "まだ答えが出ない",
}
HEADLINES = {
    MORE_SEEDS: "シードを増やしてから決める",
    MORE_TEST_IMAGES: "テスト画像を増やしてから決める",
    LARGER_INPUT: "入力サイズを大きくしてから決める",
    TRAIN_LONGER: "学習を延ばしてから決める",
    MORE_LABELS: "学習用のラベル付き画像を増やす",
    NOTHING_WORKS: "使える手法がない。バックボーンか課題を見直す",
    NO_ANSWER: "まだ答えが出ない。もっと計算時間が要る",
}
USED = {PROMPT: "視覚プロンプト（VPT-deep）を採用する", FULL: "モデル全体を再学習する"}
LEVELS = {"low": "低", "medium": "中", "high": "高"}
PLAN_STEPS = {
    OPERATE: "本運用",
    PILOT: "試行運用",
    LABEL_MORE: "ラベルの追加",
    STUDY_MORE: "試験の完了",
    OUT_OF_SIGHT: "到達の見込みなし",
}
# What each statement of a plan is about.
PLAN_PARTS = {
    "tried": "PoC",
    **dict.fromkeys([OPERATE, "operate_unasked", PILOT, LABEL_MORE, STUDY_MORE, OUT_OF_SIGHT], "今すること"),
    **dict.fromkeys(["collect", "buy_labels"], "データ収集"),
    **dict.fromkeys(["decide_again_by_convention", "decide_again_by_record", "decide_again_past_record"], "再判断"),
    **dict.fromkeys(["again_when_finished", "again_with_another_backbone"], "再判断"),
}
LEADS = {
    A_AHEAD: "aが一貫して上回る",
    B_AHEAD: "bが一貫して上回る",
    CROSSES: "逆転する",
    OPEN: "証拠が足りない",
}
