"""What the interactive views of the course share: controls above a picture, by mouse and by keyboard (ipywidgets).

A view shows itself as a widget and as a PNG of its present state in one output, and a front end takes the richest that
it can show: JupyterLab the widget, a stored notebook, a report or a code hosting site the picture.
"""

import base64
import io
from collections.abc import Callable

import ipywidgets
from matplotlib.figure import Figure

WIDGET = "application/vnd.jupyter.widget-view+json"
DPI = 100


class View(ipywidgets.VBox):
    """Controls above a picture that is drawn again when one of them changes.

    Attributes:
        controls: name → widget.
        picture: the image below them.
    """

    def __init__(self, draw: Callable[..., Figure], controls: dict[str, ipywidgets.Widget], says: str):
        self.controls, self._draw, self._says = controls, draw, says
        self.picture = ipywidgets.Image(format="png", layout={"max_width": "100%", "object_fit": "contain"})
        for control in controls.values():
            if hasattr(control, "value"):
                control.observe(lambda _: self.redraw(), names="value")
        row = ipywidgets.Box(list(controls.values()), layout={"flex_flow": "row wrap", "align_items": "center"})
        super().__init__([row, self.picture], layout={"align_items": "flex-start"})
        self.redraw()

    def redraw(self) -> None:
        """Draw the picture for what the controls say now."""
        figure = self._draw(**{name: c.value for name, c in self.controls.items() if hasattr(c, "value")})
        self.picture.value = png(figure)

    def _repr_mimebundle_(self, **kwargs):
        return super()._repr_mimebundle_(**kwargs) | still(self._says, self.picture)


def still(says: str, picture: ipywidgets.Image) -> dict[str, str]:
    """What a front end shows that has no kernel."""
    return {"text/plain": says, "image/png": base64.b64encode(picture.value).decode()}


def png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def slider(kind: type, name: str, **options) -> ipywidgets.Widget:
    """A slider with its name in full beside it."""
    layout = {"width": "21em"}
    return kind(description=name, layout=layout, style={"description_width": "initial"}, **options)


# ---- tokens and prompts -----------------------------------------------------------------------------------------


# ---- training ---------------------------------------------------------------------------------------------------


# ---- decisions --------------------------------------------------------------------------------------------------


# ---- task and backbone ------------------------------------------------------------------------------------------


# ---- explanations -----------------------------------------------------------------------------------------------
