// Shows the progress of the calibration, and the threshold that follows from the answers so far.
import { delivered } from "./questions.js";

const DELAY = 500;
const byId = (id) => document.getElementById(id);
const address = `/api/projects/${encodeURIComponent(document.body.dataset.project)}/calibration`;
let isLooking = false;
let isStale = false;

const percent = (share) => `${Math.round(100 * share)} %`;
const withInterval = ([value, low, high]) => `${percent(value)} (${percent(low)} to ${percent(high)})`;

function row(name, quality) {
  const made = document.createElement("tr");
  const cells = [quality.threshold.toFixed(4), withInterval(quality.precision), withInterval(quality.recall), quality.num_kept.toLocaleString("en")];
  for (const [tag, text] of [["th", name], ...cells.map((cell) => ["td", cell])]) {
    const cell = document.createElement(tag);
    cell.textContent = text;
    made.append(cell);
  }
  return made;
}

function show(found) {
  byId("result").hidden = false;
  if (found.why_none !== undefined) {
    byId("answered").textContent = found.why_none;
    byId("result").hidden = true;
    return;
  }
  byId("progress").max = Math.max(1, found.num_questions);
  byId("progress").value = found.num_answered;
  const others = found.num_not_sampled;
  const enough = found.num_questions < found.num_needed
    ? `a threshold needs ${found.num_needed} answers, so add videos to have more frames to ask about`
    : `${found.num_questions} are usually enough`;
  byId("answered").textContent = `${found.num_answered} of ${found.num_questions} answered; ${enough}`
    + (others ? `; ${others} ${others === 1 ? "answer" : "answers"} from other queues ${others === 1 ? "is" : "are"} not used, because ${others === 1 ? "it is" : "they are"} not a random sample` : "");
  const rows = [["in force", found.in_force], ["for the goal", found.chosen]].filter(([, quality]) => quality);
  byId("qualities").replaceChildren(...rows.map(([name, quality]) => row(name, quality)));
  byId("qualities").closest("table").hidden = !rows.length;
  byId("remark").textContent = `${found.remark}.`;
  byId("steps").hidden = !found.settings.length;
  byId("settings").textContent = found.settings.join("\n");
  byId("file").textContent = found.file ?? "the project file";
  byId("write").textContent = found.write;
  byId("write").previousElementSibling.hidden = byId("write").hidden = !found.file;
  byId("run").textContent = found.run;
}

async function lookOnce() {
  await new Promise((resolve) => setTimeout(resolve, DELAY)); // one request covers several answers in a row
  isStale = false; // answers from now on need another request
  await delivered();
  const query = new URLSearchParams({ goal: byId("goal").value, wanted: byId("wanted").value });
  const answer = await fetch(`${address}?${query}`).catch(() => null); // if the server is unreachable, the next answer tries again
  if (!answer) return;
  const found = await answer.json().catch(() => ({}));
  if (answer.ok) show(found);
  else byId("remark").textContent = found.error ?? answer.statusText;
}

// Sends one request at a time, even while a person answers without pausing, so the numbers stay up to date.
async function look() {
  isStale = true;
  if (isLooking) return;
  isLooking = true;
  try {
    while (isStale) await lookOnce();
  } finally {
    isLooking = false;
  }
}

addEventListener("answered", look);
for (const id of ["goal", "wanted"]) byId(id).addEventListener("change", look);
look();
