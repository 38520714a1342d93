"""Makes data/fashion_mnist/subset.npz out of the full Fashion-MNIST: `python data/make_fashion_subset.py`."""

import numpy as np

from vptlib.data.embedded import FASHION_SUBSET, fashion_subset_file
from vptlib.data.splits import fixed_test
from vptlib.data.tasks import load_task


def subset() -> dict[str, np.ndarray]:
    """Grey images `N 28 28`, labels, and the images' positions in the original files: the same share of every class."""
    full, arrays = load_task("fashion-mnist-full"), {}
    for part, images, n in zip(("train", "test"), (full.train, full.test), FASHION_SUBSET, strict=True):
        places = fixed_test(images.labels, n)
        arrays[f"{part}_images"] = images.images[places, :, :, 0]
        arrays[f"{part}_labels"] = images.labels[places].astype(np.uint8)
        arrays[f"{part}_places"] = places.astype(np.uint16)
    return arrays


if __name__ == "__main__":
    np.savez_compressed(fashion_subset_file(), **subset())
