"""Which variables of the caller Ray's processes get: a few harmless ones, never a credential."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from secure_ray.base.plain import is_utf8
from secure_ray.policy.knobs import Action, Kind, find_knob
from secure_ray.policy.review import is_rays_variable

if TYPE_CHECKING:
    from collections.abc import Mapping

# PATH is not here: it is built from nothing.
PASSED_BY_DEFAULT: tuple[str, ...] = (
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TZ",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "TERM",
    "COLUMNS",
    "NO_COLOR",
    # Which accelerators the caller may use, and how many threads libraries start.
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "NVIDIA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "HABANA_VISIBLE_MODULES",
    "ASCEND_RT_VISIBLE_DEVICES",
    "ONEAPI_DEVICE_SELECTOR",
    "NEURON_RT_VISIBLE_CORES",
    "TPU_VISIBLE_CHIPS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    # Where a virtual or Conda environment lies; some libraries look for their data there.
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "CONDA_DEFAULT_ENV",
)


def select_passed(environ: Mapping[str, str], also: tuple[str, ...]) -> dict[str, str]:
    """The part of the caller's environment that is passed on.

    Args:
        environ: The caller's environment. What is not UTF-8 in it is no locale, no name and no path
            that Ray could use, and stays out.
        also: Further names or patterns. What the policy scrubs, pins or refuses stays out even if
            it is named here, and so does every variable for Ray that it does not know.
    """
    patterns = PASSED_BY_DEFAULT + also
    return {
        name: value
        for name, value in environ.items()
        if any(fnmatchcase(name, pattern) for pattern in patterns)
        and not _is_held_back(name)
        and is_utf8(name + value)
    }


def _is_held_back(name: str) -> bool:
    knob = find_knob(Kind.VARIABLE, name)
    if knob is None:
        return is_rays_variable(name)
    return knob.action is not Action.ALLOW
