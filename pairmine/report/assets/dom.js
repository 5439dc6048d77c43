// Elements and numbers. Nothing here or elsewhere makes markup out of data: texts become text nodes.

const byId = (id) => document.getElementById(id);

/** Names as they are read: what cannot be seen, or turns the letters around it, becomes U+FFFD. */
const seen = (value) => String(value).replace(UNSEEN, "\ufffd");

/** An element with attributes and children; `on` holds its listeners, null and false are left out. */
function make(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "on") {
      for (const [event, act] of Object.entries(value)) made.addEventListener(event, act);
    } else {
      made.setAttribute(key, value === true ? "" : seen(value));
    }
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : seen(child))));
  return made;
}

const whole = new Intl.NumberFormat("en");

/** A number for people: whole ones with separators, others to three digits. */
function shown(value) {
  if (value === null || value === undefined) return "-";
  return Number.isInteger(value) ? whole.format(value) : String(Number(value.toPrecision(3)));
}

const counted = (many, one, several) => `${whole.format(many)} ${many === 1 ? one : several || `${one}s`}`;
