"""Pictures as data addresses: a page that holds its pictures itself opens with the network off."""

import base64
import io

from PIL import Image


def data_address(picture: Image.Image, kind: str, quality: int = 85) -> str:
    """A picture as a data address.

    Args:
        picture: any size.
        kind: "JPEG" or "PNG".
        quality: of a JPEG, up to 95.
    """
    buffer = io.BytesIO()
    picture.save(buffer, kind, **({"quality": quality} if kind == "JPEG" else {}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
