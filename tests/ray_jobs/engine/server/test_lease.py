import pytest

from ray_jobs.engine.server.lease import WAITER_SECONDS, Lease, LeaseLost


def test_one_holder_at_a_time() -> None:
    lease = Lease(30)
    assert lease.take("a", 0)
    assert not lease.take("b", 29.9)
    lease.release("c")  # nothing to give back
    assert not lease.take("b", 29.9)
    lease.release("a")
    assert lease.take("b", 29.9)


def test_a_holder_that_renews_keeps_it_and_a_silent_one_loses_it() -> None:
    lease = Lease(30)
    lease.take("a", 0)
    for now in range(0, 300, 20):
        lease.renew("a", now)
    lease.check("a", 309)
    with pytest.raises(LeaseLost, match="a was silent for more than 30 s and lost the engine"):
        lease.check("a", 310)
    with pytest.raises(LeaseLost):
        lease.renew("a", 311)  # not even when nobody else has taken it: what it asked may be gone
    assert lease.take("b", 311)
    with pytest.raises(LeaseLost, match="the engine is held by b, not by a"):
        lease.renew("a", 312)


def test_waiting_jobs_get_the_lease_in_the_order_of_their_requests() -> None:
    lease = Lease(30)
    lease.take("a", 0)
    assert not any(lease.take(token, 0.1) for token in "bcd")
    assert not any(lease.take(token, 1) for token in "dcb")
    lease.release("a")
    assert not lease.take("d", 1.1)
    lease.release("b")  # it waits no more
    with pytest.raises(LeaseLost, match="b has given the engine back"):
        lease.take("b", 1.1)
    assert (lease.next_in_line(1.1), lease.take("d", 1.2)) == ("c", False)
    assert lease.take("c", 1.3)
    lease.release("c")
    assert lease.take("d", 1.4)


def test_a_silent_waiting_job_lets_others_pass_and_keeps_its_place() -> None:
    lease = Lease(30)
    lease.take("a", 0)
    assert not any(lease.take(token, 0) for token in "bcd")
    lease.release("a")
    assert not lease.take("c", WAITER_SECONDS - 0.1)
    assert lease.take("c", WAITER_SECONDS)
    assert not lease.take("d", WAITER_SECONDS)
    assert not lease.take("b", WAITER_SECONDS)
    lease.release("c")
    assert not lease.take("d", WAITER_SECONDS + 0.1)
    assert lease.take("b", WAITER_SECONDS + 0.1)


def test_a_new_lease_has_no_holder() -> None:
    with pytest.raises(LeaseLost, match="held by nobody"):
        Lease().check("a", 0)
