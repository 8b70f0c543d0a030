// @ts-check
// The list of pipelines to choose from, and what there is to know about the chosen one.

import { $, duration, list, make, prose, say } from './dom.js';

/**
 * @typedef {import('../sdk/framegate.js').Param} Param
 * @typedef {{ frames: number, p50_us: number, p95_us: number }} Cost
 * @typedef {{ mode: string, reads?: string | null, network: boolean, readable?: string[] }} Sandbox `reads` once it is loaded
 * @typedef {{ width?: number | null, height?: number | null, format?: string, rate?: number | null }} Want
 * @typedef {{ name: string, version?: string, description?: string, language?: string, source?: string, state: string,
 *   error?: string | null, params?: Param[], cost?: Cost | null, want?: Want | null, isolation?: string, sandbox?: Sandbox | null }} Processor
 * @typedef {{ name: string, processors: Processor[] }} Pipeline
 */

const LANGUAGES = new Map([['c', 'C'], ['c++', 'C++'], ['rust', 'Rust'], ['python', 'Python'], ['gstreamer', 'GStreamer']]);
const STATES = new Map([['failed', 'does not load'], ['loading', 'loading…'], ['idle', 'not loaded yet'], ['ready', '']]);

/** @param {Pipeline} pipeline */
function stateOf({ processors }) {
  return [...STATES.keys()].find((state) => processors.some((processor) => processor.state === state)) ?? 'ready';
}

/** @param {Cost | null | undefined} cost */
const isMeasured = (cost) => cost != null && cost.frames > 0;

/** Cost of a whole pipeline; the 95 % of parts do not add up, so only the medians are added. @param {Pipeline} pipeline */
function costOf({ processors }) {
  if (!processors.length || !processors.every(({ cost }) => isMeasured(cost))) return 'not measured yet';
  return `${duration(processors.reduce((sum, { cost }) => sum + (cost?.p50_us ?? 0), 0))} a frame`;
}

/** @param {Cost | null | undefined} cost */
function costText(cost) {
  if (!cost || !isMeasured(cost)) return 'not measured yet';
  return `${duration(cost.p50_us)} median · ${duration(cost.p95_us)} p95`;
}

/** @param {Sandbox} sandbox */
function sandboxText({ mode, reads, network, readable }) {
  if (mode === 'audit') return 'Watches and reports, refuses nothing.';
  const files = `; reads only ${['system libraries', 'its own folder', ...list(readable)].join(', ')}`;
  /** @type {Record<string, string>} */ const read = { restricted: files, unrestricted: '; this system cannot restrict what it reads' };
  return `${network ? 'Network allowed' : 'No network'}; writes nothing${read[reads ?? ''] ?? ''}.`;
}

/** @param {Want} want */
function wantText({ width, height, format, rate }) {
  const size = width && height ? ` ${width}×${height}` : width ? ` ${width} wide` : height ? ` ${height} high` : ' as sent';
  return `${String(format).toUpperCase()}${size}${rate ? `, ${rate} a second` : ''}`;
}

/** @param {string | undefined} isolation */
function isolationText(isolation) {
  return isolation === 'shared' ? 'Shared by all streams' : 'One of its own for each stream';
}

/** Radio buttons, one a pipeline; rows stay the same elements, so that focus and screen readers are not disturbed. */
export class Picker {
  /** @type {Pipeline[]} */ pipelines = [];
  /** @type {Map<string, { row: HTMLLIElement, input: HTMLInputElement, title: HTMLElement, cost: HTMLElement,
   *   text: HTMLElement }>} */ #rows = new Map();
  #shown = '';

