// @ts-check
// What the processors print and log, newest last; filtered by level and text, and paused for reading.

import { $, make, say } from './dom.js';

const LINES_MAX = 500; // kept and shown
const LEVELS = ['error', 'warn', 'info', 'debug'];
const NEAR_END_PX = 24; // scrolled so near to the end counts as following it

/** @typedef {{ time: string, level: string, text: string }} Line */

/** Collects lines and shows them when told, so that a chatty processor costs no layout per line. */
export class Log {
  /** @type {Line[]} */ #lines = [];
  /** @type {Line[]} */ #fresh = []; // collected since the last rendering
  #paused = false;

  constructor() {
    $('log-level').addEventListener('change', () => this.#show());
    $('log-find').addEventListener('input', () => this.#show());
    $('log-copy').addEventListener('click', () => this.#copy());
    $('log-clear').addEventListener('click', () => {
      this.#lines = [];
      this.#show();
    });
    $('log-pause').addEventListener('click', () => {
      this.#paused = !this.#paused;
      $('log-pause').textContent = this.#paused ? 'Resume' : 'Pause';
      $('log-pause').setAttribute('aria-pressed', String(this.#paused));
      if (!this.#paused) this.#show();
    });
  }

  /** @param {string} level @param {string} text */
  add(level, text) {
    const line = { time: new Date().toLocaleTimeString([], { hour12: false }), level, text };
    for (const ring of [this.#lines, this.#fresh]) if (ring.push(line) > LINES_MAX) ring.shift();
  }

  /** Shows what has come since the last call. */
  render() {
    if (!this.#paused && this.#fresh.length) {
      this.#append(this.#fresh);
      this.#fresh = [];
    }
    const waiting = this.#paused && this.#fresh.length ? `${this.#fresh.length} more waiting` : '';
    const shown = $('log').children.length;
    const hidden = this.#lines.length > shown && !waiting ? ` of ${this.#lines.length}` : '';
    say($('log-count'), waiting || (this.#lines.length ? `${shown}${hidden} ${this.#lines.length === 1 ? 'line' : 'lines'}` : ''));
  }

  // Everything anew: the filter has changed.
  #show() {
    $('log').replaceChildren();
    this.#fresh = [];
    this.#append(this.#lines);
    this.render();
  }

  /** @param {Line[]} lines */
  #append(lines) {
    const log = $('log');
    const follows = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_END_PX;
    log.append(...lines.filter((line) => this.#fits(line)).map(({ time, level, text }) =>
      make('li', LEVELS.includes(level) ? level : '', make('time', '', time), make('b', '', level), make('span', '', text))));
    while (log.children.length > LINES_MAX) log.firstChild.remove();
    if (follows) log.scrollTop = log.scrollHeight;
  }

  /** @param {Line} line */
  #fits({ level, text }) {
    // A level this page does not know is shown rather than hidden.
    const least = LEVELS.indexOf($('log-level').value);
    return LEVELS.indexOf(level) <= least && text.toLowerCase().includes($('log-find').value.toLowerCase());
  }

  async #copy() {
    const lines = [...$('log').children].map((item) => [...item.children].map((part) => part.textContent).join(' '));
    const button = $('log-copy');
    try {
      await navigator.clipboard.writeText(`${lines.join('\n')}\n`);
      button.textContent = 'Copied';
    } catch {
      // Pages that are not secure have no clipboard: the keyboard's own copy still works on a selection.
      getSelection()?.selectAllChildren($('log'));
      button.textContent = 'Selected: press Ctrl+C';
    }
    setTimeout(() => { button.textContent = 'Copy'; }, 2000);
  }
}
