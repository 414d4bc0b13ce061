"""Measure the CPU seconds of a tick of every sensor on a planted root.

    python -m benchmarks.planted_ticks ROOT NUM_VIDEOS

The program plants 50 projects in ROOT, which must not exist, and evaluates each sensor several times. The first tick of
a process imports modules and reads all project files, so the median of the other ticks counts. The output is a JSON
object with the seconds by sensor.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Final

import dagster as dg

from benchmarks.planted_catalog import plant_root
from data_miner_dagster.config.environment import PROFILE_VARIABLE, ROOT_VARIABLE

_NUM_TICKS: Final = 5


def main() -> None:
    """Plant the projects, evaluate the sensors and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("num_videos", type=int)
    options = parser.parse_args()
    os.environ[ROOT_VARIABLE], os.environ[PROFILE_VARIABLE] = str(options.root), "lite"
    from data_miner_dagster.definitions import defs
    from data_miner_dagster.deployment import open_instance
    from data_miner_dagster.operations.opening import open_platform

    platform = open_platform()
    plant_root(platform, options.num_videos)
    seconds: dict[str, float] = {}
    with open_instance(platform) as instance:
        for sensor in defs.sensors or ():
            assert isinstance(sensor, dg.SensorDefinition)
            seconds[sensor.name] = round(_median_tick(sensor, defs, instance), 4)
    print(json.dumps(seconds))


def _median_tick(sensor: dg.SensorDefinition, defs: dg.Definitions, instance: dg.DagsterInstance) -> float:
    ticks = []
    for _ in range(_NUM_TICKS + 1):
        context = dg.build_sensor_context(instance=instance, definitions=defs)
        began = time.process_time()
        sensor(context)
        ticks.append(time.process_time() - began)
    return statistics.median(ticks[1:])


if __name__ == "__main__":
    main()
