"""Gives the processes of a node a host name of their own, so that no other process may look whether they live."""

import os
import socket

_NAME = os.environ.get("DATA_MINER_TEST_NODE")
if _NAME is not None:
    socket.gethostname = _NAME.__str__
