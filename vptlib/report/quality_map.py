"""Which part of four published guidelines a report can speak to, and in which section: names of items, nothing else.

The map is a help for finding things and no judgement. What a study has done for an item is decided from its facts
(`vptlib.report.quality_facts`); an item without facts is one that no report of this kind looks into. Japanese names
are the originals. English ones are those of ISO/IEC for Annex A, and this project's own for the others. Where each name
was confirmed is said in docs/for_quality_departments.md; a name that could not be confirmed is not here.
"""

from dataclasses import dataclass

# Layers of a task's chapter, by the names that `vptlib.report.sections.layers` gives them.
FINDINGS, PLAN, RESULTS, MISTAKES, ROBUSTNESS = "findings", "plan", "results", "mistakes", "robustness"
EXPLANATIONS, DATA, PROTOCOL, VERSIONS, NOT_DONE = "explanations", "data", "protocol", "versions", "not-done"
BY_CLASS, BY_GROUP = "class", "group"


@dataclass(frozen=True)
class Named:
    """A name as published in Japanese, and in English.

    Attributes:
        original: Japanese; "" where it could not be confirmed.
        english: of ISO/IEC, or a translation of this project.
    """

    original: str
    english: str


@dataclass(frozen=True)
class Source:
    """Where items come from.

    Attributes:
        year: of that edition; None where it could not be confirmed.
    """

    title: Named
    publisher: Named
    edition: Named
    year: int | None


@dataclass(frozen=True)
class Item:
    """One row of a map.

    Attributes:
        number: as the guideline counts it; "" where it has none or could not be confirmed.
        facts: names of what a study may have done for it, keys of `vptlib.report.quality_facts.facts_of`.
        layers: of the report (`vptlib.report.sections.layers`), where that stands.
        each: `BY_CLASS` or `BY_GROUP`, where one item has a row for each; else "".
        asked: names of what may have been asked for it before the test.
    """

    name: Named
    number: str = ""
    facts: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    each: str = ""
    asked: tuple[str, ...] = ()


@dataclass(frozen=True)
class Guideline:
    """A guideline and the items of it that are mapped, under the heads that it has itself."""

    source: Source
    heads: tuple[tuple[Named, tuple[Item, ...]], ...]

    @property
    def items(self) -> list[Item]:
        return [item for _, items in self.heads for item in items]


# ---- AIST: machine learning quality management ------------------------------------------------------------------

_AIST_HEADS = (
    (
        Named("利用時品質", "Quality in use"),
        (
            Item(
                Named("利用時品質", "Quality in use"),
                facts=("needed", "today"),
                layers=(PLAN,),
                asked=("asked_accuracy", "asked_today"),
            ),
        ),
    ),
    (
        Named("外部品質", "External quality"),
        (
            Item(
                Named("リスク回避性", "Risk avoidance"),
                facts=("limits",),
                layers=(MISTAKES,),
                asked=("asked_limits",),
            ),
            Item(
                Named("AIパフォーマンス", "AI performance"),
                facts=("needed", "limits"),
                layers=(RESULTS, PLAN),
                asked=("asked_accuracy", "asked_limits"),
            ),
            Item(
                Named("公平性", "Fairness"),
                facts=("limits_in_groups",),
                layers=(MISTAKES,),
                asked=("asked_limits_in_groups",),
            ),
        ),
    ),
    (
        Named("内部品質", "Internal quality"),
        (
            Item(Named("問題領域分析の十分性", "Sufficiency of the analysis of the problem domain"), "A-1"),
            Item(
                Named("データ設計の十分性", "Sufficiency of the data design"),
                "A-2",
                facts=("sizes",),
                layers=(PROTOCOL,),
            ),
            Item(
                Named("データセットの被覆性", "Coverage of the data set"),
                "B-1",
                facts=("classes",),
                layers=(DATA,),
                each=BY_CLASS,
            ),
            Item(
                Named("データセットの被覆性", "Coverage of the data set"),
                "B-1",
                facts=("groups",),
                layers=(DATA, MISTAKES),
                each=BY_GROUP,
            ),
            Item(
                Named("データセットの均一性", "Uniformity of the data set"),
                "B-2",
                facts=("balance",),
                layers=(DATA,),
            ),
            Item(
                Named("データの妥当性", "Adequacy of the data"),
                facts=("data_read",),
                layers=(DATA, FINDINGS),
            ),
            Item(
                Named("機械学習モデルの正確性", "Correctness of the trained model"),
                "C-1",
                facts=("accuracy", "audit"),
                layers=(RESULTS, MISTAKES, FINDINGS),
            ),
            Item(
                Named("機械学習モデルの安定性", "Stability of the trained model"),
                "C-2",
                facts=("conditions",),
                layers=(ROBUSTNESS,),
            ),
            Item(
                Named("運用時品質の維持性", "Maintainability of quality in operation"),
                facts=("promotion",),
                layers=(PLAN,),
            ),
        ),
    ),
)
AIST = Guideline(
    Source(
        Named("機械学習品質マネジメントガイドライン", "Machine Learning Quality Management Guideline"),
        Named(
            "国立研究開発法人 産業技術総合研究所",
            "National Institute of Advanced Industrial Science and Technology (AIST)",
        ),
        Named("第3版", "third edition"),
        None,
    ),
    _AIST_HEADS,
)

