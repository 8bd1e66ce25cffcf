"""How services and volumes are named, and the variables by which they are known for ours.

A name may have 32 characters and is unique in its project, whatever the environment. So a service is made under a name
that only its installation, environment and uid give: Railway itself then refuses a second one. What follows the last
dash of a name, the tag, stays when the service is renamed.
"""

import hashlib
import re
import unicodedata

LENGTH = 32
"""Longest name that Railway takes."""
INSTALLATION = "AGENTPOOL_LABEL_INSTALLATION"
ENVIRONMENT = "AGENTPOOL_LABEL_ENVIRONMENT"
"""Which environment a service was made for: Railway may show it in others, too."""
INSTANCE = "AGENTPOOL_LABEL_INSTANCE"
"""Uid of the AgentInstance."""
POOL = "AGENTPOOL_LABEL_POOL"
VOLUME = "AGENTPOOL_LABEL_VOLUME"
"""What becomes of its volume when the instance ends: Delete or Retain."""
CONFIG = "AGENTPOOL_LABEL_CONFIG"
"""Of what the service was made: fingerprints of its source and of each variable."""

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_TAG = re.compile(r"-([0-9a-z]{4})-([0-9a-z]{12})")
_DOOMED = re.compile(r"([0-9a-z]{6})-([0-9a-z]{25})")
_UNSAFE = re.compile(r"[^a-z0-9]+")


def labels(installation: str, environment_id: str, uid: str, on_delete: str | None = None) -> dict[str, str]:
    """The variables that a service has from its first moment on; ``on_delete`` is what becomes of its volume."""
    volume = {VOLUME: on_delete} if on_delete is not None else {}
    return {INSTALLATION: installation, ENVIRONMENT: environment_id, INSTANCE: uid, **volume}


class Names:
    """The names of one installation in one environment."""

    def __init__(self, installation: str, environment_id: str) -> None:
        self._installation = installation
        self._environment_id = environment_id
        self._mark = _base36(f"environment:{environment_id}", 4)

    def tag(self, uid: str) -> str:
        """What every name of the service of an instance ends with: 62 bits, made of all that tells it from others."""
        return _base36(f"{self._installation}:{self._environment_id}:{uid}", 12)

    def creation_name(self, uid: str) -> str:
        """The one name under which the service of an instance is made."""
        return f"agent-{self._mark}-{self.tag(uid)}"

    def claimed_name(self, agent_name: str, uid: str) -> str:
        """A name by which a person recognises the agent."""
        ending = f"-{self._mark}-{self.tag(uid)}"
        plain = unicodedata.normalize("NFKD", agent_name).encode("ascii", "ignore").decode().lower()
        head = _UNSAFE.sub("-", plain).strip("-")[: LENGTH - len(ending)].rstrip("-")
        # Creation names are not imitated.
        return f"{head if head not in {'', 'agent'} else 'claimed'}{ending}"

    def tag_of(self, name: str) -> str | None:
        """The tag of a service that could be ours by its name; ``None``: it cannot."""
        found = _TAG.search(name)
        return found[2] if found is not None and found.end() == len(name) and found[1] == self._mark else None

    def doomed_volume(self, uid: str) -> str:
        """The name of a volume that is to go with its service: all of the uid is in it, for it outlives the service.

        Uids are UUIDs, as the API server makes them; of others a digest has to do.
        """
        return f"{_base36(f'volume:{self._installation}:{self._environment_id}', 6)}-{_uid_digits(uid)}"

    def owner_of_doomed(self, name: str) -> str | None:
        """The uid in the name of a doomed volume of ours."""
        found = _DOOMED.fullmatch(name)
        if found is None or found[1] != self.doomed_volume("")[:6]:
            return None
        number = int(found[2], 36)
        if number >= 1 << 128:
            return None
        digits = f"{number:032x}"
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    def kept_volume(self, uid: str) -> str:
        """The name of a volume that stays when its service has gone: it ends as the names of the service did."""
        return f"kept-{self._mark}-{self.tag(uid)}"


def _uid_digits(uid: str) -> str:
    plain = uid.replace("-", "")
    is_uuid = re.fullmatch(r"[0-9a-f]{32}", plain) is not None
    number = int(plain, 16) if is_uuid else int.from_bytes(hashlib.sha256(uid.encode()).digest()[:16], "big")
    return _digits(number, 25)


def _base36(text: str, length: int) -> str:
    return _digits(int.from_bytes(hashlib.sha256(text.encode()).digest(), "big") % 36**length, length)


def _digits(number: int, length: int) -> str:
    digits = ""
    for _ in range(length):
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits
