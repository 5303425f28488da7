"""Threads of kernels and of torch: lent for a while and given back."""

import pytest
import torch

from anerf.field.threads import kernel_threads, n_threads


def test_threads_are_lent_and_given_back():
    before = n_threads(), torch.get_num_threads()
    with kernel_threads(3):
        assert (n_threads(), torch.get_num_threads()) == (3, 1)
        with kernel_threads(1, of_torch=2):
            assert (n_threads(), torch.get_num_threads()) == (1, 2)
        assert (n_threads(), torch.get_num_threads()) == (3, 1)
    assert (n_threads(), torch.get_num_threads()) == before


def test_they_are_given_back_after_an_error_too():
    before = n_threads(), torch.get_num_threads()
    with pytest.raises(ValueError, match="for the test"), kernel_threads(5):
        raise ValueError("for the test")
    assert (n_threads(), torch.get_num_threads()) == before
