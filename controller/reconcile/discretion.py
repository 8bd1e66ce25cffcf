"""Discretion: no sentence about an instance repeats what it was given in confidence."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence

from controller.core.sentence import repeats
from controller.errors import AgentpoolError
from controller.model import AgentInstance
from controller.reconcile.facts import Facts

log = logging.getLogger(__name__)

_REPEATS = "its own words are left out because they repeat what was sent in confidence"
_UNKNOWN = "what is said of it is left out until what it was given in confidence can be read and compared"

Given = Callable[[AgentInstance], Awaitable[Sequence[str]]]
"""Looks up anew what an instance was given in confidence."""


class Discretion:
    """Programs like to quote the key with which they were turned away, in answers and in the last line of their log."""

    def __init__(self, given: Given, facts: Facts) -> None:
        self._given = given
        self._facts = facts

    def launched(self, uid: str, values: Iterable[str]) -> None:
        """An instance is launched with all of these."""
        facts = self._facts.instances[uid]
        # An earlier try may have brought it what its Secrets held then, and it may quote that.
        facts.confidential = (facts.confidential or frozenset()) | frozenset(values)

    def told(self, uid: str, values: Iterable[str]) -> None:
        """It is given these, too."""
        facts = self._facts.instances[uid]
        # What is not known is looked up whole once it matters.
        if facts.confidential is not None:
            facts.confidential |= frozenset(values)

    async def learn(self, instance: AgentInstance) -> None:
        """Look up what an operator that is gone gave it, unless that is known."""
        facts = self._facts.instances[instance.metadata.uid]
        if facts.confidential is not None:
            return
        try:
            facts.confidential = frozenset(await self._given(instance))
        except AgentpoolError as error:
            log.warning("instance %s/%s is not quoted: %s", *instance.key, error)

    def fit(self, instance: AgentInstance, sentence: str) -> str:
        """As much of the sentence as everybody may see. Only what was learned before can be kept back by itself."""
        facts = self._facts.instances[instance.metadata.uid]
        if facts.confidential is None:
            return _UNKNOWN if sentence else ""
        token = facts.token
        confidential = facts.confidential | ({token.current, token.spare or ""} if token is not None else set())
        if not any(repeats(sentence, secret) for secret in confidential):
            return sentence
        # What comes before a colon is ours: how it ended, or with which status it answered.
        head = sentence.partition(": ")[0]
        return f"{head}: {_REPEATS}" if not any(repeats(head, secret) for secret in confidential) else _REPEATS
