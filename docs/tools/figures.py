"""Figures: what people would rather look at than read. Each function draws one."""

from __future__ import annotations

from docs.tools.canvas import MUTED, Canvas


def life_of_a_run() -> str:
    """Trigger → Execute → Checkpoint → Sleep → Resume → Complete, across a restart."""
    canvas = Canvas(860, 300, "The life of a run across a restart")
    canvas.band(14, 14, 430, 96, "process 1")
    first = ["Trigger", "Step 1", "Step 2", "Sleep"]
    for number, name in enumerate(first):
        x = 28 + number * 106
        canvas.box(x, 44, 82, 46, name, "wait" if name == "Sleep" else "code")
        if number:
            canvas.arrow([(x - 23, 67), (x - 2, 67)])
        canvas.arrow([(x + 41, 92), (x + 41, 176)], kind="store")
    canvas.text(122, 146, "persisted", colour="#2f8f4e", anchor="middle", small=True)
    canvas.box(
        14,
        180,
        832,
        44,
        "journal: created · step 1 = … · step 2 = … · suspended until … · step 3 = … · ended",
        "store",
    )
    canvas.text(489, 60, "process", colour="#c0392b", anchor="middle")
    canvas.text(489, 78, "restarts …", colour="#c0392b", anchor="middle")
    canvas.band(534, 14, 312, 96, "process 2")
    for number, name in enumerate(["Resume", "Step 3", "Complete"]):
        x = 546 + number * 102
        canvas.box(x, 44, 82, 46, name, "wait" if name == "Resume" else "code")
        if number:
            canvas.arrow([(x - 19, 67), (x - 2, 67)])
    canvas.arrow([(587, 176), (587, 94)], kind="wait")
    canvas.text(594, 146, "replayed", colour="#c08a1e", small=True)
    for x in (689, 791):
        canvas.arrow([(x, 92), (x, 176)], kind="store")
    canvas.text(
        14,
        262,
        "Step 1 and Step 2 are in the journal: process 2 gets their results and executes neither.",
        colour=MUTED,
    )
    return canvas.svg()


def replay_loop() -> str:
    """Journal entries in, commands out, and who performs them."""
    canvas = Canvas(860, 330, "The replay loop")
    canvas.band(14, 14, 400, 300, "pure: no clock, no I/O, no threads")
    canvas.box(40, 50, 350, 60, "your workflow function\nas tasks on the replay loop", "code")
    canvas.box(40, 200, 350, 60, "Execution\nkeys · lookup · timers · mailbox", "plain")
    canvas.arrow([(130, 198), (130, 114)], kind="code")
    canvas.text(140, 150, "results, fired timers,", colour=MUTED, small=True)
    canvas.text(140, 166, "events: one by one", colour=MUTED, small=True)
    canvas.arrow([(330, 112), (330, 196)], kind="code")
    canvas.text(322, 150, "asks", colour=MUTED, small=True, anchor="end")
    canvas.band(446, 14, 400, 300, "thin: performs what was decided")
    canvas.box(470, 50, 160, 60, "steps, timers\nevents, children", "code")
    canvas.box(670, 50, 150, 60, "Committer\ngroup commit", "plain")
    canvas.box(470, 200, 160, 60, "Driver\none for each run", "plain")
    canvas.box(670, 200, 150, 60, "storage\njournal", "store")
    canvas.arrow([(392, 244), (466, 244)], "commands", at=(0, 18))
    canvas.arrow([(466, 216), (392, 216)], "entries")
    canvas.arrow([(550, 112), (550, 196)])
    canvas.text(542, 160, "outcomes", colour=MUTED, small=True, anchor="end")
    canvas.arrow([(632, 214), (700, 114)])
    canvas.text(654, 132, "1. write", colour=MUTED, small=True, anchor="end")
    canvas.arrow([(745, 112), (745, 196)], kind="store")
    canvas.arrow([(720, 114), (632, 230)], kind="store", dashed=True)
    canvas.text(752, 160, "2. durable", colour="#2f8f4e", small=True)
    canvas.arrow([(590, 198), (590, 114)], kind="store", dashed=True)
    canvas.text(596, 176, "3. then", colour="#2f8f4e", small=True)
    canvas.text(
        470, 296, "Nothing newly asked for begins before the write is durable.", colour=MUTED, small=True
    )
    return canvas.svg()


