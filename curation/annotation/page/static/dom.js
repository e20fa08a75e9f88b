// Elements made by hand. Text only ever becomes text nodes: what comes from files or people is never markup.

export const byId = (id) => document.getElementById(id);

// make("button", { type: "button", onclick }, "good ", make("kbd", {}, "g"))
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("aria-")) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

export const key = (text) => make("kbd", {}, text);

// What goes wrong, across the page; empty when all is well again.
export function sayTrouble(text) {
  byId("trouble").textContent = text;
  byId("trouble").hidden = !text;
}
