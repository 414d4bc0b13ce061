// The page on which many frames at a time are kept or dropped.
import { Questions, say, undo } from "./questions.js";
import { isElsewhere, toggleHelp } from "./shell.js";
import { Tiles, enlarge, onKeys, pushButton, sayEmpty, text } from "./tiles.js";

const PAGE = 24;
const byId = (id) => document.getElementById(id);
const questions = new Questions();
const tiles = new Tiles(byId("frames"), caption, (item) => enlarge(item.frame));
let start = 0;
let turn = 0;

function caption(item, index) {
  const said = item.said;
  const buttons = document.createElement("span");
  buttons.className = "buttons";
  const isOut = said === "drop";
  buttons.append(
    pushButton(isOut ? "Restore" : "Keep", said === "keep", () => { tiles.go(index); answer("keep"); }),
    pushButton("Drop", isOut, () => { tiles.go(index); answer("drop"); }),
  );
  return [...(item.why ? [text("span", "", item.why)] : []), text("span", "note", `${item.frame.title} · ${item.frame.pts_seconds.toFixed(1)} s`), buttons];
}

const wordOf = (item) => ("keep" in item.frame.verdicts ? "keep" : "drop" in item.frame.verdicts ? "drop" : "");

async function go(to) {
  const mine = ++turn;
  start = Math.max(0, to);
  try { await questions.reach(start + PAGE - 1); } catch (error) {
    sayEmpty(byId("empty"), `The frames cannot be loaded: ${error.message}`);
    return;
  }
  if (mine !== turn) return;
  const items = questions.items.slice(start, start + PAGE);
  for (const item of items) item.said ??= wordOf(item);
  tiles.show(items, Math.max(0, items.findIndex((item) => !item.said)));
  scrollTo(0, 0);
  byId("empty").hidden = items.length > 0;
  if (!items.length) sayEmpty(byId("empty"), "That was the last page. This queue has no more questions.");
  count();
  for (const item of questions.items.slice(start + PAGE, start + 2 * PAGE)) new Image().src = item.frame.small_picture;
}

function count() {
  const answered = questions.items.filter((item) => item.said).length;
  byId("count").textContent = `${Math.max(0, questions.numOpen - answered).toLocaleString("en")} left in this queue`;
  dispatchEvent(new Event("answered"));
}

function answer(word) {
  const item = tiles.items[tiles.current];
  if (!item) return;
  const before = { said: item.said, verdicts: item.frame.verdicts };
  const at = start + tiles.current;
  const replaces = item.frame.verdicts.keep ?? item.frame.verdicts.drop;
  const [id] = say(item, [{ word, replaces }], async () => {
    item.said = before.said;
    item.frame.verdicts = before.verdicts;
    const first = at - (at % PAGE);
    if (first !== start) await go(first);
    tiles.refresh(at - first);
    tiles.go(at - first);
    count();
  });
  item.said = word;
  item.frame.verdicts = { [word]: id };
  tiles.refresh(tiles.current);
  count();
  const isOpen = (one) => !one.said;
  const after = tiles.items.findIndex((one, index) => index > tiles.current && isOpen(one));
  const next = after < 0 ? tiles.items.findIndex(isOpen) : after;
  if (next < 0) go(start + PAGE); // everything on this page is answered
  else tiles.go(next);
}

const ACTIONS = { next: () => tiles.items.length && go(start + PAGE), back: () => go(start - PAGE), undo, help: toggleHelp };
for (const made of document.querySelectorAll("[data-do]")) {
  made.addEventListener("click", () => { ACTIONS[made.dataset.do](); made.blur(); });
}
onKeys(isElsewhere, undo, (key) => {
  if (key === "k") answer("keep");
  else if (key === "x" || key === "d") answer("drop");
  else if (key === " ") ACTIONS.next();
  else if (key === "p") ACTIONS.back();
  else return tiles.key(key);
  return true;
});
go(0);
