"""Sentences on learning curves, forecasts and intervals (`vptlib.evidence.curves`, `forecast`, `resampling`)."""

from vptlib.evidence.recommendation import FULL, PROMPT
from vptlib.report.words.ja.base import in_prose, interval, says, share
from vptlib.report.words.ja.numbers import decimals, in_points, listed, many, per_cent

# ---- learning curves (vptlib.evidence.curves) ---------------------------------------------------------------------


@says
def few_sizes(sizes: int) -> str:
    return f"学習した枚数が{sizes}通りしかなく、2点を通る線は外れようがない"


@says
def error_rises(first: int, last: int) -> str:
    return f"ラベル付き画像が{first}枚から{last}枚に増えても誤り率が下がらない"


@says
def error_maybe_flat(first: int, last: int) -> str:
    return f"ラベル付き画像{first}枚から{last}枚の間で、誤り率が横ばいの可能性もある"


@says
def error_off_curve(n: int) -> str:
    return f"ラベル付き画像{n}枚の誤り率が、偶然では説明できないほど曲線から外れている"


@says
def who_leads(a: str, b: str, a_ahead_at: list[int], b_ahead_at: list[int], open_at: list[int], changes: int) -> str:
    found = [
        (f"{in_prose(a)}が明らかに上回るのは", a_ahead_at),
        (f"{in_prose(b)}が明らかに上回るのは", b_ahead_at),
        ("どちらが上とも言えないのは", open_at),
    ]
    each = listed(f"{lead}{listed(sizes)}枚" for lead, sizes in found if sizes)
    several = f"優劣は{changes}回入れ替わり、示したのは最後の逆転点である。" if changes > 1 else ""
    return f"ラベル付き画像の枚数で見ると、{each}である。{several}"


# ---- the forecast and its record (vptlib.evidence.forecast) ---------------------------------------------------------

FORECAST_RULES = {
    "constant": "毎回同じ確率",
    "later_size": "後のラベル数による",
    "images_per_class": "後のクラス当たり画像数とラベル数による",
    "lead_stays": "今の優位が続くとする",
    "difference": "今の差による",
    "straight_line": "差を直線で延ばす",
    "power_laws": "両手法のべき乗則による",
    "difference_and_size": "差、クラス当たり画像数、ラベルの倍率による",
    "picked": "ほかのタスクで選んだ最も良い規則",
}


@says
def full_ahead_later(probability: float, n: int, then: int, margin: float, hits: int, cases: int, tasks: int) -> str:
    lead = f"{in_points(margin)}以上上回る" if margin else "上回る"
    return (
        f"ラベル付き画像が{n:,}枚から{then:,}枚に増えたとき、{in_prose(FULL)}が{in_prose(PROMPT)}を{lead}確率は"
        f"{share(probability)}である。こうした予測は、公開されたタスク{tasks}件の{cases}例のうち{hits}例で当たった。"
    )


@says
def no_table_for_backbone(others: list[str], hits: int, cases: int) -> str:
    carried = (
        f"規則にとって初めてのバックボーン（{listed(others)}）では、クラス当たり画像数による規則が"
        f"{cases}例のうち{hits}例で当たった。"
        if cases
        else ""
    )
    return (
        "予測は示さない。複数の枚数で公開された結果の表は、ImageNet-21kで教師あり学習したViT-B/16のもので、"
        f"このバックボーンのものではない。{carried}"
    )


@says
def beyond_the_tables(n: int, then: int, least: int, most: int, latest: int) -> str:
    return (
        f"予測は示さない。公開された結果の表にあるのは、ラベル付き画像が現在{least:,}〜{most:,}枚、将来{latest:,}枚まで"
        f"である。求められたのは現在{n:,}枚、将来{then:,}枚である。"
    )


