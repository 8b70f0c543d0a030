// @ts-check
// framegate in a web page: sends a camera to a framegate server (WHIP) and gives back results bound to exact frames.
// Types and documentation: framegate.d.ts. Licence: MIT OR Apache-2.0.

/**
 * @typedef {import('./framegate.js').Result} Result
 * @typedef {import('./framegate.js').Options} Options
 * @typedef {import('./framegate.js').State} State
 * @typedef {import('./framegate.js').Summary} Summary
 */

export { drawDetections, overlay } from './overlay.js';

const RESULTS_MAX = 256; // results a slow reader may leave waiting: 8 s at 30 Hz
const GATHER_MS = 500; // candidates found later are trickled
const CONNECT_MS = 10_000; // the server gives up on an offer after as long
const LOST_MS = 3000; // 'disconnected' for as long is a lost connection
const RETRY_MS = [300, 1200, 2700, 4800, 7000];
const ANSWER_MS = 10_000; // an engine that starts anew answers later than one that runs

export class FramegateError extends Error {
  /** @param {string} code @param {string} message @param {string} hint @param {object} [more] */
  constructor(code, message, hint, more) {
    super(message);
    this.name = 'FramegateError';
    this.code = code;
    this.hint = hint;
    Object.assign(this, more);
  }
}

/** @type {Record<string, [string, string, string]>} */
const CAMERA_ERRORS = {
  NotFoundError: ['no_camera', 'No camera was found.', 'Plug one in, or choose another source.'],
  NotAllowedError: ['camera_denied', 'This page may not use the camera.',
    'Allow it at the camera sign in the address bar; then look at the privacy settings of the system.'],
  NotReadableError: ['camera_busy', 'The camera does not start.', 'Close other programs that use it, then try again.'],
  OverconstrainedError: ['camera_mismatch', 'No camera can do what was asked.', 'Ask for another size or device.'],
};

/** @param {MediaStreamConstraints} [constraints] */
export async function camera(constraints = { video: { width: 640, height: 480, frameRate: 30 } }) {
  // Browsers hide mediaDevices from pages that are not secure, so this check comes first.
  if (!isSecureContext) {
    throw new FramegateError('insecure_page', 'Browsers give no camera to pages opened by plain http.',
      'Open the page by https, or as http://localhost.');
  }
  try {
    return await navigator.mediaDevices.getUserMedia(constraints);
  } catch (cause) {
    const { name, message } = /** @type {Error} */ (cause);
    const known = CAMERA_ERRORS[name === 'AbortError' ? 'NotReadableError' : name];
    const [code, text, hint] = known ?? ['camera_failed', `The camera failed: ${message}`, 'Try another one.'];
    throw new FramegateError(code, text, hint, { cause });
  }
}

/** @param {Options} options */
export const connect = (options) => Session.open(options);

export class Session {
  /** @type {State} */ state = 'idle';
  /** @type {'calibrating' | 'exact' | 'nearest'} */ matching = 'calibrating';
  /** @type {any} */ hello = null;
  /** @type {any} */ counts = null;
  /** @type {MediaStream} */ stream = new MediaStream();
  /** @type {import('./framegate.js').Processor[]} */ processors = [];
  returnsImage = false;
  offset = 0; // ms from the sender reports' clock to the page's, followed by the overlay
  /** @type {Options} */ #options;
  /** @type {Map<string, Set<Function>>} */ #listeners = new Map();
  #over = new AbortController();
  /** @type {RTCPeerConnection | null} */ #pc = null;
  /** @type {RTCDataChannel | null} */ #control = null;
  /** @type {Map<number, (answer: any) => void>} */ #asked = new Map();
  #askedCount = 0;
  /** @type {string | null} */ #resource = null;
  /** @type {Promise<Summary> | undefined} */ #closed;

  /** @param {Options} options */
  constructor(options) {
    this.#options = options;
    for (const [name, listener] of Object.entries(options.on ?? {})) this.on(name, listener);
  }

