// Talks to the server. Everything is JSON; an error is {"error": "one line"}.

// A request that failed. `status` is 0 when the server did not answer at all.
export class Failure extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }

  // The request itself is at fault: sending it again would not help.
  get isFinal() {
    return [400, 404, 413, 422].includes(this.status);
  }
}

export const get = (path) => ask(path, {});

export const post = (path, document) =>
  ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Funnel-Page": "1" },
    body: JSON.stringify(document),
  });

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, { ...options, credentials: "same-origin", cache: "no-store" });
  } catch {
    throw new Failure("the server does not answer (is `funnel annotate` still running?)", 0);
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Failure(answer.error || `the server answered ${response.status}`, response.status);
  return answer;
}
