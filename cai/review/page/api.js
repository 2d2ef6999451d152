// What the page asks the server that sent it: paths are relative, so the token in the address goes along.

export class Refused extends Error {}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(`api/${path}`, { ...options, cache: "no-store", credentials: "omit" });
  } catch {
    throw new Error("The server does not answer. If it was stopped, start cai review again and open the address it prints.");
  }
  const type = response.headers.get("Content-Type") || "";
  if (!type.includes("json")) throw new Refused(await response.text());
  const value = await response.json();
  if (!response.ok) throw new Refused(value.error);
  return value;
}

export const get = (path, query = {}) => {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return ask(given.length ? `${path}?${new URLSearchParams(given)}` : path, {});
};

export const post = (path, body) =>
  ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
