// @ts-check
// The few words for making elements that all parts of the page share. Texts are set as text, never as HTML.

/** @param {string} id @returns {any} */
export const $ = (id) => document.getElementById(id);

/**
 * An element with a class and children; texts among them become text nodes.
 * @template {keyof HTMLElementTagNameMap} T @param {T} tag @param {string} [className]
 * @param {...(Node | string | false | null | undefined)} children @returns {HTMLElementTagNameMap[T]}
 */
export function make(tag, className = '', ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  for (const child of children) if (child) made.append(child);
  return made;
}

/** Writes only what differs, so that nothing is announced or laid out anew for the same words.
 * @param {HTMLElement} target @param {string} text */
export function say(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/** A sentence in which what stands between backticks is code. @param {string} text @returns {(Node | string)[]} */
export const prose = (text) => text.split(/`([^`]+)`/).map((part, index) => (index % 2 ? make('code', '', part) : part));

/** @param {number} us */
export function duration(us) {
  if (us < 1000) return `${Math.round(us)} µs`;
  return us < 10_000 ? `${(us / 1000).toFixed(1)} ms` : `${Math.round(us / 1000)} ms`;
}

/** @param {any} value @returns {any[]} */
export const list = (value) => (Array.isArray(value) ? value : []);
