"""Mathematics of the mean-field limit of neural networks: NumPy and Numba in, arrays out.

The package is usable alone, for instance in a notebook. It contains the particle (ResNet) model
``x_i' = sigma(w(t) x_i + b(t))``, its mean-field limit ``f_t + (sigma(w x + b) f)_x = 0``, ground
truth for both by characteristics, and the Wasserstein distances between them.

Importing the package itself loads nothing: kernels bring Numba with them (:mod:`solvers.jit`), and
its cache lies in a directory named after a hash of these sources (see :mod:`solvers.cache`).
"""

from pathlib import Path

NUMERICS_VERSION = 3
"""Changes when the numbers this package produces change; part of the identity of a store."""

CACHE_DIRECTORY: Path
"""Directory of the compiled kernels."""

__all__ = ["CACHE_DIRECTORY", "NUMERICS_VERSION"]


def __getattr__(name: str) -> Path:
    """Find the cache directory when it is first asked for: that hashes all sources."""
    if name != "CACHE_DIRECTORY":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from solvers.cache import own_directory

    return own_directory()
