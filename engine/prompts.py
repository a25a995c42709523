"""How a question becomes a prompt, and what ends the response to it: one `render` for training and for evaluation.

    prompt = before + question + after        as token ids; `before` and `after` are a line of TEMPLATES

How it differs from the field. Elsewhere the prompt is written twice, once for the trainer and once for the evaluation,
and the two drift apart. Here both call `render`, and a checkpoint carries the name of its template. No prompt is cut:
the caller knows the model's room, and counts what does not fit.
"""

# What asks for the form of answer that the verifier reads.
BOXED = "\nPlease reason step by step, and put your final answer within \\boxed{}."

# name: (before, after). A template of one's own is one line here.
TEMPLATES = {
    # The tokenizer's own chat template stands around this.
    "chat": ("", BOXED),
    # The paper's, for Qwen: one system and one user message in ChatML, as literal text.
    "qwen-boxed": (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
        BOXED + "<|im_end|>\n<|im_start|>assistant\n",
    ),
    # The paper's, for Mistral.
    "abel": ("Question:\n", "\nAnswer:\nLet's think step by step.\n"),
    # The toy's: nothing but the question.
    "plain": ("", ""),
}


def render(tokenizer, question: str, template: str) -> list[int]:
    """Token ids of the prompt, all that stands before the response.

    chat: the tokenizer's own chat template with one user message, which ends in the same request for a box as
    qwen-boxed; no token is added to what the template writes. The others are texts, encoded behind the special tokens
    that the tokenizer puts first by default (BOS for Llama and Mistral, none for Qwen), as the model was trained, but
    without any that it puts last: after an EOS, the response would be a new document. The ChatML markers of qwen-boxed
    become single tokens where the vocabulary has them, and are plain text elsewhere.

    Raises ValueError for an unknown template, and for chat where the tokenizer has no chat template.
    """
    if template not in TEMPLATES:
        raise ValueError(f"unknown template {template!r}; choose from {', '.join(TEMPLATES)}")
    before, after = TEMPLATES[template]
    text = before + question + after  # no str.format: questions are full of braces

    # The chat template writes its own special tokens.
    if template == "chat":
        if not tokenizer.chat_template:
            raise ValueError("this tokenizer has no chat template; choose --template qwen-boxed, abel or plain")
        message = {"role": "user", "content": text}
        return tokenizer.apply_chat_template([message], add_generation_prompt=True, return_dict=False)

    # Cut off the special tokens that the tokenizer added at the end; one that the question ends in is not among them.
    encoded = tokenizer(text, return_special_tokens_mask=True)
    ids, added = encoded["input_ids"], encoded["special_tokens_mask"]
    end = len(ids)
    while end > 0 and added[end - 1]:
        end -= 1
    return list(ids[:end])


def stop_ids(model, tokenizer) -> set[int]:
    """The token ids that end a response: those of the generation config and the tokenizer's eos.

    Raises ValueError where neither names one: no response would ever end.
    """
    # The generation config names one id, a list of ids, or None.
    own = model.generation_config.eos_token_id
    ids = set(own) if isinstance(own, list) else {own}
    ids.add(tokenizer.eos_token_id)

    # Either may be missing, but not both.
    ids.discard(None)
    if not ids:
        raise ValueError(f"{model.name_or_path}: neither its generation config nor its tokenizer names an end token")
    return ids
