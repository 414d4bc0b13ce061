"""Print the process id of a worker, and keep it busy until a test kills this process."""

import threading

from data_miner_dagster.workers.pool import WorkerPool

if __name__ == "__main__":
    pool = WorkerPool("data_miner_dagster_tests.workers.jobs_for_tests")
    print(pool.call("process", {}), flush=True)
    threading.Thread(target=pool.call, args=("hold_the_lock", {}), daemon=True).start()
    threading.Event().wait()
