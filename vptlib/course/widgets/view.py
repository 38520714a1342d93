"""What the interactive views of the course share: controls above a picture, for mouse and keyboard (ipywidgets).

One output holds a view as a widget and as a PNG of its present state. JupyterLab shows the widget. A stored notebook, a
report or a code hosting site shows the picture.
"""

import base64
import io
from collections.abc import Callable

import ipywidgets
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from vptlib.report.fonts import families

WIDGET = "application/vnd.jupyter.widget-view+json"
DPI = 100


class View(ipywidgets.VBox):
    """Controls above a picture that is drawn again when one of them changes.

    Attributes:
        draw: values of the controls, by name → figure.
        controls: name → widget.
        text: the view in words, for a front end without pictures.
        picture: the image below the controls.
    """

    def __init__(self, draw: Callable[..., Figure], controls: dict[str, ipywidgets.Widget], text: str):
        self.draw, self.controls, self.text = draw, controls, text
        self.picture = ipywidgets.Image(format="png", layout={"max_width": "100%", "object_fit": "contain"})
        for control in controls.values():
            if hasattr(control, "value"):
                control.observe(lambda _: self.redraw(), names="value")
        row = ipywidgets.Box(list(controls.values()), layout={"flex_flow": "row wrap", "align_items": "center"})
        super().__init__([row, self.picture], layout={"align_items": "flex-start"})
        self.redraw()

    def redraw(self) -> None:
        """Draw the picture for the present values of the controls."""
        with plt.rc_context({"font.family": families()}):
            figure = self.draw(**{name: c.value for name, c in self.controls.items() if hasattr(c, "value")})
            self.picture.value = png(figure)

    def _repr_mimebundle_(self, **kwargs):
        return super()._repr_mimebundle_(**kwargs) | still(self.text, self.picture)


def still(text: str, picture: ipywidgets.Image) -> dict[str, str]:
    """What a front end without a kernel shows."""
    return {"text/plain": text, "image/png": base64.b64encode(picture.value).decode()}


def png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def slider(kind: type, name: str, **options) -> ipywidgets.Widget:
    """A slider with its full name next to it."""
    layout = {"width": "21em"}
    return kind(description=name, layout=layout, style={"description_width": "initial"}, **options)
