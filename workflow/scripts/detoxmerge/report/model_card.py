"""The README.md of an exported model: what was done to it, and what that changed, in numbers."""

from collections.abc import Mapping
from itertools import groupby
from typing import Any

import yaml

Content = Mapping[str, Any]

MEANINGS = """\
Toxicity is a classifier's score of a continuation alone, 0 to 1. `toxic share above T` is the share
of continuations with a score strictly above T, `expected max toxicity` the mean over prompts of the
highest score of their continuations, `toxicity probability any above T` the share of prompts with
any score strictly above T. A score that could not be had is missing and counted as failed, never 0.
`perplexity per token` is exp(sum of NLL / scored tokens) in strided windows; it compares models
with the same tokenizer only. `conditional perplexity` is that of a continuation after its prompt,
under the judge; `dist n` is the share of unique n-grams among a prompt's continuations, mean over
prompts; a repeated continuation is one in which more than half of the 4-grams stood before."""

LIMITS = """\
- A lower score is not a safe model. It can still write toxic, false or biased text, and all limits
  of the base model remain.
- The score is one classifier's opinion. Such classifiers also mark harmless text that mentions a
  minority, and what they learned to see as toxic may be what the vector was trained on.
- These are samples, given here without intervals: small differences are chance.
- A model that writes worse also scores lower. Read toxicity and perplexity together.
- Where scales or settings were compared on the same prompts, the best looks better than it is.
- What else the edit changed (knowledge, other languages, other tasks) was not measured here."""

LOADING = """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # where this file lies
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
inputs = tokenizer("The people next door", return_tensors="pt")
output = model.generate(inputs.input_ids, attention_mask=inputs.attention_mask, {sampling})
print(tokenizer.decode(output[0], skip_special_tokens=True))
```"""


def model_card(content: Content) -> str:
    """The card, as Markdown with a YAML header.

    Args:
        content: of the export's manifest: `scale`, `selection`, `study`, `license`, `measured`,
            `weights`, `transformers`.
    """
    study = content["study"]
    sections = {
        "What was done": _done(content),
        "What was measured": _measured(content),
        "How to load it": _loading(content),
        "Precision": _precision(content),
        "Limits": LIMITS,
        "License": _license(content),
        "Citation": f"The method: {study['reference']}; its reference stands under What was done. "
        "The weights, the measurements and this page were made by the workflow detoxmerge.",
    }
    title = f"# {study['model']}, edited by {study['label']} at scale {content['scale']}"
    body = "\n\n".join(f"## {name}\n\n{text}" for name, text in sections.items())
    return f"---\n{_header(content)}---\n\n{title}\n\n{_in_short(content)}\n\n{body}\n"


def _header(content: Content) -> str:
    study = content["study"]
    header: dict[str, Any] = {"base_model": study["base"]["hub"]} if study["base"]["hub"] else {}
    header |= {k: v for k, v in content["license"].items() if k != "told_by"}
    header |= {"library_name": "transformers", "pipeline_tag": "text-generation"}
    if study["data"] and study["data"]["hub"]:
        header["datasets"] = [study["data"]["hub"]]
    header["tags"] = ["detoxification", "task-vectors", "model-editing", "detoxmerge"]
    return yaml.safe_dump(header, sort_keys=False)


def _in_short(content: Content) -> str:
    shown = ("toxicity_mean", "perplexity_per_token")
    rows = [row for row in content["measured"] if row["metric"] in shown]
    lines = [
        "The weights of a language model, moved so that it should continue text less toxically. "
        "What that changed, and what it cost:",
        "",
        "| | this model | base model |",
        "|---|---|---|",
    ]
    for row in rows:
        scorer = f" by `{row['scorer']}`" if row["scorer"] else ""
        lines.append(_row(f"{_words(row['metric'])}, `{row['measured_on']}`{scorer}", row))
    return "\n".join(lines)


def _done(content: Content) -> str:
    study = content["study"]
    sign = "-" if study["sign"] < 0 else "+"
    selection = content["selection"]
    chosen = (
        f"chosen by the rule `{selection['selector']}`: {selection['reason']}"
        if selection
        else "set by hand"
    )
    lines = [
        f"    theta = theta_0 {sign} {content['scale']} * delta",
        "",
        f"theta_0 is the base model, delta the vector of the method `{study['method']}` "
        f"({study['label']}):",
        "",
        *(f"> {line}".rstrip() for line in study["about"].splitlines()),
        "",
        f"- Base model: {study['base']['words']}.",
        *_checksums(study["base"]["sha256"]),
        f"- Setting: {_pairs(study['params'])}.",
        f"- Scale: {content['scale']}, {chosen}.",
    ]
    # the rest only of edits that have it
    data = study["data"]
    if data:
        lines.append(
            f"- Data set `{data['alias']}`: {data['source']}. Its {data['num_toxic']} texts with "
            f"`{data['score']}` > {data['toxic_above']} are the toxic ones; partition seed "
            f"{data['partition_seed']}."
        )
    for given in study["given"]:
        lines.append(f"- Fine-tune made elsewhere: {given['words']}.")
        lines += _checksums(given["sha256"])
    if study["recipe"]:
        lines.append(f"- Fine-tuning of the model on each shard: {_pairs(study['recipe'])}.")
    if study["seed"] != "-":
        lines.append(f"- Training seed: {study['seed']}.")
    return "\n".join(lines)


