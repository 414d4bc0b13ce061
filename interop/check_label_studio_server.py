"""Check a Label Studio server on loopback: it accepts interface and tasks, serves pictures, and exports annotations.

Annotations are submitted through its API, as its pages do.
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from corrections import arguments, corrected, expect

MOST_SECONDS_TO_START = 600
USER = "ann@example.org"


class Server:
    """A running server, and its API."""

    def __init__(self, work):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.address, self.token = f"http://127.0.0.1:{port}", secrets.token_hex(20)
        (work / "server").mkdir()
        settings = {
            "LABEL_STUDIO_BASE_DATA_DIR": str(work / "server"),
            "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
            "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(work / "export"),
            "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
            "COLLECT_ANALYTICS": "false",
            "LATEST_VERSION_CHECK": "false",
            "SENTRY_DSN": "",
            "FRONTEND_SENTRY_DSN": "",
        }
        command = [Path(sys.executable).parent / "label-studio", "start", "--no-browser", "--port", str(port)]
        command += ["--internal-host", "127.0.0.1", "--host", self.address, "--username", USER]
        command += ["--password", secrets.token_hex(8), "--user-token", self.token]
        self._log = (work / "server.log").open("w")
        self._process = subprocess.Popen(
            command, env={**os.environ, **settings}, stdout=self._log, stderr=self._log, start_new_session=True
        )

    def __enter__(self):
        end = time.monotonic() + MOST_SECONDS_TO_START
        while time.monotonic() < end and self._process.poll() is None:
            try:
                self.call("GET", "/api/version")
            except OSError:
                time.sleep(1)
            else:
                return self
        self.__exit__()
        sys.exit(f"the server did not start: see {self._log.name}")

    def __exit__(self, *_):
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait(60)
        self._log.close()

    def call(self, method, path, body=None):
        """Send a request, and return the content of the response. If the server reports an error, end the check."""
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Authorization": f"Token {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.address + path, content, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            sys.exit(f"{method} {path}: {error.code} {error.read()[:500]}")


def main():
    """Import both exports, and correct the tasks of the first."""
    work, facts = arguments()
    with Server(work) as server:
        for folder, images in facts.items():
            project = new_project(server, work / folder, len(images))
            if folder == "export":
                tasks = tasks_of(server, project)
                check_tasks(server, work, tasks, images)
                for task in tasks:
                    submit(server, task, images)
                export = server.call("GET", f"/api/projects/{project}/export?exportType=JSON&download_all_tasks=true")
                (work / "returned" / "project.json").write_bytes(export)


def new_project(server, folder, num_images):
    """Create a project with the tasks of an export, and return its id."""
    config = {"title": f"cyclists {folder.name}", "label_config": (folder / "label_config.xml").read_text()}
    project = json.loads(server.call("POST", "/api/projects/", config))["id"]
    if folder.name == "export":
        storage = {"project": project, "path": str(folder / "images"), "use_blob_urls": True}
        server.call("POST", "/api/storages/localfiles/", storage)
    content = (folder / "tasks-00000.json").read_bytes()
    imported = json.loads(server.call("POST", f"/api/projects/{project}/import", content))
    expect("imported", (imported["task_count"], imported["prediction_count"]), (num_images, num_images))
    return project


def tasks_of(server, project):
    """Return all tasks of a project."""
    answer = server.call("GET", f"/api/tasks/?project={project}&page_size=1000&fields=all")
    return json.loads(answer)["tasks"]


def check_tasks(server, work, tasks, images):
    """Check that the server has the boxes with their names and scores, and serves each picture."""
    expect("tasks", len(tasks), len(images))
    for task in tasks:
        name, fact = named(task, images)
        (prediction,) = task["predictions"]
        found = [(region["id"], region["score"], region["value"]["rectanglelabels"]) for region in prediction["result"]]
        expect(f"{name}: boxes", found, [(box_id, score, [label]) for label, _, score, box_id in fact["boxes"]])
        verdicts = [region.get("meta", {}).get("verifier_verdict") for region in prediction["result"]]
        expect(f"{name}: verdicts", verdicts, fact["verdicts"])
        expect(f"{name}: score", prediction["score"], min(box[2] for box in fact["boxes"]))
        picture = (work / "export" / "images" / name).read_bytes()
        expect(f"{name}: the picture is served", server.call("GET", task["data"]["image"]) == picture, True)


def named(task, images):
    """Return the name and the facts of a task's picture."""
    return next((name, fact) for name, fact in images.items() if fact["frame_id"] == task["data"]["frame_id"])


def submit(server, task, images):
    """Submit the corrected boxes of a task."""
    _, fact = named(task, images)
    regions, result = task["predictions"][0]["result"], []
    for place, class_name, corners in corrected(fact["boxes"], fact["truth"]):
        region = {"from_name": "label", "to_name": "image", "type": "rectanglelabels", "image_rotation": 0}
        region |= {"original_width": 64, "original_height": 48, "id": f"new_{len(result)}", "origin": "manual"}
        region = dict(regions[place]) if place is not None else region
        if corners is not None:
            left, top, right, bottom = (100 * edge / (64, 48)[axis % 2] for axis, edge in enumerate(corners))
            sides = {"x": left, "y": top, "width": right - left, "height": bottom - top, "rotation": 0}
            region["value"] = sides | {"rectanglelabels": [class_name]}
        result.append(region)
    server.call("POST", f"/api/tasks/{task['id']}/annotations/", {"result": result, "lead_time": 1.5})


if __name__ == "__main__":
    main()
