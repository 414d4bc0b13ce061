"""Measure one pass through the review pages in a real browser: its time, its gestures, and the remaining errors.

Run `python -m benchmarks.review_pass --images 1000` by hand. A fifth of the boxes are wrong, a twentieth are shifted,
and a twentieth are missing. The person is a script that knows the truth and never hesitates, so only the pages are
measured.
"""

import argparse
import tempfile
import time
from pathlib import Path

from data_miner_dagster.catalog.verdicts import count_verdicts
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster_tests.support.faulty_labels import build_faulty_project, faults_of_release
from data_miner_dagster_tests.web.review.careful_person import CarefulPerson, browser_page
from data_miner_dagster_tests.web.review.serving import served

WITHIN_PIXELS = 0.3
"""The tolerance for a corner in pictures of 64 by 48 pixels, which the page shows at fifteen times their size."""


def main() -> None:
    """Measure one pass, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    number = parser.parse_args().images
    with tempfile.TemporaryDirectory(prefix="review_pass_") as folder:
        project = build_faulty_project(Path(folder) / "root", number)
        release_project(project.platform, "cyclists")
        before = len(list(faults_of_release(project, "v001", within=WITHIN_PIXELS)))
        with served(project.platform) as site, browser_page() as page:
            page.goto(site.link("ann", "/projects/cyclists/queues/random"))
            person = CarefulPerson(page, project.truth)
            began = time.monotonic()
            num_reviewed = person.review_all()
            seconds = time.monotonic() - began
        release_project(project.platform, "cyclists")
        after = list(faults_of_release(project, "v002", within=WITHIN_PIXELS))
        said = {word.value: count for word, count in count_verdicts(project.platform.database, "cyclists").items()}
    print(f"{num_reviewed} frames in {seconds:.0f} s ({seconds / max(1, num_reviewed):.2f} s a frame)")
    print("gestures: " + ", ".join(f"{count} {name}s" for name, count in sorted(person.gestures.items())))
    print("verdicts: " + ", ".join(f"{count} {word}" for word, count in sorted(said.items())))
    print(f"frames with a fault: {before} in the release before, {len(after)} in the next one")
    for line in after[:10]:
        print(f"  {line}")


if __name__ == "__main__":
    main()
