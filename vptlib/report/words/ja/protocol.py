"""Sentences on the rules of a comparison (`vptlib.study.protocol`, `vptlib.data.conditions`)."""

from collections.abc import Iterable

from vptlib.report.words.ja.base import says, sentence, title
from vptlib.report.words.ja.numbers import duration, listed, per_cent, span, whole
from vptlib.statement import Statement

# ---- protocol, rules and conditions (vptlib.study.protocol, vptlib.data.conditions) -------------------------------

RULES = {
    "images": "画像",
    "input": "入力",
    "augmentation": "データ拡張",
    "tuning": "設定の選び方",
    "final_run": "最終の学習",
    "training": "学習",
    "solved": "収束まで解く手法",
    "strong": "強化した設定",
    "prompts": "プロンプト",
    "test": "テスト",
    "seeds": "シード",
    "conditions": "条件",
}
OPTIMISERS = {"sgd": "SGD", "adamw": "AdamW"}
# The changes of test images (`vptlib.data.conditions.CORRUPTIONS`), as names.
CORRUPTIONS = {
    "noise": "ノイズ",
    "blur": "ぼけ",
    "brightness": "明るさの変化",
    "contrast": "コントラストの低下",
    "pixelation": "画素の粗大化",
}


def protocol(rules: dict[str, Statement]) -> dict[str, str]:
    """The rules of `vptlib.study.study.Study.protocol`, label to sentence, in the same order."""
    return {RULES[about]: sentence(rule) for about, rule in rules.items()}


def in_a_row(values: Iterable) -> str:
    """As `listed`, which a Japanese list does not differ from; whole numbers have their thousands set off."""
    return listed(whole(value) if isinstance(value, int) else value for value in values)


def pixels(size: int | str) -> str:
    """224 → "224 px"; a number that is written already may be given as text."""
    return f"{size if isinstance(size, str) else whole(size)}\u202fpx"


@says
def images_of_equal_budget(sizes: list[int], validating: list[float], nested: bool, groups_apart: bool | None) -> str:
    low, high = (round(100 * share) for share in validating)
    train, least, most = (per_cent(share / 100, 0) for share in (100 - low, low, high))
    parts = (
        f"そのうち{train}を学習に、{least}を検証に使う"
        if low == high
        else f"そのうち{span(str(low), most)}（枚数により異なる）を検証に、残りを学習に使う"
    )
    of_groups = {
        True: "学習と検証の両方に使うグループはない。",
        False: "学習と検証の両方に使うグループがある。",
        None: "",
    }[groups_apart]
    smaller = "シードが同じなら、少ない枚数の画像は多い枚数の画像にすべて含まれる。" if nested else ""
    return (
        f"nは使うラベル付き画像の総数である。{parts}。{of_groups}{smaller}どの手法も同じ画像を使う。"
        f"枚数：{in_a_row(sizes)}。"
    )


@says
def tuning_of_equal_budget(candidates: int | str, seeds: int) -> str:
    tried = "すべての学習率" if candidates == "all" else f"学習率を{whole(int(candidates))}通り"
    tried = f"{tried}を試し" if candidates == "all" else f"{tried}試し"
    taken_over = "選んだ学習率は、ほかのシードでもそのまま使う。" if seeds > 1 else ""
    return f"手法と枚数ごとに{tried}、最初のシードの検証用画像で選ぶ。試す数はどの手法でも同じである。{taken_over}"


@says
def training_of_equal_budget(steps: int, batch_size: int) -> str:
    return (
        f"どの手法のどの学習も{whole(steps)}ステップとし、各ステップで最大{whole(batch_size)}枚の画像を使う（AdamW、"
        "線形ウォームアップ、コサイン減衰、データ拡張なし）。検証用画像で最も良かった重みを残す。"
    )


_ASPECTS = {
    "squash": "画像を正方形に伸縮する",
    "crop": "画像の短辺を合わせ、中央を切り出す",
    "pad": "画像の長辺を合わせ、余白を足す",
}


