// Talks to the server. Answers are JSON; an error is {"error": "one line"}.

const PAGE = { "X-Funnel-Page": "1" };
const AWAY = "the server does not answer (is `funnel serve` still running?)";

// A request that failed. `status` is 0 when the server did not answer at all.
export class Failure extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export const get = (path) => ask(path, {});
export const post = (path) => ask(path, { method: "POST", headers: PAGE });
export const remove = (path) => ask(path, { method: "DELETE", headers: PAGE });

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, { ...options, credentials: "same-origin", cache: "no-store" });
  } catch {
    throw new Failure(AWAY, 0);
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Failure(answer.error || `the server answered ${response.status}`, response.status);
  return answer;
}

// Sends a form and tells how far it is (0 to 1), which fetch cannot. Returns {answer, stop}: a promise and a way out.
export function send(path, form, progress) {
  const request = new XMLHttpRequest();
  const answer = new Promise((resolve, reject) => {
    request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    request.onerror = () => reject(new Failure(AWAY, 0));
    request.onabort = () => reject(new Failure("the upload was stopped", 0));
    request.onload = () => {
      const told = request.response || {};
      if (request.status === 201) resolve(told);
      else reject(new Failure(told.error || `the server answered ${request.status}`, request.status));
    };
  });
  request.open("POST", path);
  request.responseType = "json";
  for (const [name, value] of Object.entries(PAGE)) request.setRequestHeader(name, value);
  request.send(form);
  return { answer, stop: () => request.abort() };
}
