// Thumbnails by bucket. Only what is on the screen is in the document, so that 5,000 pictures cost as much as 50.

import { locate } from "./server.js";

const WIDTH = 176, HEIGHT = 216, HEADING = 30, AHEAD = 400; // pixels

export class Grid {
  // `choose` gets a picture that was clicked, and whether it is to be marked.
  constructor(element, choose) {
    this.element = element;
    this.space = element.appendChild(document.createElement("div"));
    this.pictures = [];
    this.notes = {};
    this.rows = [];
    this.cards = new Map();
    element.addEventListener("scroll", () => this.draw());
    new ResizeObserver(() => this.lay()).observe(element);
    element.addEventListener("click", (event) => {
      const card = event.target.closest(".card");
      if (card) choose(this.pictures[card.dataset.place], event.ctrlKey || event.metaKey);
    });
  }

  // What one heading stands over is what `nameGroup` names the same; `notes` has what is odd about a group.
  show(pictures, chosen, marked, notes, nameGroup = ({ bucket }) => bucket) {
    Object.assign(this, { pictures, chosen, marked, notes, nameGroup });
    this.lay();
  }

  // Rows of one group each: where they are, and which pictures they have.
  lay() {
    this.columns = Math.max(1, Math.floor((this.element.clientWidth - 10) / WIDTH));
    this.rows = [];
    this.rowOf = new Map();
    let top = 6, at = 0;
    while (at < this.pictures.length) {
      const group = this.nameGroup(this.pictures[at]);
      let end = at;
      while (end < this.pictures.length && this.nameGroup(this.pictures[end]) === group) end++;
      const note = this.notes[group] ? ` (${this.notes[group]})` : "";
      this.rows.push({ top, height: HEADING, title: `${group}: ${end - at}${note}` });
      top += HEADING;
      for (; at < end; at += this.columns) {
        const until = Math.min(at + this.columns, end);
        for (let place = at; place < until; place++) this.rowOf.set(place, this.rows.length);
        this.rows.push({ top, height: HEIGHT, from: at, until });
        top += HEIGHT;
      }
      at = end;
    }
    this.space.style.height = `${top}px`;
    for (const card of this.cards.values()) card.remove();
    this.cards.clear();
    this.draw();
  }

  draw() {
    const first = this.element.scrollTop - AHEAD, last = this.element.scrollTop + this.element.clientHeight + AHEAD;
    const wanted = new Set();
    for (const row of this.rows) {
      if (row.top + row.height < first) continue;
      if (row.top > last) break;
      if (row.title) this.place(wanted, `= ${row.title}`, () => makeHeading(row));
      for (let place = row.from ?? 0; place < (row.until ?? 0); place++) {
        this.place(wanted, place, () => this.makeCard(place, row));
      }
    }
    for (const [key, card] of this.cards) {
      if (!wanted.has(key)) {
        card.remove();
        this.cards.delete(key);
      }
    }
  }

  place(wanted, key, make) {
    wanted.add(key);
    if (!this.cards.has(key)) this.cards.set(key, this.element.appendChild(make()));
  }

  makeCard(place, row) {
    const picture = this.pictures[place], card = document.createElement("div"), image = new Image();
    card.className = "card";
    card.classList.toggle("chosen", picture === this.chosen);
    card.classList.toggle("marked", this.marked.has(picture.name));
    card.classList.toggle("out", picture.excluded);
    card.dataset.place = place;
    card.dataset.name = picture.name;
    card.style.top = `${row.top}px`;
    card.style.left = `${8 + (place - row.from) * WIDTH}px`;
    const frame = card.appendChild(document.createElement("div"));
    frame.className = "frame";
    image.src = locate("small", picture);
    image.alt = picture.name;
    image.onerror = () => image.replaceWith("cannot be shown");
    frame.append(image);
    card.append(makeBadges(picture));
    const text = card.appendChild(document.createElement("p"));
    text.textContent = picture.caption || picture.name;
    card.title = [picture.name, ...picture.findings].join("\n");
    return card;
  }

  // The place of a picture so many steps or rows on.
  step(from, along, down) {
    if (!down) return clamp(from + along, this.pictures.length);
    const row = this.rows[this.rowOf.get(from)];
    let next = this.rowOf.get(from) + down;
    while (this.rows[next]?.title) next += down;
    const other = this.rows[next];
    return other ? Math.min(other.from + (from - row.from), other.until - 1) : from;
  }

  reveal(place) {
    const row = this.rows[this.rowOf.get(place)];
    if (!row) return;
    const { scrollTop, clientHeight } = this.element;
    if (row.top - HEADING < scrollTop) this.element.scrollTop = row.top - HEADING;
    else if (row.top + HEIGHT > scrollTop + clientHeight) this.element.scrollTop = row.top + HEIGHT - clientHeight;
  }
}

function makeHeading(row) {
  const title = document.createElement("h3");
  title.textContent = row.title;
  title.style.top = `${row.top + 4}px`;
  return title;
}

function makeBadges(picture) {
  const badges = document.createElement("span");
  badges.className = "badges";
  const told = [[picture.excluded, "left out"], [picture.crop, "crop"], [picture.mask, "mask"], [picture.reg, "reg"]];
  for (const [is, text] of [...told, [picture.from.endsWith(".edit.yaml"), "edit"]]) {
    if (is) badges.appendChild(document.createElement("b")).textContent = text;
  }
  if (picture.findings.length) {
    const bad = badges.appendChild(document.createElement("b"));
    bad.className = "bad";
    bad.textContent = picture.findings.length;
  }
  return badges;
}

function clamp(place, count) {
  return Math.max(0, Math.min(place, count - 1));
}