@says
def input_given(size: int, aspect: str, origin: str, precision: str, augmentation: str) -> str:
    how = {
        "chosen": "学習の前に、ラベル付き画像で選んだ",
        "own": "バックボーン本来のサイズ。ほかのサイズは使えないか、使っても見える情報が増えない",
        "given": "設定で指定",
    }[origin]
    arithmetic = "計算はbfloat16で行う。" if precision == "bf16" else ""
    plain = "データ拡張は行わない。" if augmentation == "none" else ""
    return f"{whole(size)} × {pixels(size)}（{how}）。{_ASPECTS[aspect]}。{plain}{arithmetic}"


@says
def augmentation_given(shift: int, change: float, mirror: bool, without: list[str], head_solved: list[str]) -> str:
    half = (
        "無作為に選んだ半数の画像は、左右を反転する。"
        if mirror
        else "左右の向きでラベルが変わる可能性があるため、左右の反転は行わない。"
    )
    frozen, heads = (listed(title(method) for method in of) for of in (without, head_solved))
    none = f"{frozen}では行わない。凍結した層は、各画像を一度だけ計算すれば済むからである。" if frozen else ""
    solved = f"{heads}では、まずデータ拡張なしでヘッドを解く。" if heads else ""
    return (
        f"学習のステップごとに、画像を辺の長さの最大1/{shift}だけずらし、明るさとコントラストを最大"
        f"{per_cent(change, 0)}変える。どの手法も同じ画像を使う。{half}{none}{solved}検証用画像とテスト画像は変えない。"
    )


@says
def tuning_until_done(candidates: int, growth: int, seeds: int) -> str:
    whose = "シードごとに、それぞれの検証用画像で選ぶ。" if seeds > 1 else "検証用画像で選ぶ。"
    return (
        f"手法と枚数ごとに学習率を{whole(candidates)}通り試す。候補は√10倍ずつ離れ、その数はどの手法でも同じである。"
        f"{whose}ラウンドごとに、成績の悪い半分を打ち切る。標準の学習率から替えるのは、ほかの候補の改善が標準誤差を"
        f"超える場合だけである。最良の学習率が候補の端にあれば、その隣も試す（最大{whole(growth)}回）。"
    )


@says
def training_until_done(steps: int, batch_size: int, patience: int, between: int) -> str:
    return (
        f"検証用画像での成績が{whole(patience)}回の評価（{whole(between)}ステップおき）"
        f"で続けて伸びなくなるまで学習する。上限は{whole(steps)}ステップで、"
        f"各ステップで最大{whole(batch_size)}枚の画像を使う。どの手法も同じ条件である（AdamW：線形ウォームアップ、"
        "一定の学習率、最後に線形に減衰）。検証用画像で最も良かった重みを残す。"
    )


@says
def solved_methods(methods: list[str]) -> str:
    return (
        f"{listed(title(method) for method in methods)}：凍結したバックボーンの特徴量の上で、収束するまで解く。"
        "正則化の強さは、一連の候補をすべて解き、検証用画像で選ぶ。"
    )


_STRENGTHS = {
    "layer_decay": "下の層ほど遅い学習（層ごとに{:g}倍）",
    "drop_path": "ブロックの無作為な省略（drop-path、最大{:g}）",
}


@says
def strong_methods(options: dict[str, dict]) -> str:
    parts = [
        f"{title(method)}：{listed(_STRENGTHS[name].format(value) for name, value in own.items())}。"
        for method, own in options.items()
    ]
    return "".join(parts)


@says
def prompts_given(num_prompts: int) -> str:
    return f"プロンプトを加える層ごとに{whole(num_prompts)}個とする。"


@says
def images_of_published_rules(sizes: list[int]) -> str:
    return f"nは使うラベル付き画像の総数であり、設定を選ぶための画像も含む。枚数：{in_a_row(sizes)}。"


@says
def tuning_of_published_rules(
    settings: dict[str, int], whole_grid: bool, official_split: bool, whole_groups: bool
) -> str:
    how = "グループ単位で約5分の1" if whole_groups else "クラスの比率を保って5分の1"
    aside = "タスクが定める検証用の画像（val200.txt）" if official_split else f"取り分けた画像（{how}）"
    drawn = "" if whole_grid else "。公表された候補を一度だけ無作為に並べ（シード0）、その先頭から試した"
    return (
        f"設定（学習率、重み減衰、プロンプト長）は、{aside}を使い、最初のシードだけで選ぶ。最後のステップ後の正解率で"
        f"選び、同じなら損失の小さいほうを採る。試した数：{_settings_tried(settings)}{drawn}。"
    )


