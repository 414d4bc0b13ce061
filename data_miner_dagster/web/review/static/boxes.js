// The page of one frame at a time, on which each box is judged right, wrong, misclassified, shifted or missing.
import { Canvas } from "./canvas.js";
import { Questions, classes, more_of, preload, say, undo } from "./questions.js";
import { isElsewhere, toggleHelp } from "./shell.js";

const byId = (id) => document.getElementById(id);
const questions = new Questions();
const canvas = new Canvas(byId("picture"), { onPick: pick, onMove: moved, onDraw: drawn });
const classText = new Map(classes.map((choice) => [choice.name, choice.text]));
const isBrowsing = Boolean(document.body.dataset.key);
let place = 0;
let item = null;
let current = -1; // the index of the box that an answer is about
let showsWeak = false;
let pendingBox = null; // drawn, but without a class so far
let verified = []; // a verifier's answers about the boxes as they were detected
let turn = 0; // a later go() cancels an earlier one that is still waiting

const isShown = (box) => showsWeak || box.state !== "none" || box.is_asked || box.verdict;
const visible = () => item.boxes.map((box, index) => ({ box, index })).filter(({ box }) => isShown(box));

async function go(to) {
  const mine = ++turn;
  pendingBox = null;
  to = Math.max(0, to);
  await questions.reach(to).catch((error) => say_empty(`The questions cannot be loaded: ${error.message}`));
  if (mine !== turn) return;
  place = Math.min(to, questions.items.length);
  const question = questions.items[place];
  if (!question) {
    item = null;
    canvas.clear();
    say_empty(isBrowsing ? "" : "That was the last frame. This queue has no more questions.");
    return;
  }
  await show(question);
  place -= questions.trim(place);
  for (const next of questions.items.slice(place + 1, place + 4)) preload(next);
  questions.reach(place + 1).catch(() => {});
}

function say_empty(text) {
  const empty = byId("empty");
  empty.hidden = false;
  empty.textContent = `${text} `;
  const link = document.createElement("a");
  link.href = `/projects/${document.body.dataset.project}`;
  link.textContent = "Back to the project";
  empty.append(link);
  for (const id of ["why", "place", "hidden-boxes", "count"]) byId(id).textContent = "";
  byId("boxes").replaceChildren();
  byId("picker").hidden = true;
}

async function show(question) {
  // a frame's boxes with the answers applied; `item.frame` stays unchanged
  delete document.body.dataset.frame; // set again by refresh(), once the picture is shown
  item = { ...question, boxes: question.boxes ?? question.frame.boxes };
  questions.items[place] = item;
  byId("empty").hidden = true;
  byId("picker").hidden = true;
  const asked = item.boxes.findIndex((box) => box.is_asked && !box.verdict);
  current = asked >= 0 ? asked : visible()[0]?.index ?? -1;
  const of = item;
  const [masks, answers] = [more_of(item.frame, "masks"), more_of(item.frame, "verifier")];
  verified = [];
  await canvas.show(item.frame);
  if (of !== item) return;
  refresh();
  masks.then((found) => { if (of.frame === item?.frame) canvas.take(found); });
  answers.then((found) => { if (of.frame === item?.frame && found.length) { verified = found; refresh(); } });
}

