"""One process as a world of its own, and what several would do; test_distributed.py runs two."""

import math
from dataclasses import dataclass, field

import pytest
import torch

from engine import parallel
from engine.parallel import World, batch_of, in_background

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Among(World):
    """A World whose gather answers for the other processes: a list for each of them, by rank, in turn."""

    answers: list = field(default_factory=list)

    def gather(self, items):
        others = self.answers.pop(0)
        others.insert(self.rank, items)
        return [item for part in others for item in part]


def test_one_process_is_a_world_of_its_own(capsys):
    world = parallel.setup()
    assert (world.rank, world.size, world.quiet, world.gather([1, 2])) == (0, 1, None, [1, 2])
    world.barrier()
    world.close()
    world.say("said once")
    parallel.World(1, 2, world.device).say("not said")
    assert capsys.readouterr().out == "said once\n" and World(1, 2, CPU).quiet is True


def test_known_means_leave_the_undefined_out_and_count_it():
    metrics = {"er": torch.tensor([1.0, 3.0]), "erv": torch.tensor([math.nan, 4.0]), "era": torch.full((2,), math.nan)}
    means, undefined = World(0, 1, CPU).known_means(metrics)
    assert means["er"] == 2.0 and means["erv"] == 4.0 and math.isnan(means["era"])
    assert undefined == {"er_undefined": 0, "erv_undefined": 1, "era_undefined": 2}


def test_sums_and_means_of_one_process_are_its_numbers_and_none_stays_none():
    world = World(0, 1, CPU)
    assert world.sums({"a": torch.tensor(2), "b": 0.5}) == {"a": 2.0, "b": 0.5}
    assert world.sums({"a": torch.tensor(2)}, {"a": torch.tensor(3)}) == {"a": 5.0}
    assert world.means({"a": 2, "b": None}) == {"a": 2.0, "b": None}


def test_counts_are_of_all_processes_and_never_0_and_a_loss_is_a_part_of_a_sum():
    mask = torch.tensor([[True, True, False], [False, False, False]])
    assert World(0, 1, CPU).counts(mask) == (2, 2) and World(0, 1, CPU).counts(mask[1:]) == (1, 1)
    w = torch.ones(1, requires_grad=True)
    World(0, 3, CPU).backward(5 * w.sum())  # of three processes: FSDP will divide by 3
    assert w.grad.item() == 15


@dataclass
class Part:
    learnt: torch.Tensor


def test_a_process_with_fewer_parts_repeats_its_last_one_with_nothing_to_learn():
    x, y = Part(torch.tensor([True])), Part(torch.tensor([True, True]))
    first, second, filler = Among(0, 2, CPU, [[[3]]]).equally_often([x, y])
    assert first is x and second is y
    assert filler.learnt.tolist() == [False, False] and y.learnt.tolist() == [True, True]
    assert list(World(0, 1, CPU).equally_often([x, y])) == [x, y]
    waiting = Among(0, 2, CPU, [[[3]]])
    next(waiting.equally_often([x, y]))
    assert not waiting.answers  # all have said how many they have before one calls the model


def test_processes_that_do_not_agree_end_with_one_reason():
    with pytest.raises(ValueError, match="rank 1 sees other data than rank 0: 4 instead of 3"):
        Among(0, 2, CPU, [[[4]]]).agree("data", 3)
    Among(0, 2, CPU, [[[3]]]).agree("data", 3)
    World(0, 1, CPU).agree("data", 3)


@pytest.mark.parametrize("size, answers, message", [(1, [], "^no file$"), (2, [[None]], "^no file .rank 0.$")])
def test_what_one_process_refuses_ends_all_with_its_reason(size, answers, message):
    world = Among(0, size, CPU, [answers])
    with pytest.raises(ValueError, match=message), world.all_or_none():
        raise FileNotFoundError("no file")
    with pytest.raises(ValueError, match="no file .rank 1."), Among(0, 2, CPU, [[["no file"]]]).all_or_none():
        pass  # this process would have gone on