def _settings_tried(settings: dict[str, int]) -> str:
    numbers = list(settings.values())
    if len(set(numbers)) == 1:
        return f"どの手法も{whole(numbers[0])}通り"
    each = listed(f"{title(method)} {whole(number)}通り" for method, number in settings.items())
    return f"{each}（候補が多いほど良い設定に当たりやすい。公表された候補の数は手法によって異なる）"


@says
def final_run_of_published_rules() -> str:
    return (
        "選んだ設定で、n枚の画像をすべて使い、シードごとに一度だけ学習する。その後は何も選ばず、最後のステップの重みで"
        "テストする。発散した学習も、その予測のまま結果に含める。"
    )


@says
def training_of_published_rules(epochs: int, batch_size: int, optimisers: dict[str, str]) -> str:
    each = listed(f"{title(method)}は{OPTIMISERS[name]}" for method, name in optimisers.items())
    return (
        f"{whole(epochs)}エポック学習し、各ステップで最大{whole(batch_size)}枚の画像を使う。"
        "最初の1割は線形ウォームアップ、その後はコサイン減衰とし、データ拡張は行わない。最適化手法："
        f"{each}（SGDのモメンタムは0.9）。"
    )


@says
def prompts_of_published_rules(lengths: list[int], dropout: float) -> str:
    return (
        f"プロンプトの数は、選ぶ設定の一つである（{in_a_row(lengths)}）。VPT-deepのプロンプトには、率{dropout:g}の"
        "ドロップアウトを使う。"
    )


@says
def time_fits(runs: int, missing: int, seconds: float) -> str:
    if not runs:
        return f"残りの学習{whole(missing)}回は、どれも時間内に終わらない。"
    return (
        f"残りの学習{whole(missing)}回のうち{whole(runs)}回が時間内に終わる。"
        f"所要時間の見込みは{duration(seconds)}である。"
    )


@says
def size_for_the_time(size: int, wanted: int) -> str:
    return f"入力サイズは{pixels(wanted)}のほうが良いが、この時間では終わらない。そのため{pixels(size)}とする。"


@says
def runs_left_out(runs: int, by_size: list[dict]) -> str:
    parts = [
        f"{listed(title(method) for method in part['methods'])}（画像{whole(part['n'])}枚、"
        f"シード{in_a_row(part['seeds'])}）"
        for part in by_size
    ]
    return (
        f"学習{whole(runs)}回の結果がない：{listed(parts)}。時間が足りなかったか、学習が失敗した。時間を増やして"
        "同じコマンドを実行すれば続きを行う。"
    )


@says
def tested_once(images: int, asked: int | None = None) -> str:
    fewer = f"指定は{whole(asked)}枚だが、これですべてである。" if asked else ""
    return (
        f"テスト画像は{whole(images)}枚で、どの学習でも同じである。学習ごとに一度だけ使い、何かを選ぶためには使わない。"
        f"{fewer}"
    )


@says
def seeds_given(seeds: list[int]) -> str:
    quick = "簡易確認であり、区間はテスト画像の選び方によるばらつきだけを示す。" if len(seeds) == 1 else ""
    return f"{whole(len(seeds))}個（{in_a_row(seeds)}）。{quick}"


@says
def conditions(label_noise: float, noise: str, imbalance: float, corruption: str, severity: int) -> str:
    """ "" where nothing is changed."""
    parts = []
    if label_noise:
        way = "ほかの任意のクラス" if noise == "symmetric" else "常に次のクラス"
        parts.append(f"ラベル付き画像の{per_cent(label_noise, 0)}に、誤ったラベル（{way}）を付ける。")
    if imbalance > 1:
        parts.append(f"画像が最も多いクラスの枚数を、最も少ないクラスの{imbalance:g}倍とする。")
    if corruption:
        parts.append(f"テスト画像に劣化を加える（{CORRUPTIONS[corruption]}、強さは5段階の{severity}）。")
    return "".join(parts)
