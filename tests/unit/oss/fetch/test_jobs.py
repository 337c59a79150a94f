from __future__ import annotations

from ossmount.oss.fetch import wire
from ossmount.oss.fetch.job import Job
from ossmount.oss.fetch.jobs import JobQueue

SLAB = memoryview(bytearray(100))


def _job(number: int, *, demand: bool = True, deadline: float = 60.0) -> Job:
    return Job((wire.START, number, b"key", "etag", 10, 0, 10, ((0, 10),), demand, True, deadline, False), SLAB)


def _taken(queue: JobQueue, *, readahead: bool = True) -> list[int]:
    numbers = []
    while (job := queue.take(readahead=readahead)) is not None:
        numbers.append(job.number)
    return numbers


def test_demand_first_then_in_order() -> None:
    queue = JobQueue()
    for number in (1, 2, 3, 4):
        queue.add(_job(number, demand=number % 2 == 0))
    assert len(queue) == 4
    assert _taken(queue, readahead=False) == [2, 4]
    assert _taken(queue) == [1, 3]
    assert len(queue) == 0


def test_promote_puts_back_and_remove() -> None:
    queue = JobQueue()
    ahead = [_job(number, demand=False) for number in (1, 2, 3)]
    for job in ahead:
        queue.add(job)
    queue.add(_job(4))
    ahead[2].demand = True
    queue.promote(3)
    queue.promote(99)
    assert queue.remove(2) is ahead[1]
    assert queue.remove(2) is None
    first = queue.take(readahead=True)
    assert first is not None and first.number == 4
    queue.put_back(first)
    assert _taken(queue) == [4, 3, 1]


def test_what_a_reader_waits_for_is_not_delayed_any_more() -> None:
    queue = JobQueue()
    queue.delay(_job(1, demand=False), 5.0)
    assert queue.take(readahead=True) is None
    queue.promote(1)
    assert _taken(queue) == [1]
    queue.due(6.0)
    assert len(queue) == 0


def test_delayed_jobs_come_back_when_due() -> None:
    queue = JobQueue()
    assert queue.next_due() is None
    queue.delay(_job(1), 5.0)
    queue.delay(_job(2, demand=False), 3.0)
    queue.delay(_job(3), 4.0)
    assert queue.next_due() == 3.0
    queue.remove(3)
    queue.due(2.9)
    assert _taken(queue) == []
    queue.due(4.5)
    assert _taken(queue) == [2]
    queue.due(5.0)
    assert _taken(queue) == [1]


def test_expired_jobs_are_taken_out_wherever_they_wait() -> None:
    queue = JobQueue()
    queue.add(_job(1, deadline=1.0))
    queue.add(_job(2, deadline=1.0, demand=False))
    queue.delay(_job(3, deadline=1.0), 9.0)
    queue.add(_job(4, deadline=2.0))
    assert sorted(job.number for job in queue.expire(1.5)) == [1, 2, 3]
    assert len(queue) == 1
    queue.due(10.0)
    assert _taken(queue) == [4]


def test_a_whole_object_reports_no_progress() -> None:
    assert not _job(1).progress
    assert Job((wire.START, 1, b"k", "e", 11, 0, 10, ((0, 10),), True, True, 1.0, False), SLAB).progress
