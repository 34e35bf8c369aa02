// The pictures of the dataset, which of them are shown, and their tags. Nothing here knows the document.

export function splitTags(text) {
  return text.split(/[,\n]/).map((tag) => tag.trim().split(/\s+/).join(" ")).filter(Boolean);
}

export class Pictures {
  constructor(told) {
    this.byName = new Map();
    this.marked = new Set();
    this.small = {}; // what is odd about a bucket, by its name
    this.update(told);
  }

  update(told) {
    for (const picture of told) {
      // What a filter looks into is made once.
      picture.tags = splitTags(picture.caption);
      picture.lower = picture.tags.map((tag) => tag.toLowerCase());
      picture.words = `${picture.name}\n${picture.caption}`.toLowerCase();
      picture.rank = rankBucket(picture.bucket);
      this.byName.set(picture.name, picture);
    }
    this.ordered = [...this.byName.values()].sort((a, b) => a.rank - b.rank || (a.name < b.name ? -1 : 1));
  }

  // Those that a filter lets through, by bucket and name.
  select({ words = "", show = "used", bucket = "", tag = "" }) {
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = [];
    for (const picture of this.ordered) {
      if (!this.isShown(picture, show)) continue;
      if (bucket && picture.bucket !== bucket) continue;
      if (tag && !picture.lower.includes(tag)) continue;
      if (wanted.every((word) => picture.words.includes(word))) shown.push(picture);
    }
    // Those that look the same stand together.
    if (show === "alike") shown.sort((a, b) => (a.alike === b.alike ? 0 : a.alike < b.alike ? -1 : 1));
    return shown;
  }

  isShown(picture, show) {
    if (show === "used") return !picture.excluded;
    if (show === "excluded") return picture.excluded;
    if (show === "findings") return !picture.excluded && (picture.findings.length > 0 || picture.bucket in this.small);
    if (show === "alike") return !picture.excluded && Boolean(picture.alike);
    if (show === "edited") return picture.excluded || Boolean(picture.crop) || picture.from.endsWith(".edit.yaml");
    if (show === "marked") return this.marked.has(picture.name);
    return true;
  }

  // [tag, in how many captions], the most frequent first.
  countTags(pictures) {
    const counts = new Map();
    for (const { tags } of pictures) {
      for (const tag of new Set(tags)) counts.set(tag, (counts.get(tag) ?? 0) + 1);
    }
    return [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  }

  listBuckets() {
    const counts = new Map();
    for (const { bucket, excluded } of this.byName.values()) {
      if (!excluded) counts.set(bucket, (counts.get(bucket) ?? 0) + 1);
    }
    return [...counts].sort((a, b) => rankBucket(a[0]) - rankBucket(b[0]));
  }
}

// By width, then height; what is in no bucket comes first.
function rankBucket(bucket) {
  const [width, height] = bucket.split("x").map(Number);
  return width ? width * 100_000 + height : 0;
}
