"""Parts side by side: in order, each by one thread, and torch's own number of threads is given back."""

import threading
import time

import pytest
import torch

from causalkit.methods.threads import one_thread_a_part, side_by_side


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_results_come_in_order_and_from_two_threads():
    together = threading.Barrier(2, timeout=10)  # breaks where parts wait for each other

    def part(k):
        if k < 2:
            together.wait()
        time.sleep(0.02 * (k % 2))
        return k, torch.get_num_threads(), threading.get_ident()

    with one_thread_a_part():
        found = side_by_side(part, range(4))
    assert [k for k, _, _ in found] == [0, 1, 2, 3]
    assert {threads for _, threads, _ in found} == {1}
    assert len({thread for _, _, thread in found}) == 2
    assert torch.get_num_threads() == 2


def test_outside_and_within_a_part_they_run_one_by_one():
    assert set(side_by_side(lambda _: threading.get_ident(), range(3))) == {threading.get_ident()}
    with one_thread_a_part():
        inner = side_by_side(lambda _: len(set(side_by_side(lambda _: threading.get_ident(), range(3)))), range(2))
    assert inner == [1, 1]


def test_an_error_of_a_part_reaches_the_caller_and_threads_are_given_back():
    def fail(k):
        raise ValueError(f"part {k}")

    with pytest.raises(ValueError, match="part 0"), one_thread_a_part():
        side_by_side(fail, range(2))
    assert torch.get_num_threads() == 2
