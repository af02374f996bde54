"""Numbers that change during a stage: pure functions of the progress in [0, 1], 0 at the first step and 1 at the last.

A term's `schedule.weight` is a further factor of its weight; under the name of an objective's option a schedule gives
that option its value. A module may have a `check(key, options)`, which refuses options that make no sense.
"""
