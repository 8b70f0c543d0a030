// @ts-check
// The picture that a pipeline returns, as snapshots: one JPEG after the other, not video.

import { $, say } from './dom.js';

const POLL_MS = 200; // five pictures a second: enough to see what a parameter does
const CAPTURES_MAX = 128; // frames whose capture time is remembered: 4 s at 30 Hz

/** @typedef {import('../sdk/framegate.js').Session} Session */

export class Returned {
  /** @type {Session | null} */ #session = null;
  /** @type {Map<number, number>} */ #captures = new Map(); // frame number to ms of `performance.now()`
  #inView = true;
  #url = '';
  #seq = 0;
  #captured = NaN;
  #trouble = '';

  constructor() {
    new IntersectionObserver(([{ isIntersecting }]) => { this.#inView = isIntersecting; }).observe($('stage'));
  }

  /** Remembers when a frame was captured. @param {number} seq @param {number | null} at */
  note(seq, at) {
    if (at === null) return;
    this.#captures.set(seq, at);
    if (this.#captures.size > CAPTURES_MAX) this.#captures.delete(this.#captures.keys().next().value ?? 0);
  }

  /** Shows the pictures of a session, or none. @param {Session | null} session */
  show(session) {
    if (session === this.#session) return;
    this.#session = session;
    this.#seq = 0;
    this.#captured = NaN;
    this.#trouble = 'Waiting for a picture.';
    $('returned').hidden = true;
    $('returned').removeAttribute('src');
    URL.revokeObjectURL(this.#url);
    $('returned-note').hidden = session === null;
    this.render();
    if (session) this.#poll(session);
    else this.#captures.clear();
  }

  /** Says which frame is shown and how old it is. */
  render() {
    if (!this.#session) return;
    const frame = this.#seq ? ` · frame ${this.#seq}` : '';
    // The frame's result, which tells when it was captured, may come after its picture.
    if (Number.isNaN(this.#captured)) this.#captured = this.#captures.get(this.#seq) ?? NaN;
    const age = performance.now() - this.#captured;
    const old = Number.isNaN(age) ? '' : ` · ${age < 9950 ? `${Math.round(age)} ms` : `${Math.round(age / 1000)} s`} old`;
    say($('returned-note'), this.#trouble || `Snapshot, not video${frame}${old}`);
  }

  /** @param {Session} session */
  async #poll(session) {
    while (session === this.#session) {
      const begin = performance.now();
      if (!document.hidden && this.#inView && session.state === 'live') await this.#fetch(session);
      const rest = POLL_MS - (performance.now() - begin);
      await new Promise((resolve) => setTimeout(resolve, Math.max(rest, POLL_MS / 4)));
    }
  }

  /** @param {Session} session */
  async #fetch(session) {
    const url = session.snapshotUrl('processed');
    if (!url) return;
    try {
      const response = await fetch(url, { cache: 'no-store' });
      if (!response.ok) throw new Error((await response.json()).detail ?? `The server answered ${response.status}.`);
      const picture = await response.blob();
      if (session !== this.#session) return;
      this.#trouble = '';
      this.#seq = Number(response.headers.get('framegate-seq'));
      this.#captured = NaN;
      URL.revokeObjectURL(this.#url);
      $('returned').src = this.#url = URL.createObjectURL(picture);
      $('returned').alt = `The picture the pipeline made${this.#seq ? ` of frame ${this.#seq}` : ''}`;
      $('returned').hidden = false;
      this.render();
    } catch (error) {
      if (session === this.#session) this.#trouble = `No picture: ${/** @type {Error} */ (error).message}`;
    }
  }
}
