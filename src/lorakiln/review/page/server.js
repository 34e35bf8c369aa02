// What the server is asked for. All addresses are relative: the token is a part of the page's own.

export async function load() {
  const answer = await fetch("api/pictures");
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

// The pictures that a change made other; of one that was refused also why.
export async function send(change, told) {
  const body = JSON.stringify(told);
  const answer = await fetch(`api/${change}`, { method: "POST", headers: { "Content-Type": "application/json" }, body });
  return answer.json();
}

// `kind`: "small", "large" or "mask".
export function locate(kind, picture) {
  return `api/${kind}?name=${encodeURIComponent(picture.name)}`;
}

// Why a picture is not shown.
export async function explain(address) {
  const answer = await fetch(address);
  return answer.ok ? "" : ((await answer.json().catch(() => ({}))).error ?? "cannot be shown");
}
