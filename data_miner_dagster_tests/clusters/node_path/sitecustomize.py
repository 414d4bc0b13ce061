"""Give the processes of a node their own host name, so that other processes cannot check whether they are alive."""

import os
import socket

_NAME = os.environ.get("DATA_MINER_TEST_NODE")
if _NAME is not None:
    socket.gethostname = _NAME.__str__
