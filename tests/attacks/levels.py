"""What is tried behind every level and by every kind of user: one neutral recipe that does everything at once, and for
each entry of the catalogue that ends with a label the attack that stands for it."""

from __future__ import annotations

from collections.abc import Mapping

from tests.attacks import budgets, images, pipes, scores, tricks
from tests.attacks.attack import Attack

#: Named by the tables that they are in; A12 and A18 are decided before a sandbox starts, or without one.
LANGUAGE_MODEL = (
    "logits that are nan",  # A3
    "kill oneself",  # A4
    "training in an orphan",  # A5 to A7
    "a training that stops itself",  # A8
    "learning from a chunk before answering it",  # A10
    "the target itself",  # A11
    "a vocabulary that only the training process knows",  # A16
    "a gigabyte as artifact",  # A16
    "a link as artifact",  # A17
    "garbage",  # A21
    "memory without end",  # A25
    "a file of a gigabyte",  # A26
    "the time of day",  # A30
)
CHOICES = (
    "logits that are nan",
    "leave while predicting",
    "training in an orphan",
    "sleep in training",
    "the target itself",
    "a vocabulary that only the training process knows",
    "hints in the spelling of contexts",  # A10
    "a file of a gigabyte",
)
SPEED = (
    "no numbers",  # A3
    "kill oneself",  # A4
    "too much of it in training",  # A6
    "stop",  # A8
    "answers by position",  # A13
    "garbage",  # A21
    "memory",  # A25
)
TABLES = {
    "golf": (LANGUAGE_MODEL, [*scores.ATTACKS, *budgets.ATTACKS, *pipes.ATTACKS, *tricks.ATTACKS]),
    "core": (CHOICES, [*scores.ATTACKS, *budgets.ATTACKS, *pipes.ATTACKS, *tricks.ATTACKS]),
    "speed": (SPEED, images.REFUSED),
}
WORDS = "for _ in range(4): os.write(2, b'val_bpb: 0 ' * 95_326)"


def refused(arena: str) -> list[Attack]:
    """The attacks that stand for the entries which end with a label."""
    names, table = TABLES[arena]
    by_name = {attack.name: attack for attack in table if arena in attack.arenas}
    return [by_name[name] for name in names]


def everything(arena: str, acts: str) -> Attack:
    """Whatever changes nothing, in one recipe that then trains honestly. acts: what is tried against the walls."""
    train = "\n".join(
        (pipes.LIMITS, acts, scores.PRINTS, scores.FILES, scores.START_HOOKS, WORDS, pipes.DAEMON, tricks.FORKS)
    )
    places: Mapping[str, str] = {"import": scores.FILES, "train": train}
    if arena == "speed":
        return Attack("everything", "A21", {**places, "predicted": scores.PATCHED}, arenas=[arena])
    weights = {"trained": scores.PICKLED, "load": "artifact = artifact[:65536]", "loaded": scores.PATCHED}
    return Attack("everything", "A21", {**places, **weights}, arenas=[arena])
