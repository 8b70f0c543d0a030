// @ts-check
// Puts numbers, results, events and errors on the page. Everything from the server is set as text, never as HTML.

import { $, duration, make } from './dom.js';

/** @typedef {import('../sdk/framegate.js').Result} Result */
/** @typedef {import('../sdk/framegate.js').Counts} Counts */
/** @typedef {import('../sdk/framegate.js').ServerEvent} ServerEvent */

const EVENTS_MAX = 100; // lines kept in the list
const AGES_MAX = 300; // ages the percentiles are of: 10 s at 30 Hz
const FAILURES_MAX = 20; // different failures told in a session: a text may hold a number that changes
const TEXT_MAX = 12_000; // characters shown of one result

/** @type {[keyof import('../sdk/framegate.js').Timing, string][]} */
const STAGES = [['assemble', 'assemble'], ['queue', 'queue'], ['decode', 'decode'], ['wait', 'wait'], ['convert', 'convert']];
const PROCESSOR_COLOURS = 4; // then they begin anew

/** @type {Record<string, [string, string]>} event kind → tone, words */
const EVENTS = {
  engine_starting: ['', 'Engine is starting'],
  engine_ready: ['good', 'Engine is ready'],
  engine_crashed: ['bad', 'Engine crashed'],
  engine_hung: ['bad', 'Engine hung and was stopped'],
  engine_backoff: ['warn', 'Engine crashes too often; waiting'],
  circuit_open: ['bad', 'Engine given up'],
  frame_too_large: ['warn', 'Picture too large'],
  processor_failed: ['bad', 'Processor could not be made'],
};

/** @param {number[]} values @param {number} share 0…1 */
function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

/** @param {Record<string, number> | undefined} reasons */
const total = (reasons) => Object.values(reasons ?? {}).reduce((sum, count) => sum + count, 0);

