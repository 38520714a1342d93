"use strict";
// Every text from outside becomes text only: no markup is ever made of it.

const MOST = 200; // images in the list
const BUTTONS = 8; // classes that have a button each; more are a list to choose from
const SHOWN = 10; // classes whose bars are shown at once
const TRIES = 5; // of an image while the service has too much to do
const SECONDS = 60; // in which an answer must come

const at = id => document.getElementById(id);
let token = ""; // in this page only
let tasks = [];
let maySay = false; // whether the token may say the true class
let working = false;
let current = null; // the image that is being answered
const waiting = [];
const early = []; // files that came before there was a task to ask

class Refused extends Error {
  constructor(sentence, status = 0, seconds = 0) {
    super(sentence);
    this.status = status;
    this.seconds = seconds;
  }
}

// ---- asking ----

async function ask(path, options = {}) {
  const headers = { Accept: "application/json", ...options.headers };
  if (token) headers.Authorization = `Bearer ${token}`;
  let response;
  try {
    const signal = AbortSignal.timeout(1000 * SECONDS);
    response = await fetch(path, { ...options, headers, signal, cache: "no-store", credentials: "omit" });
  } catch (error) {
    throw new Refused(error.name === "TimeoutError"
      ? `No answer came within ${SECONDS} seconds. Try again.`
      : "The service cannot be reached. Check the connection, and try again.");
  }
  const body = await response.json().catch(() => null);
  if (response.ok && body !== null) return body;
  throw new Refused(sentenceOf(response.status, body), response.status, Number(response.headers.get("Retry-After")));
}

// For what stands between this page and the service, such as a proxy: the service itself gives a sentence.
const SENTENCES = {
  413: "This image is too large. Send a smaller one.",
  429: "The service was asked too often. Wait a little, and try again.",
  502: "The service does not run. Wait a little, and try again.",
  503: "The service has too much to do, or is not ready. Wait a little, and try again.",
};

function sentenceOf(status, body) {
  const own = SENTENCES[status] ?? `The service answered ${status}, not with an answer. Its log has the reason.`;
  return body?.error?.message ?? own;
}

// ---- tasks ----

async function readTasks() {
  try {
    const found = await ask("v1/tasks");
    tasks = found.tasks;
    maySay = found.may_check;
    trouble(tasks.length ? "" : "No task answers here yet. Whoever operates the service promotes a version first.");
    at("entry").hidden = true;
  } catch (error) {
    if (needsToken(error)) tasks = [];
    askForToken(error);
  }
  showTasks();
}

const needsToken = error => error.status === 401 || error.status === 403;

function askForToken(error) {
  trouble(error.status === 401 && !token ? "" : error.message);
  if (needsToken(error) && at("entry").hidden) {
    at("entry").hidden = false;
    at("token").focus();
  }
}

function trouble(sentence) {
  at("trouble").textContent = sentence;
  at("trouble").hidden = !sentence;
}

function showTasks() {
  const before = at("task").value;
  at("task").replaceChildren(...tasks.map(task => {
    const option = element("option", task.title && task.title !== task.name ? `${task.name}: ${task.title}` : task.name);
    option.value = task.name;
    return option;
  }));
  if (tasks.some(task => task.name === before)) at("task").value = before;
  at("asking").hidden = !tasks.length;
  showTask();
  if (tasks.length) add(early.splice(0));
}

const chosen = () => tasks.find(task => task.name === at("task").value);

function showTask() {
  const task = chosen();
  if (!task) return;
  const person = typeof task.threshold === "number"
    ? `A person looks where the probability is below ${percent(task.threshold)}.`
    : "It is not known below which probability a person should look.";
  at("about-task").textContent = `${versionOf(task)}; ${task.classes.length} classes. ${person}`;
  at("doubt").textContent = task.problem;
  at("doubt").hidden = !task.problem;
}

const versionOf = given => (given.version === null ? "A file without a version" : `Version ${given.version}`);

// ---- images ----

function add(files) {
  const task = chosen();
  if (!task) early.push(...files);
  if (!task || !files.length) return;
  const room = Math.max(0, MOST - at("list").childElementCount);
  trouble(files.length > room
    ? `The list holds ${MOST} images, so ${files.length - room} are left out. Clear it, or use vpt predict for many.`
    : "");
  const jobs = files.slice(0, room).map(file => new Job(file, task.name));
  at("list").prepend(...jobs.map(job => job.item));
  at("answers").hidden = false;
  waiting.push(...jobs);
  work();
}