# ---- JIS Q 42001: management system for AI ----------------------------------------------------------------------

JIS = Guideline(
    Source(
        Named(
            "JIS Q 42001 情報技術—人工知能—マネジメントシステム",
            "JIS Q 42001, Information technology — Artificial intelligence — Management system (ISO/IEC 42001:2023)",
        ),
        Named("一般財団法人 日本規格協会", "Japanese Standards Association"),
        Named("JIS Q 42001:2025", "JIS Q 42001:2025"),
        2025,
    ),
    (
        (
            Named("附属書A 管理策", "Annex A, controls"),
            (
                Item(Named("AIに関連する方針", "Policies related to AI"), "A.2"),
                Item(Named("内部組織", "Internal organization"), "A.3"),
                Item(
                    Named("AIシステムの資源", "Resources for AI systems"),
                    "A.4",
                    facts=("versions", "origin"),
                    layers=(VERSIONS, DATA),
                ),
                Item(Named("AIシステムのインパクトのアセスメント", "Assessing impacts of AI systems"), "A.5"),
                Item(
                    Named("AIシステムのライフサイクル", "AI system life cycle"),
                    "A.6",
                    facts=("accuracy", "limits", "audit", "promotion"),
                    layers=(RESULTS, MISTAKES, PROTOCOL, PLAN),
                ),
                Item(
                    Named("", "Data for AI systems"),
                    "A.7",
                    facts=("origin", "data_read", "classes"),
                    layers=(DATA, FINDINGS),
                ),
                Item(
                    Named("", "Information for interested parties of AI systems"),
                    "A.8",
                    facts=("accuracy", "explanations"),
                    layers=(RESULTS, EXPLANATIONS, NOT_DONE),
                ),
                Item(Named("", "Use of AI systems"), "A.9", facts=("plan",), layers=(PLAN,)),
                Item(
                    Named("", "Third-party and customer relationships"),
                    "A.10",
                    facts=("backbone",),
                    layers=(VERSIONS,),
                ),
            ),
        ),
    ),
)

# ---- MIC and METI: AI guidelines for business -------------------------------------------------------------------

BUSINESS = Guideline(
    Source(
        Named("AI事業者ガイドライン", "AI Guidelines for Business"),
        Named(
            "総務省・経済産業省",
            "Ministry of Internal Affairs and Communications; Ministry of Economy, Trade and Industry",
        ),
        Named("第1.1版", "version 1.1"),
        2025,
    ),
    (
        (
            Named("共通の指針", "Common guiding principles"),
            (
                Item(Named("人間中心", "Human-centric"), "1"),
                Item(
                    Named("安全性", "Safety"),
                    "2",
                    facts=("limits", "conditions"),
                    layers=(MISTAKES, ROBUSTNESS),
                ),
                Item(Named("公平性", "Fairness"), "3", facts=("limits_in_groups",), layers=(MISTAKES,)),
                Item(Named("プライバシー保護", "Privacy protection"), "4"),
                Item(Named("セキュリティ確保", "Ensuring security"), "5"),
                Item(
                    Named("透明性", "Transparency"),
                    "6",
                    facts=("accuracy", "origin", "explanations"),
                    layers=(RESULTS, DATA, EXPLANATIONS, NOT_DONE),
                ),
                Item(
                    Named("アカウンタビリティ", "Accountability"),
                    "7",
                    facts=("versions", "audit"),
                    layers=(VERSIONS, PROTOCOL, FINDINGS),
                ),
                Item(Named("教育・リテラシー", "Education and literacy"), "8"),
                Item(Named("公正競争確保", "Ensuring fair competition"), "9"),
                Item(Named("イノベーション", "Innovation"), "10"),
            ),
        ),
    ),
)

# ---- the record of the plant-safety guideline: its form, with the items of AIST's guideline -----------------------

PLANT = Guideline(
    Source(
        Named(
            "プラント保安分野AI信頼性評価ガイドライン 実施内容記録フォーマット",
            "Guidelines on Assessment of AI Reliability in the Field of Plant Safety, recording format",
        ),
        Named(
            "石油コンビナート等災害防止3省連絡会議（経済産業省・総務省消防庁・厚生労働省）",
            "Liaison Council of Three Ministries on Disaster Prevention of Petroleum Complexes (METI; FDMA; MHLW)",
        ),
        Named("第2版", "second edition"),
        2021,
    ),
    _AIST_HEADS,
)
GUIDELINES = (AIST, JIS, BUSINESS)
