"""The waterfall of a run: what its logs say about the times, and the sums by cause."""

from xml.etree import ElementTree

from recorded_run import JOB, build_log, build_recording

from benchmarks.run_phases import Span, find_phases, sum_by_cause
from benchmarks.run_picture import draw_run


def test_a_task_that_deferred_has_its_times_in_order() -> None:
    (plan, caption), _ = find_phases(build_recording())
    assert (plan.name, plan.queued, plan.resumed) == ("plan", 0.5, None)
    times = [
        caption.queued, caption.started, caption.deferred, caption.trigger_began, caption.event, caption.requeued,
        caption.resumed, caption.ended,
    ]  # fmt: skip
    assert [round(time, 3) for time in times if time is not None] == [3.8, 4.0, 5.0, 6.0, 19.0, 20.5, 21.0, 22.0]


def test_only_jobs_that_a_task_names_belong_to_the_run() -> None:
    _, jobs = find_phases(build_recording())
    [job] = jobs
    assert job.name == JOB
    times = [job.submitted, job.running, job.first_line, job.last_line, job.process_gone, job.over]
    assert [round(time, 3) for time in times if time is not None] == [4.8, 5.5, 8.0, 14.0, 15.8, 16.0]


def test_lines_that_nobody_saw_are_placed_by_their_clock() -> None:
    recording = build_recording()
    lines = recording["jobs"][JOB]["lines"]
    recording["jobs"][JOB]["lines"] = [(None, line) for _, line in lines]
    _, [job] = find_phases(recording)
    assert (job.first_line, job.last_line) == (8.0, 14.0)


def test_the_sums_by_cause_add_up_to_the_run() -> None:
    tasks, _ = find_phases(build_recording())
    sums = sum_by_cause([span for task in tasks for span in task.spans], 23.0)
    assert {cause: round(seconds, 3) for cause, seconds in sums.items()} == {
        "engine-work": 3.0,  # 9.5 to 12.5
        "engine-start": 1.0,  # 8.5 to 9.5
        "job-work": 2.0,  # the rest of 8 to 14
        "job-start": 3.2,  # 4.8 to 8: the task's last moments and its deferral are beside it
        "job-exit": 2.0,  # 14 to 16
        "notice": 3.0,  # 16 to 19
        "task-work": 1.8,  # plan 0.6, caption 4.3 to 4.8 and 21.2 to 21.9
        "task-start": 0.9,  # plan 1.0 to 1.4, caption 4.0 to 4.3 and 21.0 to 21.2
        "task-exit": 1.6,  # plan 2.0 to 3.5, caption 21.9 to 22.0
        "sensor-wait": 0.0,
        "deferral": 2.0,  # 19 to 21
        "upload": 0.0,
        "router": 0.0,
        "scheduler": 2.5,  # 0 to 1, 3.5 to 4, 22 to 23
    }


def test_a_task_that_followed_its_job_in_the_worker_sees_the_end_by_its_next_line() -> None:
    recording = build_recording()
    lines = recording["logs"]["caption"]
    recording["logs"]["caption"] = [*lines[:3], *build_log((16.2, "[ray] 12:00:14 caption: complete"), (16.4, "done"))]
    (_, caption), _ = find_phases(recording)
    [notice] = [span for span in caption.spans if span.cause == "notice"]
    assert (round(notice.begin, 3), round(notice.end, 3)) == (16.0, 16.4)


def test_a_second_counts_for_one_cause() -> None:
    spans = [Span("job-work", 1.0, 3.0, "a"), Span("task-work", 0.0, 2.0, "b"), Span("deferral", -1.0, 9.0, "c")]
    sums = sum_by_cause(spans, 4.0)
    assert (sums["job-work"], sums["task-work"], sums["deferral"], sum(sums.values())) == (2.0, 1.0, 1.0, 4.0)


def test_the_picture_has_a_bar_for_each_span() -> None:
    tasks, _ = find_phases(build_recording())
    picture = ElementTree.fromstring(draw_run("step-0800 <new>", tasks, 23.0))
    titles = [title.text for title in picture.iter("{http://www.w3.org/2000/svg}title")]
    assert sum(len(task.spans) for task in tasks) + 3 == len(titles)  # and three waits in a queue