// One image after another, so that the service is never asked for many at once by one page.
async function work() {
  if (working) return;
  working = true;
  while (waiting.length) {
    current = waiting.shift();
    if (await current.answer()) continue;
    waiting.unshift(current); // a token is needed first
    break;
  }
  working = false;
}

class Job {
  constructor(file, task) {
    this.file = file;
    this.task = task;
    this.gone = false;
    this.item = element("li");
    this.part = element("div");
    this.item.append(this.preview(), this.part);
    this.show(element("p", "Waiting for those before it.", "soft"));
  }

  get name() {
    return this.file.name || "pasted image";
  }

  preview() {
    const image = element("img");
    image.alt = "";
    image.src = URL.createObjectURL(this.file);
    image.onload = () => URL.revokeObjectURL(image.src);
    image.onerror = () => {
      URL.revokeObjectURL(image.src);
      image.replaceWith(element("p", "This browser cannot show it.", "soft"));
    };
    return image;
  }

  show(...parts) {
    this.part.replaceChildren(element("h3", this.name), ...parts);
  }

  // Whether the next image may be asked.
  async answer() {
    for (let tries = 1; !this.gone; tries++) {
      this.show(element("p", "Waiting for the answer …", "soft"));
      try {
        await this.readable();
        const path = `v1/tasks/${encodeURIComponent(this.task)}/answers`;
        const isImage = this.file.type.startsWith("image/");
        const headers = { "Content-Type": isImage ? this.file.type : "application/octet-stream" };
        const given = await ask(path, { method: "POST", headers, body: this.file });
        if (!this.gone) this.answered(given);
        return true;
      } catch (failure) {
        const unforeseen = new Refused("The answer could not be shown. Reload this page.");
        const error = failure instanceof Refused ? failure : unforeseen;
        if (this.gone) return true;
        if (error.status === 401) return this.needsToken(error);
        if (!isBusy(error) || tries === TRIES) return this.refused(error);
        await this.wait(error);
      }
    }
    return true;
  }

  // A folder, or a file that has gone, fails here and not as if the connection were lost.
  async readable() {
    try {
      await this.file.slice(0, 1).arrayBuffer();
    } catch {
      throw new Refused("This is a folder, or it cannot be read any more. Choose the files themselves.");
    }
  }

  needsToken(error) {
    this.show(element("p", "Waiting for a token.", "soft"));
    askForToken(error);
    return false;
  }

  refused(error) {
    this.show(element("p", error.message, "note"), ...(UNREADABLE.has(error.status) ? [] : [this.again()]));
    news(`${this.name}: ${error.message}`);
    if (error.status === 404) readTasks();
    return true;
  }

  again() {
    const made = button("Try again", () => {
      waiting.push(this);
      work();
    });
    made.setAttribute("aria-label", `Try again: ${this.name}`);
    return made;
  }

  async wait(error) {
    for (let left = Math.min(Math.max(error.seconds || 2, 1), 30); left > 0 && !this.gone; left--) {
      this.show(element("p", `${error.message} It is asked again in ${left} s.`, "note"));
      await new Promise(done => setTimeout(done, 1000));
    }
  }

  answered(given) {
    const person = { yes: "A person should look at it.", no: "No person needs to look at it." }[given.ask_a_person]
      ?? "It is not known whether a person should look at it.";
    this.item.classList.toggle("person", given.ask_a_person !== "no");
    const answer = element("p", "", "answer");
    answer.append(element("bdi", given.answer), `, ${percent(given.probability)}`);
    const about = element("small", `${given.task}, ${versionOf(given).toLowerCase()}, SHA-256 `);
    about.append(element("code", given.digest));
    this.show(
      answer,
      element("p", person, "ask"),
      ...(given.problem ? [element("p", given.problem, "note")] : []),
      ...bars(given.probabilities),
      about,
      ...(given.check ? [element("p", "This answer was drawn at random to be checked by a person.", "note")] : []),
      ...(maySay ? [truth(given, this.name)] : []),
    );
    news(`${this.name}: ${given.answer}, ${percent(given.probability)}. ${person} ${given.problem}`);
  }
}

const UNREADABLE = new Set([413, 415, 422]); // the same image would be refused again
const isBusy = error => error.status === 429 || error.status === 503;

