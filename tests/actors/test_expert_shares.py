"""How experts are dealt out to processes, and what each may use."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.shares import LEAST_CPUS, Machine, Shares, groups_of, largest_share, packed, with_gpus


@pytest.mark.parametrize(
    ("per_actor", "groups"),
    [
        (1, ((0,), (1,), (2,), (5,), (7,))),
        (2, ((0, 1), (2, 5), (7,))),
        (9, ((0, 1, 2, 5, 7),)),
    ],
)
def test_neighbours_in_the_list_share_an_actor(per_actor, groups):
    assert groups_of((0, 1, 2, 5, 7), per_actor) == groups


def test_nobody_needs_no_actor():
    assert groups_of((), 3) == ()
    assert Shares.divided([], 0, 0) == Shares(threads=1, cpus=LEAST_CPUS, gpus=0.0)


def test_actors_share_equally_what_is_free():
    # 0.8 of 10 free cores of 16, for 4 actors.
    shares = Shares.divided([Machine(16, free_cpus=10 / 16)], n_experts=8, n_actors=4)
    assert shares == Shares(threads=2, cpus=2.0, gpus=0.0)
    assert shares.options((4, 5)) == {"num_cpus": 2.0, "num_gpus": 0.0, "max_concurrency": 2}


def test_no_share_is_divided_between_machines():
    # Each has 1.6 cores to give: two actors on one, one on the other.
    assert Shares.divided([Machine(2), Machine(2)], n_experts=3, n_actors=3).cpus == 0.8


def test_no_share_is_divided_between_gpus():
    # Three GPUs hold four actors only where one of them holds two.
    assert Shares.divided([Machine(16, gpus=3)], n_experts=4, n_actors=4).gpus == 0.4
    assert Shares.divided([Machine(16, gpus=1)], n_experts=4, n_actors=4).gpus == 0.2
    assert Shares.divided([Machine(16, gpus=8)], n_experts=2, n_actors=2).gpus == 0.8


def test_actors_with_a_gpu_find_their_cores_beside_it():
    # All four must go to the second machine, with 6.4 cores to give.
    among = [Machine(8), Machine(8, gpus=1)]
    assert Shares.divided(among, n_experts=4, n_actors=4) == Shares(threads=4, cpus=1.6, gpus=0.2)


def test_an_expert_has_the_same_threads_whoever_it_lives_with():
    threads = {Shares.divided([Machine(8)], 4, n_actors).threads for n_actors in (1, 2, 4)}
    assert threads == {2}


def test_no_actor_asks_for_more_cores_than_its_threads_use():
    shares = Shares.divided([Machine(64)], n_experts=40, n_actors=40)
    assert (shares.threads, shares.cpus) == (1, 1.28)
    assert shares.options((0,))["num_cpus"] == 1.0


def test_actors_start_also_where_nothing_is_free():
    shares = Shares.divided([Machine(2, free_cpus=0.0)], n_experts=4, n_actors=4)
    assert (shares.threads, shares.cpus, shares.gpus) == (1, LEAST_CPUS, 0.0)


def test_a_job_that_asks_for_a_core_takes_one():
    among = [Machine(16)]
    shares = Shares.divided(among, n_experts=4, n_actors=4, most_cpus=1)
    assert shares == Shares(threads=1, cpus=0.25, gpus=0.0)
    assert sum(shares.options((e,))["num_cpus"] for e in range(4)) == 1.0
    # Two threads for each of four experts, whatever the machine has beside them.
    assert Shares.divided(among, 4, 2, most_cpus=8) == Shares(threads=2, cpus=4.0, gpus=0.0)
    # What is there is all that there is, and the job that asked gets all of that.
    assert Shares.divided(among, 4, 4, most_cpus=100) == Shares(threads=4, cpus=4.0, gpus=0.0)
    assert Shares.divided([Machine(2, free_cpus=0.5)], 2, 2, most_cpus=1).cpus == 0.5


def test_a_job_goes_to_no_more_gpus_than_it_asks_for():
    eight = [Machine(64, gpus=8)]
    assert Shares.divided(eight, 4, 4).gpus == 0.8  # one each
    assert Shares.divided(eight, 4, 4, most_gpus=2).gpus == 0.4  # two on each of two
    assert Shares.divided(eight, 3, 3, most_gpus=2).gpus == 0.4  # two on one of them, one on the other
    assert Shares.divided(eight, 4, 4, most_gpus=1).gpus == 0.2
    assert Shares.divided(eight, 4, 4, most_gpus=0.5).gpus == 0.12  # 0.125, rounded down
    assert Shares.divided(eight, 4, 4, most_gpus=100).gpus == 0.8
    # None: as on a machine that has none.
    assert Shares.divided(eight, 4, 4, most_gpus=0) == Shares.divided([Machine(64)], 4, 4)


def test_the_gpus_that_are_left_out_are_those_of_the_machines_with_fewest():
    few, many = Machine(4, gpus=1), Machine(16, gpus=4)
    assert [m.gpus for m in with_gpus([few, many], 3)] == [3, 0]
    assert [m.gpus for m in with_gpus([few, many], 5)] == [4, 1]
    assert [m.gpus for m in with_gpus([few, many], 0)] == [0, 0]


@given(
    st.lists(st.builds(Machine, st.integers(1, 64), st.integers(0, 8)), min_size=1, max_size=4),
    st.integers(1, 12),
    st.floats(0.1, 100),
    st.floats(0, 10),
)
def test_all_together_take_no_more_than_was_asked_for(among, n, most_cpus, most_gpus):
    shares = Shares.divided(among, n, n, most_cpus, most_gpus)
    assert n * shares.cpus <= max(most_cpus, n * LEAST_CPUS) + 1e-6
    assert n * shares.gpus <= most_gpus + 1e-6
    assert shares.threads == 1 or n * shares.threads <= most_cpus


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=6), st.integers(1, 40))
def test_the_largest_share_finds_room_and_a_larger_one_does_not(sizes, n):
    share = largest_share(sizes, n)

    def room(of_one):
        return sum(math.floor(size / of_one + 1e-9) for size in sizes)

    assert room(share) >= n
    assert room(share * (1 + 1e-6)) < n


def test_few_machines_are_those_with_a_core_for_each_expert():
    small, large, with_gpu = Machine(2), Machine(8), Machine(4, gpus=1)
    assert packed([small, large, with_gpu], 4) == [with_gpu]
    assert packed([small, large, with_gpu], 5) == [with_gpu, large]
    assert packed([small, small], 9) == [small, small]
