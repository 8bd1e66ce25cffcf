"""The tokens of instances: derived from one installation key, so none is ever stored or sent anywhere but there."""

import hmac
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Installation:
    """Who this installation of the operator is: the id marks its remotes, the key makes its tokens."""

    id: str
    key: bytes = field(repr=False)

    def token(self, instance_uid: str) -> str:
        """The bearer token of one instance: the same after every restart, and of no use for any other instance."""
        return hmac.new(self.key, b"instance-token:" + instance_uid.encode(), "sha256").hexdigest()
