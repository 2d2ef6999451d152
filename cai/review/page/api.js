// What the page asks the server that sent it: paths are relative, so the token in the address goes along.

export class Refused extends Error {}

const GONE = "The server does not answer. If it was stopped, start cai review again and open the address it prints.";

async function answered(path, options) {
  let response;
  try {
    response = await fetch(`api/${path}`, { ...options, cache: "no-store", credentials: "omit" });
  } catch {
    throw new Error(GONE);
  }
  const type = response.headers.get("Content-Type") || "";
  if (!type.includes("json")) throw new Refused(await response.text());
  if (!response.ok) throw new Refused((await response.json()).error);
  return response;
}

async function ask(path, options) {
  return (await answered(path, options)).json();
}

export const get = (path, query = {}) => {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return ask(given.length ? `${path}?${new URLSearchParams(given)}` : path, {});
};

const sending = (body) => ({ method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

export const post = (path, body) => ask(path, sending(body));

// Gives every line of the answer to `hears` as it comes, and returns the last one.
export async function listen(path, body, hears) {
  const reader = (await answered(path, sending(body))).body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", last = null;
  for (;;) {
    const { done, value } = await reader.read().catch(() => { throw new Error(GONE); });
    if (done) break;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      last = JSON.parse(line);
      if (last.error) throw new Refused(last.error);
      hears(last);
    }
  }
  if (last === null || rest) throw new Error(GONE);
  return last;
}
