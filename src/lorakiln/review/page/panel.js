// The chosen picture: large, with its crop, mask, caption, tags and findings.

import { CropBox } from "./crop.js";
import { splitTags } from "./pictures.js";
import { explain, locate } from "./server.js";

const find = (id) => document.getElementById(id);

export class Panel {
  // `change` gets what is to be said of the picture: {caption}, {crop} or {excluded}.
  constructor(change) {
    this.change = change;
    this.picture = null;
    this.crop = new CropBox(find("stage"), find("box"), (crop) => change(this.picture, { crop }));
    find("caption").addEventListener("change", () => this.keepCaption());
    find("exclude").addEventListener("click", () => this.toggleExcluded());
    find("uncrop").addEventListener("click", () => this.crop.remove());
    find("unedit").addEventListener("click", () => change(this.picture, { caption: null, crop: null, excluded: null }));
    find("picture").addEventListener("error", async () => {
      const picture = this.picture;
      const reason = picture && (await explain(locate("large", picture)));
      if (reason && picture === this.picture) find("facts").textContent = reason;
    });
  }

  show(picture) {
    const other = picture?.name !== this.picture?.name;
    this.picture = picture;
    find("panel").hidden = !picture;
    if (!picture) return;
    if (other) {
      find("picture").src = locate("large", picture);
      find("mask").hidden = true;
    }
    find("name").textContent = picture.name;
    find("facts").textContent = [
      picture.size ? `${picture.size[0]} x ${picture.size[1]}` : "",
      picture.crop ? `crop ${picture.crop.join(", ")}` : "",
      picture.bucket,
      picture.reg ? "for regularisation" : "",
    ].filter(Boolean).join("; ");
    find("findings").replaceChildren(...picture.findings.map((text) => makeItem(text)));
    find("caption").value = picture.caption;
    find("origin").textContent = picture.from ? `from ${picture.from}` : "no caption file: the captioner writes it";
    find("exclude").textContent = picture.excluded ? "restore" : "leave out";
    find("uncrop").disabled = !picture.crop;
    find("unedit").disabled = !(picture.crop || picture.excluded || picture.from.endsWith(".edit.yaml"));
    this.showChips();
    this.crop.show(picture);
  }

  showChips() {
    const tags = splitTags(this.picture.caption);
    const make = (tag, place) => {
      const chip = document.createElement("button");
      chip.textContent = `${tag} ×`;
      chip.title = `remove ${tag}`;
      chip.addEventListener("click", () => this.setCaption(tags.filter((_, other) => other !== place).join(", ")));
      const item = document.createElement("li");
      item.append(chip);
      return item;
    };
    find("chips").replaceChildren(...(tags.length > 1 ? tags.map(make) : []));
  }

  keepCaption() {
    if (this.picture) this.setCaption(find("caption").value);
  }

  setCaption(text) {
    if (text !== this.picture.caption) this.change(this.picture, { caption: text.trim() ? text : null });
  }

  toggleExcluded() {
    if (this.picture) this.change(this.picture, { excluded: this.picture.excluded ? null : true });
  }

  toggleMask() {
    const mask = find("mask");
    if (!this.picture?.mask) return;
    mask.hidden = !mask.hidden;
    if (!mask.hidden) mask.src = locate("mask", this.picture);
  }
}

function makeItem(text) {
  const item = document.createElement("li");
  item.textContent = text;
  return item;
}
