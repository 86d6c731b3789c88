"""A WordPiece vocabulary from texts, the same one in every process. No torch here.

The tokenizers library numbers the letters inside of words in the order of a hash table, which
differs between processes, and of two pairs that are equally frequent it merges the one with the
lower numbers; it also drops the rarest letters by that order. So both are settled here before.
"""

from collections import Counter

from tokenizers import BertWordPieceTokenizer

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MAX_LETTERS = 1000  # of the alphabet, which is the library's own limit; rarer ones are unknown


def train_wordpiece(texts: list[str], size: int) -> BertWordPieceTokenizer:
    """Train on texts in lower case, without accents.

    Args:
        size: tokens of the vocabulary, if the texts have so many.
    """
    words = BertWordPieceTokenizer(lowercase=True)
    alphabet, inside = _letters(texts, words)
    words.train_from_iterator(
        texts,
        vocab_size=size,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        special_tokens=[*SPECIAL, *(f"##{letter}" for letter in inside)],
        show_progress=False,
    )
    return words


def _letters(texts: list[str], words: BertWordPieceTokenizer) -> tuple[list[str], list[str]]:
    """The most frequent letters, and those of them that stand behind another one in a word."""
    split, plain = words.pre_tokenizer.pre_tokenize_str, words.normalizer.normalize_str
    counts = Counter(word for text in texts for word, _ in split(plain(text)))
    letters: Counter[str] = Counter()
    for word, count in counts.items():
        for letter in word:
            letters[letter] += count
    alphabet = sorted(letters, key=lambda letter: (-letters[letter], letter))[:MAX_LETTERS]
    inside = {letter for word in counts for letter in word[1:]}
    return alphabet, sorted(inside.intersection(alphabet))
