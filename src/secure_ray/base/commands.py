"""Commands of secure-ray in messages, so that they do what is meant when they are typed."""

from __future__ import annotations

DEFAULT_CLUSTER = "default"


def command(words: str, cluster: str) -> str:
    """`secure-ray WORDS` for `cluster`, which is named unless it is the default one."""
    named = "" if cluster == DEFAULT_CLUSTER else f" --cluster {cluster}"
    return f"secure-ray {words}{named}"


def new_keys(cluster: str) -> str:
    """What makes new keys and a new token for `cluster`."""
    return f"{command('reset', cluster)}, then {command('up --head', cluster)}"
