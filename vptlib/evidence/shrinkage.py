"""Methods that seem to differ are drawn together, as far as chance explains their differences.

Of several methods that are equally good, one seems the best by luck. A probability that takes each observed difference
at its face value is then too sure of the winner. Here the true accuracies of the methods have a spread τ around their
mean, and the observed ones have noise on top. Nothing is known of τ beforehand (a flat prior; Gelman, Bayesian Analysis
1, 2006, section 3.2). What the observed spread says of τ decides how far each method is drawn to the mean: nearly all
the way where the differences are no larger than noise, hardly at all where they are far larger. Corrections for many
comparisons are then not needed (Gelman, Hill and Yajima, Journal of Research on Educational Effectiveness 5, 2012).
"""

from dataclasses import replace

import numpy as np

from vptlib.evidence.resampling import Joint

_RANDOM_SEED = 2006
_GRID = 2000
# With fewer methods their observed spread says nothing of τ.
_FEWEST = 3


def shrunk(found: Joint) -> Joint:
    """The same accuracies, with the differences between methods reduced by what chance explains of them.

    Two methods stay as they are. `value` stays what was observed.
    """
    methods, draws = found.replicates.shape
    if methods < _FEWEST:
        return found
    middle = found.replicates.mean(axis=1)  # M
    level, apart = found.replicates.mean(axis=0), middle - middle.mean()  # B, M
    noise = found.replicates - middle[:, None] - (level - level.mean())  # M B
    variance = float((noise**2).sum(axis=0).mean()) / (methods - 1)
    if variance <= 0:
        return found
    drawn = _shares_of_noise(methods, float((apart**2).sum()) / (2 * variance), draws)  # B
    replicates = level + (1 - drawn) * apart[:, None] + np.sqrt(1 - drawn) * noise
    single = replicates + found.single - found.replicates
    return replace(found, replicates=np.clip(replicates, 0.0, 1.0), single=np.clip(single, 0.0, 1.0))


def _shares_of_noise(methods: int, spread: float, draws: int) -> np.ndarray:
    """Draws, `B`, of u = noise / (noise + τ²) in (0, 1), given half the squared spread in units of the noise.

    With u = sin²θ and τ flat, the density of θ is sin^(M-3) θ · exp(-spread · sin² θ).
    """
    angles = (np.arange(_GRID) + 0.5) / _GRID * np.pi / 2
    density = np.sin(angles) ** (methods - 3) * np.exp(-spread * np.sin(angles) ** 2)
    quantiles = (np.random.default_rng(_RANDOM_SEED).permutation(draws) + 0.5) / draws
    return np.sin(np.interp(quantiles, np.cumsum(density) / density.sum(), angles)) ** 2
