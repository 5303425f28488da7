"""Exposures found by regression: what was put in comes out, and only differences between photographs."""

import torch

from anerf.learn.exposure import (
    ExposureEvidence,
    added_up,
    common_exposure,
    expected_exposure,
    solved_exposures,
)
from anerf.learn.state import restore_state
from anerf.render.exposure import Exposures

DARK = torch.tensor([[0.8, 0, 0], [0, 0.8, 0], [0, 0, 0.8], [0.0, 0, 0]])
BRIGHT = torch.tensor([[1.2, 0, 0], [0, 1.2, 0], [0, 0, 1.2], [0.0, 0, 0]])


SURVEY = torch.zeros(40, dtype=torch.int64)


def observed(maps: dict[int, torch.Tensor], n: int, fixed: torch.Tensor | None = None) -> ExposureEvidence:
    """Evidence of a few thousand rays a photograph."""
    evidence = ExposureEvidence.none(n, fixed)
    generator = torch.Generator().manual_seed(0)
    for image, exposure in maps.items():
        rgb = torch.rand(20_000, 3, generator=generator)
        target = rgb @ exposure[:3] + exposure[3]
        evidence.observe(rgb, target, torch.ones(len(rgb)), torch.full((len(rgb),), image))
    return evidence


def test_known_maps_are_found_again():
    evidence = observed({0: DARK, 2: BRIGHT}, 4)
    found = solved_exposures([(evidence.xx, evidence.xy)], Exposures.identity(SURVEY[:4]))
    assert found.known.tolist() == [True, False, True, False]
    assert torch.allclose(found.maps[0], DARK, atol=0.01)
    assert torch.allclose(found.maps[2], BRIGHT, atol=0.01)
    assert torch.equal(found.maps[1], torch.eye(4, 3))


def test_what_all_photographs_have_in_common_belongs_to_the_scene():
    evidence = observed({0: BRIGHT, 1: BRIGHT}, 2)
    found = solved_exposures([(evidence.xx, evidence.xy)], Exposures.identity(SURVEY[:2]))
    assert torch.allclose(found.maps, torch.eye(4, 3).expand(2, 4, 3), atol=0.01)


def test_a_later_flights_mean_map_brings_the_scenes_mean_colour_to_its_own():
    evidence = observed({2: BRIGHT, 3: DARK}, 4)
    flight = torch.tensor([0, 0, 1, 1])
    survey = Exposures(torch.eye(4, 3).repeat(4, 1, 1), torch.arange(4) < 2, torch.zeros(4, 3), flight)
    found = solved_exposures([(evidence.xx, evidence.xy)], survey, 1)
    assert torch.allclose(found.maps[2] - found.maps[3], BRIGHT - DARK, atol=0.02)
    look = found.look(1)
    assert look is not None
    assert torch.allclose(look, torch.eye(4, 3), atol=0.01)  # one is as much too bright as the other too dark
    both = observed({2: BRIGHT, 3: BRIGHT}, 4)
    brighter = solved_exposures([(both.xx, both.xy)], survey, 1)
    look = brighter.look(1)
    assert look is not None
    assert torch.allclose(look[:3], torch.eye(3), atol=0.01)
    assert torch.allclose(look[3], torch.full((3,), 0.1), atol=0.01)  # from 0.5 on average to 0.6
    again = solved_exposures([(evidence.xx, evidence.xy)], brighter, 1)
    assert torch.allclose(again.maps[2:].mean(0), look, atol=1e-5)  # and there it stays
    assert brighter.look(0) is None
    assert brighter.look(2) is None


def test_one_map_for_all_rays():
    generator = torch.Generator().manual_seed(0)
    rgb, noise = torch.rand(9000, 3, generator=generator), torch.randn(9000, 3, generator=generator)
    target = rgb @ DARK[:3] + 0.05 + 0.01 * noise
    weight = (torch.arange(9000) < 8000).float()
    target[8000:] = 1.0
    common = common_exposure(rgb, target, weight)
    assert torch.allclose(common[:3], DARK[:3], atol=0.02)
    assert torch.allclose(common[3], torch.full((3,), 0.05), atol=0.02)


def test_experts_add_up_and_few_rays_say_nothing():
    of_one, of_other = observed({0: DARK}, 3), observed({1: BRIGHT}, 3)
    few = ExposureEvidence.none(3)
    few.observe(torch.rand(20, 3), torch.rand(20, 3), torch.ones(20), torch.full((20,), 2))
    parts = [(e.xx, e.xy) for e in (of_one, of_other, few)]
    found = solved_exposures(parts, Exposures.identity(SURVEY[:3]))
    assert found.known.tolist() == [True, True, False]
    assert torch.allclose(found.maps[1], BRIGHT, atol=0.01)
    nothing = ExposureEvidence.none(3)
    assert solved_exposures([(nothing.xx, nothing.xy)], found) is found