def group_commit() -> str:
    """Many runs, one queue, one transaction."""
    canvas = Canvas(860, 230, "Group commit")
    for number in range(4):
        y = 24 + number * 46
        canvas.box(
            14,
            y,
            150,
            36,
            f"run {number + 1}: step done" if number < 3 else "… run 1,000",
            "code" if number < 3 else "ghost",
        )
        canvas.arrow([(166, y + 18), (252, 112)])
    canvas.box(256, 84, 140, 56, "queue\nno timer, no delay", "plain")
    canvas.arrow([(398, 112), (496, 112)], "all that waits", at=(0, -8))
    canvas.box(500, 76, 170, 72, "one transaction\none row for each run\none fsync", "store")
    canvas.arrow([(672, 112), (716, 112)])
    canvas.box(720, 84, 126, 56, "every run\ngoes on", "code")
    canvas.text(
        256,
        190,
        "While one transaction is on its way to the disk, the next batch gathers by itself.",
        colour=MUTED,
    )
    return canvas.svg()


def fence() -> str:
    """Two workers that both believe they own a run."""
    canvas = Canvas(860, 300, "The journal is the fence")
    canvas.box(14, 40, 180, 60, "worker A\nwas frozen, comes back", "ghost")
    canvas.box(14, 190, 180, 60, "worker B\ntook the run over", "code")
    canvas.band(420, 14, 426, 270, "journal of run r1, primary key (run, seq)")
    rows = [
        ("5", "A", "charge = …"),
        ("6", "A", "pack = …"),
        ("7", "B", "claimed (takeover)"),
        ("8", "B", "mail = …"),
    ]
    for number, (seq, writer, what) in enumerate(rows):
        canvas.box(440, 44 + number * 56, 386, 42, f"seq {seq} · by {writer} · {what}", "store")
    canvas.arrow([(196, 220), (350, 220), (436, 184)], "writes seq 7: first", kind="store", at=(0, 22))
    canvas.arrow([(196, 70), (350, 70), (436, 170)], kind="bad")
    canvas.text(204, 44, "writes seq 7: there is one", colour="#c0392b", small=True)
    canvas.text(204, 60, "→ Fenced: A drops the run", colour="#c0392b", small=True)
    return canvas.svg()


def suspension() -> str:
    """What a run costs while it waits."""
    canvas = Canvas(860, 210, "A run that sleeps")
    canvas.box(14, 40, 150, 60, "running\nin a slot", "code")
    canvas.arrow([(166, 70), (236, 70)], "sleep 3 d", at=(0, -8))
    canvas.box(240, 40, 176, 60, "suspended\none row: wake at …", "wait")
    canvas.arrow([(418, 70), (496, 70)], "due, event", at=(0, -8))
    canvas.box(500, 40, 140, 60, "claimed\nby any worker", "plain")
    canvas.arrow([(642, 70), (686, 70)])
    canvas.box(690, 40, 156, 60, "running\ngoes on", "code")
    canvas.box(190, 134, 226, 44, "kept in memory if there is room", "ghost")
    canvas.arrow([(418, 156), (560, 156), (560, 104)], dashed=True)
    canvas.text(575, 150, "kept here: only new entries are delivered", colour=MUTED, small=True)
    canvas.text(575, 166, "otherwise: the journal is replayed", colour=MUTED, small=True)
    return canvas.svg()


def crash_points() -> str:
    """Where a crash may fall in a step, and what follows."""
    canvas = Canvas(860, 230, "Where a crash may fall in the life of a step")
    stages = [
        ("asked for", "plain", "runs"),
        ("body begins", "code", "runs again"),
        ("body has ended", "code", "runs again"),
        ("written", "plain", "runs again, or not: found out"),
        ("durable", "store", "never runs again"),
    ]
    for number, (name, kind, then) in enumerate(stages):
        x = 14 + number * 170
        canvas.box(x, 40, 130, 46, name, kind)
        if number:
            canvas.arrow([(x - 38, 63), (x - 2, 63)])
        canvas.arrow([(x + 65, 90), (x + 65, 130)], kind="bad", dashed=True)
        words = then.split(", or not: ")
        canvas.text(x + 65, 150, words[0], anchor="middle", small=True)
        if len(words) > 1:
            canvas.text(x + 65, 166, "unless it got there", anchor="middle", small=True)
    canvas.text(14, 24, "a crash here …", colour="#c0392b", small=True)
    canvas.text(
        14,
        206,
        "Between “body begins” and “durable” nobody can know whether the work was done. That is why steps should be idempotent.",
        colour=MUTED,
        small=True,
    )
    return canvas.svg()


FIGURES = {
    "life-of-a-run": life_of_a_run,
    "replay-loop": replay_loop,
    "group-commit": group_commit,
    "fence": fence,
    "suspension": suspension,
    "crash-points": crash_points,
}
"""File name below ``docs/figures`` → what draws it."""
