"""A causal LM that rewrites a text politely: it samples candidates for `pairs.rewriting`."""

from ...models.loading import load_model, load_tokenizer, move
from ...models.places import Place
from ...models.sampling import continuations
from .pairs import BATCH, Rewrite

TEMPLATE = "Rewrite the text so that it says the same politely.\nText: {text}\nPolite text:"
CANDIDATES = 4


def rewriter(place: Place, device: str, new_tokens: int, seed: int) -> Rewrite:
    """A function from texts to the candidates of each: first lines, distinct and not empty.

    Args:
        place: `model` of a base manifest.
        device: ``cpu`` or ``cuda``.
        new_tokens: limit for a candidate.
        seed: of the sampling (top-p 0.9, temperature 1).
    """
    model, tokenizer = move(load_model(place), device), load_tokenizer(place)
    protocol = {
        "samples": CANDIDATES,
        "new_tokens": new_tokens,
        "temperature": 1.0,
        "top_p": 0.9,
        "top_k": 0,
        "prefix": "",
        "seed": seed,
    }

    def rewrite(texts: list[str]) -> list[list[str]]:
        prompts = [TEMPLATE.format(text=" ".join(text.split())) for text in texts]
        sampled = continuations(model, tokenizer, prompts, protocol, BATCH)
        lines = [[c.text.strip().split("\n")[0].strip() for c in row] for row in sampled]
        return [[f" {line}" for line in dict.fromkeys(row) if line] for row in lines]

    return rewrite