  /** @param {Options} options */
  static async open(options) {
    const session = new Session(options);
    const close = () => session.close();
    options.signal?.addEventListener('abort', close);
    addEventListener('pagehide', close);
    session.#over.signal.addEventListener('abort', () => {
      options.signal?.removeEventListener('abort', close);
      removeEventListener('pagehide', close);
    });
    try {
      options.signal?.throwIfAborted();
      const { stream } = options;
      session.#set('requesting');
      session.stream = stream instanceof MediaStream ? stream : await camera(stream === 'camera' ? undefined : stream);
      session.stream.getVideoTracks()[0]?.addEventListener('ended', () => session.#fail(
        new FramegateError('camera_lost', 'The video source has ended.', 'Plug the camera in again and start anew.')));
      await session.#dial();
      session.#set('live');
      return session;
    } catch (error) {
      session.#end('failed');
      throw session.#closed || options.signal?.aborted ? closed() : error;
    }
  }

  /** @param {string} name @param {Function} listener */
  on(name, listener) {
    const set = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, set.add(listener));
    return () => void set.delete(listener);
  }

  async *results() {
    /** @type {Result[]} */ const waiting = [];
    let wake = () => {};
    const off = [this.on('state', () => wake()), this.on('result', (/** @type {Result} */ result) => {
      if (waiting.push(result) > RESULTS_MAX) waiting.shift();
      wake();
    })];
    try {
      for (;;) {
        const next = waiting.shift();
        if (next) yield next;
        else if (this.#over.signal.aborted) return;
        else await new Promise((resolve) => { wake = () => resolve(null); });
      }
    } finally {
      for (const stop of off) stop();
    }
  }

  /** @param {Result} result */
  captured({ capture_us }) {
    return capture_us == null ? null : capture_us / 1000 - performance.timeOrigin + this.offset;
  }

  // Sender reports follow the system's clock, also when it is set; the page's clock does not.
  calibrate() {
    this.matching = 'calibrating';
    this.offset = performance.timeOrigin + performance.now() - Date.now();
  }

  /** @param {Record<string, unknown>} values @param {{ processor?: string }} [options] @returns {Promise<any>} */
  setParams(values, { processor } = {}) {
    return new Promise((resolve, reject) => {
      const id = ++this.#askedCount;
      this.#say({ type: 'params', id, data: { values, processor } });
      const timer = setTimeout(() => this.#answer(id, new FramegateError('no_answer',
        `The engine has not answered in ${ANSWER_MS / 1000} s.`, 'See the events: it may be starting, or hang.')), ANSWER_MS);
      this.#asked.set(id, (answer) => {
        clearTimeout(timer);
        (answer instanceof Error ? reject : resolve)(answer);
      });
    });
  }

  /** @param {unknown} message @param {{ processor?: string }} [options] */
  send(message, { processor } = {}) {
    this.#say({ type: 'message', data: { processor, message } });
  }

  /** @param {'source' | 'processed'} [view] */
  snapshotUrl(view) {
    if (!this.hello) return null;
    const url = new URL(this.#options.url, document.baseURI);
    const path = `/v1/streams/${encodeURIComponent(this.hello.stream)}/snapshot.jpg`;
    url.pathname = url.pathname.replace(/\/whip(\/[^/]*)?$/, '') + path;
    url.search = view ? `?view=${view}` : '';
    return url.href;
  }

  async stats() {
    const all = [...(await this.#pc?.getStats() ?? new Map()).values()];
    const out = all.find((s) => s.type === 'outbound-rtp') ?? {};
    const pair = all.find((s) => s.type === 'candidate-pair' && s.nominated && s.state === 'succeeded') ?? {};
    return {
      framesEncoded: out.framesEncoded ?? 0, bytesSent: out.bytesSent ?? 0, width: out.frameWidth ?? 0,
      height: out.frameHeight ?? 0, fps: out.framesPerSecond ?? 0, rttMs: (pair.currentRoundTripTime ?? 0) * 1000,
      limitedBy: out.qualityLimitationReason ?? 'none',
    };
  }

  close() {
    return this.#closed ??= this.#close();
  }

  async #close() {
    const request = this.#remove();
    this.#over.abort();
    const summary = await request;
    this.#end('closed');
    return { stream: this.hello?.stream ?? null, counts: this.counts, ...summary };
  }

  /** @param {string} name @param {any} value */
  #emit(name, value) {
    for (const listener of this.#listeners.get(name) ?? []) {
      try { listener(value); } catch (error) { reportError(error); }
    }
  }

  /** @param {State} state */
  #set(state) {
    if (state === this.state || this.state === 'closed' || this.state === 'failed') return;
    this.state = state;
    this.#emit('state', state);
  }

  /** @param {FramegateError} error */
  #fail(error) {
    if (this.#over.signal.aborted) return;
    this.#remove();
    this.#end('failed');
    this.#emit('error', error);
  }

  /** @param {State} state */
  #end(state) {
    this.#over.abort();
    this.#hangUp();
    if (!(this.#options.stream instanceof MediaStream)) for (const track of this.stream.getTracks()) track.stop();
    this.#set(state);
  }

  #hangUp() {
    const pc = this.#pc;
    this.#pc = this.#control = null; // first, so that what closing causes is not taken for a loss
    pc?.close();
    for (const id of this.#asked.keys()) this.#answer(id, notLive());
  }

  /** @param {object} message */
  #say(message) {
    if (this.#control?.readyState !== 'open') throw notLive();
    this.#control.send(JSON.stringify({ v: 1, ...message }));
  }

  /** @param {any} id @param {any} answer */
  #answer(id, answer) {
    this.#asked.get(id)?.(answer);
    this.#asked.delete(id);
  }

  // Frees the server's session; gives its summary. `keepalive` lets the request outlive the page.
  async #remove() {
    const url = this.#resource;
    this.#resource = null;
    if (!url) return {};
    return fetch(url, { method: 'DELETE', keepalive: true, signal: AbortSignal.timeout(3000) })
      .then((response) => (response.ok ? response.json() : {})).catch(() => ({})); // gone already is as good
  }

  async #dial() {
    this.#over.signal.throwIfAborted();
    if (!globalThis.RTCPeerConnection) throw new FramegateError('no_webrtc', 'No WebRTC here.', 'Use another browser.');
    if (this.state !== 'reconnecting') this.#set('connecting');
    this.calibrate();
    const pc = this.#pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
    const results = pc.createDataChannel('results', { ordered: false, protocol: 'framegate.result.v1' });
    const control = this.#control = pc.createDataChannel('control', { protocol: 'framegate.control.v1' });
    results.onmessage = ({ data }) => this.#onResult(parse(data));
    control.onmessage = ({ data }) => this.#onControl(parse(data));
    const track = this.stream.getVideoTracks()[0];
    if (!track) throw new FramegateError('no_video', 'The stream has no video.', 'Pass one with a video track.');
    preferVp8(pc.addTransceiver(track, { direction: 'sendonly', streams: [this.stream] }));
    /** @type {RTCIceCandidate[] | null} */ let late = null;
    pc.onicecandidate = ({ candidate }) => {
      if (!candidate?.candidate || !late) return; // before the offer is read it is in the offer
      late.push(candidate);
      this.#trickle(pc, late);
    };
    try {
      await pc.setLocalDescription();
      await gathered(pc);
      this.#over.signal.throwIfAborted();
      late = [];
      const answer = await this.#post(pc.localDescription?.sdp ?? '');
      this.#trickle(pc, late);
      await pc.setRemoteDescription({ type: 'answer', sdp: answer });
      await this.#connected(pc, [results, control], answer);
    } catch (error) {
      this.#remove();
      if (this.#pc === pc) this.#hangUp();
      throw error;
    }
    this.#watch(pc, control);
  }

  /** @param {string} offer */
  async #post(offer) {
    const { url, name } = this.#options;
    const target = new URL(url, document.baseURI);
    if (name) target.searchParams.set('stream', name);
    let response;
    try {
      response = await fetch(target, {
        method: 'POST', body: offer, headers: { 'content-type': 'application/sdp' },
        signal: AbortSignal.timeout(CONNECT_MS),
      });
    } catch (cause) {
      const { origin } = globalThis.location;
      const listed = target.origin === origin ? '' : ` Its server.origins must name ${origin}.`;
      throw new FramegateError('server_unreachable', `The server at ${target.host} does not answer.`,
        `See whether it runs and whether this address is right.${listed}`, { cause });
    }
    if (response.status !== 201) throw await refusal(response);
    const location = response.headers.get('location');
    this.#resource = location && new URL(location, response.url).href;
    const answer = await response.text();
    this.#over.signal.throwIfAborted(); // closed meanwhile: the caller frees what was just made
    return answer;
  }

  /** @param {RTCPeerConnection} pc @param {RTCIceCandidate[]} late */
  #trickle(pc, late) {
    if (!this.#resource || !late.length || pc !== this.#pc) return;
    const sdp = pc.localDescription?.sdp ?? '';
    const lines = [...(sdp.match(/^a=ice-(ufrag|pwd):.*$/gm) ?? []).slice(0, 2), 'm=video 9 UDP/TLS/RTP/SAVPF 0',
      `a=mid:${late[0].sdpMid}`, ...late.splice(0).map((c) => `a=${c.candidate}`), ''];
    fetch(this.#resource, {
      method: 'PATCH', body: lines.join('\r\n'), headers: { 'content-type': 'application/trickle-ice-sdpfrag' },
    }).catch(() => {}); // if it mattered, connecting fails and says so
  }

  /** @param {RTCPeerConnection} pc @param {RTCDataChannel[]} channels @param {string} answer */
  #connected(pc, channels, answer) {
    return new Promise((resolve, reject) => {
      const fail = () => noRoute(pc, answer).then(reject);
      const timer = setTimeout(fail, CONNECT_MS);
      const check = () => {
        if (pc.connectionState === 'failed') fail();
        else if (!channels.every((channel) => channel.readyState === 'open')) return;
        clearTimeout(timer);
        resolve(null);
      };
      pc.onconnectionstatechange = check;
      for (const channel of channels) channel.onopen = check;
      this.#over.signal.addEventListener('abort', () => { clearTimeout(timer); reject(closed()); });
    });
  }

  /** @param {RTCPeerConnection} pc @param {RTCDataChannel} control */
  #watch(pc, control) {
    let timer = 0;
    const lost = () => {
      clearTimeout(timer);
      if (pc === this.#pc && !this.#over.signal.aborted) this.#redial();
    };
    control.onclose = lost;
    pc.onconnectionstatechange = () => {
      clearTimeout(timer);
      if (pc !== this.#pc) return;
      if (pc.connectionState === 'failed') return lost();
      if (pc.connectionState === 'disconnected') timer = setTimeout(lost, LOST_MS);
      this.#set(pc.connectionState === 'connected' ? 'live' : 'reconnecting');
    };
  }

  async #redial() {
    this.#set('reconnecting');
    this.#hangUp();
    this.#remove();
    let why = '';
    for (const wait of RETRY_MS) {
      await new Promise((resolve) => setTimeout(resolve, wait * (0.8 + 0.4 * Math.random())));
      if (this.#over.signal.aborted) return;
      try {
        await this.#dial();
        return this.#set('live');
      } catch (error) {
        why = /** @type {Error} */ (error).message;
      }
    }
    this.#fail(new FramegateError('connection_lost', `The connection was lost. ${why}`,
      'See whether the server runs, then start anew.'));
  }

  /** @param {any} result */
  #onResult(result) {
    if (result?.v !== 1) return;
    this.#emit('result', result);
    this.#onCounts(result);
  }

  /** @param {any} message */
  #onControl(message) {
    const { type, data, id } = message ?? {};
    if (type === 'hello') this.hello = data;
    if (type === 'image') this.returnsImage = true;
    if (type === 'counts' || type === 'summary') this.#onCounts(data);
    else if (type === 'processors') this.#emit(type, this.processors = list(data?.processors));
    else if (type === 'params') this.#onParams(data, id);
    else if (['hello', 'event', 'log', 'message', 'image'].includes(type)) this.#emit(type, data);
  }

  /** @param {any} data @param {any} id */
  #onParams(data, id) {
    const answer = { values: list(data?.values), refused: list(data?.refused) };
    for (const { processor, id: param, value } of answer.values) {
      const known = this.processors.find(({ name }) => name === processor)?.params?.find((p) => p.id === param);
      if (known) known.value = value;
    }
    this.#emit('params', answer);
    this.#answer(id, answer);
  }

  /** @param {any} data */
  #onCounts(data) {
    if (!data?.counts) return;
    this.counts = data.counts;
    this.#emit('counts', { counts: data.counts, missed: list(data.missed) });
  }
}

