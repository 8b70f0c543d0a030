// @ts-check
// One control for each kind of parameter: slider and number, checkbox, list, text, colour.

import { list, make, say } from './dom.js';

/**
 * @typedef {import('../sdk/framegate.js').Param} Param
 * @typedef {import('../sdk/framegate.js').ParamValue} ParamValue
 * @typedef {{ write: (value: ParamValue) => void, main: HTMLElement, inputs: HTMLElement[], nodes: HTMLElement[] }} Control
 *   `main` is what the label is for, `inputs` are what the user sets, `nodes` all there is to show.
 * @typedef {(value: ParamValue, waits: boolean) => void} Changed `waits`: more is likely to be typed
 */

const POSITIONS = 500; // of a slider whose parameter has no steps
const DIGITS = 6; // kept of a slider's position
const TEXTAREA_BYTES = 256; // texts that may be longer get several lines

/** @param {Param} param @param {string} id @param {Changed} changed @returns {Control} */
export function control(param, id, changed) {
  const made = kind(param, changed);
  made.main.id = id;
  return made;
}

/** @param {Param} param @param {Changed} changed @returns {Control} */
function kind(param, changed) {
  switch (param.kind) {
    case 'bool': return checkbox(changed);
    case 'int':
    case 'float': return param.min === undefined || param.max === undefined ? number(param, changed) : slider(param, changed);
    case 'choice': return choice(param, changed);
    case 'color': return colour(changed);
    default: return text(param, changed);
  }
}

/** @param {Changed} changed @returns {Control} */
function checkbox(changed) {
  const main = make('input', 'switch');
  main.type = 'checkbox';
  main.addEventListener('change', () => changed(main.checked, false));
  return { main, inputs: [main], nodes: [main], write: (value) => { main.checked = value === true; } };
}

/** @param {Param} param @param {Changed} changed @returns {Control} */
function number(param, changed) {
  const main = make('input', 'number');
  Object.assign(main, { type: 'number', step: param.step || (param.kind === 'int' ? 1 : 'any'), inputMode: 'decimal' });
  if (param.min !== undefined) main.min = String(param.min);
  if (param.max !== undefined) main.max = String(param.max);
  main.dataset.typed = '';
  main.addEventListener('input', () => {
    if (main.value.trim() && Number.isFinite(main.valueAsNumber)) changed(main.valueAsNumber, true);
  });
  return { main, inputs: [main], nodes: [main], write: (value) => { main.value = String(value); } };
}

/** @param {Param} param @param {Changed} changed @returns {Control} */
function slider(param, changed) {
  const [min, max] = [Number(param.min), Number(param.max)];
  const box = number(param, (value, waits) => {
    place(value);
    changed(value, waits);
  });
  box.main.setAttribute('aria-label', `${param.label || param.id}, as a number`);
  const main = make('input', 'slider');
  const step = param.step || (param.kind === 'int' ? 1 : (max - min) / POSITIONS);
  Object.assign(main, { type: 'range', min, max, step });
  const place = (/** @type {ParamValue} */ value) => {
    main.value = String(value);
    const share = max > min ? (Number(value) - min) / (max - min) : 0;
    main.style.setProperty('--fill', `${100 * Math.min(1, Math.max(0, share))}%`);
  };
  main.addEventListener('input', () => {
    const exact = main.valueAsNumber;
    // Positions between steps nobody asked for: their last digits mean nothing.
    const value = param.step || exact === max ? exact : Number(exact.toPrecision(DIGITS));
    place(value);
    box.write(value);
    changed(value, false);
  });
  const write = (/** @type {ParamValue} */ value) => {
    place(value);
    box.write(value);
  };
  return { main, inputs: [main, box.main], nodes: [main, box.main], write };
}

/** @param {Param} param @param {Changed} changed @returns {Control} */
function choice(param, changed) {
  const main = make('select');
  main.append(...list(param.choices).map((name) => new Option(name, name)));
  main.addEventListener('change', () => changed(main.value, false));
  return { main, inputs: [main], nodes: [main], write: (value) => { main.value = String(value); } };
}

/** @param {Changed} changed @returns {Control} */
function colour(changed) {
  const main = make('input', 'colour');
  main.type = 'color';
  const name = make('code', '');
  main.addEventListener('input', () => {
    say(name, main.value);
    changed(main.value, false);
  });
  const write = (/** @type {ParamValue} */ value) => {
    main.value = String(value);
    say(name, String(value));
  };
  return { main, inputs: [main], nodes: [main, name], write };
}

/** @param {Param} param @param {Changed} changed @returns {Control} */
function text({ bytes_max: most = TEXTAREA_BYTES }, changed) {
  const main = most > TEXTAREA_BYTES ? make('textarea', 'text') : make('input', 'text');
  Object.assign(main, { maxLength: most, spellcheck: false, autocomplete: 'off' });
  main.dataset.typed = '';
  main.addEventListener('input', () => changed(main.value, true));
  return { main, inputs: [main], nodes: [main], write: (value) => { main.value = String(value); } };
}
