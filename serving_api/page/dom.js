// Elements, and formats of numbers.

export const $ = (id) => document.getElementById(id);

/** Creates an element from a name with classes (`p.quiet`), an optional object of properties, and children. */
export function h(selector, ...children) {
  const [name, ...classes] = selector.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  const properties = children[0]?.constructor === Object ? children.shift() : {};
  for (const [property, value] of Object.entries(properties)) {
    if (property in element) element[property] = value;
    else element.setAttribute(property, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Creates an element of SVG from a name, attributes and a text. */
export function svg(name, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, value);
  element.textContent = text;
  return element;
}

/** Creates the groups of a description list from pairs of term and description. */
export const facts = (pairs) => pairs.map(([term, description]) => h("div", h("dt", term), h("dd", description)));

/** Sets the text of an element if it changes, so that screen readers announce only changes. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export const count = (number) => number.toLocaleString("en");

/** Formats a number with four significant digits; null, which stands for NaN too, as a dash. */
export const measure = (number) => number?.toLocaleString("en", { maximumSignificantDigits: 4 }) ?? "–";

/** Formats a number with a sign and two significant digits. */
export const difference = (number) =>
  number.toLocaleString("en", { maximumSignificantDigits: 2, signDisplay: "exceptZero" });

/** Formats a latency in milliseconds as `0.85 ms`, `12.3 ms` or `1.25 s`. */
export function latency(milliseconds) {
  if (milliseconds >= 1000) return `${(milliseconds / 1000).toFixed(2)} s`;
  return `${milliseconds.toFixed(milliseconds < 10 ? 2 : 1)} ms`;
}

/** Formats seconds in the two largest units, as `3 h 5 min`. */
export function span(seconds) {
  const units = [
    ["d", 86400],
    ["h", 3600],
    ["min", 60],
    ["s", 1],
  ];
  const largest = units.findIndex(([, size]) => seconds >= size);
  if (largest < 0) return "0 s";
  let rest = Math.floor(seconds);
  const parts = units.slice(largest, largest + 2).map(([unit, size]) => {
    const whole = Math.floor(rest / size);
    rest -= whole * size;
    return whole && `${whole} ${unit}`;
  });
  return parts.filter(Boolean).join(" ");
}
