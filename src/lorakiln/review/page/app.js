// The page as a whole: what is chosen, marked and filtered; the keys; and what is sent.

import { Grid } from "./grid.js";
import { Panel } from "./panel.js";
import { Pictures } from "./pictures.js";
import { load, send } from "./server.js";

const find = (id) => document.getElementById(id);
const MOST_TAGS = 200; // that are listed
const KEYS = [
  ["← → ↑ ↓", "another picture"], ["Home End", "the first, the last"], ["b", "the next bucket"],
  ["e, Enter", "write the caption (Ctrl-Enter keeps it, Escape leaves it)"],
  ["x", "leave out, or restore"], ["c", "crop: arrows move, Shift-arrows resize, Enter keeps, Escape leaves, Delete removes"],
  ["m", "show the mask"], ["Space", "mark"], ["a", "mark all that are shown, or none"], ["t", "a tag for the marked"],
  ["/", "filter"], ["f", "with findings, or all that are used"], ["o", "left out, or those that are used"],
  ["d", "that look the same, or all that are used"],
  ["u, Ctrl-Z", "undo"], ["r, Ctrl-Shift-Z", "redo"], ["?", "these keys"],
];

let pictures, shown = [], chosen = null, tag = "", pending = Promise.resolve();
const panel = new Panel((picture, values) => change("edit", { changes: { [picture.name]: values } }));
const grid = new Grid(find("grid"), (picture, marks) => (marks ? mark(picture) : choose(picture)));

function tell(text, isBad = false) {
  find("message").textContent = text;
  find("message").classList.toggle("bad", isBad);
}

// One after the other, so that what comes back is the newest.
function change(kind, told) {
  pending = pending.then(() => send(kind, told)).then((answer) => {
    if (answer.pictures) pictures.update(answer.pictures);
    setState(answer);
    listBuckets();
    if (chosen) chosen = pictures.byName.get(chosen.name);
    refresh();
    const count = answer.pictures?.length ?? 0;
    tell(answer.error ?? `${count} picture${count === 1 ? "" : "s"} changed`, Boolean(answer.error));
  }).catch(() => tell("the review has ended, or cannot be reached: start it again", true));
  return pending;
}

function setState({ undo, redo, small }) {
  if (undo === undefined) return;
  pictures.small = small;
  find("undo").disabled = !undo;
  find("redo").disabled = !redo;
}

function refresh() {
  const filter = { words: find("filter").value, show: find("show").value, bucket: find("bucket").value, tag };
  shown = pictures.select(filter);
  if (chosen && !shown.includes(chosen)) {
    // The next one takes its place, so that one can go on with the keys.
    chosen = shown[Math.min(lastPlace, shown.length - 1)] ?? null;
  }
  if (chosen) lastPlace = shown.indexOf(chosen);
  showGrid();
  panel.show(chosen);
  const all = pictures.byName.size, marked = pictures.marked.size;
  find("counts").textContent = `${shown.length} of ${all} shown${marked ? `, ${marked} marked` : ""}`;
  listTags();
}
let lastPlace = 0;

function showGrid() {
  const nameGroup = find("show").value === "alike" ? ({ alike }) => `like ${alike}` : undefined;
  grid.show(shown, chosen, pictures.marked, pictures.small, nameGroup);
}

function listTags() {
  const make = ([text, count]) => {
    const button = document.createElement("button"), item = document.createElement("li");
    button.append(Object.assign(document.createElement("span"), { textContent: text }), String(count));
    button.classList.toggle("on", text.toLowerCase() === tag);
    button.addEventListener("click", () => {
      tag = tag === text.toLowerCase() ? "" : text.toLowerCase();
      find("tag").value = tag ? text : "";
      refresh();
    });
    item.append(button);
    return item;
  };
  find("tags").replaceChildren(...pictures.countTags(shown).slice(0, MOST_TAGS).map(make));
}

function choose(picture) {
  if (!picture) return;
  chosen = picture;
  lastPlace = shown.indexOf(picture);
  grid.reveal(lastPlace);
  showGrid();
  panel.show(chosen);
}

function mark(picture) {
  if (!picture) return;
  if (!pictures.marked.delete(picture.name)) pictures.marked.add(picture.name);
  refresh();
}

function markAll() {
  const all = shown.every(({ name }) => pictures.marked.has(name));
  for (const { name } of shown) all ? pictures.marked.delete(name) : pictures.marked.add(name);
  refresh();
}

