// The box of a crop, drawn with the mouse or moved with the keys; it counts the pixels of the picture's own size.

const STEP = 8, LEAST = 8; // pixels

export class CropBox {
  // `keep` gets [left, top, right, bottom], or null for the whole picture.
  constructor(stage, box, keep) {
    Object.assign(this, { stage, box, keep, crop: null, size: null, editing: false });
    stage.addEventListener("pointerdown", (event) => this.begin(event));
  }

  show(picture) {
    this.size = picture.size;
    this.crop = picture.crop;
    this.saved = picture.crop;
    this.editing = false;
    this.draw();
  }

  draw() {
    this.box.hidden = !this.crop || !this.size;
    this.box.classList.toggle("editing", this.editing);
    if (this.box.hidden) return;
    const [left, top, right, bottom] = this.crop, [width, height] = this.size;
    Object.assign(this.box.style, {
      left: `${(100 * left) / width}%`,
      top: `${(100 * top) / height}%`,
      width: `${(100 * (right - left)) / width}%`,
      height: `${(100 * (bottom - top)) / height}%`,
    });
  }

  locate(event) {
    const { left, top, width, height } = this.stage.getBoundingClientRect();
    const x = ((event.clientX - left) / width) * this.size[0], y = ((event.clientY - top) / height) * this.size[1];
    return [Math.max(0, Math.min(Math.round(x), this.size[0])), Math.max(0, Math.min(Math.round(y), this.size[1]))];
  }

  // A corner is drawn, the box is moved, or, outside of it, a new one is begun.
  begin(event) {
    if (!this.size || event.button) return;
    event.preventDefault();
    const start = this.locate(event), before = this.crop, edge = event.target.dataset?.edge;
    const inside = event.target === this.box;
    const fixed = edge ? [before[edge.includes("w") ? 2 : 0], before[edge.includes("n") ? 3 : 1]] : start;
    const move = (moved) => {
      const at = this.locate(moved);
      this.crop = inside ? this.shift(before, at[0] - start[0], at[1] - start[1]) : sort(fixed, at);
      this.draw();
    };
    const end = () => {
      this.stage.removeEventListener("pointermove", move);
      const [left, top, right, bottom] = this.crop ?? [0, 0, 0, 0];
      if (right - left < LEAST || bottom - top < LEAST) this.crop = before;
      this.commit();
    };
    this.stage.setPointerCapture(event.pointerId);
    this.stage.addEventListener("pointermove", move);
    this.stage.addEventListener("pointerup", end, { once: true });
  }

  shift(crop, right, down) {
    const x = Math.max(-crop[0], Math.min(right, this.size[0] - crop[2]));
    const y = Math.max(-crop[1], Math.min(down, this.size[1] - crop[3]));
    return [crop[0] + x, crop[1] + y, crop[2] + x, crop[3] + y];
  }

  startKeys() {
    if (!this.size) return;
    this.editing = true;
    this.crop ??= [0, 0, ...this.size];
    this.draw();
  }

  // Whether the key was one of the box's.
  press(event) {
    const along = { ArrowLeft: -STEP, ArrowRight: STEP }[event.key] ?? 0;
    const down = { ArrowUp: -STEP, ArrowDown: STEP }[event.key] ?? 0;
    if (along || down) {
      this.crop = event.shiftKey ? this.resize(along, down) : this.shift(this.crop, along, down);
      this.draw();
    } else if (event.key === "Enter") this.commit();
    else if (event.key === "Escape") this.show({ size: this.size, crop: this.saved });
    else if (event.key === "Delete" || event.key === "Backspace") this.remove();
    else return false;
    return true;
  }

  resize(along, down) {
    const [left, top, right, bottom] = this.crop;
    const clip = (edge, start, side) => Math.max(start + LEAST, Math.min(edge, side));
    return [left, top, clip(right + along, left, this.size[0]), clip(bottom + down, top, this.size[1])];
  }

  remove() {
    this.crop = null;
    this.commit();
  }

  commit() {
    this.editing = false;
    const whole = this.crop && String(this.crop) === String([0, 0, ...(this.size ?? [])]);
    const crop = whole ? null : this.crop;
    this.draw();
    if (String(crop) !== String(this.saved)) this.keep(crop);
  }
}

function sort(one, other) {
  return [Math.min(one[0], other[0]), Math.min(one[1], other[1]), Math.max(one[0], other[0]), Math.max(one[1], other[1])];
}
