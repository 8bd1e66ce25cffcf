"""What an instance was given in confidence is in no sentence about it."""

from collections.abc import Sequence

from controller.errors import AgentpoolError, Missing, Transient
from controller.model import AgentInstance
from controller.reconcile.discretion import Discretion
from controller.reconcile.facts import Facts
from tests.core.builders import instance

KEY = "sk-or-v1-0123456789abcdef0123456789abcdef"
INSTANCE = instance("one")


class Source:
    """What can be looked up, and how often it was."""

    def __init__(self, answer: Sequence[str] | AgentpoolError) -> None:
        self.answer = answer
        self.asked = 0

    async def __call__(self, _: AgentInstance) -> Sequence[str]:
        self.asked += 1
        if isinstance(self.answer, AgentpoolError):
            raise self.answer
        return self.answer


async def fitted(source: Source, *sentences: str) -> list[str]:
    """The sentences as an operator shows them that has just started."""
    discretion = Discretion(source, Facts())
    for _ in range(2):
        await discretion.learn(INSTANCE)
    return [discretion.fit(INSTANCE, sentence) for sentence in sentences]


async def test_a_sentence_that_repeats_nothing_is_shown_as_it_is() -> None:
    sentence = "it answered 503: the model is overloaded"
    assert await fitted(Source([KEY]), sentence, "") == [sentence, ""]


async def test_of_a_sentence_that_repeats_a_key_only_our_own_words_are_shown() -> None:
    [said] = await fitted(Source([KEY]), f"exited with code 1; last line of its log: bad key {KEY}!")
    assert said.startswith("exited with code 1; last line of its log: its own words are left out")
    assert KEY[:24] not in said


async def test_a_part_of_a_key_is_left_out_too_and_also_where_it_comes_first() -> None:
    part, first = await fitted(Source([KEY]), f"it answered 401: {KEY[5:33]}…", f"{KEY}: no such key")
    assert KEY[5:33] not in part
    assert KEY not in first


async def test_what_was_given_later_is_left_out_too() -> None:
    discretion = Discretion(Source([]), Facts())
    discretion.launched(INSTANCE.metadata.uid, [KEY])
    discretion.told(INSTANCE.metadata.uid, ["You guard the red door at midnight."])
    for secret in (KEY, "You guard the red door at midnight."):
        assert secret not in discretion.fit(INSTANCE, f"exited with code 1: {secret}")


async def test_what_an_earlier_launch_brought_is_left_out_after_its_secret_was_changed() -> None:
    discretion, changed = Discretion(Source([]), Facts()), KEY[::-1]
    discretion.launched(INSTANCE.metadata.uid, [KEY])
    discretion.launched(INSTANCE.metadata.uid, [changed])
    for secret in (KEY, changed):
        assert secret not in discretion.fit(INSTANCE, f"exited with code 1: {secret}")


async def test_what_a_dead_operator_gave_it_is_looked_up_once_and_wholly() -> None:
    source = Source([KEY])
    discretion = Discretion(source, Facts())
    discretion.told(INSTANCE.metadata.uid, ["You guard the red door at midnight."])
    await discretion.learn(INSTANCE)
    await discretion.learn(INSTANCE)
    assert source.asked == 1
    assert KEY not in discretion.fit(INSTANCE, f"it says: {KEY}")


async def test_while_nothing_can_be_compared_nothing_is_quoted() -> None:
    for error in (Transient("the API server is away"), Missing("Secret model does not exist")):
        source = Source(error)
        said, silence = await fitted(source, f"exited with code 1; {KEY}", "")
        assert "left out until" in said
        assert KEY not in said
        assert silence == ""
        assert source.asked == 2
