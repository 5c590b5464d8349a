"""Where particles on the line are pushed: by the processor, or by an NVIDIA GPU.

The kernels of the GPU stand in :mod:`solvers.gpu`. That module and the library it needs are loaded
only where a GPU is asked for.
"""

import os
from importlib.util import find_spec

from solvers.errors import InputError

DEVICES = ("cpu", "gpu")
GPU_ACTIVATIONS = ("identity", "relu", "sigmoid", "tanh", "gcu")
"""Those that the kernels of the GPU have."""


def check_activation(device: str, activation: str) -> None:
    """See that the kernels of a device have an activation.

    Raises:
        InputError: if not.
    """
    if device == "gpu" and activation not in GPU_ACTIVATIONS:
        raise InputError(
            f'device = "gpu" does not have the activation {activation!r}; allowed: '
            f"{', '.join(GPU_ACTIVATIONS)}"
        )


def check_device(device: str) -> None:
    """See that a device is there; a GPU is looked for, and nothing is allocated on it.

    The simulator of Numba (``NUMBA_ENABLE_CUDASIM=1``), which runs kernels as plain Python, counts
    as one.

    Raises:
        InputError: if it is none of `DEVICES`, or there is no GPU or nothing that compiles for it.
    """
    if device not in DEVICES:
        raise InputError(f"unknown device {device!r}; allowed: {', '.join(DEVICES)}")
    if device == "cpu":
        return
    simulated = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
    if not simulated and find_spec("numba_cuda") is None:
        raise InputError('device = "gpu" needs numba-cuda: pip install "meanfield[gpu]"')
    from numba import cuda

    if not cuda.is_available():
        reason = " ".join(str(cuda.cuda_error() or "its compiler, libnvvm, is missing").split())
        raise InputError(f'device = "gpu": no CUDA device is usable: {reason.rstrip(" :")}')
