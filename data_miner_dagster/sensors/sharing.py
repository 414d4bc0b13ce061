"""Request additional runs for a project if its pool has free slots and the work takes long enough.

Each additional run has to start a process and usually load a model, so none is requested for work that will be done
soon. Results do not depend on additional runs, since the leading run does all remaining work.
"""

from datetime import datetime
from typing import Final

import dagster as dg

from data_miner_dagster.catalog.gates import closed_stages
from data_miner_dagster.catalog.holds import why_held
from data_miner_dagster.catalog.in_flight import projects_in_flight
from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.catalog.shards import Sharing, ask_to_join, sharings
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.sensors.requests import Room, request_of_share

_WORTH_SECONDS: Final = 30.0
"""The least work that justifies an additional run, as the time in seconds that a single run would need."""


def request_shares(platform: Platform, room: Room) -> list[dg.RunRequest]:
    """Return requests for additional runs, at most as many as the pools have free slots.

    The requests are recorded in the catalog. Nothing is requested for a project whose stage is closed or held. If no
    project shares its work, only the catalog is read.
    """
    requests: list[dg.RunRequest] = []
    shared = sharings(platform.database)
    if not shared:
        return requests
    in_flight = projects_in_flight(platform.database)
    with platform.database.reading() as session:
        closed = {gate.stage for gate in closed_stages(session)}
    for sharing in shared:
        plan = sharing.plan
        if plan.stage in closed or (plan.stage, plan.project) not in in_flight:
            continue
        wanted = num_worth_asking(sharing, utc_now())
        if not wanted or why_held(platform.database, plan.project, plan.stage) is not None:
            continue
        number = min(wanted, room.num_places(plan.stage))
        if number and (before := ask_to_join(platform.database, plan, number)) is not None:
            room.take_share(plan.stage, number)
            requests += [request_of_share(plan, before + each) for each in range(number)]
    return requests


def num_worth_asking(sharing: Sharing, now: datetime) -> int:
    """Return the number of additional runs that are worthwhile.

    The number is 0 if the pace is not known yet, other additional runs are starting, no shard is free, or a single
    run would finish the free shards in less than 30 s.
    """
    num_made = sharing.plan.num_shards - sharing.num_open
    if now < sharing.ask_again_at or not num_made or not sharing.num_free:
        return 0
    seconds_a_shard = (now - sharing.plan.created_at).total_seconds() / num_made
    return min(sharing.num_free, int(sharing.num_free * seconds_a_shard / _WORTH_SECONDS))