const closed = () => new FramegateError('closed', 'The session was closed.', '');

const notLive = () => new FramegateError('not_live', 'The session is not connected.', 'Wait for the state `live`.');

/** @param {any} value @returns {any[]} */
const list = (value) => (Array.isArray(value) ? value : []);

/** @param {any} text @returns {any} */
function parse(text) {
  try { return JSON.parse(text); } catch { return null; }
}

/** @param {RTCRtpTransceiver} transceiver */
function preferVp8(transceiver) {
  const codecs = RTCRtpSender.getCapabilities('video')?.codecs ?? [];
  const wanted = codecs.filter(({ mimeType }) => /\/(VP8|rtx|red|ulpfec)$/i.test(mimeType));
  if (wanted.some(({ mimeType }) => /VP8/i.test(mimeType))) transceiver.setCodecPreferences(wanted);
}

/** @param {RTCPeerConnection} pc */
function gathered(pc) {
  return new Promise((resolve) => {
    const done = () => pc.iceGatheringState === 'complete' && resolve(null);
    pc.onicegatheringstatechange = done;
    setTimeout(resolve, GATHER_MS);
    done();
  });
}

/** @param {Response} response */
async function refusal(response) {
  const problem = parse(await response.text()) ?? {};
  const { status, headers } = response;
  const retryAfter = Number(headers.get('retry-after')) || undefined;
  const code = status === 404 ? 'unknown_pipeline' : status === 503 && retryAfter ? 'server_full' : 'server_refused';
  return new FramegateError(code, problem.detail ?? problem.title ?? `The server answered ${status}.`,
    problem.next ?? (retryAfter ? `Try again in ${retryAfter} s.` : 'Look into the log of the server.'),
    { problem, retryAfter });
}

/** @param {RTCPeerConnection} pc @param {string} answer */
async function noRoute(pc, answer) {
  const stats = await pc.getStats();
  /** @param {string} sdp */
  const candidates = (sdp) => [...new Set((sdp.match(/^a=candidate:.*$/gm) ?? []).map((line) => line.split(' '))
    .filter((part) => part[5] !== '9').map((part) => `${part[4]}:${part[5]}/${part[2].toLowerCase()}`))];
  /** @param {string} id */
  const place = (id) => `${stats.get(id)?.address ?? '?'}:${stats.get(id)?.port ?? '?'}`;
  const pairs = [...stats.values()].filter(({ type }) => type === 'candidate-pair')
    .map((pair) => `${place(pair.localCandidateId)} → ${place(pair.remoteCandidateId)} ${pair.state}`);
  const remote = candidates(answer);
  const server = remote.join(', ') || 'no address';
  return new FramegateError('no_media_route', `The server answered, but media does not reach it (tried ${server}).`,
    `Let ${server} through the firewall and the container, or set media.addresses in framegate.toml to an address `
    + 'that this browser reaches.', { local: candidates(pc.localDescription?.sdp ?? ''), remote, pairs });
}
