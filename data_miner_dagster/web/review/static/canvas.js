// The picture with its boxes. The library draws, selects and drags boxes. This module adds labels and moving by keys.
// Boxes are passed in and out as shares of the picture's width and height.

const COLOURS = {
  current: "#ffd43b", right: "#2fbf71", missing: "#2fbf71", shifted: "#4dabf7", other_class: "#4dabf7", wrong: "#fa5252",
  object: "#ffffff", unsure: "#ff922b", none: "#868e96",
};
const SMALLEST = 0.002; // as a share of the picture's side
// In the first 250 ms of a page the library merges a change into the one before it, and throws if there is none.
const HISTORY = () => ({ changes: [{ created: [], updated: [], deleted: [] }], pointer: 0 });
const rounded = (value) => Math.round(Math.min(1, Math.max(0, value)) * 1e6) / 1e6;

const isAt = (outline, box) => outline?.every((value, side) => Math.abs(value - box[side]) < 1e-3);

export class Canvas {
  #place; #on; #frame = null; #image = null; #library = null; #labels = null; #veils = null; #masks = [];
  #boxes = []; #current = -1; #moving = null; #drawn = null;

  constructor(place, on) {
    this.#place = place;
    this.#on = on;
    // on the window, since a drag can end outside the picture; handled immediately, before the next key clears the selection
    addEventListener("pointerup", () => this.#takeMoved());
  }

  clear() {
    this.#library?.destroy();
    this.#library = this.#image = this.#frame = this.#moving = this.#veils = null;
    this.#masks = [];
    this.#place.replaceChildren();
  }

  async show(frame) {
    this.clear();
    this.#frame = frame;
    const image = new Image();
    image.alt = `frame ${frame.frame_id}`;
    image.draggable = false;
    image.src = frame.picture;
    this.#place.style.setProperty("--aspect", String(frame.width / frame.height));
    this.#place.replaceChildren(image);
    try { await image.decode(); } catch {
      if (this.#frame !== frame) return;
      const told = document.createElement("p");
      told.className = "missing";
      told.textContent = "This picture cannot be shown.";
      this.#place.replaceChildren(told);
      return;
    }
    if (this.#frame !== frame) return;
    this.#image = image;
    this.#library = Annotorious.createImageAnnotator(image, {
      drawingMode: "drag", theme: "light", style: (annotation) => this.#style(annotation),
      initialHistory: HISTORY(),
    });
    this.#library.on("createAnnotation", (annotation) => this.#takeDrawn(annotation));
    this.#library.on("selectionChanged", ([selected]) => {
      if (selected && this.#boxes.some(({ index }) => String(index) === selected.id)) {
        this.#on.onPick(Number(selected.id));
      }
    });
    this.#labels = document.createElement("div");
    this.#labels.className = "labels";
    this.#library.element.append(this.#labels);
  }

  /** Set the masks of the frame, `{class_name, box, path}`. Each is drawn while its box is where it was detected. */
  take(masks) {
    this.#masks = masks;
    this.#drawMasks();
  }

  /** Draw boxes `{box, index}`, and highlight `current`. */
  draw(boxes, current, text) {
    this.#boxes = boxes;
    this.#current = current;
    if (!this.#library) return;
    this.#drawn = null;
    // setting boxes ends a drag, so they are set only if one of them has changed its place
    if (!this.#areDrawn(boxes)) {
      const selected = this.#library.getSelected()[0]?.id;
      this.#library.setAnnotations(boxes.map(({ box, index }) => this.#annotation(index, box.box)));
      if (boxes.some(({ index }) => String(index) === selected)) this.#library.setSelected(selected);
    }
    this.#library.setStyle((annotation) => this.#style(annotation));
    this.#drawMasks();
    this.#labels.replaceChildren(...boxes.map(({ box, index }) => {
      const made = document.createElement("span");
      made.textContent = text(box);
      made.className = index === current ? "label current" : "label";
      made.style.left = `${box.box[0] * 100}%`;
      made.style.top = `${box.box[1] * 100}%`;
      made.style.setProperty("--colour", this.#colour(index));
      return made;
    }));
  }

  #drawMasks() {
    if (!this.#library || !this.#masks.length) return;
    const svg = "http://www.w3.org/2000/svg";
    if (!this.#veils) {
      this.#veils = document.createElementNS(svg, "svg");
      this.#veils.setAttribute("class", "veils");
      this.#veils.setAttribute("viewBox", `0 0 ${this.#frame.width} ${this.#frame.height}`);
      this.#veils.setAttribute("preserveAspectRatio", "none");
      this.#library.element.append(this.#veils);
    }
    const pixels = [1 / this.#frame.width, 1 / this.#frame.height];
    const isOf = (mask, box) => mask.box.every((value, side) => Math.abs(value - box[side]) <= pixels[side % 2]);
    this.#veils.replaceChildren(...this.#boxes.flatMap(({ box, index }) => {
      const mask = box.verdict === "wrong" ? null : this.#masks.find((one) => isOf(one, box.box));
      if (!mask) return [];
      const veil = document.createElementNS(svg, "path");
      veil.setAttribute("d", mask.path);
      veil.style.setProperty("--colour", this.#colour(index));
      return [veil];
    }));
  }

  hide(isHidden) {
    this.#place.classList.toggle("hides", isHidden);
  }

  /** Make the next drag draw a box, regardless of the selection. Arrow keys move a box that is drawn in the middle. */
  startDrawing() {
    if (!this.#library) return;
    this.#library.setSelected();
    this.#beginMoving(null, [0.4, 0.4, 0.6, 0.6]);
  }

  startMoving(index, box) {
    if (this.#library) this.#beginMoving(index, [...box]);
  }

  cancel() {
    this.#endMoving();
    this.#library?.cancelSelected();
    this.#library?.cancelDrawing();
  }

  /** Handle a key press while a box is moved by keys. Return whether the key was used. */
  key(event) {
    if (!this.#moving) return false;
    const by = event.ctrlKey ? 0.001 : 0.01;
    const [dx, dy] = { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, -by], ArrowDown: [0, by] }[event.key] ?? [0, 0];
    if (dx || dy) {
      const [x0, y0, x1, y1] = this.#moving.box;
      const box = event.shiftKey ? [x0, y0, x1 + dx, y1 + dy] : [x0 + dx, y0 + dy, x1 + dx, y1 + dy];
      if (box[2] - box[0] >= SMALLEST && box[3] - box[1] >= SMALLEST && box.every((value) => value > -1e-9 && value < 1 + 1e-9)) {
        this.#moving.box = box;
      }
      this.#showMoving();
      return true;
    }
    if (event.key === "Enter") {
      const { index, box } = this.#moving;
      this.#endMoving();
      if (index === null) this.#on.onDraw(box.map(rounded));
      else this.#on.onMove(index, box.map(rounded));
      return true;
    }
    if (event.key === "Escape") {
      this.#endMoving();
      return true;
    }
    return !["?", "Tab"].includes(event.key); // prevents answers by mistake while a box is moved
  }

  #beginMoving(index, box) {
    this.#endMoving();
    const outline = document.createElement("div");
    outline.className = "moving";
    this.#moving = { index, box, outline };
    this.#library.element.append(outline);
    this.#place.dataset.mode = index === null ? "Drag a box, or move this one: arrows, Shift+arrows, Enter" : "Arrows, Shift+arrows, Enter";
    this.#showMoving();
  }

  #showMoving() {
    const { box: [x0, y0, x1, y1], outline } = this.#moving;
    Object.assign(outline.style, {
      left: `${x0 * 100}%`, top: `${y0 * 100}%`, width: `${(x1 - x0) * 100}%`, height: `${(y1 - y0) * 100}%`,
    });
  }

  #endMoving() {
    this.#moving?.outline.remove();
    this.#moving = null;
    delete this.#place.dataset.mode;
  }

  #annotation(index, [x0, y0, x1, y1]) {
    const { naturalWidth: width, naturalHeight: height } = this.#image;
    const [minX, minY, maxX, maxY] = [x0 * width, y0 * height, x1 * width, y1 * height];
    const geometry = { x: minX, y: minY, w: maxX - minX, h: maxY - minY, bounds: { minX, minY, maxX, maxY } };
    const id = String(index);
    return { id, bodies: [], target: { annotation: id, selector: { type: "RECTANGLE", geometry } } };
  }

  /** Return the corners of a box. Ignores the library's `bounds`, which are one move behind after a drag. */
  #outline({ target: { selector: { geometry: { x, y, w, h } } } }) {
    const { naturalWidth: width, naturalHeight: height } = this.#image;
    return [x / width, y / height, (x + w) / width, (y + h) / height].map(rounded);
  }

  #areDrawn(boxes) {
    const drawn = this.#library.getAnnotations();
    if (drawn.length !== boxes.length) return false;
    const byId = new Map(drawn.map((annotation) => [annotation.id, annotation]));
    return boxes.every(({ box, index }) => {
      const annotation = byId.get(String(index));
      if (!annotation || !isAt(this.#outline(annotation), box.box)) return false;
      const { x, y, w, h, bounds } = annotation.target.selector.geometry;
      return [bounds.minX - x, bounds.minY - y, bounds.maxX - x - w, bounds.maxY - y - h].every((off) => Math.abs(off) < 1e-6);
    });
  }

  #takeDrawn(annotation) {
    this.#endMoving();
    this.#drawn = annotation.id; // stays on the picture, and may be adjusted, until it has a class
    this.#on.onDraw(this.#outline(annotation));
  }

  /** After a drag, send an answer if the selected box is no longer where it was drawn. */
  #takeMoved() {
    const selected = this.#library?.getSelected()[0];
    if (selected && selected.id === this.#drawn) this.#on.onDraw(this.#outline(selected));
    const known = selected && this.#boxes.find(({ index }) => String(index) === selected.id);
    if (!known) return;
    const outline = this.#outline(selected);
    if (!isAt(outline, known.box.box)) this.#on.onMove(known.index, outline);
  }

  #colour(index) {
    if (index === this.#current) return COLOURS.current;
    const { box } = this.#boxes.find((shown) => shown.index === index) ?? { box: {} };
    return COLOURS[box.verdict ?? box.state] ?? COLOURS.none;
  }

  #style(annotation) {
    const colour = this.#colour(Number(annotation.id));
    const isCurrent = annotation.id === this.#drawn || Number(annotation.id) === this.#current;
    return { stroke: colour, strokeWidth: isCurrent ? 4 : 2, strokeOpacity: 1, fill: colour, fillOpacity: isCurrent ? 0.12 : 0.02 };
  }
}
