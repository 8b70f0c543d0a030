// @ts-check
// Draws results over the preview, each on the frame it was found in. Part of framegate.js; types in framegate.d.ts.

/**
 * @typedef {import('./framegate.js').Result} Result
 * @typedef {import('./framegate.js').Session} Session
 * @typedef {import('./framegate.js').OverlayOptions} OverlayOptions
 * @typedef {{ time: number, rtp: number, seq: number, result?: Result, taken?: boolean }} Said of a frame
 * @typedef {{ time: number, at: number, picture?: HTMLCanvasElement, said?: Said, shown?: boolean }} Frame
 */

const FRAMES_MAX = 64; // frames, and outcomes, remembered for matching: 1 s at 60 Hz
const HELD_MAX = 16; // pictures held: HOLD_MS at 60 Hz
const HOLD_MS = 250; // longest a picture waits for its result
const STALE_MS = 2000; // live mode forgets a result this old
const OFF_MS = 8; // a sender report may be off by so much and still name its frame (measured: 1.5 ms) …
const NEAR_MS = 3; // … and so much once the offset is known: a camera that catches up sends frames 10 ms apart or less
const SAME_MS = 0.5; // two times closer than this are of one frame
const KNOWN_MIN = 8; // residuals after which it is known
const DETECTIONS_MAX = 256; // drawn of one result: the server sends no more
const CORNERS_MIN = 3; // fewer enclose nothing

/**
 * @param {Session} session @param {HTMLVideoElement} video @param {HTMLCanvasElement} canvas
 * @param {OverlayOptions} [options]
 */
export function overlay(session, video, canvas, options = {}) {
  const painter = new Painter(session, video, canvas, options);
  const stop = () => painter.stop();
  return Object.defineProperties(stop, {
    lastShown: { get: () => painter.lastShown },
    late: { get: () => painter.late },
  });
}

/** @param {CanvasRenderingContext2D} ctx @param {Result} result @param {(box: number[]) => number[]} place */
export function drawDetections(ctx, result, place) {
  const line = Math.max(2, ctx.canvas.width / 260);
  ctx.font = `600 ${line * 6}px system-ui, sans-serif`;
  ctx.lineWidth = line;
  for (const detection of list(result.detections).slice(0, DETECTIONS_MAX)) {
    const { label, score, box, track, keypoints, outline } = detection ?? {};
    const [x, y, width, height] = place(list(box).map(Number));
    const points = list(keypoints).slice(0, DETECTIONS_MAX).map((point) => {
      const [px, py] = list(point).map(Number);
      return place([px, py, 0, 0]);
    });
    const name = String(label).slice(0, 64);
    const hue = [...name].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) % 360, 160);
    ctx.strokeStyle = ctx.fillStyle = `hsl(${hue} 95% 62%)`;
    if (outline === true && points.length >= CORNERS_MIN) {
      trace(ctx, points);
    } else {
      ctx.strokeRect(x, y, width, height);
      for (const [px, py] of points) ctx.fillRect(px - line, py - line, 2 * line, 2 * line);
    }
    write(ctx, `${name} ${Math.round(Number(score) * 100)} %${track ? ` #${track}` : ''}`, x, y, line);
  }
}

/** @param {CanvasRenderingContext2D} ctx @param {number[][]} corners */
function trace(ctx, corners) {
  ctx.beginPath();
  for (const [x, y] of corners) ctx.lineTo(x, y);
  ctx.closePath();
  ctx.stroke();
}

/** @param {CanvasRenderingContext2D} ctx @param {string} text @param {number} x @param {number} y @param {number} line
 */
function write(ctx, text, x, y, line) {
  const top = Math.max(y - line * 9, 0);
  ctx.fillRect(x - line / 2, top, ctx.measureText(text).width + line * 5, line * 9);
  ctx.fillStyle = '#0b0f14';
  ctx.fillText(text, x + line * 2, top + line * 6.6);
}

/** @param {any} value @returns {any[]} */
const list = (value) => (Array.isArray(value) ? value : []);

/** @param {number[]} values */
const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;

/** @template T @param {T[]} ring @param {T} item @param {number} max */
function push(ring, item, max) {
  if (ring.push(item) > max) return ring.shift();
}