function refresh() {
  document.body.dataset.frame = item.frame.frame_id;
  byId("why").textContent = item.why;
  const parts = [item.frame.title, `${item.frame.pts_seconds.toFixed(1)} s`];
  const said = { complete: "all labelled", keep: "kept by a reviewer", drop: "dropped by a reviewer" };
  parts.push(...Object.keys(item.frame.verdicts).map((word) => said[word] ?? word));
  byId("place").textContent = parts.join(" · ");
  const left = Math.max(0, questions.numOpen - place);
  byId("count").textContent = isBrowsing ? "" : `${left.toLocaleString("en")} left in this queue`;
  const numWeak = item.boxes.filter((box) => box.state === "none" && !box.is_asked && !box.verdict).length;
  const why = verified.some(({ verdict }) => verdict === "rejected") ? "for low confidence or by the verifier" : "for low confidence";
  const weak = numWeak === 1 ? "1 box is" : `${numWeak} boxes are`;
  byId("hidden-boxes").textContent = numWeak ? `${weak} left out ${why} (press l to ${showsWeak ? "hide" : "show"} ${numWeak === 1 ? "it" : "them"})` : "";
  const undecided = item.boxes.filter((box) => box.state === "unsure" && !box.verdict).length;
  const complete = document.querySelector("[data-do=complete]");
  complete.title = undecided ? `${undecided} unsure ${undecided === 1 ? "box" : "boxes"} without an answer will be recorded as wrong` : "";
  const isDropped = "drop" in item.frame.verdicts;
  document.querySelector("[data-do=keep]").firstChild.data = isDropped ? "Restore frame " : "Keep frame ";
  canvas.draw(visible(), current, (box) => classText.get(box.class_name) ?? box.class_name);
  byId("boxes").replaceChildren(...visible().map(({ box, index }) => row(box, index)));
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function button(text, title, isPressed, act) {
  const made = element("button", "", text);
  made.type = "button";
  made.title = title;
  made.setAttribute("aria-label", title);
  made.setAttribute("aria-pressed", String(isPressed));
  made.addEventListener("click", (event) => { event.stopPropagation(); act(); });
  return made;
}

const WORDS = { right: "right", wrong: "wrong", other_class: "other class", shifted: "shifted", missing: "drawn" };

/** A verifier's answer about a box. It applies to the detected class and position, not to a person's corrections. */
function verifier_of(box) {
  const { width, height } = item.frame;
  const share = (value, side) => Math.min(Math.max(value / side, 0), 1);
  return verified.find(({ class_name, corners }) => class_name === box.shown.class_name && box.class_name === class_name
    && corners.every((value, side) => share(value, side % 2 ? height : width) === box.shown.box[side]));
}

function row(box, index) {
  const made = element("li", `row ${box.state} ${box.verdict ?? ""}`);
  made.dataset.index = index;
  if (index === current) made.setAttribute("aria-current", "true");
  const name = element("span", "name", classText.get(box.class_name) ?? box.class_name);
  const confidence = box.shown.confidence === null ? "" : box.shown.confidence.toFixed(2);
  const state = box.verdict ? WORDS[box.verdict] : box.state === "none" ? "left out" : box.state === "object" ? "sure" : "unsure";
  made.append(name, element("span", "note", confidence), element("span", "chip", state));
  const said = verifier_of(box);
  if (said) {
    const line = element("p", `said ${said.verdict}`);
    line.append(element("b", "", said.text), said.reason ? `: ${said.reason}` : "");
    made.append(line);
  }
  const buttons = element("span", "buttons");
  buttons.append(
    button("✓", "right (y)", box.verdict === "right", () => { current = index; judge("right"); }),
    button("✗", "wrong (n)", box.verdict === "wrong", () => { current = index; judge("wrong"); }),
    button("…", "other class (c)", box.verdict === "other_class", () => { current = index; openPicker(); }),
  );
  made.append(buttons);
  made.addEventListener("click", () => pick(index));
  return made;
}

function pick(index) {
  if (!item || index === current || !item.boxes[index]) return; // the library may report an event from an earlier frame
  current = index;
  refresh();
}

/** Send answers, and show their effect on the frame immediately. */
function record(parts, change) {
  const before = structuredClone(item);
  const key = item.key;
  const ids = say(item, parts, async () => {
    const at = questions.items.findIndex((question) => question.key === key);
    if (at < 0) return;
    questions.items[at] = before;
    if (at === place && item?.key === key) item = before; // wait until the picture is shown, so that the next key applies to it
    else await go(at);
    current = before.current ?? current;
    refresh();
  });
  before.current = current;
  change(ids);
  refresh();
}

/** Return the answers that give a box this class and outline. */
function parts_of(box, className, outline) {
  const shown = box.shown;
  const replaces = box.answer_id ?? undefined;
  if (box.verdict === "missing") {
    return [
      { word: "wrong", shown, replaces },
      { word: "missing", shown: drawn_as(className, outline) },
    ];
  }
  const isMoved = outline.some((value, side) => value !== shown.box[side]);
  if (className === shown.class_name) {
    return [isMoved ? { word: "shifted", shown, new_box: outline, replaces } : { word: "right", shown, replaces }];
  }
  if (!isMoved) return [{ word: "other_class", shown, new_class_name: className, replaces }];
  return [
    { word: "wrong", shown, replaces },
    { word: "missing", shown: drawn_as(className, outline) },
  ];
}

const drawn_as = (className, outline) => ({ class_name: className, box: outline });
const missing_box = (className, outline, answerId) => ({
  class_name: className, box: outline, state: "object", shown: { ...drawn_as(className, outline), confidence: null },
  verdict: "missing", answer_id: answerId, is_asked: false,
});

function correct(index, className, outline) {
  const box = item.boxes[index];
  const parts = parts_of(box, className, outline);
  record(parts, (ids) => {
    const last = parts.length - 1;
    item.boxes = [...item.boxes];
    item.boxes[index] = parts[last].word === "missing"
      ? missing_box(className, outline, ids[last])
      : { ...box, class_name: className, box: outline, state: "object", verdict: parts[last].word, answer_id: ids[last] };
  });
}

function judge(word) {
  const index = current;
  const box = item?.boxes[index];
  if (!box) return;
  const replaces = box.answer_id ?? undefined;
  if (word === "right" && ["shifted", "other_class", "missing"].includes(box.verdict)) {
    advance(index); // a corrected box is right by definition
    refresh();
    return;
  }
  record([{ word, shown: box.shown, replaces }], ([id]) => {
    item.boxes = [...item.boxes];
    item.boxes[index] = {
      ...box, class_name: box.shown.class_name, box: box.shown.box, verdict: word, answer_id: id,
      state: word === "right" ? "object" : "none",
    };
    advance(index);
  });
}

/** Select the next undecided box: boxes that the question is about and unsure ones come first. */
function advance(from) {
  const open = visible().filter(({ box }) => !box.verdict);
  const pressing = open.filter(({ box }) => box.is_asked || box.state === "unsure");
  const next = [...pressing, ...open];
  current = (next.find(({ index }) => index > from) ?? next[0])?.index ?? from;
}

function step(by) {
  const indices = visible().map(({ index }) => index);
  if (!indices.length) return;
  const at = indices.indexOf(current);
  current = indices[(at + by + indices.length) % indices.length];
  refresh();
}

function openPicker() {
  const picker = byId("picker");
  picker.replaceChildren(...classes.map((choice, number) => {
    const made = button(number < 9 ? `${number + 1}  ${choice.text}` : choice.text, choice.text, false, () => choose(number));
    return made;
  }));
  picker.hidden = false;
  picker.firstChild?.focus();
}

function choose(number) {
  const choice = classes[number];
  byId("picker").hidden = true;
  byId("picture").focus({ preventScroll: true });
  if (!choice || !item) return;
  if (pendingBox) {
    const outline = pendingBox;
    pendingBox = null;
    record([{ word: "missing", shown: drawn_as(choice.name, outline) }], ([id]) => {
      item.boxes = [...item.boxes, missing_box(choice.name, outline, id)];
      current = item.boxes.length - 1;
    });
    return;
  }
  const box = item.boxes[current];
  if (box) {
    const index = current;
    correct(index, choice.name, box.box);
    advance(index);
    refresh();
  }
}

function drawn(outline) {
  const isAdjusted = pendingBox !== null;
  pendingBox = outline;
  if (isAdjusted) return; // the user is choosing its class
  if (classes.length === 1) choose(0);
  else openPicker();
}

function moved(index, outline) {
  if (!item?.boxes[index]) return;
  current = index;
  correct(index, item.boxes[index].class_name, outline);
}

/** Record that every object is labelled, and that sure boxes without an answer are right. */
function complete() {
  const standing = item.boxes.map((box, index) => ({ box, index })).filter(({ box }) => box.state === "object" && !box.verdict);
  const parts = [...standing.map(({ box }) => ({ word: "right", shown: box.shown })), { word: "complete" }];
  record(parts, (ids) => {
    item.boxes = [...item.boxes];
    standing.forEach(({ box, index }, at) => { item.boxes[index] = { ...box, verdict: "right", answer_id: ids[at] }; });
    item.frame = { ...item.frame, verdicts: { ...item.frame.verdicts, complete: ids.at(-1) } };
  });
  go(place + 1);
}

function frame(word) {
  const replaces = item.frame.verdicts.keep ?? item.frame.verdicts.drop;
  record([{ word, replaces }], ([id]) => {
    const { keep, drop, ...others } = item.frame.verdicts;
    item.frame = { ...item.frame, verdicts: { ...others, [word]: id } };
  });
  if (word === "drop") go(place + 1);
}

const ACTIONS = {
  complete: () => item && complete(),
  draw: () => item && canvas.startDrawing(),
  skip: () => go(place + 1),
  back: () => go(place - 1),
  keep: () => item && frame("keep"),
  drop: () => item && frame("drop"),
  undo: () => undo(),
  help: toggleHelp,
  right: () => judge("right"),
  wrong: () => judge("wrong"),
  pick: () => item?.boxes[current] && openPicker(),
  shift: () => item?.boxes[current] && canvas.startMoving(current, item.boxes[current].box),
  down: () => item && step(1),
  up: () => item && step(-1),
  weak: () => { showsWeak = !showsWeak; if (item) refresh(); },
  hide: () => canvas.hide(true),
};
const KEYS = {
  " ": "complete", d: "draw", ArrowRight: "skip", ArrowLeft: "back", k: "keep", x: "drop", u: "undo",
  y: "right", n: "wrong", c: "pick", m: "shift", ArrowDown: "down", ArrowUp: "up", j: "down", i: "up", l: "weak", h: "hide",
};

function cancel() {
  pendingBox = null;
  byId("picker").hidden = true;
  canvas.cancel();
  if (item) refresh();
}

addEventListener("keydown", (event) => {
  if (isElsewhere(event)) return;
  const isUndo = event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey);
  if (!isUndo && (event.ctrlKey || event.metaKey || event.altKey)) return;
  if (canvas.key(event)) { event.preventDefault(); return; }
  const isPicking = !byId("picker").hidden;
  if (isPicking && ["Enter", " ", "Tab"].includes(event.key)) return; // the focused class is chosen
  if (event.key === "Escape") return cancel();
  if (item && /^[1-9]$/.test(event.key)) choose(Number(event.key) - 1);
  else if (isUndo) ACTIONS.undo();
  else if (event.key === "Enter" && event.target.closest("button, a")) return;
  else if (KEYS[event.key]) ACTIONS[KEYS[event.key]]();
  else return;
  event.preventDefault();
  event.stopImmediatePropagation(); // the library has its own undo
}, { capture: true });
addEventListener("keyup", (event) => { if (event.key === "h") canvas.hide(false); });
for (const made of document.querySelectorAll("[data-do]")) {
  made.addEventListener("click", () => { ACTIONS[made.dataset.do](); made.blur(); });
}
go(0);
