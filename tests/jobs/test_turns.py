"""Whose turn it is, by hand and for whatever jobs there are."""

from hypothesis import given
from hypothesis import strategies as st

from anerf.jobs.spec import parse_job
from anerf.jobs.turns import VIEW_LIMIT, Resources, Turn, Turns, give_turns, turn_of

TOTAL = Resources(cpus=8, gpus=2, memory_gib=32)


def turn(job_id, cpus=8.0, gpus=0.0, memory_gib=0.0, priority=0, can_make_room=True):
    return Turn(job_id, False, priority, Resources(cpus, gpus, memory_gib), can_make_room)


def test_small_jobs_run_beside_each_other_and_the_next_waits_for_what_is_lacking():
    turns = give_turns([turn("c", cpus=3)], [turn("a", cpus=4), turn("b", cpus=2)], TOTAL)
    assert turns.start == ()
    assert turns.waiting == {"c": "for 3 CPUs, of which 2 are free: until a or b has ended"}
    assert give_turns([turn("c", cpus=2)], [turn("a", cpus=4), turn("b", cpus=2)], TOTAL).start == ("c",)


def test_gpus_and_memory_count_too():
    running = [turn("a", cpus=1, gpus=1.5, memory_gib=30)]
    assert "1 GPUs, of which 0.5 are free" in give_turns([turn("b", 1, gpus=1)], running, TOTAL).waiting["b"]
    waiting = give_turns([turn("b", 1, memory_gib=4)], running, TOTAL).waiting
    assert waiting["b"] == "for 4 GiB of memory, of which 2 are free: until a has ended"


def test_nobody_overtakes_a_large_job_that_waits():
    turns = give_turns([turn("large"), turn("small", cpus=1)], [turn("a", cpus=4)], TOTAL)
    assert turns.start == ()
    assert turns.waiting["small"] == "until those before it have started"


def test_what_the_cluster_has_not_is_told_and_nobody_waits_behind_it():
    queued = [turn("a", cpus=1, gpus=8), turn("huge", cpus=99), turn("b", cpus=1)]
    turns = give_turns(queued, [], TOTAL)
    assert turns.waiting["a"] == "for 8 GPUs, of which 2 the cluster has: until machines join it"
    assert turns.beyond == queued[0].demand
    assert turns.start == ("b",)
    assert give_turns(queued[2:], [], TOTAL).beyond is None


def test_higher_priority_goes_first_and_equals_in_their_order():
    queued = [turn("a", cpus=1), turn("b", cpus=1, priority=3), turn("c", cpus=1)]
    assert give_turns(queued, [], TOTAL).start == ("b", "a", "c")


def test_trainings_of_lower_priority_make_room_the_lowest_and_latest_first():
    running = [
        turn("eval", cpus=2, priority=-9, can_make_room=False),
        turn("low", cpus=2, priority=-1),
        turn("old", cpus=2),
        turn("new", cpus=2),
    ]
    assert give_turns([turn("x", cpus=2, priority=1)], running, TOTAL).make_room == {"low": "x"}
    assert give_turns([turn("x", cpus=4, priority=1)], running, TOTAL).make_room == {"low": "x", "new": "x"}
    asked = give_turns([turn("x", cpus=4, priority=1)], running, TOTAL, stopping={"low"}).make_room
    assert asked == {"new": "x"}


def test_nobody_is_stopped_in_vain():
    running = [turn("keeps", cpus=6, can_make_room=False), turn("low", cpus=2, priority=-1)]
    assert give_turns([turn("x", cpus=4, priority=1)], running, TOTAL).make_room == {}
    assert give_turns([turn("x", cpus=8)], [turn("equal")], TOTAL).make_room == {}


def test_what_a_job_does_not_name_it_takes_all_of():
    job = {"op": "train", "scene": "/s", "job_id": "a"}
    assert turn_of(parse_job(job), TOTAL).demand == Resources(8, 2, 0)
    assert turn_of(parse_job({**job, "cpus": 2, "gpus": 0, "memory_gib": 4}), TOTAL).demand == Resources(
        2, 0, 4
    )
    view = turn_of(parse_job({"op": "view", "checkpoint_path": "/c", "job_id": "v"}), TOTAL)
    assert (view.is_view, view.demand) == (True, Resources())


def test_a_learning_job_waits_where_no_machine_with_cpus_has_joined_yet():
    empty = Resources()
    train = turn_of(parse_job({"op": "train", "scene": "/s", "job_id": "a"}), empty)
    view = turn_of(parse_job({"op": "view", "checkpoint_path": "/c", "job_id": "v"}), empty)
    turns = give_turns([train, view], [], empty)
    assert turns.start == ("v",)
    assert turns.waiting == {"a": "for 1 CPUs, of which 0 the cluster has: until machines join it"}
    assert turns.beyond == Resources(cpus=1)  # what the autoscaler is asked for


ANY_TURN = st.builds(
    Turn,
    job_id=st.uuids().map(str),
    is_view=st.booleans(),
    priority=st.integers(-2, 2),
    demand=st.builds(
        Resources, cpus=st.integers(0, 9).map(float), gpus=st.sampled_from([0.0, 0.5, 1.0, 3.0])
    ),
    can_make_room=st.booleans(),
)


def fits(turns: list[Turn]) -> bool:
    learning = [t for t in turns if not t.is_view]
    return (
        sum(t.demand.cpus for t in learning) <= TOTAL.cpus
        and sum(t.demand.gpus for t in learning) <= TOTAL.gpus
        and sum(t.is_view for t in turns) <= VIEW_LIMIT
    )


@given(queued=st.lists(ANY_TURN, max_size=8), running=st.lists(ANY_TURN, max_size=6))
def test_whoever_queues_what_runs_together_finds_room(queued, running):
    running = [t for i, t in enumerate(running) if fits([r for r in running[: i + 1] if True])]
    if not fits(running):
        running = []
    turns: Turns = give_turns(queued, running, TOTAL)
    started = [t for t in queued if t.job_id in turns.start]
    assert fits(running + started)
    assert set(turns.start) | set(turns.waiting) == {t.job_id for t in queued}
    assert not set(turns.start) & set(turns.waiting)
    for job_id, room_for in turns.make_room.items():
        loser = next(t for t in running if t.job_id == job_id)
        winner = next(t for t in queued if t.job_id == room_for)
        assert loser.can_make_room
        assert loser.priority < winner.priority
    # A learning job never starts while an equal or higher one, that the cluster could hold, came before it.
    order = sorted((t for t in queued if not t.is_view and fits([t])), key=lambda t: -t.priority)
    begun = [t.job_id in turns.start for t in order]
    assert begun == sorted(begun, reverse=True)