class Painter {
  /** @type {import('./framegate.js').Shown | null} */ lastShown = null;
  late = 0; // results that came after their frame was shown
  /** @type {Frame[]} */ #frames = [];
  /** @type {Said[]} */ #said = []; // times without the session's offset
  /** @type {Said | null} */ #newest = null;
  #newestAt = 0;
  /** @type {number[]} */ #gaps = [33];
  /** @type {number[]} */ #delays = [];
  /** @type {number[]} */ #residuals = [];
  /** @type {HTMLCanvasElement[]} */ #pool = [];
  /** @type {(() => void)[]} */ #ends = [];
  #exact = false; // whether the browser tells when a preview frame was captured
  #stopped = false;

  /**
   * @param {Session} session @param {HTMLVideoElement} video @param {HTMLCanvasElement} canvas
   * @param {OverlayOptions} options
   */
  constructor(session, video, canvas, options) {
    this.session = session;
    this.video = video;
    this.canvas = canvas;
    this.options = options;
    this.mode = options.mode ?? 'exact';
    this.ctx = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
    if (!video.srcObject) {
      video.srcObject = session.stream;
      video.muted = video.playsInline = true;
      video.play().catch(() => {}); // then the page has to start it
    }
    video.style.transform = options.mirror ? 'scaleX(-1)' : '';
    this.#ends.push(session.on('result', (result) => this.#hear(result)));
    this.#ends.push(session.on('counts', ({ missed }) => this.#miss(missed)));
    this.#watch();
    this.#loop();
  }

