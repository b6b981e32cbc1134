"""The knobs of Ray as data, one file per kind, each imported when it is first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secure_ray.policy.knobs import Kind

if TYPE_CHECKING:
    from secure_ray.policy.knobs import Knob


def load(kind: Kind) -> tuple[Knob, ...]:
    """All rows of a kind."""
    match kind:
        case Kind.FLAG:
            from secure_ray.policy.tables.flags import FLAGS

            return FLAGS
        case Kind.VARIABLE:
            from secure_ray.policy.tables.code_variables import CODE_VARIABLES
            from secure_ray.policy.tables.data_variables import DATA_VARIABLES
            from secure_ray.policy.tables.variables import VARIABLES

            return VARIABLES + CODE_VARIABLES + DATA_VARIABLES
        case Kind.ARGUMENT:
            from secure_ray.policy.tables.arguments import ARGUMENTS
            from secure_ray.policy.tables.runtime_env import RUNTIME_ENV

            return ARGUMENTS + RUNTIME_ENV
        case Kind.SYSTEM_CONFIG:
            from secure_ray.policy.tables.system_config import SYSTEM_CONFIG

            return SYSTEM_CONFIG