@pytest.mark.parametrize("prompts, mini_batches, size", [(8, 2, 2), (12, 3, 2), (6, 1, 3), (4, 4, 1)])
def test_the_places_of_all_processes_are_all_places_and_each_mini_batch_is_shared_equally(prompts, mini_batches, size):
    places = [World(rank, size, CPU).own_prompts(prompts, mini_batches) for rank in range(size)]
    assert sorted(place for own in places for place in own) == list(range(prompts))
    for own in places:
        share = prompts // mini_batches // size
        for m in range(mini_batches):  # the m-th share lies in the m-th mini-batch of the whole
            assert {place // (prompts // mini_batches) for place in own[m * share : (m + 1) * share]} == {m}


def test_the_batch_of_a_step_is_that_of_all_processes_dealt_out_by_mini_batch():
    problems = [(f"problem {i}", [i]) for i in range(10)]
    numbers, asked, prompts = World(0, 1, CPU).step_batch(problems, 3, 8, 2, seed=1)
    assert numbers == list(range(8))
    assert list(zip(asked, prompts)) == batch_of(problems, 3, 8, 1)
    first, second = (list(zip(*World(rank, 2, CPU).step_batch(problems, 3, 8, 2, seed=1))) for rank in range(2))
    assert [number for number, _, _ in second] == [2, 3, 6, 7]
    assert sorted(first + second) == list(zip(numbers, asked, prompts))


def test_other_responses_get_each_others_metrics_as_a_whole_and_every_one_is_dealt_out_once():
    metrics = {"er": torch.arange(8.0), "erv": 10 + torch.arange(8.0)}
    dealt = World(0, 1, CPU).deal_out(metrics, places=[0, 1], group=4, seed=3)
    assert sorted(dealt["er"].tolist()) == metrics["er"].tolist() and dealt["er"].tolist() != metrics["er"].tolist()
    assert torch.equal(dealt["erv"], dealt["er"] + 10)  # a response's metrics stay together


def test_metrics_are_dealt_out_alike_by_one_process_and_by_two():
    er = torch.arange(8.0)
    whole = World(0, 1, CPU).deal_out({"er": er}, [0, 1, 2, 3], 2, seed=3)["er"]
    for rank in (0, 1):
        own, other = ([0, 2], [1, 3]) if rank == 0 else ([1, 3], [0, 2])
        answer = [(place, er[2 * place : 2 * place + 2, None]) for place in other]
        mine = torch.cat([er[2 * place : 2 * place + 2] for place in own])
        world = Among(rank, 2, CPU, [[answer]])
        dealt = world.deal_out({"er": mine}, own, 2, seed=3)["er"]
        assert torch.equal(dealt, torch.cat([whole[2 * place : 2 * place + 2] for place in own]))


def test_rows_of_all_processes_come_in_the_order_of_their_places():
    whole = torch.arange(16.0).view(8, 2)  # four places, two rows each
    rows = [whole[2 * place : 2 * place + 2] for place in range(4)]
    for rank, (own, other) in enumerate([([0, 2], [1, 3]), ([1, 3], [0, 2])]):
        world = Among(rank, 2, CPU, [[[(place, rows[place]) for place in other]]])
        assert torch.equal(world.by_prompt(torch.cat([rows[place] for place in own]), own), whole)


def test_batches_walk_through_all_of_the_data_in_a_new_order_each_epoch():
    data = list(range(10))
    walk = [p for step in range(8) for p in batch_of(data, step, 5, seed=3)]
    epochs = [walk[i : i + 10] for i in range(0, 40, 10)]
    assert all(sorted(e) == data for e in epochs) and len({tuple(e) for e in epochs}) == 4
    assert batch_of(data, 5, 5, 3) == walk[25:30] and batch_of(data, 0, 5, 4) != walk[:5]


@pytest.mark.parametrize("threads", [1, 2])
def test_what_runs_in_the_background_gives_its_result_or_raises_its_error(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert in_background(CPU, divmod, 7, 2).result() == (3, 1)
        with pytest.raises(ZeroDivisionError):
            in_background(CPU, divmod, 7, 0).result()
    finally:
        torch.set_num_threads(before)
