"use strict";
// One question at a time; an answer is sent as it is given, and the next question is what comes back.

const KEYS = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "equal", "=": "equal" };
const SMALL = 128; // pixels of a side, up to which they are shown as squares
const one = (id) => document.getElementById(id);
let number = null;
let busy = true;

async function ask(address, told) {
  const options = told ? { method: "POST", body: JSON.stringify(told) } : {};
  const answer = await fetch(address, options);
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error);
  return found;
}

function load(side) {
  const image = one(side).querySelector("img");
  return new Promise((resolve) => {
    image.onload = image.onerror = () => {
      image.className = Math.max(image.naturalWidth, image.naturalHeight) <= SMALL ? "pixels" : "";
      resolve();
    };
    image.src = `api/picture/${number}/${side}`;
  });
}

async function show(found) {
  number = found.number;
  const done = number === null;
  one("pair").hidden = one("equal").hidden = done;
  one("result").hidden = !done;
  one("back").disabled = found.answered === 0;
  one("prompt").textContent = done ? "" : found.prompt;
  one("state").textContent = `${found.answered} of ${found.of} answered`;
  one("result").replaceChildren(
    ...(found.result || []).map((line) => Object.assign(document.createElement("li"), { textContent: line })),
  );
  if (!done) await Promise.all([load("left"), load("right")]);
}

async function send(address, told) {
  if (busy) return;
  busy = true;
  try {
    await show(await ask(address, told));
  } catch (error) {
    one("state").textContent = `${error.message}; is the command still running?`;
  }
  busy = false;
  document.body.dataset.shown = number === null ? "done" : String(number);
}

const answer = (side) => number !== null && send("api/answer", { number, side });
const back = () => send("api/back", {});

for (const side of ["left", "right", "equal"]) one(side).addEventListener("click", () => answer(side));
one("back").addEventListener("click", back);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (KEYS[event.key]) {
    event.preventDefault();
    answer(KEYS[event.key]);
  } else if (event.key === "u") {
    back();
  }
});

busy = false;
send("api/question").then(() => (document.body.dataset.ready = "yes"));
