"""Takes out of a text whatever names people or one particular machine.

Known words come from the machine (its name, its users, its serial numbers); shapes take what is left: network
and hardware addresses, UUIDs, mail addresses, secrets that are named so. Too much is taken rather than too
little: the user of a board who is called like a word loses that word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgeface.doctor.system import System

__all__ = ["Redaction", "redaction", "secret_name"]

_SERIALS = (
    "proc/device-tree/serial-number",
    "sys/firmware/devicetree/base/serial-number",
    "etc/machine-id",
    "var/lib/dbus/machine-id",
    "proc/sys/kernel/random/boot_id",
)
_SERIAL_PATTERNS = (
    "sys/class/dmi/id/*_serial",
    "sys/class/dmi/id/*_uuid",
    "sys/class/dmi/id/*_asset_tag",
    "sys/bus/usb/devices/*/serial",
    "sys/block/*/device/serial",
    "sys/block/*/device/cid",
)
_FIRST_PERSON, _NOBODY = 1000, 65534  # user numbers of Debian
_SHORTEST_SERIAL = 4  # shorter ones ("0", "n/a") name nothing
_SECRET = r"\w*(?:token|secret|passw(?:or)?d|passphrase|credential|api_?key|private_?key|psk)\w*"  # noqa: S105

_SHAPES = tuple(
    (re.compile(pattern, re.IGNORECASE), stands)
    for pattern, stands in (
        (rf"({_SECRET}[\"']?\s*[=:]\s*)\S+", r"\1[secret]"),
        (r"://[^\s/@]+@", "://[secret]@"),
        (r"(?:/home|/users|/var/home)/[^/\s:'\",;]+", "/home/[user]"),
        (r"[\w.+-]+@[\w-]+(?:\.[\w-]+)*", "[mail]"),
        (r"(serial(?:[ _-]?number)?\s*[=:]\s*)\S+", r"\1[serial]"),
        (r"(?<![\w-])[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?![\w-])", "[id]"),
        (r"(?<!\w)[0-9a-f]{32}(?!\w)", "[id]"),
        (r"(?<![\w:-])(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}(?![\w:-])", "[address]"),
        (r"(?<![\w:])(?:[0-9a-f]{1,4}:){4,7}[0-9a-f]{1,4}(?![\w:])", "[address]"),
        (
            r"(?<![\w:])(?:[0-9a-f]{1,4}:)*(?:[0-9a-f]{1,4})?::(?:[0-9a-f]{1,4}:)*[0-9a-f]{1,4}(?![\w:])",
            "[address]",
        ),
    )
)
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]*\d)")


def secret_name(name: str) -> bool:
    """Whether a variable is named like one that holds a secret."""
    return re.fullmatch(rf"{_SECRET}|\w*key", name, re.IGNORECASE) is not None


@dataclass(frozen=True, slots=True)
class Redaction:
    """Knows what must not be told."""

    words: tuple[tuple[re.Pattern[str], str], ...]
    versions: frozenset[str]
    """Of installed packages: some look like network addresses."""

    def text(self, text: str) -> str:
        """The text without it."""
        for pattern, stands in (*_SHAPES, *self.words):
            text = pattern.sub(stands, text)
        return _IPV4.sub(lambda match: match[0] if match[0] in self.versions else "[address]", text)

    def values(self, value: Any) -> Any:
        """JSON values without it; keys, which are ours, stay."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.values(item) for item in value]
        if isinstance(value, dict):
            return {key: self.values(item) for key, item in value.items()}
        return value


def redaction(system: System) -> Redaction:
    """What must not be told of a machine."""
    found: dict[str, str] = {}
    for stands, words in (
        ("[serial]", _serials(system)),
        ("[user]", _people(system)),
        ("[host]", _hosts(system)),
    ):
        found |= dict.fromkeys(words, stands)
    longest_first = sorted(found, key=len, reverse=True)  # "jane.doe" before "jane"
    return Redaction(
        tuple((_word(word), found[word]) for word in longest_first), frozenset(system.packages.values())
    )


def _word(word: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])", re.IGNORECASE)


def _serials(system: System) -> Iterable[str]:
    paths = [*_SERIALS]
    for pattern in _SERIAL_PATTERNS:
        paths += [str(path.relative_to(system.root)) for path in system.find(pattern)]
    values = [system.read(path) for path in paths]
    values += re.findall(r"^Serial\s*:\s*(\S+)", system.read("proc/cpuinfo"), re.MULTILINE)
    return {value for value in values if len(value) >= _SHORTEST_SERIAL}


def _people(system: System) -> Iterable[str]:
    names = {system.user, *_named(system.environment, "USER", "LOGNAME", "SUDO_USER")}
    for line in system.read("etc/passwd").splitlines():
        fields = line.split(":")
        if len(fields) >= 6 and fields[2].isdigit() and _FIRST_PERSON <= int(fields[2]) < _NOBODY:
            names |= {fields[0], fields[5].rpartition("/")[2]}
            names |= {part.strip() for part in fields[4].split(",")}  # the real name, a room, a telephone
    return names - {"", "root"}


def _hosts(system: System) -> Iterable[str]:
    names = {system.read("etc/hostname"), system.read("proc/sys/kernel/hostname")}
    names |= set(_named(system.environment, "HOSTNAME", "HOST"))
    names |= {name.partition(".")[0] for name in names}
    return names - {"", "localhost", "(none)"}


def _named(environment: Mapping[str, str], *names: str) -> list[str]:
    return [environment[name] for name in names if environment.get(name)]
