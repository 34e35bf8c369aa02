"""A process that is gone or hangs is noticed by the others."""

import time

import pytest
import torch.distributed as dist

from lorakiln.train.heartbeat import Heartbeat

QUICK = {"interval": 0.05, "silence": 0.5}


class Process:
    """One of several, as far as its pulse is concerned."""

    def __init__(self, rank, world, store):
        self.lost = []
        self.heartbeat = Heartbeat(store, rank, world, self.lost.append, **QUICK)


@pytest.fixture
def processes():
    stores = [dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)]
    stores += [dist.TCPStore("127.0.0.1", stores[0].port, is_master=False) for _ in range(2)]
    made = [Process(rank, 3, store) for rank, store in enumerate(stores)]
    yield made
    for process in made:
        process.heartbeat.end()


def wait_until(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def test_nobody_is_given_up_who_beats(processes):
    time.sleep(3 * QUICK["silence"])
    assert [process.lost for process in processes] == [[], [], []]


def test_who_is_silent_is_given_up_by_all_others(processes):
    class Mute:
        """Beats into it reach nobody."""

        def add(self, key, value):
            return 0

    processes[1].heartbeat.store = Mute()
    assert wait_until(lambda: processes[0].lost and processes[2].lost)
    assert (processes[0].lost, processes[2].lost) == ([1], [1])


def test_who_ends_is_not_missed(processes):
    processes[1].heartbeat.end()
    time.sleep(3 * QUICK["silence"])
    assert processes[0].lost == processes[2].lost == []


def test_the_first_processs_end_takes_the_store_along():
    class Gone:
        def add(self, key, value):
            raise dist.DistNetworkError("connection reset by peer")

    process = Process(1, 2, Gone())
    assert wait_until(lambda: process.lost == [0])
