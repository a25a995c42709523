"""How a question becomes a prompt, and what ends the response to it: the same for training and for evaluation.

    prompt = before + question + after        as token ids; a line of TEMPLATES
    response = what is sampled, up to and with the first token that ends it

How it differs from the field. Elsewhere the prompt is written twice, once for the trainer and once for the evaluation,
and the two drift apart. Here both call `render`, and a checkpoint carries the name of its template. No prompt is cut:
the caller knows the model's room, and counts what does not fit.

A base model that was trained on ChatML ends its turn with <|im_end|>, and neither its generation config nor its
tokenizer need say so. It would then go on to invent the next question, and the box of that answer would be graded. So a
template says which tokens end a turn of its dialogue, besides the model's own (`stop_ids`).
"""

import json
import warnings
from typing import NamedTuple

# What asks for the form of answer that the verifier reads.
BOXED = "\nPlease reason step by step, and put your final answer within \\boxed{}."


class Template(NamedTuple):
    before: str
    after: str
    stops: tuple[str, ...] = ()  # texts that end a response, where the vocabulary has a token for them


# A template of one's own is one line here.
TEMPLATES = {
    # The tokenizer's own chat template stands around this, and says what ends a turn.
    "chat": Template("", BOXED),
    # The paper's, for Qwen: one system and one user message in ChatML, as literal text.
    "qwen-boxed": Template(
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
        BOXED + "<|im_end|>\n<|im_start|>assistant\n",
        ("<|im_end|>", "<|im_start|>", "<|endoftext|>"),
    ),
    # The paper's, for Mistral, which has no token for the end of a turn: the next turn begins with one of these words.
    "abel": Template("Question:\n", "\nAnswer:\nLet's think step by step.\n", ("Question", "Answer")),
    # ChatML around the question and nothing else: for questions that say themselves how to answer.
    "chatml": Template(
        "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", ("<|im_end|>", "<|im_start|>", "<|endoftext|>")
    ),
    # The toy's: nothing but the question.
    "plain": Template("", ""),
}


def chat_options(text: str | None) -> dict:
    """The JSON object of --chat_options as a dict; empty where there is none."""
    try:
        options = json.loads(text or "{}")
    except ValueError as error:
        raise ValueError(f"--chat_options {text}: not JSON ({error})") from error
    if not isinstance(options, dict):
        raise ValueError(f"--chat_options {text}: want an object such as {{\"enable_thinking\": false}}")
    return options


def prompt_text(tokenizer, question: str, template: str, system: str | None = None, options: str | None = None) -> str:
    """The prompt as text, without the special tokens that a tokenizer adds by itself.

    system, options: for chat, the system message and the JSON of --chat_options that its template is handed. Raises
    ValueError for an unknown template, and for chat where the tokenizer has no chat template.
    """
    if template not in TEMPLATES:
        raise ValueError(f"unknown template {template!r}; choose from {', '.join(TEMPLATES)}")
    before, after, _ = TEMPLATES[template]
    text = before + question + after  # no str.format: questions are full of braces
    if template != "chat":
        return text
    if not tokenizer.chat_template:
        raise ValueError("this tokenizer has no chat template; choose --template qwen-boxed, abel, chatml or plain")
    messages = [{"role": "user", "content": text}]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    return tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=False, **chat_options(options)
    )


def render(tokenizer, question: str, template: str, system: str | None = None, options: str | None = None) -> list[int]:
    """Token ids of the prompt, all that stands before the response.

    chat: the tokenizer's own chat template with one user message, which ends in the same request for a box as
    qwen-boxed; no token is added to what the template writes. The others are texts, encoded behind the special tokens
    that the tokenizer puts first by default (BOS for Llama and Mistral, none for Qwen), as the model was trained, but
    without any that it puts last: after an EOS, the response would be a new document. The ChatML markers of qwen-boxed
    become single tokens where the vocabulary has them, and are plain text elsewhere.

    Raises what prompt_text raises.
    """
    text = prompt_text(tokenizer, question, template, system, options)
    if template == "chat":  # which writes its own special tokens
        return tokenizer.encode(text, add_special_tokens=False)

    # Cut off the special tokens that the tokenizer added at the end; one that the question ends in is not among them.
    encoded = tokenizer(text, return_special_tokens_mask=True)
    ids, added = encoded["input_ids"], encoded["special_tokens_mask"]
    end = len(ids)
    while end > 0 and added[end - 1]:
        end -= 1
    return list(ids[:end])


def stop_ids(model, tokenizer, template: str = "plain", more=()) -> set[int]:
    """The token ids that end a response: the model's own, the template's, and those of the texts in `more` (--stop).

    The model's own are those of the generation config and the tokenizer's eos. A template's text counts where the
    vocabulary has a token for it.

    Raises ValueError where nothing ends a response, and where a text in `more` is not one token.
    """
    # The generation config names one id, a list of ids, or None.
    own = model.generation_config.eos_token_id
    ids = set(own) if isinstance(own, list) else {own}
    ids.add(tokenizer.eos_token_id)
    ids.discard(None)

    # What ends a turn of the dialogue that the template makes.
    for text in TEMPLATES[template].stops:
        ids |= ids_of(tokenizer, text)
    if template == "chat":
        ids |= end_of_turn(tokenizer)

    # What the user adds.
    for text in more:
        found = ids_of(tokenizer, text)
        if not found:
            raise ValueError(f"--stop {text!r} is not one token of this tokenizer, and only a token can end a response")
        ids |= found
    if not ids:
        raise ValueError(
            f"{model.name_or_path}: neither its generation config nor its tokenizer names an end token; give one by "
            "--stop"
        )
    return ids


def warn_of_foreign_markers(tokenizer, template: str):
    """A warning where a template writes the markers of a dialogue for which the tokenizer has no tokens."""
    markers = [text for text in TEMPLATES[template].stops if text.startswith("<|") and not ids_of(tokenizer, text)]
    if markers:
        warnings.warn(
            f"template {template} writes {', '.join(markers)}, for which this tokenizer has no tokens: the model reads "
            "them as plain text; --template chat, abel or plain may suit it better"
        )


def ids_of(tokenizer, text: str) -> set[int]:
    """The tokens that are this text at the start of everything and of a line, which SentencePiece tells apart."""
    found = set()
    for written in (text, "\n" + text):
        ids = tokenizer.encode(written, add_special_tokens=False)
        if ids and tokenizer.decode(ids[-1:]).strip() == text:
            found.add(ids[-1])
    return found


def end_of_turn(tokenizer) -> set[int]:
    """The special token that the chat template writes behind an assistant's message; none if it writes none."""
    answer = "42"
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    behind = text.rpartition(answer)[2].lstrip()
    ids = tokenizer.encode(behind, add_special_tokens=False)
    return {ids[0]} if ids and ids[0] in tokenizer.added_tokens_decoder else set()


def stop_tokens(tokenizer, ids: set[int]) -> list[str]:
    """The tokens of stop_ids as they are written, for logs and results."""
    return tokenizer.convert_ids_to_tokens(sorted(ids))


def opened_thought(tokenizer, rollout) -> str:
    """"<think>" where the prompts of a rollout.Rollout end with it, else "": what a grader must see before a response.

    Some chat templates open the thought themselves; what the model then says before </think> is no answer.
    """
    P = rollout.prompt_width
    tail = tokenizer.decode(rollout.ids[0, max(0, P - 8) : P])
    return "<think>" if tail.rstrip().endswith("<think>") else ""
