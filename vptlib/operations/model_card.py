"""The card of a model file as people read it: a Hugging Face model card, Markdown with YAML above it.

The form is that of `huggingface_hub.ModelCard` (Mitchell et al., FAT* 2019, arXiv 1810.03993, for what belongs in it).
"""

from collections.abc import Callable
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vptlib.operations.artefact import Artefact, BackboneCard
from vptlib.paths import write_whole
from vptlib.statement import Statement
from vptlib.tuning.backbones import EMBEDDED
from vptlib.tuning.methods import METHODS
from vptlib.wording import per_cent, printable, storage

_TEMPLATES = Path(__file__).with_name("templates")
_ESCAPED = "\\`*_{}[]<>#|"


def model_card(artefact: Artefact, sentence: Callable[[Statement], str]) -> ModelCard:
    """The card of a model file.

    Args:
        artefact: the file.
        sentence: the words for a statement.
    """
    card, accuracy = artefact.card, artefact.card.results["accuracy"]
    data = ModelCardData(
        base_model=_hub_name(card.backbone),
        eval_results=[
            EvalResult(
                task_type="image-classification",
                dataset_type="own",
                dataset_name=printable(card.title),
                metric_type="accuracy",
                metric_value=round(accuracy["value"], 4),
                metric_name="accuracy",
            )
        ],
        library_name="vptlib",
        license="other",
        license_name="see the sections on the backbone and the data",
        model_name=printable(card.title),
        pipeline_tag="image-classification",
        tags=["visual-prompt-tuning", card.method],
    )
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"share": per_cent, "size": storage, "plain": _escaped}
    text = environment.get_template("model_card.md.j2").render(
        card=card,
        method=METHODS[card.method].title,
        digest=artefact.digest,
        bytes=artefact.path.stat().st_size,
        known_limits=[sentence(Statement.of(_statement(found))) for found in card.known_limits],
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n{text}")


def write_model_card(artefact: Artefact, path: Path, sentence: Callable[[Statement], str]) -> None:
    """Write the card of a model file, whole or not at all."""
    write_whole(path, str(model_card(artefact, sentence)))


def _hub_name(backbone: BackboneCard) -> str | None:
    """The name of the backbone on the model hub, if it is from there."""
    own = backbone.name == EMBEDDED or backbone.name.startswith("file:")
    return None if own else f"timm/{backbone.name}"


def _statement(found: dict) -> dict:
    """The statement in an entry of `summary.json`, which may hold more: those of the audit have their values apart."""
    values = found.get("values", {name: value for name, value in found.items() if name != "sentence"})
    return {"code": found["code"]} | values


def _escaped(text: str) -> str:
    """A name or another text of the user, so that Markdown shows it as it is and on one line."""
    plain = " ".join(printable(str(text)).split())
    return "".join(f"\\{sign}" if sign in _ESCAPED else sign for sign in plain)
