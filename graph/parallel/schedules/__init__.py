"""Pipeline schedules, one a file: the order of micro-batches on a stage, and beside it the formulas it must keep.

To add one, write its file and add its line here; the checks of order, memory and bubble then run on it by themselves.
"""

from graph.parallel.schedules.gpipe import GPIPE
from graph.parallel.schedules.one_f_one_b import ONE_F_ONE_B
from graph.parallel.schedules.schedule import Schedule
from graph.registry import Registry

__all__ = ["SCHEDULES", "Schedule"]

SCHEDULES: Registry[Schedule] = Registry("schedule")

for _name, _schedule in (("gpipe", GPIPE), ("1f1b", ONE_F_ONE_B)):
    SCHEDULES.add(_name, _schedule)
