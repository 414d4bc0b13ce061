// A grid of frames, one of which is outlined. Arrow keys and clicks select another one.

export class Tiles {
  #list; #make; #onOpen; items = []; current = 0;

  /** `make` returns the caption's elements for an item. */
  constructor(list, make, onOpen) {
    this.#list = list;
    this.#make = make;
    this.#onOpen = onOpen;
  }

  show(items, current = 0) {
    this.items = items;
    this.current = Math.max(0, Math.min(current, items.length - 1));
    this.#list.replaceChildren(...items.map((item, index) => this.#tile(item, index)));
    this.#mark();
  }

  refresh(index) {
    if (this.items[index]) this.#list.children[index].replaceWith(this.#tile(this.items[index], index));
    this.#mark();
  }

  go(index) {
    if (index < 0 || index >= this.items.length) return false;
    this.current = index;
    this.#mark();
    return true;
  }

  /** Handle an arrow key or Enter. Return whether the key was used. */
  key(key) {
    if (key === "Enter") { if (this.items.length) this.#onOpen(this.items[this.current]); return true; }
    const columns = getComputedStyle(this.#list).gridTemplateColumns.split(" ").length;
    const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[key];
    if (by === undefined) return false;
    this.go(this.current + by);
    return true;
  }

  #tile(item, index) {
    const made = document.createElement("li");
    made.className = "tile";
    made.dataset.key = item.key;
    if (item.said) made.dataset.said = item.said;
    const picture = new Image(item.frame.width, item.frame.height);
    picture.src = item.frame.small_picture;
    picture.alt = `frame ${item.frame.frame_id}`;
    const caption = document.createElement("div");
    caption.className = "caption";
    caption.append(...this.#make(item, index));
    made.append(picture, caption);
    made.addEventListener("click", () => this.go(index));
    made.addEventListener("dblclick", () => this.#onOpen(item));
    return made;
  }

  #mark() {
    [...this.#list.children].forEach((made, index) => {
      if (index === this.current) made.setAttribute("aria-current", "true");
      else made.removeAttribute("aria-current");
    });
    this.#list.children[this.current]?.scrollIntoView({ block: "nearest" });
  }
}

export function text(tag, className, content) {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = content;
  return made;
}

export function pushButton(label, isPressed, act) {
  const made = text("button", "", label);
  made.type = "button";
  made.setAttribute("aria-pressed", String(isPressed));
  made.addEventListener("click", (event) => { event.stopPropagation(); act(); });
  return made;
}

/** Show a message instead of the frames, with a link to the project. */
export function sayEmpty(place, words) {
  const link = text("a", "", "Back to the project");
  link.href = `/projects/${document.body.dataset.project}`;
  place.replaceChildren(`${words} `, link);
  place.hidden = false;
}

/** Enlarge a frame until the next key or click. */
export function enlarge(frame) {
  const shown = document.createElement("dialog");
  shown.className = "large";
  const picture = new Image();
  picture.src = frame.picture;
  picture.alt = `frame ${frame.frame_id}`;
  shown.append(picture);
  const close = () => { shown.close(); shown.remove(); };
  shown.addEventListener("click", close);
  shown.addEventListener("keydown", (event) => { event.preventDefault(); event.stopPropagation(); close(); });
  document.body.append(shown);
  shown.showModal();
}

/** Pass keys that are meant for the page to `take`, which gets the name of the key and returns whether it used it. */
export function onKeys(isElsewhere, undo, take) {
  addEventListener("keydown", (event) => {
    if (isElsewhere(event)) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key; // ignore caps lock
    const isUndo = key === "u" || (key === "z" && (event.ctrlKey || event.metaKey));
    if (!isUndo && (event.ctrlKey || event.metaKey || event.altKey)) return;
    if (["Enter", " "].includes(event.key) && event.target.closest("button, a")) return;
    if (isUndo) undo();
    else if (!take(key)) return;
    event.preventDefault();
  });
}
