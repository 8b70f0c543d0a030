// @ts-check
// Puts numbers, results, events and errors on the page. Everything from the server is set as text, never as HTML.

/** @typedef {import('../sdk/framegate.js').Result} Result */
/** @typedef {import('../sdk/framegate.js').Counts} Counts */
/** @typedef {import('../sdk/framegate.js').ServerEvent} ServerEvent */

const EVENTS_MAX = 100; // lines kept in the list
const AGES_MAX = 300; // ages the percentiles are of: 10 s at 30 Hz
const TEXT_MAX = 12_000; // characters shown of one result

/** @type {[keyof import('../sdk/framegate.js').Timing, string][]} */
const STAGES = [
  ['assemble', 'assemble'], ['queue', 'queue'], ['decode', 'decode'], ['wait', 'wait'], ['convert', 'convert'],
  ['process', 'your algorithm'],
];

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

/** @param {string} id @returns {any} */
export const $ = (id) => document.getElementById(id);

/** @param {string} tag @param {string} text @param {string} [className] */
function element(tag, text, className = '') {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = className;
  return made;
}

/** @param {number} us */
export function duration(us) {
  if (us < 1000) return `${Math.round(us)} µs`;
  return us < 10_000 ? `${(us / 1000).toFixed(1)} ms` : `${Math.round(us / 1000)} ms`;
}

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
  #results = 0;
  #encoded = 0;
  #since = performance.now();

  reset() {
    this.result = this.counts = null;
    this.#ages = [];
    this.#results = this.#encoded = this.resultRate = this.sentRate = 0;
    this.#since = performance.now();
    $('result').textContent = 'No result yet.';
    this.render();
  }

  /** @param {Result} result @param {number | null} age ms from capture to this page */
  add(result, age) {
    this.result = result;
    this.#results++;
    if (age !== null && this.#ages.push(age) > AGES_MAX) this.#ages.shift();
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
      ['OK', counts ? String(counts.ok + counts.error) : '–', counts?.error ? `${counts.error} failed` : ''],
      ['Skipped', counts ? String(total(counts.skipped)) : '–', ''],
      ['Lost', counts ? String(total(counts.dropped)) : '–', ''],
    ];
    $('numbers').replaceChildren(...rows.map(([name, value, unit]) => {
      const group = document.createElement('div');
      const number = element('dd', value === '–' ? value : `${value} `);
      if (value !== '–') number.append(element('small', unit));
      group.append(element('dt', name), number);
      return group;
    }));
    const reasons = Object.entries({ ...counts?.skipped, ...counts?.dropped });
    $('reasons').textContent = reasons.map(([why, count]) => `${why.replaceAll('_', ' ')} ${count}`).join(' · ');
  }

  #renderTime() {
    const timing = this.result?.timing;
    if (!timing) return;
    const age = this.ageMs();
    const server = timing.total;
    const outside = age === null ? 0 : Math.max(0, age * 1000 - server);
    $('way').textContent = age === null
      ? `Server ${duration(server)}; the whole way is known after the first sender report.`
      : `From capture to this page ${duration(age * 1000)}; of that the server ${duration(server)}.`;
    bar($('way-bar'), [['c7', outside], ['c3', server]]);
    bar($('stage-bar'), STAGES.map(([key], index) => [`c${index + 1}`, timing[key] ?? 0]));
    const items = STAGES.map(([key, name], index) => [`c${index + 1}`, name, timing[key] ?? 0]);
    if (outside) items.push(['c7', 'camera, network and browser', outside]);
    $('legend').replaceChildren(...items.map(([className, name, us]) => {
      const item = element('li', `${name} `, String(className));
      item.append(element('b', duration(Number(us))));
      return item;
    }));
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
    const item = element('li', '', tone);
    const text = element('p', '');
    text.append(element('b', words), more && ` ${more}`);
    item.append(element('time', new Date().toLocaleTimeString([], { hour12: false })), text);
    const list = $('events');
    list.prepend(item);
    while (list.children.length > EVENTS_MAX) list.lastChild.remove();
  }
}

/** @param {HTMLElement} parent @param {(string | number)[][]} parts class and weight */
function bar(parent, parts) {
  while (parent.children.length < parts.length) parent.append(document.createElement('span'));
  parts.forEach(([className, weight], index) => {
    const part = /** @type {HTMLElement} */ (parent.children[index]);
    part.className = String(className);
    part.style.flexGrow = String(weight);
  });
}

/** @param {any} error */
export function showError(error) {
  $('error-text').textContent = error.message;
  $('error-hint').textContent = error.hint ?? 'Reload the page and try again.';
  $('error-code').textContent = [error.code ?? error.name, error.problem?.code].filter(Boolean).join(' · ');
  const tried = [['This browser', error.local], ['Server', error.remote], ['Tried', error.pairs]]
    .filter(([, list]) => list?.length);
  $('error-details').replaceChildren(...tried.map(([who, list]) => element('li', `${who}: ${list.join(', ')}`)));
  $('error').hidden = false;
}

export function hideError() {
  $('error').hidden = true;
}
