// The packed samples, unpacked; and the one way in which a text of theirs gets onto the page.

/** base64 of deflated JSON -> what it holds. */
async function unpack(packed) {
  const bytes = Uint8Array.from(atob(packed), (character) => character.charCodeAt(0));
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(plain).text());
}

// Characters that a browser drops, obeys or hides: what is seen would not be what was run.
const HIDDEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** A text of a sample as people may see it: hidden characters and lone surrogates are spelled out. */
function visible(text) {
  return String(text)
    .replaceAll("\r\n", "\n")
    .replace(HIDDEN, (c) => `⟨U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}

/** An element with attributes and children. Strings become text, never markup: nothing here parses HTML. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") element.addEventListener("click", value);
    else if (name === "colour") element.style.setProperty("--chip", value);
    else if (value !== undefined && value !== null && value !== false) element.setAttribute(name, visible(value));
  }
  for (const child of children.flat()) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : visible(child));
  }
  return element;
}

/** A number for people: a true minus sign, and a dash where there is none. */
function shown(number, digits = 3) {
  return number === undefined || number === null ? "–" : number.toFixed(digits).replace("-", "−");
}
