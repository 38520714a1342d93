"""Methods that seem to differ are drawn together, as far as chance explains their differences.

Of several methods that are equally good, one seems the best by luck. A probability that takes each observed difference
at its face value is then too sure of the winner. Here the true accuracies of the methods have a spread τ around their
mean, and the observed ones have noise on top. Nothing is known of τ beforehand (a flat prior; Gelman, Bayesian Analysis
1, 2006, section 3.2). What the observed spread says of τ decides how far each method is drawn to the mean: nearly all
the way where the differences are no larger than noise, hardly at all where they are far larger. Corrections for many
comparisons are then not needed (Gelman, Hill and Yajima, Journal of Research on Educational Effectiveness 5, 2012).
"""

from dataclasses import dataclass, field, replace

import numpy as np

from vptlib.evidence.resampling import Joint

_RANDOM_SEED = 2006
_GRID = 2000
# With fewer methods their observed spread says nothing of τ.
_FEWEST = 3
# So many larger studies are imagined, and so many draws that each of them leaves possible.
_STUDIES = 128


@dataclass(frozen=True)
class Parts:
    """What the redrawn accuracies of M methods are made of.

    Attributes:
        level: `B`: the mean of the methods.
        apart: `M`: how far from it each method seems to be.
        noise: `M B`: how far chance may have moved it.
        drawn: `B`: u, the share of that distance that is taken for chance: noise / (noise + τ²).
    """

    level: np.ndarray = field(repr=False)
    apart: np.ndarray
    noise: np.ndarray = field(repr=False)
    drawn: np.ndarray = field(repr=False)

    @classmethod
    def of(cls, found: Joint) -> "Parts":
        """Of accuracies that were redrawn together; two methods, or methods without noise, stay as they are (u = 0)."""
        methods, draws = found.replicates.shape
        middle = found.replicates.mean(axis=1)  # M
        level, apart = found.replicates.mean(axis=0), middle - middle.mean()  # B, M
        noise = found.replicates - middle[:, None] - (level - level.mean())  # M B
        variance = float((noise**2).sum(axis=0).mean()) / max(1, methods - 1)
        if methods < _FEWEST or variance <= 0:
            return cls(level, apart, noise, np.zeros(draws))
        return cls(level, apart, noise, _shares_of_noise(methods, float((apart**2).sum()) / (2 * variance), draws))

    def accuracies(self) -> np.ndarray:
        """`M B`."""
        return self.level + (1 - self.drawn) * self.apart[:, None] + np.sqrt(1 - self.drawn) * self.noise

    def after_study(self, left: float) -> np.ndarray:
        """Distances from the level that K larger studies would leave possible, `M K K`: `[:, k]` are those of study k.

        Given u, a distance is normal with the mean (1 - u) · apart and the variance (1 - u) v, v that of the noise. A
        study of the noise `left` · v leaves the share left / (1 - u + left · u) of that variance; the rest is what it
        tells. u itself is taken as known, before the study and after it.

        Args:
            left: variance of the noise in the larger study, as a share of what it is now.
        """
        at = np.linspace(0, len(self.drawn) - 1, _STUDIES).astype(int)  # K
        u = self.drawn[at]  # K
        told, open_yet = self.noise[:, at], self.noise[:, at - 1]  # M K, M K: draws apart from each other
        share = left / (1 - u + left * u)  # K
        known = (1 - u) * self.apart[:, None] + np.sqrt((1 - u) * (1 - share)) * told  # M K
        return known[:, :, None] + np.sqrt((1 - u) * share)[:, None] * open_yet[:, None, :]


def shrunk(found: Joint) -> Joint:
    """The same accuracies, with the differences between methods reduced by what chance explains of them.

    Two methods stay as they are. `value` stays what was observed.
    """
    parts = Parts.of(found)
    if not parts.drawn.any():
        return found
    replicates = parts.accuracies()
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