function changeTags(kind) {
  const names = pictures.marked.size ? [...pictures.marked] : shown.map(({ name }) => name);
  const told = { names, tag: find("tag").value, new: find("new").value, front: kind === "front" };
  change(kind === "front" ? "add" : kind, told);
}

function show(what) {
  find("show").value = find("show").value === what ? "used" : what;
  refresh();
}

function nextBucket() {
  const place = shown.findIndex((one, at) => at > lastPlace && one.bucket !== chosen?.bucket);
  choose(shown[Math.max(0, place)]);
}

const ACTIONS = {
  ArrowLeft: () => choose(shown[chosen ? grid.step(lastPlace, -1, 0) : 0]),
  ArrowRight: () => choose(shown[chosen ? grid.step(lastPlace, 1, 0) : 0]),
  ArrowUp: () => choose(shown[chosen ? grid.step(lastPlace, 0, -1) : 0]),
  ArrowDown: () => choose(shown[chosen ? grid.step(lastPlace, 0, 1) : 0]),
  Home: () => choose(shown[0]),
  End: () => choose(shown.at(-1)),
  b: nextBucket,
  e: () => chosen && find("caption").focus(),
  Enter: () => chosen && find("caption").focus(),
  x: () => panel.toggleExcluded(),
  c: () => chosen && panel.crop.startKeys(),
  m: () => panel.toggleMask(),
  " ": () => mark(chosen),
  a: markAll,
  t: () => find("tag").focus(),
  "/": () => find("filter").focus(),
  f: () => show("findings"),
  d: () => show("alike"),
  o: () => show("excluded"),
  u: () => change("undo", {}),
  r: () => change("redo", {}),
  "?": () => find("keys").showModal(),
};

document.addEventListener("keydown", (event) => {
  const writing = event.target.matches("input, textarea, select");
  if (find("keys").open) return;
  if (writing) {
    if (event.key === "Escape") {
      if (event.target.id === "caption") event.target.value = chosen?.caption ?? "";
      find("grid").focus();
    } else if (event.key === "Enter" && (event.ctrlKey || event.target.id === "filter")) find("grid").focus();
    return;
  }
  if (panel.crop.editing && panel.crop.press(event)) return event.preventDefault();
  const isUndo = event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey);
  if (!isUndo && (event.ctrlKey || event.metaKey || event.altKey)) return;
  if (event.target.matches("button, summary") && [" ", "Enter"].includes(event.key)) return;
  const action = isUndo ? ACTIONS[event.shiftKey ? "r" : "u"] : ACTIONS[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

for (const id of ["show", "bucket"]) find(id).addEventListener("change", refresh);
find("filter").addEventListener("input", refresh);
find("undo").addEventListener("click", ACTIONS.u);
find("redo").addEventListener("click", ACTIONS.r);
find("help").addEventListener("click", ACTIONS["?"]);
find("bulk").addEventListener("submit", (event) => event.preventDefault());
for (const button of document.querySelectorAll("[data-change]")) {
  button.addEventListener("click", () => changeTags(button.dataset.change));
}
for (const [key, text] of KEYS) {
  const list = find("keys").querySelector("dl");
  list.append(Object.assign(document.createElement("dt"), { textContent: key }));
  list.append(Object.assign(document.createElement("dd"), { textContent: text }));
}

function listBuckets() {
  const before = find("bucket").value;
  const options = pictures.listBuckets().map(([bucket, count]) => new Option(`${bucket}: ${count}`, bucket));
  find("bucket").replaceChildren(new Option("all buckets", ""), ...options);
  find("bucket").value = options.some(({ value }) => value === before) ? before : "";
}

function listProblems(problems) {
  const items = problems.map(([name, reason]) => `${name}: ${reason}`);
  find("problems").hidden = !items.length;
  find("problems").querySelector("summary").textContent = `${items.length} files that are not shown`;
  const list = items.map((textContent) => Object.assign(document.createElement("li"), { textContent }));
  find("problems").querySelector("ul").replaceChildren(...list);
}

const told = await load();
pictures = new Pictures(told.pictures);
document.title = `${told.dataset} - lorakiln review`;
find("dataset").textContent = told.dataset;
setState(told);
listBuckets();
listProblems(told.problems);
refresh();
find("grid").focus();
document.body.dataset.ready = "true";