def test_fixed_photographs_keep_their_maps_and_masked_rays_do_not_count():
    before = Exposures(
        torch.stack([DARK, torch.eye(4, 3)]), torch.tensor([True, False]), torch.zeros(2, 3), SURVEY[:2]
    )
    evidence = observed({0: BRIGHT, 1: torch.eye(4, 3)}, 2, fixed=before.known)
    found = solved_exposures([(evidence.xx, evidence.xy)], before)
    assert torch.equal(found.maps[0], DARK)
    masked = ExposureEvidence.none(2)
    masked.observe(
        torch.rand(500, 3), torch.rand(500, 3), torch.zeros(500), torch.zeros(500, dtype=torch.int64)
    )
    assert not masked.xx.any()
    assert not masked.xy.any()


def test_of_few_photographs_the_neighbours_are_asked():
    maps = torch.stack([DARK, torch.zeros(4, 3), BRIGHT, torch.zeros(4, 3)])
    exposures = Exposures(maps, torch.tensor([True, False, True, False]), torch.zeros(4, 3), SURVEY[:4])
    grey = torch.full((3,), 0.5)
    between = expected_exposure(exposures, [0, 1, 2, 3], 1, grey)
    assert torch.allclose(between, torch.eye(4, 3))
    assert torch.equal(expected_exposure(exposures, [0, 1, 2, 3], 3, grey), BRIGHT)
    assert torch.equal(expected_exposure(exposures, [1, 3], 3, grey), torch.eye(4, 3))


def test_a_camera_that_meters_what_it_sees_is_understood():
    """Each photograph's gain is 1.5 - its mean brightness, an unknown one's follows from what it shows."""
    generator = torch.Generator().manual_seed(0)
    means = torch.rand(40, 1, generator=generator).expand(40, 3)
    maps = torch.eye(4, 3) * (1.5 - means[:, :1, None])
    known = torch.arange(40) != 20
    exposures = Exposures(maps * known[:, None, None], known, means * known[:, None], SURVEY)
    expected = expected_exposure(exposures, list(range(40)), 20, means[20])
    assert torch.allclose(expected, maps[20], atol=0.01)
    drifting = Exposures(exposures.maps + 0.3 * known[:, None, None], known, exposures.means, SURVEY)
    expected = expected_exposure(drifting, list(range(40)), 20, means[20])
    assert torch.allclose(expected, maps[20] + 0.3, atol=0.01)


def test_what_photographs_show_on_average_is_known_from_their_rays():
    evidence = observed({0: DARK, 1: BRIGHT}, 3)
    found = solved_exposures([(evidence.xx, evidence.xy)], Exposures.identity(SURVEY[:3]))
    assert torch.allclose(found.means[:2], torch.full((2, 3), 0.5), atol=0.01)
    assert not found.means[2].any()


def test_experts_tell_only_of_what_they_see_and_it_adds_up_to_the_same():
    parts = [observed({0: DARK, 2: BRIGHT}, 5), observed({2: DARK}, 5), ExposureEvidence.none(5)]
    seen = [part.seen() for part in parts]
    assert [ids.tolist() for ids, _, _ in seen] == [[0, 2], [2], []]
    xx, xy = added_up(seen, 5)
    torch.testing.assert_close(xx, sum(part.xx for part in parts))
    torch.testing.assert_close(xy, sum(part.xy for part in parts))
    assert not xx[[1, 3, 4]].any()


def test_a_shard_holds_exposures_and_the_evidence_for_them(make_expert):
    expert = make_expert()
    state = expert.state
    state.learn_exposures(expert.rays.flight_of_photograph)
    expert.advance(3)
    assert state.evidence is not None
    assert state.evidence.xx.any()
    layout = expert.learner.setting.layout
    restored = restore_state(state.tensors(), layout, state.box, "the shard")
    assert restored.exposures is not None
    assert restored.evidence is not None
    assert torch.equal(restored.evidence.xx, state.evidence.xx)
    assert torch.equal(restored.evidence.xy, state.evidence.xy)
    n = len(expert.rays.flight_of_photograph) + 2
    restored.relearn_exposures(torch.ones(n, dtype=torch.int64))
    assert len(restored.exposures.maps) == n
    assert not restored.evidence.xx.any()
