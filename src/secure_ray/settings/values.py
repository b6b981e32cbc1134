"""The kinds of value that settings have, and how each is written.

A kind is an annotation: a plain type, bounds (`msgspec.Meta`), and a `Form` where reading it takes
more than that. Messages finish the sentence "limits.memory ...".
"""

import math
import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from pathlib import PurePosixPath
from typing import Annotated, Any

from msgspec import Meta, Struct

from secure_ray.settings.sizes import parse_size, spell_size

FIRST_PORT = 1024
LAST_PORT = 65535
_LOOPBACK_NAMES = ("local", "127.0.0.1", "localhost")
_BIND_WORDS = ("local", "private")
# RFC 1123, 2.1. The last label is not a number: `10.1` and `0x7f000001` would be read as IPv4
# addresses that nobody recognises (inet_aton(3)).
_HOST_NAME = (
    r"(?=.{1,253}\Z)([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?\.)*"
    r"(?!([0-9]+|0[xX][0-9A-Fa-f]*)\Z)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
# Ray 2.60.0, _private/resource_and_label_spec.py: these have options of their own.
_BUILT_IN_RESOURCES = {"CPU", "GPU", "memory", "object_store_memory"}
# No zero byte, and no half of a surrogate pair: neither can be given to a process.
_CHARACTER = r"[^\x00\ud800-\udfff]"
_RANGE = "([0-9]{1,5})-([0-9]{1,5})"
_REDIS = r"rediss?://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):(?P<port>[0-9]{1,5})"
_WANTED_TIME = "should be a date or a time, for example 2027-01-31"


class Form(Struct, frozen=True):
    """How a value is read and written.

    Attributes:
        read: From what was given to the value; its ValueError says what is wrong.
        spell: From the value to plain JSON that `read` takes; None where it is that already.
    """

    read: Callable[[Any], object]
    spell: Callable[[Any], object] | None = None


def _read_bind(value: object) -> str:
    if value in _LOOPBACK_NAMES:
        return "local"
    if isinstance(value, str) and (value == "private" or _is_host(value)):
        return value
    raise ValueError('should be "local", "private", or an address or a name of this host')


def _is_host(text: str) -> bool:
    from ipaddress import ip_address

    try:
        ip_address(text)
    except ValueError:
        return text.lower() not in _BIND_WORDS and bool(re.fullmatch(_HOST_NAME, text))
    return True


def _read_network(value: object) -> str:
    from ipaddress import ip_network

    wanted = 'should be a network, for example "10.0.0.0/24"'
    if not isinstance(value, str):
        raise ValueError(wanted)  # noqa: TRY004  # one error for all that is no network
    try:
        return str(ip_network(value, strict=False))
    except ValueError:
        raise ValueError(wanted) from None


def _read_range(value: object) -> str:
    found = re.fullmatch(_RANGE, value) if isinstance(value, str) else None
    if found is None:
        raise ValueError('should be two ports, for example "20000-20999"')
    first, last = map(int, found.groups())
    if not FIRST_PORT <= first <= last <= LAST_PORT:
        raise ValueError(
            f"should be two ports from {FIRST_PORT} to {LAST_PORT}, the smaller one first"
        )
    return found.group()


def _read_redis(value: object) -> str:
    found = re.fullmatch(_REDIS, value) if isinstance(value, str) else None
    if found is None or not 0 < int(found.group("port")) <= LAST_PORT:
        # Also for one with a password in it: that belongs into a file.
        raise ValueError('should be "rediss://HOST:PORT"')
    return found.group()


def _read_path(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(f"/{_CHARACTER}*", value):
        return str(PurePosixPath(value))
    raise ValueError("should be an absolute path")


def _read_until(value: object) -> datetime:
    if isinstance(value, str):
        value = _parse_iso(value)
    if not isinstance(value, date):
        raise ValueError(_WANTED_TIME)  # noqa: TRY004  # one error for all that is no time
    try:
        return _end(value)
    except OverflowError:  # in UTC it is before the year 1 or after 9999
        raise ValueError(_WANTED_TIME) from None


def _end(day_or_time: date) -> datetime:
    if not isinstance(day_or_time, datetime):
        # "until the 31st" includes the 31st.
        return datetime.combine(day_or_time, time(), timezone.utc) + timedelta(days=1)
    if day_or_time.tzinfo is None:
        raise ValueError("should say its time zone, for example 2027-01-31T18:00:00Z")
    return day_or_time.astimezone(timezone.utc)


def _parse_iso(text: str) -> date:
    try:
        if len(text) == len("2027-01-31"):
            return date.fromisoformat(text)
        # Python 3.10 does not read the Z of RFC 3339.
        return datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text))
    except ValueError:
        raise ValueError(_WANTED_TIME) from None