function bars(probabilities) {
  const rows = Object.entries(probabilities).sort((one, other) => other[1] - one[1]);
  const first = table("Probability of each class, the largest first", rows.slice(0, SHOWN));
  if (rows.length <= SHOWN) return [first];
  const more = element("details");
  more.append(
    element("summary", `${rows.length - SHOWN} more classes`),
    table("Probability of the other classes", rows.slice(SHOWN)),
  );
  return [first, more];
}

function table(caption, rows) {
  const made = element("table");
  made.append(element("caption", caption));
  for (const [name, probability] of rows) {
    const row = made.insertRow();
    const head = element("th", name);
    head.scope = "row";
    const bar = element("span", "", "bar");
    bar.style.width = `${100 * probability}%`;
    const cell = element("td");
    cell.setAttribute("aria-hidden", "true");
    cell.append(bar);
    row.append(head, cell, element("td", percent(probability), "number"));
  }
  return made;
}

// ---- the true class ----

function truth(given, name) {
  const names = inOrder(given);
  const group = element("fieldset");
  const said = element("p", "");
  said.setAttribute("role", "status");
  group.append(element("legend", "What is it really?"));
  const row = element("div", undefined, "row");
  group.append(row, said);
  const send = async (value, pressed) => {
    said.textContent = "Sending …";
    try {
      const headers = { "Content-Type": "application/json" };
      const path = `v1/answers/${encodeURIComponent(given.id)}/truth`;
      await ask(path, { method: "POST", headers, body: JSON.stringify({ class: value }) });
      said.textContent = `Recorded: ${value}. The answer was ${value === given.answer ? "right" : "wrong"}.`;
      for (const each of row.querySelectorAll("button")) each.setAttribute("aria-pressed", String(each === pressed));
    } catch (error) {
      said.textContent = error.message;
      if (error.status === 401) askForToken(error);
    }
  };
  if (names.length <= BUTTONS) {
    for (const each of names) {
      const made = button(each, () => send(each, made));
      made.setAttribute("aria-pressed", "false");
      row.append(made);
    }
    return group;
  }
  const choice = element("select");
  choice.setAttribute("aria-label", `True class of ${name}`);
  choice.append(...names.map(each => element("option", each)));
  choice.value = given.answer;
  row.append(choice, button("Send", () => send(choice.value, null)));
  return group;
}

// JavaScript puts the keys of an object that look like numbers first; the task has the order of the classes.
function inOrder(given) {
  const names = Object.keys(given.probabilities);
  const known = tasks.find(task => task.name === given.task)?.classes ?? [];
  return known.length === names.length && known.every(name => Object.hasOwn(given.probabilities, name)) ? known : names;
}

// ---- making parts ----

function element(kind, text, name) {
  const made = document.createElement(kind);
  if (text !== undefined) made.textContent = text;
  if (name) made.className = name;
  return made;
}

function button(text, act) {
  const made = element("button", text);
  made.type = "button";
  made.addEventListener("click", act);
  return made;
}

// A rounded number must not claim certainty.
function percent(fraction) {
  if (fraction > 0.9995 && fraction < 1) return "over 99.9\u202f%";
  if (fraction > 0 && fraction < 0.0005) return "under 0.1\u202f%";
  return `${(100 * fraction).toFixed(1)}\u202f%`;
}

function news(sentence) {
  at("news").textContent = sentence;
}

// ---- what a person does ----

at("entry").addEventListener("submit", async event => {
  event.preventDefault();
  const given = at("token").value.trim();
  at("token").value = "";
  if (!/^[!-~]+$/.test(given)) return trouble("This is no token. Copy it again, without anything around it.");
  token = given;
  await readTasks();
  if (tasks.length) {
    at("task").focus();
    work();
  }
});

at("task").addEventListener("change", showTask);

at("files").addEventListener("change", () => {
  add([...at("files").files]);
  at("files").value = "";
});

at("clear").addEventListener("click", () => {
  for (const job of [current, ...waiting]) if (job) job.gone = true;
  waiting.length = 0;
  at("list").replaceChildren();
  at("answers").hidden = true;
  trouble("");
  at("files").focus();
});

document.addEventListener("paste", event => add([...event.clipboardData.files]));

document.addEventListener("dragover", event => {
  event.preventDefault();
  at("drop").classList.add("over");
});

document.addEventListener("dragleave", event => {
  if (!event.relatedTarget) at("drop").classList.remove("over");
});

document.addEventListener("drop", event => {
  event.preventDefault();
  at("drop").classList.remove("over");
  add([...event.dataTransfer.files]);
});

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && at("entry").hidden) readTasks();
});

readTasks();
