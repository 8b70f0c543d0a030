// @ts-check
// A form made from what processors say of their parameters. Changes take effect at once: while a control moves, at most
// ten times a second, and never more than one request at a time, so that a slow engine gets the newest value only.

import { control } from './controls.js';
import { $, list, make, say } from './dom.js';

/**
 * @typedef {import('../sdk/framegate.js').Param} Param
 * @typedef {import('../sdk/framegate.js').ParamValue} ParamValue
 * @typedef {import('../sdk/framegate.js').ParamsAnswer} ParamsAnswer
 * @typedef {{ name: string, params?: Param[] }} Processor
 * @typedef {(values: Record<string, ParamValue>, processor: string) => Promise<ParamsAnswer>} Send
 * @typedef {{ processor: string, param: Param, control: import('./controls.js').Control, row: HTMLElement,
 *   reset: HTMLButtonElement, refused: HTMLElement, timer: number }} Field `param.value` is the one in force
 */

const SEND_MS = 100; // between two requests while a slider moves
const TYPED_MS = 350; // a text or number is sent when typing has rested for as long

export class Form {
  /** @type {Map<string, Field>} */ #fields = new Map();
  /** @type {Map<string, Map<string, ParamValue>>} */ #kept = new Map(); // what the user has set, by pipeline
  /** @type {Map<string, ParamValue>} */ #mine = new Map(); // of the pipeline that is shown, by field
  /** @type {Set<Field>} */ #waiting = new Set(); // to be sent
  /** @type {Send | null} */ #send = null;
  #schema = '';
  #busy = false;

