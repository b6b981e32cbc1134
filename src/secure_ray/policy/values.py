"""Which values of a knob are unsafe, as data, and the predicates that the data names.

A predicate answers "unsafe" for what it cannot read: a typo never opens anything.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

_USER_INFO = re.compile(r"//[^/\s]*@")
_SHOWN_LENGTH = 80


class Check(Enum):
    """How a value is judged."""

    NEVER = "no value"
    ANY = "any value"
    ONE_OF = "one of"
    OTHER_THAN = "anything but"
    NOT_LOOPBACK = "an address beyond loopback"
    NOT_HTTPS = "an address that is not https://"
    PLAIN_HTTP = "an http:// URL anywhere in it"
    INSTALLER_OPTIONS = "options for the installer, or a plain http:// source"
    REQUIREMENTS = "a file that was not read, options for the installer, or a plain http:// source"
    EACH_KEY = "judged key by key"


@dataclass(frozen=True)
class Unsafe:
    """The unsafe values of a knob: a check, and the values that it compares with.

    Values are compared as text, ASCII letters without regard to case, everything else exactly:
    that is how Ray reads `RAY_AUTH_MODE` and its booleans (Ray 2.60.0, `token` and `1|true`).
    """

    check: Check
    values: tuple[str, ...] = ()

    def holds(self, value: object) -> bool:
        """Whether `value` is unsafe. `EACH_KEY` is decided by `review`, not here."""
        match self.check:
            case Check.ONE_OF:
                return _fold(as_text(value)) in self.values
            case Check.OTHER_THAN:
                return _fold(as_text(value)) not in self.values
            case named:
                return _PREDICATES[named](value)

    def describe(self) -> str:
        """The unsafe values in words, for the documentation."""
        if not self.values:
            return self.check.value
        shown = ", ".join(f"`{value}`" if value else "empty" for value in self.values)
        return f"{self.check.value} {shown}"


NEVER = Unsafe(Check.NEVER)
ANY = Unsafe(Check.ANY)
NOT_LOOPBACK = Unsafe(Check.NOT_LOOPBACK)
NOT_HTTPS = Unsafe(Check.NOT_HTTPS)
PLAIN_HTTP = Unsafe(Check.PLAIN_HTTP)
INSTALLER_OPTIONS = Unsafe(Check.INSTALLER_OPTIONS)
REQUIREMENTS = Unsafe(Check.REQUIREMENTS)
EACH_KEY = Unsafe(Check.EACH_KEY)
# A switch that must stay off (on): whatever is not plainly off (on) counts as unsafe.
ON = Unsafe(Check.OTHER_THAN, ("", "0", "false"))
OFF = Unsafe(Check.OTHER_THAN, ("1", "true"))


def one_of(*values: str) -> Unsafe:
    """Only these values are unsafe."""
    return Unsafe(Check.ONE_OF, values)


def other_than(*values: str) -> Unsafe:
    """Every value but these is unsafe."""
    return Unsafe(Check.OTHER_THAN, values)


def as_text(value: object) -> str:
    """A value as Ray would read it from a flag or a variable."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def shown(value: object) -> str:
    """A value as it may be printed: short, one line, without the password of a URL."""
    text = _USER_INFO.sub("//***@", as_text(value))
    if len(text) > _SHOWN_LENGTH:
        text = f"{text[:_SHOWN_LENGTH]}..."
    # ascii() also takes away what would steer a terminal.
    return ascii(text)[1:-1]


def is_loopback(text: str) -> bool:
    """Whether `text` is an address of this host's loopback; only `localhost` counts as a name."""
    if text == "localhost":
        return True
    address = _address(text)
    return address is not None and address.is_loopback


def is_wildcard(text: str) -> bool:
    """Whether a socket bound to `text` listens on every interface."""
    if text in {"", "*"}:
        return True
    address = _address(text)
    return address is not None and address.is_unspecified


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _fold(text: str) -> str:
    # str.lower() maps the Kelvin sign to "k", so that "to<Kelvin>en" would count as "token";
    # Ray's C++ side lowers ASCII only.
    return text.lower() if text.isascii() else text


def _texts(value: object) -> Iterable[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key)
            yield from _texts(inner)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for inner in value:
            yield from _texts(inner)
    else:
        yield as_text(value)


def _is_plain_http(text: str) -> bool:
    return "http://" in text.lower()


def _steers_installer(text: str) -> bool:
    return text.lstrip().startswith("-") or "_install_options" in text or _is_plain_http(text)


def _beyond_loopback(value: object) -> bool:
    return not is_loopback(as_text(value))


def _has_plain_http(value: object) -> bool:
    return any(_is_plain_http(part) for part in _texts(value))


def _has_installer_options(value: object) -> bool:
    return any(_steers_installer(part) for part in _texts(value))


def _is_yaml_file(value: object) -> bool:
    """Whether Ray takes it for a file (same place); any other text names a conda environment."""
    return isinstance(value, str) and value.endswith((".yaml", ".yml"))


def _are_no_plain_requirements(value: object) -> bool:
    # A text is the path of a file (Ray 2.60.0, _private/runtime_env/validation.py); what is read
    # comes as its lines.
    return isinstance(value, str) or _has_installer_options(value)


_PREDICATES: dict[Check, Callable[[object], bool]] = {
    Check.NEVER: lambda _value: False,
    Check.EACH_KEY: lambda _value: False,
    Check.ANY: lambda _value: True,
    Check.NOT_LOOPBACK: _beyond_loopback,
    Check.NOT_HTTPS: lambda value: not as_text(value).startswith("https://"),
    Check.PLAIN_HTTP: _has_plain_http,
    Check.INSTALLER_OPTIONS: lambda value: _is_yaml_file(value) or _has_installer_options(value),
    Check.REQUIREMENTS: _are_no_plain_requirements,
}
