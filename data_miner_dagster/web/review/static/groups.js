// The page of a representative and its duplicates, where a person selects frames that are not duplicates, or that are better.
import { Questions, say, undo } from "./questions.js";
import { isElsewhere, toggleHelp } from "./shell.js";
import { Tiles, enlarge, onKeys, pushButton, sayEmpty, text } from "./tiles.js";

const MOST = 60; // the maximum number of frames of one group on a page
const byId = (id) => document.getElementById(id);
const questions = new Questions();
const tiles = new Tiles(byId("frames"), caption, (item) => enlarge(item.frame));
let start = 0;
let turn = 0;
const starts = []; // positions of the earlier groups

function caption(item, index) {
  const buttons = document.createElement("span");
  buttons.className = "buttons";
  buttons.append(
    pushButton("Not a duplicate", item.said === "not_duplicate", () => { tiles.go(index); answer("not_duplicate"); }),
    pushButton("Keep this one instead", item.said === "representative", () => { tiles.go(index); answer("representative"); }),
  );
  const likeness = item.similarity === null ? "" : `${item.similarity.toFixed(3)} · `;
  const tier = (item.tier ?? "").replaceAll("_", " ");
  return [text("span", "", `${likeness}${tier}`), text("span", "note", `${item.frame.title} · ${item.frame.pts_seconds.toFixed(1)} s`), buttons];
}

async function go(to) {
  const mine = ++turn;
  start = Math.max(0, to);
  try {
    await questions.reach(start);
    let end = start;
    const key = questions.items[start]?.other.frame_id;
    while (end - start < MOST && questions.items[end]?.other.frame_id === key && key !== undefined) {
      end += 1;
      await questions.reach(end);
    }
    if (mine !== turn) return;
    show(questions.items.slice(start, end));
  } catch (error) {
    sayEmpty(byId("empty"), `The groups cannot be loaded: ${error.message}`);
  }
}

function show(items) {
  byId("empty").hidden = items.length > 0;
  byId("representative").replaceChildren();
  tiles.show(items);
  scrollTo(0, 0);
  const left = Math.max(0, questions.numOpen - start);
  byId("count").textContent = `${left.toLocaleString("en")} ${left === 1 ? "frame" : "frames"} left in this queue`;
  if (!items.length) {
    sayEmpty(byId("empty"), "That was the last group. This queue has no more questions.");
    return;
  }
  const frame = items[0].other;
  const picture = new Image(frame.width, frame.height);
  picture.src = frame.picture;
  picture.alt = `frame ${frame.frame_id}`;
  picture.addEventListener("click", () => enlarge(frame));
  byId("representative").append(picture, text("p", "note", `${frame.title} · ${frame.pts_seconds.toFixed(1)} s`));
}

function answer(word) {
  const item = tiles.items[tiles.current];
  if (!item) return;
  const before = item.said;
  const group = start;
  const at = tiles.current;
  say(item, [{ word, other_frame_id: item.other.frame_id }], async () => {
    item.said = before;
    if (group !== start) await go(group);
    tiles.refresh(at);
    tiles.go(at);
  });
  item.said = word;
  tiles.refresh(at);
  if (word === "not_duplicate") tiles.go(at + 1);
}

/** Record the frames without an answer as duplicates, so that the queue does not ask about them again. */
function confirm() {
  const group = start;
  for (const item of tiles.items) {
    if (item.said) continue;
    say(item, [{ word: "duplicate", other_frame_id: item.other.frame_id }], async () => {
      item.said = null;
      if (group !== start) await go(group);
    });
    item.said = "duplicate";
  }
  skip();
}

function skip() {
  if (!tiles.items.length) return;
  starts.push(start);
  go(start + tiles.items.length);
}

const ACTIONS = {
  different: () => answer("not_duplicate"),
  instead: () => answer("representative"),
  next: confirm,
  skip,
  back: () => { if (starts.length) go(starts.pop()); },
  undo,
  help: toggleHelp,
};
for (const made of document.querySelectorAll("[data-do]")) {
  made.addEventListener("click", () => { ACTIONS[made.dataset.do](); made.blur(); });
}
onKeys(isElsewhere, undo, (key) => {
  if (key === "n") ACTIONS.different();
  else if (key === "r") ACTIONS.instead();
  else if (key === " ") ACTIONS.next();
  else if (key === "s") ACTIONS.skip();
  else if (key === "p") ACTIONS.back();
  else return tiles.key(key);
  return true;
});
go(0);
