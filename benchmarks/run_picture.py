"""Draws one run as a waterfall in SVG: a row per task, with a bar per span of the task and its job."""

from html import escape

from benchmarks.run_phases import CAUSES, Span, TaskPhases

COLOURS = {
    "engine-work": "#14532d",
    "engine-start": "#4ade80",
    "job-work": "#2f7d4f",
    "job-start": "#8fbf9f",
    "job-exit": "#c9b458",
    "notice": "#d98c3f",
    "task-work": "#3b6ea5",
    "task-start": "#9dbbd8",
    "task-exit": "#b04a4a",
    "sensor-wait": "#8d7bb5",
    "deferral": "#c5bcd9",
    "upload": "#6b7280",
    "router": "#f3e8c8",
    "scheduler": "#dddddd",
}
LABELS = {
    "engine-work": "engine answers",
    "engine-start": "engine starts",
    "job-work": "job works",
    "job-start": "job starts, imports",
    "job-exit": "driver exits",
    "notice": "end is noticed",
    "task-work": "task works",
    "task-start": "task starts",
    "task-exit": "task exits",
    "sensor-wait": "sensor waits",
    "deferral": "deferral",
    "upload": "upload",
    "router": "router",
    "scheduler": "scheduler",
}
WIDTH, LEFT, ROW, TOP = 1180, 150, 20, 66


def draw_run(title: str, tasks: list[TaskPhases], length: float) -> str:
    """The SVG of a run of `length` seconds."""
    rows = [(task.name, [*_list_queueing(task), *task.spans], task.ended) for task in tasks]
    bars, y = [], TOP
    scale = (WIDTH - LEFT - 60) / max(length, 0.1)
    for name, spans, ended in rows:
        bars.append(f'<text x="{LEFT - 6}" y="{y + 13}" text-anchor="end">{escape(name)}</text>')
        for span in sorted(spans, key=lambda span: list(CAUSES).index(span.cause), reverse=True):
            begin, width = LEFT + max(span.begin, 0) * scale, max((span.end - span.begin) * scale, 0.7)
            tip = f"{LABELS[span.cause]}: {span.begin:.2f} to {span.end:.2f}, {span.end - span.begin:.2f} s"
            bars.append(
                f'<rect x="{begin:.1f}" y="{y + 3}" width="{width:.1f}" height="{ROW - 6}" '
                f'fill="{COLOURS[span.cause]}"><title>{escape(tip)}</title></rect>'
            )
        if ended is not None:
            bars.append(f'<text x="{LEFT + ended * scale + 4:.1f}" y="{y + 13}" class="dim">{ended:.1f}</text>')
        y += ROW
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 26}" font-family="sans-serif" '
        'font-size="11"><style>.dim{fill:#666}</style>',
        f'<rect width="{WIDTH}" height="{y + 26}" fill="#ffffff"/>',
        f'<text x="8" y="16" font-size="13">{escape(title)}: {length:.1f} s</text>',
        *_draw_legend(),
        *_draw_axis(length, scale, y),
        *bars,
        "</svg>\n",
    ])  # fmt: skip


def _list_queueing(task: TaskPhases) -> list[Span]:
    waits = [(task.queued, task.started), (task.requeued, task.resumed)]
    return [Span("scheduler", begin, end, task.name) for begin, end in waits if begin is not None and end is not None]


def _draw_legend() -> list[str]:
    marks, columns = list[str](), (len(COLOURS) + 1) // 2
    for number, (cause, colour) in enumerate(COLOURS.items()):
        x, y = 8 + (number % columns) * (WIDTH - 16) / columns, 24 + 16 * (number // columns)
        marks.append(f'<rect x="{x:.0f}" y="{y}" width="10" height="10" fill="{colour}"/>')
        marks.append(f'<text x="{x + 14:.0f}" y="{y + 9}" class="dim">{escape(LABELS[cause])}</text>')
    return marks


def _draw_axis(length: float, scale: float, bottom: int) -> list[str]:
    step = next((step for step in (1, 2, 5, 10, 20, 60, 120, 300) if length / step <= 12), 600)
    marks = []
    for second in range(0, int(length) + 1, step):
        x = LEFT + second * scale
        marks.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}" stroke="#eeeeee"/>')
        marks.append(f'<text x="{x:.1f}" y="{bottom + 14}" text-anchor="middle" class="dim">{second} s</text>')
    return marks
