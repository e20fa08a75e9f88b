// Makes elements. Text only becomes text nodes, so that text from files or people is never read as markup.

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

// Shows an error across the page; an empty text hides it.
export function sayTrouble(text) {
  byId("trouble").textContent = text;
  byId("trouble").hidden = !text;
}
