#!/usr/bin/env python3
"""Makes the README's tables of what watching costs, out of the committed figures in tests/bench.

    table.py            prints them
    table.py --write    puts them into README.md, between their marks
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).parent
BEGIN, END = "<!-- made by tests/bench/table.py -->", "<!-- end of figures -->"
LOADS = [
    "exec chain",
    "unrelated call (getppid)",
    "open+close, unwatched",
    "file churn, unwatched",
    "file churn, watched",
    "connect+accept+close",
]
# The name of each watcher in host-cost.json, and in the README.
MODES = {
    "process": "process tables",
    "everything": "all tables",
    "on audit": "process tables on audit",
    "everything on audit": "all tables on audit",
    "auditd": "auditd",
}
# What is told of our own side: the figure's name in footprint.json, and in the README.
OWN = [
    ("CPU when idle (of one core)", "CPU when idle, of one core"),
    ("CPU at 1,600 cycles/s (of one core)", "CPU at 1,600 fork+exec+exit a second, of one core"),
    ("resident after start", "resident after start"),
    ("resident with that, before any query", "resident with 50,000 events of each of three kinds (and 50,000 exits)"),
    ("bytes per exec event", "stored execution"),
    ("execve to row, at rest", "`execve` to row, at rest"),
    ("execve to row, under full load", "`execve` to row, under full load"),
    ("SELECT * of process events, our CPU", "`SELECT *` of 50,000 executions, our CPU"),
    ("SELECT * of process events, through socket and SQLite", "the same, to the last row in SQLite"),
    ("five columns of process events, our CPU", "five columns of them, our CPU"),
    ("process events of one pid, through socket and SQLite", "one pid of them, to the row in SQLite"),
    ("mixed load: events received", "events received under full load, a second"),
    ("mixed load: lost_ring", "of those of the whole load, lost in the ring"),
    ("mixed load: lost_missed", "skipped by the kernel (counted in `lost_missed`)"),
]


def read(name):
    return json.loads((HERE / name).read_text(encoding="utf-8"))


def number(value):
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.2g}" if value < 1 else f"{value:.1f}"


def host_cost():
    figures = read("host-cost.json")
    yield "| load | " + " | ".join(MODES.values()) + " |"
    yield "|---|" + "---|" * len(MODES)
    for load in LOADS:
        cells = []
        for mode in MODES:
            one = figures.get(f"{load} / {mode}")
            cells.append(f"{one['median']:.2f} ({one['min']:.2f}–{one['max']:.2f}), {one['more_ns']:+,.0f} ns" if one else "")
        yield f"| {load} | " + " | ".join(cells) + " |"


def footprint():
    figures = read("footprint.json")
    yield "| | median | min–max |"
    yield "|---|---|---|"
    for name, words in OWN:
        one = figures[name]
        unit = "" if one["unit"] in ("events", "1/s") else f" {one['unit']}"
        spread = "" if one["min"] == one["max"] else f"{number(one['min'])}–{number(one['max'])}{unit}"
        yield f"| {words} | {number(one['median'])}{unit} | {spread} |"


def main():
    made = "\n".join([*host_cost(), "", *footprint()])
    if "--write" not in sys.argv:
        print(made)
        return
    readme = HERE.parent.parent / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}", encoding="utf-8")


main()