def _spell_until(value: datetime) -> str:
    return value.isoformat().replace("+00:00", "Z")


def _read_finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("should be a finite number")
    return value


def _read_resource_name(value: object) -> object:
    if isinstance(value, str) and not (value.strip() and value.isprintable()):
        raise ValueError("should have a printable name")
    if value in _BUILT_IN_RESOURCES:
        raise ValueError("is built in: set num_cpus, num_gpus, memory or object_store_memory")
    return value


def _matching(pattern: str, wanted: str) -> Form:
    # Not `Meta(pattern=...)`: it compiles what most commands never use.
    def read(value: object) -> object:
        if isinstance(value, str) and not re.fullmatch(pattern, value):
            raise ValueError(f"should be {wanted}")
        return value

    return Form(read)


_SIZE = Form(parse_size, spell_size)
Port = Annotated[int, Meta(ge=FIRST_PORT, le=LAST_PORT)]
Count = Annotated[int, Meta(ge=0)]
Size = Annotated[int, _SIZE]
PositiveSize = Annotated[int, _SIZE, Meta(gt=0)]
RotationSize = Annotated[int, _SIZE, Meta(ge=1 << 16, description="at least 64KiB")]
Fraction = Annotated[float, Meta(gt=0, lt=1)]
Amount = Annotated[float, Form(_read_finite), Meta(ge=0)]
PositiveAmount = Annotated[float, Form(_read_finite), Meta(gt=0)]
PathText = Annotated[str, Form(_read_path)]
Bind = Annotated[str, Form(_read_bind)]
RedisAddress = Annotated[str, Form(_read_redis)]
Network = Annotated[str, Form(_read_network)]
PortRange = Annotated[str, Form(_read_range)]
Until = Annotated[datetime, Form(_read_until, _spell_until)]
ResourceName = Annotated[str, Form(_read_resource_name)]
Span = Annotated[str, _matching(r"[1-9][0-9]{0,7}[smhd]", "a span of time such as 90s, 5m, 12h")]
Reason = Annotated[
    str, _matching(r"(?=.*\S)[^\x00-\x1f\x7f\ud800-\udfff]{1,500}", "one line that says why")
]
VariableName = Annotated[
    str, _matching(r"[A-Za-z_][A-Za-z0-9_]*", "the name of an environment variable")
]
VariablePattern = Annotated[
    str,
    _matching(
        r"[A-Za-z_][A-Za-z0-9_*?]*",
        'the name of an environment variable, or a pattern such as "AWS_*" that begins with a letter',
    ),
]
VariableValue = Annotated[str, _matching(f"{_CHARACTER}*", "text without a zero byte")]
FlagName = Annotated[
    str,
    _matching(r"--[a-z0-9][a-z0-9-]*", 'the name of a `ray start` option, for example "--labels"'),
]
# In Redis: a user, and the first part of each key.
RedisName = Annotated[
    str, _matching(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}", "up to 64 letters, digits, and ._@-")
]
HostName = Annotated[str, _matching(_HOST_NAME, "the name of a host")]
RuleId = Annotated[
    str,
    _matching(
        r"SR-[A-Z]+-[0-9]{3}|CVE-[0-9]{4}-[0-9]{4,}|GHSA(-[0-9a-z]{4}){3}|PYSEC-[0-9]{4}-[0-9]+",
        "the id of a rule or an advisory, for example SR-NET-002 or CVE-2026-12345",
    ),
]