  stop() {
    this.#stopped = true;
    for (const end of this.#ends) end();
    this.#frames = [];
    this.#pool = [];
    this.ctx.clearRect(0, 0, this.canvas.width, this.canvas.height);
  }

  #watch() {
    if (this.#stopped) return;
    this.video.requestVideoFrameCallback((now, meta) => {
      this.#watch();
      if (!this.#stopped && this.video.videoWidth) this.#see(now, meta);
    });
  }

  #loop() {
    if (this.#stopped) return;
    requestAnimationFrame((now) => {
      this.#loop();
      this.#pair();
      if (this.mode === 'exact') this.#release(now);
      if (this.mode === 'live') this.#paintLive(now);
    });
  }

  /** @param {number} now @param {VideoFrameCallbackMetadata} meta */
  #see(now, meta) {
    const { videoWidth, videoHeight } = this.video;
    if (this.canvas.width !== videoWidth || this.canvas.height !== videoHeight) {
      Object.assign(this.canvas, { width: videoWidth, height: videoHeight });
      this.#pool = [];
    }
    this.#exact = meta.captureTime !== undefined;
    // By now the video may be a frame further than `meta`: what is drawn has to say itself which frame it is.
    const still = this.#exact ? new VideoFrame(this.video) : null;
    const further = still ? still.timestamp / 1000 - meta.mediaTime * 1000 : 0;
    // Without a capture time: the media time, which is as even, put where the promptest presentation puts it.
    const media = meta.mediaTime * 1000;
    push(this.#delays, meta.presentationTime - media, FRAMES_MAX);
    const time = meta.captureTime === undefined ? media + Math.min(...this.#delays) : meta.captureTime + further;
    const frame = /** @type {Frame} */ ({ time, at: now });
    const before = this.#frames.at(-1);
    if (before && Math.abs(time - before.time) < SAME_MS) return still?.close(); // drawn already, when it was further
    if (before && time > before.time) push(this.#gaps, time - before.time, 15);
    push(this.#frames, frame, FRAMES_MAX);
    if (this.mode === 'live') return still?.close();
    frame.picture = this.#pool.pop() ?? document.createElement('canvas');
    Object.assign(frame.picture, { width: videoWidth, height: videoHeight });
    frame.picture.getContext('2d', { alpha: false })?.drawImage(still ?? this.video, 0, 0, videoWidth, videoHeight);
    still?.close();
    const held = this.#frames.filter(({ picture }) => picture);
    if (held.length > HELD_MAX) this.#free(held[0]);
    if (this.mode === 'arrival') {
      frame.said = this.#newest ?? undefined;
      this.#show(frame);
    }
  }

  /** @param {Result} result */
  #hear(result) {
    const time = this.session.captured(result);
    if (time === null) this.session.matching = 'calibrating'; // no sender report yet, or a new connection
    this.#newest = { time: (time ?? NaN) - this.session.offset, rtp: result.rtp, seq: result.seq, result };
    this.#newestAt = performance.now();
    push(this.#said, this.#newest, FRAMES_MAX);
  }

  /** @param {import('./framegate.js').Missed[]} missed */
  #miss(missed) {
    const known = this.#newest;
    if (!known) return;
    // `| 0`: the difference of two 32-bit RTP timestamps, right across their wrap.
    for (const { rtp, seq } of missed) {
      push(this.#said, { time: known.time + ((rtp - known.rtp) | 0) / 90, rtp, seq }, FRAMES_MAX);
    }
  }

  // Gives each frame what was said of it, as soon as both are there; neither is always first.
  #pair() {
    const gap = median(this.#gaps);
    // Nothing fits any more: the system's clock was set.
    if (this.#said.length === FRAMES_MAX && !this.#said.some(({ taken }) => taken)) this.session.calibrate();
    if (this.session.matching === 'calibrating') this.#residuals = [];
    const reach = !this.#exact ? gap : Math.min(gap / 2, this.#residuals.length < KNOWN_MIN ? OFF_MS : NEAR_MS);
    for (const frame of this.#frames) {
      if (frame.said) continue;
      const target = frame.time - this.session.offset;
      /** @type {Said | undefined} */ let best;
      let off = reach;
      for (const said of this.#said) {
        if (said.taken && this.#exact || Math.abs(said.time - target) >= off || Number.isNaN(said.time)) continue;
        off = Math.abs(said.time - target);
        best = said;
      }
      if (!best) continue;
      frame.said = best;
      best.taken = true;
      if (!best.result) continue;
      if (frame.shown) this.late++;
      this.session.matching = this.#exact ? 'exact' : 'nearest';
      // The page's clock and the one of the sender reports drift apart, slowly: follow.
      if (!this.#exact) continue;
      push(this.#residuals, frame.time - best.time, 31);
      this.session.offset = median(this.#residuals);
    }
  }

  /** @param {number} now */
  #release(now) {
    const held = this.#frames.filter(({ picture }) => picture);
    const decided = (this.#newest?.time ?? NaN) + this.session.offset - median(this.#gaps) / 2;
    const waits = held.findIndex(({ said, at, time }) =>
      !said && !(time < decided) && now - at < HOLD_MS && this.session.state === 'live');
    const ready = waits < 0 ? held.length : waits;
    if (!ready) return;
    // One frame a refresh. What is more than one behind is left out, or the delay would stay for ever.
    const next = Math.max(0, ready - 2);
    for (const frame of held.slice(0, next)) this.#free(frame);
    this.#show(held[next]);
  }

  /** @param {Frame} frame */
  #show(frame) {
    const { ctx, canvas: { width, height }, options } = this;
    const { said } = frame;
    if (options.mirror) ctx.setTransform(-1, 0, 0, 1, width, 0);
    if (frame.picture) ctx.drawImage(frame.picture, 0, 0);
    ctx.resetTransform();
    frame.shown = true;
    this.#free(frame);
    if (said?.result) this.#draw(said.result);
    const { rtp = null, seq = null, result = null } = said ?? {};
    this.#tell({ rtp, seq, result, captureTime: frame.time });
  }

  /** @param {number} now */
  #paintLive(now) {
    const { ctx, canvas: { width, height } } = this;
    ctx.clearRect(0, 0, width, height);
    const newest = this.#newest;
    if (!newest?.result || now - this.#newestAt > STALE_MS) return;
    this.#draw(newest.result);
    const line = Math.max(2, width / 260);
    const age = now - newest.time - this.session.offset;
    ctx.font = `600 ${line * 6}px system-ui, sans-serif`;
    ctx.fillStyle = '#f4f6f8';
    const text = Number.isNaN(age) ? 'age unknown' : `${Math.max(0, Math.round(age))} ms old`;
    write(ctx, text, line * 3, height - line * 3, line);
    if (this.lastShown?.result === newest.result) return;
    this.#tell({ rtp: newest.rtp, seq: newest.seq, result: newest.result, captureTime: null });
  }

  /** @param {Result} result */
  #draw(result) {
    const { canvas: { width, height }, options } = this;
    (options.draw ?? drawDetections)(this.ctx, result, ([x, y, w, h]) =>
      [(options.mirror ? 1 - x - w : x) * width, y * height, w * width, h * height]);
  }

  /** @param {import('./framegate.js').Shown} shown */
  #tell(shown) {
    this.lastShown = shown;
    this.options.onshow?.(shown);
  }

  /** @param {Frame} frame */
  #free(frame) {
    if (frame.picture && this.#pool.length < HELD_MAX) this.#pool.push(frame.picture);
    frame.picture = undefined;
  }
}
