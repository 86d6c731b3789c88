"""A vocabulary that is the same in every process, with ties and with more letters than are kept."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from detoxmerge.train.wordpiece import MAX_LETTERS, SPECIAL, train_wordpiece

TRAIN = """
import random
from detoxmerge.train.wordpiece import train_wordpiece
random.seed(0)
words = ["".join(random.choices("abcdefghij", k=random.randint(2, 7))) for _ in range(900)]
words += ["x" + chr(0xA000 + i) + "y" for i in range(1100)]  # Yi syllables, all equally rare
texts = [" ".join(random.choices(words, k=12)) for _ in range(1000)] + words
print(sorted(train_wordpiece(texts, SIZE).get_vocab().items()))
"""


def trained(hash_seed: int, size: int) -> str:
    """The checksum of a vocabulary that a fresh process trained."""
    environment = os.environ | {
        "PYTHONHASHSEED": str(hash_seed),
        "PYTHONPATH": str(Path(__file__).parents[2] / "workflow/scripts"),
    }
    command = [sys.executable, "-c", TRAIN.replace("SIZE", str(size))]
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    return hashlib.sha256(done.stdout).hexdigest()


def test_five_processes_train_the_same_vocabulary() -> None:
    for size in (600, 3000):
        assert len({trained(seed, size) for seed in range(5)}) == 1


def test_the_vocabulary_is_one_of_wordpiece() -> None:
    texts = ["The fool sings, and sings.", "Rose beds! A singer’s rosé beds."] * 3
    words = train_wordpiece(texts, 80)
    vocabulary = words.get_vocab()
    assert [words.id_to_token(i) for i in range(len(SPECIAL))] == list(SPECIAL)
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))
    assert "rose" in vocabulary  # without the accent, like the other one
    assert "##!" not in vocabulary  # marks are words of their own
    tokens = words.encode("roses singing").tokens
    assert "".join(token.removeprefix("##") for token in tokens) == "rosessinging"


def test_the_rarest_letters_are_unknown() -> None:
    letters = [chr(0xA000 + i) for i in range(MAX_LETTERS + 50)]  # Yi: no case, no accents
    vocabulary = train_wordpiece([" ".join(letters), *letters[50:]], 10).get_vocab()
    assert {letter for letter in letters if letter in vocabulary} == set(letters[50:])