  get value() {
    return [...this.#rows.values()].find(({ input }) => input.checked)?.input.value ?? '';
  }

  get chosen() {
    return this.pipelines.find(({ name }) => name === this.value);
  }

  /** @param {Pipeline[]} pipelines @param {string | null} wanted chosen if nothing is */
  show(pipelines, wanted) {
    const before = this.value;
    this.pipelines = pipelines;
    const names = pipelines.map(({ name }) => name);
    if (names.join('\n') !== [...this.#rows.keys()].join('\n')) {
      this.#rows = new Map(names.map((name, index) => [name, this.#row(name, index)]));
      $('pipelines').replaceChildren(...[...this.#rows.values()].map(({ row }) => row));
      const kept = [before, wanted ?? '', names[0] ?? ''].find((name) => this.#rows.has(name));
      const chosen = this.#rows.get(kept ?? '');
      if (chosen) chosen.input.checked = true;
      if (chosen) $('pipelines').scrollTop = chosen.row.offsetTop - $('pipelines').offsetTop - chosen.row.offsetHeight;
    }
    for (const pipeline of pipelines) this.#update(pipeline);
    $('no-pipelines').hidden = pipelines.length > 0;
    say($('no-pipelines'), 'None is loaded. Start the server with one: framegate -p ./my_algorithm.cpp');
    this.about();
  }

  /** @param {string} name @param {number} index */
  #row(name, index) {
    const input = make('input');
    Object.assign(input, { type: 'radio', name: 'pipeline', value: name });
    const title = make('span', 'pipe-title');
    const [cost, text] = [make('span', 'pipe-cost'), make('span', 'pipe-text')];
    title.id = `pipe-${index}-name`;
    text.id = `pipe-${index}-text`;
    cost.id = `pipe-${index}-cost`;
    input.setAttribute('aria-labelledby', title.id);
    input.setAttribute('aria-describedby', `${text.id} ${cost.id}`);
    const row = make('li', '', make('label', 'pipe', input, make('span', 'pipe-body', title, cost, text)));
    return { row, input, title, cost, text };
  }

  /** @param {Pipeline} pipeline */
  #update(pipeline) {
    const parts = this.#rows.get(pipeline.name);
    if (!parts) return;
    const { processors, name } = pipeline;
    const state = stateOf(pipeline);
    parts.row.dataset.state = state;
    const languages = [...new Set(processors.map(({ language }) => LANGUAGES.get(language ?? '') ?? language))];
    const badges = languages.filter(Boolean).map((language) => make('span', 'badge', String(language).slice(0, 16)));
    const words = [name, ...badges.map(({ textContent }) => textContent)].join('\n');
    if (parts.title.dataset.words !== words) {
      parts.title.dataset.words = words;
      parts.title.replaceChildren(make('b', '', name), ...badges);
    }
    say(parts.cost, STATES.get(state) || costOf(pipeline));
    const { version, description } = processors[0] ?? {};
    const steps = processors.map((processor) => processor.name).join(' → ');
    say(parts.text, processors.length > 1 ? steps : [version, description].filter(Boolean).join(' · '));
  }

  /** What there is to know about the chosen pipeline; its failure too. */
  about() {
    const { chosen } = this;
    const shown = JSON.stringify(chosen ?? null);
    if (shown === this.#shown) return;
    this.#shown = shown;
    $('about-card').hidden = !chosen;
    $('about').replaceChildren(...chosen ? facts(chosen) : []);
    const errors = new Set(chosen?.processors.flatMap(({ error }) => (error ? [error] : [])));
    $('broken').hidden = errors.size === 0;
    say($('broken-title'), `${chosen?.name ?? ''} does not load`);
    $('broken-list').replaceChildren(...[...errors].flatMap(failure));
  }
}

/** @param {Pipeline} pipeline @returns {Node[]} */
function facts({ processors }) {
  const [first] = processors;
  if (!first) return [];
  const one = processors.length === 1;
  /** @type {[string, Node | string | false | undefined][]} */ const rows = [
    ['Cost', one && costText(first.cost)],
    ['Frames', first.want ? wantText(first.want) : undefined],
    ['Process', first.isolation && isolationText(first.isolation)],
    ['Sandbox', first.sandbox ? sandboxText(first.sandbox) : undefined],
    ['From', one && first.source && path(first.source)],
  ];
  return [...one ? [] : [make('ol', 'steps', ...processors.map(step))], make('dl', 'facts', ...rows.filter(([, value]) => value).map(([name, value]) =>
    make('div', '', make('dt', '', name), make('dd', '', value || ''))))];
}

/** One processor of a chain. @param {Processor} processor */
function step({ name, version, description, language, cost, state, source }) {
  const measured = isMeasured(cost) || state === 'ready' ? costText(cost) : STATES.get(state) ?? state;
  const about = [LANGUAGES.get(language ?? '') ?? language, version].filter(Boolean).join(' ');
  return make('li', '', make('p', '', make('b', '', name), ' ', make('small', '', about)),
    make('p', 'step-cost', measured), description && make('p', 'quiet', description), source && path(source));
}

/** A path that is broken where its folders are. @param {string} text */
function path(text) {
  return make('code', '', ...text.split(/(?<=\/)/).flatMap((part) => [part, make('wbr')]));
}

/** A reason in the first line, and what a compiler or an interpreter said below. @param {string} error @returns {Node[]} */
function failure(error) {
  const [reason, ...more] = error.trimEnd().split('\n');
  const block = make('pre', 'result', more.join('\n'));
  block.tabIndex = 0;
  block.setAttribute('aria-label', 'What was said');
  return [make('p', '', ...prose(reason)), ...more.length ? [block] : []];
}
