"""One thing that was asked of Ray, and where."""

from __future__ import annotations

from dataclasses import dataclass, field

from secure_ray.policy.knobs import Kind

JOB_VARIABLE_PREFIX = "runtime_env.env_vars"


@dataclass(frozen=True)
class Request:
    """A flag, variable, argument or `_system_config` key with the value that was asked for.

    Attributes:
        kind: What it is.
        name: Its name as Ray spells it.
        value: What it should be: text for flags and variables, True for a flag without a value,
            any object for an argument. Not shown in `repr`: it may be a secret.
        source: Where it was asked, for a person: `flag --dashboard-host`, `.env`.
        explicit: False for what is only inherited in the caller's environment.
        in_job: True for a variable that a runtime environment sets for its job.
    """

    kind: Kind
    name: str
    value: object = field(repr=False)
    source: str
    explicit: bool = True
    in_job: bool = False

    @property
    def label(self) -> str:
        """The name as a person meets it."""
        if self.in_job:
            return f"{JOB_VARIABLE_PREFIX}.{self.name}"
        return f"_system_config.{self.name}" if self.kind is Kind.SYSTEM_CONFIG else self.name