@says
def rules_no_better(
    rules: int, tasks: int, cases: int, hits: int, brier: float, constant: float, better: float, low: float, high: float
) -> str:
    gain, least, most = (decimals(value, 3, signed=True) for value in (better, low, high))
    return (
        "予測は示さない。これまでの実績では、毎回同じ確率を答えるより良いとは言えないためである。"
        f"公開されたタスク{tasks}件の{cases}例で、規則{rules}個を比べた。試すタスクを除いて選んだ最も良い規則は、"
        f"{hits}例で当たった。Brierスコアは{decimals(brier, 3)}で、毎回同じ確率なら{decimals(constant, 3)}である"
        f"（改善{gain}、{interval(least, most)}）。0を下回る改善は悪化を意味する。"
    )


@says
def classes_not_known() -> str:
    return "クラス数が分からないため、予測は示さない。"


@says
def two_not_run_together() -> str:
    return f"{in_prose(PROMPT)}と{in_prose(FULL)}に、共通のシードで学習した枚数がまだないため、予測は示さない。"


@says
def decide_again_by_record(n: int) -> str:
    return (
        f"ラベル付き画像が{n:,}枚になったら再判断する。これまでの実績では、そこで答えが今と変わる可能性のほうが高い。"
    )


@says
def decide_again_past_record(n: int) -> str:
    return (
        f"ラベル付き画像が{n:,}枚になったら再判断する。そこまでは答えが今と同じである可能性のほうが高い。"
        "その先には実績がない。"
    )


@says
def decide_again_by_convention(n: int, times: int) -> str:
    return (
        f"ラベル付き画像が{n:,}枚になったら再判断する。これは最大の枚数の{times}倍とする慣例であり、"
        "予測に基づくものではない。"
    )


@says
def power_laws_seldom_hold(
    images: int, cases: int, tasks: int, near: int, near_held: int, far: int, far_held: int
) -> str:
    return (
        f"公開されたタスク{tasks}件の両手法について、ラベル付き画像400枚と1,000枚の結果にべき乗則を当てはめた。"
        f"その95%区間に収まったはずなのは、{near:,}枚では{cases}例のうち{near_held}例、{far:,}枚では{cases}例のうち"
        f"{far_held}例である（テスト画像{images:,}枚の場合）。したがって、延長した曲線は推測と見なす。"
    )


# ---- why an interval may not hold (vptlib.evidence.resampling) ----------------------------------------------------


@says
def one_seed() -> str:
    return (
        "シードが1個のため、区間が示すのはテスト画像の選ばれ方によるばらつきだけである。"
        "別の学習でどうなるかは示していない。"
    )


@says
def one_test_group(images: int) -> str:
    return (
        f"{many(images, 'テスト画像')}はすべて同じグループのものである。"
        "別のグループでどうなるかは、区間に表れていない。"
    )


@says
def tuning_shared(methods: list[str]) -> str:
    whose = listed(in_prose(method) for method in methods)
    return f"{whose}では、1個のシードで選んだ学習率を全シードに使った。その選択の偶然は区間に含まれない。"


@says
def pool_used_up(n: int, pool: int) -> str:
    return (
        f"どの学習も、同じ{many(pool, 'ラベル付き画像')}のうち{n:,}枚を使った。このため、シードどうしで画像の大半が"
        "重なり、別の画像でどうなるかは区間に表れていない。"
    )


@says
def seeds_skewed(method: str, lowest: float, others: float, seeds: int) -> str:
    return (
        f"{in_prose(method)}の学習{seeds}回のうち1回は正解率が{per_cent(lowest)}で、残りの平均は{per_cent(others)}"
        "だった。区間は学習が偏りなくばらつくと仮定しているため、成り立たないおそれがある。"
    )


@says
def failures_unseen(seeds: int, share: float) -> str:
    if seeds == 1:
        return "学習が1回だけなので、学習がどのくらいの頻度で失敗するかは分からない。"
    return (
        f"仮に全学習の{per_cent(share, 0)}が失敗するとしても、{seeds}回すべてが正常に終わる可能性は5%ある。"
        "その場合、平均も次の学習も、区間が示すより悪い。"
    )
