"""Prompts as text: a tokenizer of single characters shows what each template puts around a question."""

import warnings
from types import SimpleNamespace

import pytest
import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors

from engine.data import Problem
from engine.prompts import TEMPLATES, opened_thought, prompt_text, render, stop_ids, stop_tokens
from engine.prompts import warn_of_foreign_markers
from engine.rewards import REWARDS, grade
from engine.stats import summarise
from eval import Protocol, evaluate
from rollout import Policy

CHATML = ["<|im_start|>", "<|im_end|>"]
MESSAGE = ("{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
           "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")


def tokenizer_of_characters(around=None, special=(), chat_template=None):
    """A tokenizer of single characters; `around` is what it puts around a text by default, such as "<s> $A </s>"."""
    characters = [chr(code) for code in [10, *range(32, 127)]]
    model = models.WordLevel({token: index for index, token in enumerate(["<unk>", *characters])}, unk_token="<unk>")
    fast = Tokenizer(model)
    fast.pre_tokenizer, fast.decoder = pre_tokenizers.Split(Regex("[\\s\\S]"), "isolated"), decoders.Fuse()
    fast.add_special_tokens(["<s>", "</s>", *special])
    if around:
        marks = [(mark, fast.token_to_id(mark)) for mark in ("<s>", "</s>")]
        fast.post_processor = processors.TemplateProcessing(single=around, special_tokens=marks)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=fast, unk_token="<unk>", bos_token="<s>",
                                                eos_token="</s>", chat_template=chat_template)


QUESTION = "What is \\frac{1}{2} of {x}?"
TEXTS = {
    "qwen-boxed": "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n" + QUESTION
                  + "\nPlease reason step by step, and put your final answer within \\boxed{}.<|im_end|>\n"
                    "<|im_start|>assistant\n",
    "abel": "Question:\n" + QUESTION + "\nAnswer:\nLet's think step by step.\n",
    "chatml": "<|im_start|>user\n" + QUESTION + "<|im_end|>\n<|im_start|>assistant\n",
    "plain": QUESTION,
}


@pytest.mark.parametrize("template", TEXTS)
def test_template_is_its_text_around_the_question(template):
    tokenizer = tokenizer_of_characters()
    assert tokenizer.decode(render(tokenizer, QUESTION, template)) == TEXTS[template]


@pytest.mark.parametrize("template", TEXTS)
@pytest.mark.parametrize("around, expected", [("$A", ""), ("<s> $A", "<s>"), ("<s> $A </s>", "<s>"), ("$A </s>", ""),
                                              ("</s> $A </s> </s>", "</s>")])
def test_default_special_tokens_stay_in_front_and_go_at_the_end(around, expected, template):
    tokenizer = tokenizer_of_characters(around)
    assert tokenizer.decode(render(tokenizer, QUESTION, template)) == expected + TEXTS[template]


def test_chatml_markers_are_single_tokens_where_the_vocabulary_has_them():
    with_markers, without = tokenizer_of_characters(special=CHATML), tokenizer_of_characters()
    start, end = with_markers.convert_tokens_to_ids(CHATML)
    ids = render(with_markers, QUESTION, "qwen-boxed")
    assert ids.count(start) == 3 and ids.count(end) == 2 and ids[0] == start
    assert with_markers.decode(ids) == TEXTS["qwen-boxed"]
    assert len(render(without, QUESTION, "qwen-boxed")) == len(TEXTS["qwen-boxed"])


def test_a_question_that_ends_in_a_special_token_keeps_it():
    tokenizer = tokenizer_of_characters("<s> $A </s>", special=CHATML)
    assert tokenizer.decode(render(tokenizer, "a<|im_end|>", "plain")) == "<s>a<|im_end|>"


def test_chat_is_the_tokenizers_own_template_up_to_the_response():
    tokenizer = tokenizer_of_characters("<s> $A </s>", CHATML, MESSAGE)
    ids = render(tokenizer, QUESTION, "chat")
    assert all(isinstance(token, int) for token in ids)
    assert tokenizer.decode(ids) == (
        "<|im_start|>user\n" + QUESTION + "\nPlease reason step by step, and put your final answer within \\boxed{}."
        "<|im_end|>\n<|im_start|>assistant\n")