/** @param {any} value @returns {string} */
function inline(value) {
  if (Array.isArray(value)) return `[${value.map(inline).join(', ')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  return `{${Object.entries(value).map(([key, inner]) => `${JSON.stringify(key)}: ${inline(inner)}`).join(', ')}}`;
}

/** One line a field and one a detection; what does not fit a line is indented. @param {object} result */
function pretty(result) {
  const fields = Object.entries(result).map(([key, value]) => {
    const line = inline(value);
    const rows = Array.isArray(value) && typeof value[0] === 'object';
    const text = rows ? `[\n${value.map((row) => `    ${inline(row)}`).join(',\n')}\n  ]`
      : line.length < 400 ? line : JSON.stringify(value, null, 2).replaceAll('\n', '\n  ');
    return `  ${JSON.stringify(key)}: ${text}`;
  });
  return `{\n${fields.join(',\n')}\n}`;
}

/** Collects what arrives and renders it when told, so that 60 results a second cost no 60 layouts. */
export class Panels {
  /** @type {Result | null} */ result = null;
  /** @type {Counts | null} */ counts = null;
  paused = false;
  resultRate = 0;
  sentRate = 0;
  /** @type {number[]} */ #ages = [];
  /** @type {number | null} of the last result */ #age = null;
  /** @type {Set<string>} */ #failures = new Set();
  #results = 0;
  #encoded = 0;
  #since = performance.now();

  reset() {
    this.result = this.counts = null;
    this.#ages = [];
    this.#age = null;
    this.#failures.clear();
    this.#results = this.#encoded = this.resultRate = this.sentRate = 0;
    this.#since = performance.now();
    $('result').textContent = 'No result yet.';
    $('way').textContent = 'Shown while results arrive.';
    for (const id of ['way-bar', 'stage-bar', 'legend']) $(id).replaceChildren();
    this.render();
  }

  /** @param {Result} result @param {number | null} age ms from capture to this page */
  add(result, age) {
    this.result = result;
    this.#age = age;
    this.#results++;
    if (result.error) this.#failed(result);
    if (age !== null && this.#ages.push(age) > AGES_MAX) this.#ages.shift();
  }

  /** Each failure is told once: a processor that fails on every frame must not look healthy. @param {Result} result */
  #failed({ seq, error }) {
    const text = error?.text ?? '';
    if (this.#failures.size >= FAILURES_MAX || this.#failures.has(text)) return;
    this.#failures.add(text);
    this.line('bad', 'Failed on a frame', `${text} · frame ${seq}`);
  }

  /** Rates over the time since the last call. @param {number} encoded frames encoded since the connection began */
  measure(encoded) {
    const now = performance.now();
    const seconds = (now - this.#since) / 1000;
    // Smaller than before: a new connection counts from 0.
    this.sentRate = Math.max(0, encoded - this.#encoded) / seconds;
    this.resultRate = this.#results / seconds;
    this.#encoded = encoded;
    this.#results = 0;
    this.#since = now;
  }

  ageMs(share = 0.5) {
    return this.#ages.length ? quantile(this.#ages, share) : null;
  }

  render() {
    this.#renderNumbers();
    this.#renderTime();
    if (this.result && !this.paused) {
      const text = pretty(this.result);
      $('result').textContent = text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)}…` : text;
    }
  }

  #renderNumbers() {
    const { counts } = this;
    const [p50, p95] = [this.ageMs(0.5), this.ageMs(0.95)];
    const running = this.result !== null;
    const rows = [
      ['Sent', running ? this.sentRate.toFixed(0) : '–', 'fps'],
      ['Results', running ? this.resultRate.toFixed(0) : '–', 'fps'],
      ['Age, median', p50 === null ? '–' : p50.toFixed(0), 'ms'],
      ['Age, p95', p95 === null ? '–' : p95.toFixed(0), 'ms'],
      ['Frames in', counts ? String(counts.received) : '–', ''],
      ['OK', counts ? String(counts.ok) : '–', counts?.error ? `${counts.error} failed` : ''],
      ['Skipped', counts ? String(total(counts.skipped)) : '–', ''],
      ['Lost', counts ? String(total(counts.dropped)) : '–', ''],
    ];
    $('numbers').replaceChildren(...rows.map(([name, value, unit]) => {
      const number = make('dd', '', value === '–' ? value : `${value} `, value !== '–' && make('small', '', unit));
      return make('div', '', make('dt', '', name), number);
    }));
    const reasons = Object.entries({ ...counts?.skipped, ...counts?.dropped });
    $('reasons').textContent = reasons.map(([why, count]) => `${why.replaceAll('_', ' ')} ${count}`).join(' · ');
  }

  #renderTime() {
    const timing = this.result?.timing;
    if (!timing) return;
    // Of the same frame: a median beside it could be shorter than its part.
    const age = this.#age;
    const server = timing.total;
    const outside = age === null ? 0 : Math.max(0, age * 1000 - server);
    $('way').textContent = age === null
      ? `Server ${duration(server)}; the whole way is known after the first sender report.`
      : `From capture to this page ${duration(age * 1000)}; of that the server ${duration(server)}.`;
    const parts = [...STAGES.map(([stage, name], index) => part(`c${index + 1}`, name, timing[stage])), ...algorithms(timing)];
    const way = part('c7', 'camera, network and browser', outside);
    bar($('way-bar'), [way, part('c3', '', server)]);
    bar($('stage-bar'), parts);
    $('legend').replaceChildren(...[...parts, ...outside ? [way] : []].map(({ colour, name, us }) =>
      make('li', colour, `${name} `, make('b', '', duration(us)))));
  }

  /** @param {ServerEvent} event */
  event(event) {
    const [tone, words] = EVENTS[event.kind] ?? ['', String(event.kind).replaceAll('_', ' ')];
    const more = [event.signal, event.text, event.seq && `from frame ${event.seq} on`,
      event.restarts && `restart ${event.restarts}`];
    this.line(tone, words, more.filter(Boolean).join(' · '));
  }

  /** @param {string} tone `good`, `warn`, `bad` or empty @param {string} words @param {string} more */
  line(tone, words, more) {
    const time = make('time', '', new Date().toLocaleTimeString([], { hour12: false }));
    const item = make('li', tone, time, make('p', '', make('b', '', words), more && ` ${more}`));
    const list = $('events');
    list.prepend(item);
    while (list.children.length > EVENTS_MAX) list.lastChild.remove();
  }
}

/** @typedef {{ colour: string, name: string, us: number }} Part of the way of a frame */

/** @param {string} colour @param {string} name @param {unknown} us @returns {Part} */
const part = (colour, name, us) => ({ colour, name, us: Number(us) || 0 });

/** The algorithm, or each one of a chain. @param {import('../sdk/framegate.js').Timing} timing */
function algorithms({ process, processors }) {
  const chain = Object.entries(processors ?? {});
  if (chain.length < 2) return [part('c6', 'your algorithm', process)];
  return chain.map(([name, us], index) => part(`a${index % PROCESSOR_COLOURS + 1}`, name, us));
}

/** @param {HTMLElement} parent @param {Part[]} parts */
function bar(parent, parts) {
  while (parent.children.length < parts.length) parent.append(make('span'));
  while (parent.children.length > parts.length) parent.lastChild?.remove();
  parts.forEach(({ colour, us }, index) => {
    const span = /** @type {HTMLElement} */ (parent.children[index]);
    span.className = colour;
    span.style.flexGrow = String(us);
  });
}

/** @param {any} error */
export function showError(error) {
  $('error-text').textContent = error.message;
  $('error-hint').textContent = error.hint ?? 'Reload the page and try again.';
  $('error-code').textContent = [error.code ?? error.name, error.problem?.code].filter(Boolean).join(' · ');
  const tried = [['This browser', error.local], ['Server', error.remote], ['Tried', error.pairs]]
    .filter(([, list]) => list?.length);
  $('error-details').replaceChildren(...tried.map(([who, list]) => make('li', '', `${who}: ${list.join(', ')}`)));
  $('error').hidden = false;
}

export function hideError() {
  $('error').hidden = true;
}
