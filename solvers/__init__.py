"""Mathematics of the mean-field limit of neural networks: NumPy and Numba in, arrays out.

The package is usable alone, for instance in a notebook. It contains the particle (ResNet) model
``x_i' = sigma(w(t) x_i + b(t))``, its mean-field limit ``f_t + (sigma(w x + b) f)_x = 0``, ground
truth for both by characteristics, and the Wasserstein distances between them.

Importing the package points Numba's cache at a directory of its own, named after a hash of these
sources (see :mod:`solvers.cache`), and does so before any kernel module can be imported.
"""

from solvers.cache import install

NUMERICS_VERSION = 1
"""Changes when the numbers this package produces change; part of the identity of a store."""

CACHE_DIRECTORY = install()
"""Directory of the compiled kernels."""

__all__ = ["CACHE_DIRECTORY", "NUMERICS_VERSION"]