  constructor() {
    $('reset-all').addEventListener('click', () => {
      for (const field of this.#fields.values()) this.#change(field, field.param.default, false);
    });
  }

  /**
   * Shows the parameters with the values in force; the same parameters again only bring new values. What the user has
   * set before holds, also for another engine or session, which are told.
   * @param {string} pipeline @param {Processor[]} processors
   */
  show(pipeline, processors) {
    this.#mine = this.#kept.get(pipeline) ?? new Map();
    this.#kept.set(pipeline, this.#mine);
    const schema = JSON.stringify([pipeline, processors.map(({ name, params }) =>
      [name, list(params).map(({ value, ...rest }) => rest)])]);
    if (schema !== this.#schema) this.#build(processors);
    this.#schema = schema;
    for (const { name, params } of processors) {
      for (const { id, value } of list(params)) {
        const field = this.#fields.get(key(name, id));
        if (!field) continue;
        field.param.value = value;
        if (this.#wanted(field) !== value) this.#waiting.add(field);
        this.#render(field);
      }
    }
    this.#renderHead();
    this.#flush();
  }

  /** How values are sent; `null`: they wait until there is a way. @param {Send | null} send */
  connect(send) {
    this.#send = send;
    this.#renderHead();
  }

  /** What the server says of values. @param {ParamsAnswer} answer */
  update({ values, refused }) {
    for (const { processor, id, value } of values) {
      const field = this.#fields.get(key(processor, id));
      if (!field) continue;
      field.param.value = value;
      if (this.#isFurther(field)) continue;
      if (this.#mine.has(key(processor, id))) this.#mine.set(key(processor, id), value);
      say(field.refused, '');
      this.#render(field);
    }
    for (const { processor, id, text } of refused) {
      const field = this.#fields.get(key(processor, id));
      if (!field || this.#isFurther(field)) continue;
      this.#mine.delete(key(processor, id));
      say(field.refused, text);
      this.#render(field);
    }
    this.#renderHead();
  }

  /** @param {Processor[]} processors */
  #build(processors) {
    for (const { timer } of this.#fields.values()) clearTimeout(timer);
    this.#fields.clear();
    this.#waiting.clear();
    const settable = processors.filter(({ params }) => list(params).length);
    $('parameters').hidden = settable.length === 0;
    $('form').replaceChildren(...settable.map(({ name, params }, index) => {
      /** @type {Map<string, HTMLElement>} */ const groups = new Map();
      for (const param of list(params)) {
        const title = param.group ?? '';
        const group = groups.get(title) ?? make(title ? 'fieldset' : 'div', 'group', title && make('legend', '', title));
        groups.set(title, group);
        group.append(this.#field(name, param, `param-${index}-${param.id}`).row);
      }
      return make('div', 'form-part', settable.length > 1 && make('h3', '', name), ...groups.values());
    }));
  }

  /** @param {string} processor @param {Param} param @param {string} id @returns {Field} */
  #field(processor, param, id) {
    const name = param.label || param.id;
    const made = control(param, id, (value, waits) => this.#change(field, value, waits));
    const label = make('label', '', name);
    label.htmlFor = id;
    const reset = make('button', 'reset', 'Reset');
    reset.type = 'button';
    reset.setAttribute('aria-label', `Reset ${name} to ${words(param.default)}`);
    const about = make('p', 'quiet', param.description);
    const refused = make('p', 'refused');
    about.id = `${id}-about`;
    refused.id = `${id}-refused`;
    refused.setAttribute('aria-live', 'polite');
    for (const input of made.inputs) {
      input.setAttribute('aria-describedby', `${param.description ? about.id : ''} ${refused.id}`.trim());
    }
    const row = make('div', `row ${param.kind}`, make('div', 'row-head', label, reset),
      make('div', 'control', ...made.nodes, param.unit && make('span', 'unit', param.unit)), param.description && about, refused);
    row.dataset.param = param.id;
    /** @type {Field} */ const field = { processor, param: { ...param }, control: made, row, reset, refused, timer: 0 };
    reset.addEventListener('click', () => {
      this.#change(field, param.default, false);
      made.main.focus(); // the button goes away
    });
    row.addEventListener('focusout', () => setTimeout(() => this.#render(field)));
    this.#fields.set(key(processor, param.id), field);
    return field;
  }

  /** @param {Field} field @param {ParamValue} value @param {boolean} waits */
  #change(field, value, waits) {
    clearTimeout(field.timer);
    field.timer = 0;
    this.#mine.set(key(field.processor, field.param.id), value);
    say(field.refused, '');
    if (waits) {
      field.timer = setTimeout(() => {
        field.timer = 0;
        this.#waiting.add(field);
        this.#flush();
      }, TYPED_MS);
    } else {
      this.#waiting.add(field);
      this.#flush();
    }
    this.#render(field);
    this.#renderHead();
  }

  async #flush() {
    const send = this.#send;
    if (this.#busy || !send || !this.#waiting.size) return;
    this.#busy = true;
    const rest = new Promise((resolve) => setTimeout(resolve, SEND_MS));
    const fields = [...this.#waiting];
    this.#waiting.clear();
    for (const processor of new Set(fields.map((field) => field.processor))) {
      await this.#sendTo(send, processor, fields.filter((field) => field.processor === processor));
    }
    await rest;
    this.#busy = false;
    this.#flush();
  }

  /** @param {Send} send @param {string} processor @param {Field[]} fields */
  async #sendTo(send, processor, fields) {
    const tell = (/** @type {string} */ text) => {
      for (const field of fields) {
        say(field.refused, text);
        this.#render(field);
      }
    };
    try {
      const { refused } = await send(Object.fromEntries(fields.map((field) => [field.param.id, this.#wanted(field)])), processor);
      const whole = refused.find(({ id }) => !id); // no single value was the reason
      if (whole) tell(whole.text);
    } catch (error) {
      const { code, message, hint } = /** @type {import('../sdk/framegate.js').FramegateError} */ (error);
      // It is sent again when the next engine says what it can be set to.
      if (code !== 'not_live') tell(`${message} ${hint ?? ''}`);
    }
  }

  /** @param {Field} field */
  #wanted(field) {
    return this.#mine.get(key(field.processor, field.param.id)) ?? field.param.value;
  }

  /** Whether the user has changed it since what was just answered was sent. @param {Field} field */
  #isFurther(field) {
    return field.timer !== 0 || this.#waiting.has(field);
  }

  /** @param {Field} field */
  #render(field) {
    const { control: { inputs, write }, param, row, reset, refused } = field;
    // What is typed is the user's own until they leave it.
    const focused = document.activeElement;
    const typing = row.contains(focused) && /** @type {HTMLElement} */ (focused).dataset.typed !== undefined;
    if (!typing) write(this.#wanted(field));
    reset.hidden = this.#wanted(field) === param.default;
    const isRefused = refused.textContent !== '';
    row.toggleAttribute('data-refused', isRefused);
    for (const input of inputs) input.setAttribute('aria-invalid', String(isRefused));
  }

  #renderHead() {
    $('reset-all').disabled = [...this.#fields.values()].every(({ reset }) => reset.hidden);
    say($('parameters-note'), this.#send ? 'Changes take effect at once and survive a crash.' : 'They take effect with Start.');
  }
}

/** @param {string} processor @param {string} id */
const key = (processor, id) => `${processor} ${id}`;

/** @param {ParamValue} value */
const words = (value) => (value === true ? 'on' : value === false ? 'off' : value === '' ? 'empty' : String(value));