def _checksums(sha256: Mapping[str, str]) -> list[str]:
    return [f"  SHA-256 of its `{name}`: `{checksum}`." for name, checksum in sha256.items()]


def _measured(content: Content) -> str:
    study = content["study"]
    parts = [f"Both models with weights in {study['measured_dtype']}, at the same seeds."]
    # a section per set and scorer, judge or corpus; numbers of one stand together
    for (name, scorer), rows in groupby(
        content["measured"], key=lambda row: (row["measured_on"], row["scorer"])
    ):
        if scorer in study["scorers"]:
            prompts = dict(study["prompts"][name])
            about = f"Prompts: {prompts.pop('source')}. Continuations: {_pairs(prompts)}. "
            about += f"Scorer: {study['scorers'][scorer]}."
            title = f"### Toxicity on `{name}`, scored by `{scorer}`"
        elif scorer:
            about = "The same continuations."
            title = f"### Fluency on `{name}`, judged by `{scorer}`"
        else:
            about, title = f"Text: {study['corpora'][name]}.", f"### Perplexity on `{name}`"
        table = ["| | this model | base model |", "|---|---|---|"]
        table += [_row(_words(row["metric"]), row) for row in rows]
        parts += [title, about, "\n".join(table)]
    return "\n\n".join([*parts, MEANINGS])


def _loading(content: Content) -> str:
    prompts = next(iter(content["study"]["prompts"].values()))
    sampling = ", ".join(
        [
            f"max_new_tokens={prompts['new_tokens']}",
            "do_sample=True",
            *(f"{key}={prompts[key]}" for key in ("temperature", "top_p", "top_k")),
        ]
    )
    text = LOADING.format(sampling=sampling)
    return text + f"\n\nWritten and checked with transformers {content['transformers']}."


def _precision(content: Content) -> str:
    weights = content["weights"]
    tokens = f"a text of {weights['num_probe_tokens']} tokens"
    start = f"The weights are stored in {weights['dtype']}, as those of the base model are"
    if weights["dtype"] == "float32":
        return (
            f"{start}. Loaded from this folder, they give the edit's logits bit for bit ({tokens})."
        )
    # the second row has only the cast of the weights, the first also computing in that dtype
    names = {
        "as_loaded": f"this folder, computing in {weights['dtype']}",
        "weights_cast_only": "this folder, computing in float32",
        "edit_to_base": "the base model, for comparison",
    }
    table = ["| against the edit in float32 | max | mean |", "|---|---|---|"]
    for key, words in names.items():
        gap = weights["logit_difference"][key]
        table.append(f"| {words} | {_cell(gap['max'])} | {_cell(gap['mean'])} |")
    share = weights["share_rounded_back"]
    lost = "The vector moves no weight."
    if share is not None:
        lost = f"Rounding put {share:.1%} of the weights that the vector moves back on exactly "
        lost += "the base's value."
    return (
        f"{start}; the edit was computed in float32 and rounded once. {lost} Differences of logits "
        f"on {tokens}:\n\n" + "\n".join(table)
    )


def _license(content: Content) -> str:
    terms = content["license"]
    if terms["told_by"] is None:
        return (
            "Unknown: neither a model card nor a LICENSE file beside the base model tells it. Ask "
            "who made the base model before you pass this one on."
        )
    name = terms.get("license_name", terms["license"])
    return (
        f"`{name}`, which is the base model's, told by its {terms['told_by']}. Its terms hold for "
        "this model too; licence files that lie beside the base model lie here as well. Data sets, "
        "scorers and fine-tunes made elsewhere have terms of their own."
    )


def _row(name: str, number: Mapping[str, Any]) -> str:
    return f"| {name} | {_cell(number['edited'])} | {_cell(number['base'])} |"


def _words(metric: str) -> str:
    return metric.replace("num_", "number of ").replace("_", " ")


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {'none' if v in (None, '') else v}" for key, v in values.items())


def _cell(value: Any) -> str:
    if value is None:
        return "missing"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
