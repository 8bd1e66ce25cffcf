"""The key of earlier versions, from which the tokens of all instances were derived; they stored none."""

import hmac
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class FormerKey:
    """Tells the token of an instance that an earlier version launched, until the last of them is gone."""

    key: bytes = field(repr=False)

    def token(self, instance_uid: str) -> str:
        """The bearer token with which that instance was launched."""
        return hmac.new(self.key, b"instance-token:" + instance_uid.encode(), "sha256").hexdigest()
