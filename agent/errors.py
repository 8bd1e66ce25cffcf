"""What the agent refuses, and how it says so."""


class AgentError(Exception):
    """A refusal that a person or the controller reads: an HTTP status and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


class SettingsError(Exception):
    """The environment does not describe an instance that can run; the text is one line."""
