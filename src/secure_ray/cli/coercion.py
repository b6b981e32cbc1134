"""Typer's parameters without pydantic, where there is nothing to validate.

From 0.27 on Typer validates every parameter with pydantic, also one that was not given; importing
it takes longer than all the rest of a short command. An option that was not given, and plain text,
go past it here; everything else takes Typer's own way. Where Typer looks different inside (checked
with 0.26.0 to 0.29.2), nothing is changed.
"""

from typing import Any


class _Shortcut:
    """Stands in for the object that Typer would build to validate one parameter."""

    def __init__(self, parameter: Any) -> None:
        descriptor = parameter.type_descriptor
        self._build = parameter.get_runtime_param
        self._single = parameter.nargs == 1 and not getattr(parameter, "multiple", False)
        self._text = descriptor.annotation is str and descriptor.parameter_info.parser is None

    def coerce(self, value: Any, **options: Any) -> Any:
        if self._single and (value is None or (self._text and isinstance(value, str))):
            return value
        return self._build().coerce(value, **options)


def spare_pydantic(command: Any) -> None:
    """Let the parameters of `command` and of all commands in it take the shortcut."""
    stock = command.get_params

    def get_params(context: Any) -> Any:
        # Here and not before, because `--help` is made when it is first asked for.
        parameters = stock(context)
        for parameter in parameters:
            _shorten(parameter)
        return parameters

    command.get_params = get_params
    for inner in getattr(command, "commands", {}).values():
        spare_pydantic(inner)


def _shorten(parameter: Any) -> None:
    fits = hasattr(parameter, "get_runtime_param") and hasattr(parameter, "type_descriptor")
    if fits and "get_runtime_param" not in vars(parameter):
        shortcut = _Shortcut(parameter)
        parameter.get_runtime_param = lambda: shortcut
