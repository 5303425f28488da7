"""Turns, medians and repetitions."""

from anerf.bench.timing import Steps, interleaved, seconds_of


def test_measurements_take_turns_and_medians_are_taken():
    turns = []
    values = {"a": iter([5.0, 1.0, 2.0]), "b": iter([0.0, 9.0, 3.0])}

    def measure(name):
        turns.append(name)
        return next(values[name])

    reported = []
    steps = Steps(3, lambda done, total: reported.append((done, total)))
    measured = interleaved({name: lambda name=name: measure(name) for name in values}, 3, steps)
    assert turns == ["a", "b", "a", "b", "a", "b"]
    assert measured == {"a": 2.0, "b": 3.0}
    assert reported == [(1, 3), (2, 3), (3, 3)]


def test_a_call_is_made_once_or_until_the_time_is_filled():
    calls = []
    assert seconds_of(lambda: calls.append(1)) > 0
    assert len(calls) == 1
    mean_s = seconds_of(lambda: calls.append(1), at_least_s=0.01)
    assert len(calls) > 2
    assert mean_s * (len(calls) - 1) >= 0.01
