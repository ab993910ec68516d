"""`make soak`: tries the promises of the running service, one phase after the other; code 1 if one was broken.

python -m benchmarks.soak.run                             all phases, as long as the promises say
python -m benchmarks.soak.run --setting short             the same in about a minute
python -m benchmarks.soak.run --phase knee --phase soak --minutes 30
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path

from benchmarks.soak import report
from benchmarks.soak.bench import SETTINGS, Bench, Findings, Setting, started
from benchmarks.soak.phases import PHASES
from showcause import __version__

RESULTS = Path(__file__).parents[1] / "results"


async def run(setting: Setting, phases: Sequence[str], seed: int, say: Callable[[str], None]) -> list[Findings]:
    """The phases in order. A service that a phase has ended is followed by a new one."""
    found: list[Findings] = []
    left = list(phases)
    capacity = callers = None
    while left:
        async with started(setting, seed, say) as bench:
            if (capacity is None or callers is None) and set(left) != {"fuzz"}:  # all else is a share of the capacity
                found.append(await _one(bench, "knee"))
                capacity, callers = bench.capacity, bench.knee_callers
                left = [name for name in left if name != "knee"]
            bench.capacity, bench.knee_callers = capacity or 0.0, callers or 0
            while left and bench.alive:
                found.append(await _one(bench, left.pop(0)))
    return found


async def _one(bench: Bench, name: str) -> Findings:
    began = time.monotonic()
    bench.say(f"{name}: {(PHASES[name].__doc__ or '').strip()}")
    findings = await PHASES[name](bench)
    for promise in findings.promises:
        bench.say(f"  {'kept  ' if promise.kept else 'BROKEN'} {promise.text}: {promise.found}")
    bench.say(f"  {time.monotonic() - began:.0f} s")
    return findings


def broken(found: Sequence[Findings], timed: bool = True) -> list[str]:
    """Promises that were not kept. timed: whether those count that depend on how fast the machine is."""
    return [
        f"{each.phase}: {promise.text}: {promise.found}"
        for each in found
        for promise in each.promises
        if not promise.kept and (timed or not promise.timed)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setting", choices=SETTINGS, default="full", help="how long and how hard (%(default)s)")
    parser.add_argument("--minutes", type=float, help="how long the soak phase takes")
    parser.add_argument("--fuzzed", type=int, help="how many requests the fuzz phase sends")
    parser.add_argument("--phase", action="append", choices=PHASES, help="only this; may be given again (all)")
    parser.add_argument("--seed", type=int, default=0, help="what is drawn, when, and who is killed (%(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results (%(default)s)")
    options = parser.parse_args()
    setting = SETTINGS[options.setting]
    if options.minutes is not None:
        setting = replace(setting, soak=60 * options.minutes)
    if options.fuzzed is not None:
        setting = replace(setting, fuzzed=options.fuzzed)

    say = partial(print, flush=True)
    found = asyncio.run(run(setting, options.phase or list(PHASES), options.seed, say))
    name = f"{date.today().isoformat()}-{__version__}-soak-{options.setting}"
    machine = f"{os.cpu_count()} cores, which the service and the load share"
    about = {"machine": machine, "showcause": __version__, "seed": options.seed, "setting": options.setting}
    report.write(found, options.out, name, about | {"values": vars(setting)})
    say((options.out / f"{name}.md").read_text())
    say(f"written to {options.out / name}.json and .md")
    for text in broken(found):
        say(f"BROKEN {text}")
    return 1 if broken(found) else 0


if __name__ == "__main__":
    sys.exit(main())