def test_a_system_message_and_options_are_handed_to_the_chat_template():
    thinking = MESSAGE + "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
    tokenizer = tokenizer_of_characters("<s> $A </s>", CHATML, thinking)
    text = prompt_text(tokenizer, "1+1?", "chat", "Be brief.", '{"enable_thinking": false}')
    assert text.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n1+1?")
    assert text.endswith("<|im_start|>assistant\n<think></think>")
    assert not prompt_text(tokenizer, "1+1?", "chat").endswith("</think>")
    ids = render(tokenizer, "1+1?", "chat", "Be brief.", '{"enable_thinking": false}')
    assert tokenizer.decode(ids) == text


def test_a_template_whose_markers_the_tokenizer_does_not_know_is_warned_of():
    with pytest.warns(UserWarning, match="qwen-boxed writes .*<.im_end.>.*no tokens"):
        warn_of_foreign_markers(tokenizer_of_characters(), "qwen-boxed")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_foreign_markers(tokenizer_of_characters(special=[*CHATML, "<|endoftext|>"]), "qwen-boxed")
        warn_of_foreign_markers(tokenizer_of_characters(), "abel")


def test_chat_without_a_chat_template_names_the_alternatives():
    with pytest.raises(ValueError, match="no chat template.*qwen-boxed, abel, chatml or plain"):
        render(tokenizer_of_characters(), QUESTION, "chat")


def test_unknown_template_names_the_choices():
    with pytest.raises(ValueError, match="'qwen'.*chat, qwen-boxed, abel, chatml, plain"):
        render(tokenizer_of_characters(), QUESTION, "qwen")


def test_long_questions_are_not_cut():
    tokenizer = tokenizer_of_characters("<s> $A")
    tokenizer.model_max_length = 16
    tokenizer.backend_tokenizer.enable_truncation(16)
    for template in ("plain", "abel", "qwen-boxed"):
        ids = render(tokenizer, "x" * 5000, template)
        assert ids.count(tokenizer.convert_tokens_to_ids("x")) >= 5000


def test_every_template_has_a_text_here():
    assert {*TEXTS, "chat"} == set(TEMPLATES)


def test_a_thought_that_the_prompt_opened_is_told_from_one_that_it_closed():
    tokenizer = tokenizer_of_characters()
    for prompt, opened in (("1+1?<think>\n", "<think>"), ("1+1?", ""), ("<think>\n\n</think>\n\n", ""), ("?", "")):
        ids = torch.tensor([tokenizer.encode(prompt + "4", add_special_tokens=False)])
        rollout = SimpleNamespace(ids=ids, prompt_width=ids.shape[1] - 1)
        assert opened_thought(tokenizer, rollout) == opened


def test_an_answer_inside_a_thought_that_the_prompt_opened_is_none(policy):
    def texts(tokenizer):
        return ["maybe \\boxed{4} hmm, wait", "no, \\boxed{5}</think> It is \\boxed{4}."]

    tokenizer = tokenizer_of_characters()
    problems = [Problem("2+2?", "4", "own", f"own-{i}") for i in range(2)]
    for prompt, right, answers in (("2+2?<think>", [0, 1], [None, "4"]), ("2+2?", [1, 1], ["4", "4"])):
        ids = torch.tensor([tokenizer.encode(prompt, add_special_tokens=False)] * 2)
        rollout = SimpleNamespace(ids=ids, prompt_width=ids.shape[1], texts=texts, mask=torch.ones(2, 1))
        graded = grade(REWARDS["correct"], problems, rollout, tokenizer, 9, 0)
        assert graded.right.tolist() == right and graded.answers == answers


# What ends a response


def model_with(eos):
    return SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=eos), name_or_path="some/model")


@pytest.mark.parametrize("own, tokenizers, ids", [
    (5, 5, {5}), (5, 7, {5, 7}), ([5, 6], 7, {5, 6, 7}), ([5, 6], None, {5, 6}), (None, 0, {0}), (0, None, {0}),
])  # fmt: skip
def test_a_response_ends_with_the_ids_of_the_generation_config_and_of_the_tokenizer(own, tokenizers, ids):
    assert stop_ids(model_with(own), SimpleNamespace(eos_token_id=tokenizers)) == ids


def test_a_model_without_any_end_token_is_refused_with_a_way_out():
    with pytest.raises(ValueError, match="some/model.*names an end token; give one by --stop"):
        stop_ids(model_with(None), SimpleNamespace(eos_token_id=None))


def test_chatml_ends_a_turn_where_the_vocabulary_has_its_markers_whatever_eos_is():
    tokenizer = tokenizer_of_characters(special=CHATML)
    ids = stop_ids(model_with(None), tokenizer, "qwen-boxed")
    assert set(stop_tokens(tokenizer, ids)) == {"</s>", "<|im_start|>", "<|im_end|>"}
    without = tokenizer_of_characters()
    assert stop_tokens(without, stop_ids(model_with(None), without, "qwen-boxed")) == ["</s>"]  # ">" is no end


def test_abel_ends_where_the_next_turn_begins():
    tokenizer = tokenizer_of_characters(special=["Question"])
    assert set(stop_tokens(tokenizer, stop_ids(model_with(None), tokenizer, "abel"))) == {"</s>", "Question"}


def test_a_chat_template_says_what_ends_its_turn():
    tokenizer = tokenizer_of_characters(special=CHATML, chat_template=MESSAGE)
    assert set(stop_tokens(tokenizer, stop_ids(model_with(None), tokenizer, "chat"))) == {"</s>", "<|im_end|>"}
    plain = tokenizer_of_characters(chat_template="{% for m in messages %}{{ m['content'] }}.{% endfor %}")
    assert stop_tokens(plain, stop_ids(model_with(None), plain, "chat")) == ["</s>"]  # a full stop ends nothing


def test_stop_adds_tokens_and_refuses_what_is_none():
    tokenizer = tokenizer_of_characters(special=CHATML)
    assert set(stop_tokens(tokenizer, stop_ids(model_with(None), tokenizer, "plain", ["<|im_end|>", "Z"]))) == {
        "</s>", "<|im_end|>", "Z"
    }  # fmt: skip
    with pytest.raises(ValueError, match="--stop 'two words' is not one token"):
        stop_ids(model_with(None), tokenizer, "plain", ["two words"])


def test_a_base_model_that_runs_on_after_its_chatml_answer_is_graded_by_its_own_answer():
    """A tiny model is taught to answer in ChatML and to invent the next turn, with another box, behind it."""
    tokenizer = tokenizer_of_characters(special=[*CHATML, "<|endoftext|>"])
    tokenizer.pad_token = "<|endoftext|>"
    problems = [Problem(f"{a}+1?", str(a + 1), "own", f"own-{a}") for a in range(2, 6)]
    answers = [f"\\boxed{{{p.answer}}}<|im_end|>" for p in problems]
    run_on = "\n<|im_start|>user\n8+1?<|im_end|>\n<|im_start|>assistant\n\\boxed{9}<|im_end|></s>"
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=400, bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=None,
    ))  # fmt: skip
    rows = []
    for problem, answer in zip(problems, answers):
        prompt = render(tokenizer, problem.question, "qwen-boxed")
        rows.append((len(prompt), torch.tensor(prompt + tokenizer.encode(answer + run_on, add_special_tokens=False))))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    ids = torch.stack([row for _, row in rows])
    for _ in range(1000):
        logits = model(ids).logits[:, rows[0][0] - 1 : -1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, rows[0][0] :].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss < 0.003:
            break
    protocol = Protocol("qwen-boxed", 1, 0.0, 1.0, 120, 0, 8, 4)

    def graded(stops):
        return summarise(evaluate(Policy(model.eval()), tokenizer, problems, protocol, stops)[0])

    with_template = graded(stop_ids(model, tokenizer, "qwen-boxed"))
    assert with_template["pass@1"] == 1.0
    assert with_template["length"] == len(tokenizer.encode(answers[0], add_special_tokens=False))
    own_only = graded(stop_ids(model, tokenizer, "plain"))  # what the model itself names
    assert own_only["pass@1"] == 0.0 and own_only["length"] > with_template["length"]
