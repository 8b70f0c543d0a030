// @ts-check
// The try-it page: choose a source and a pipeline, start, see what is found.

import { FramegateError, connect, overlay } from '../sdk/framegate.js';
import { $, Panels, hideError, showError } from './panels.js';
import { cameraSource, cameras, fileSource, patternSource } from './sources.js';

/** @typedef {import('../sdk/framegate.js').Session} Session */
/** @typedef {{ abort: AbortController, source?: import('./sources.js').Source, session?: Session,
 *   overlay?: import('../sdk/framegate.js').Overlay }} Run one press of Start */

const RENDER_MS = 250;
const MEASURE_EVERY = 4; // renders
const SAY_EVERY = 20; // renders: what a screen reader is told
const STATES = {
  idle: 'Ready', requesting: 'Asking for video', connecting: 'Connecting', live: 'Live', reconnecting: 'Reconnecting',
  failed: 'Failed', closed: 'Ready',
};
const TONES = new Map([['error', 'bad'], ['warn', 'warn']]);
const params = new URLSearchParams(location.search);
const panels = new Panels();
const shared = { session: /** @type {Session | null} */ (null), overlay: /** @type {any} */ (null) };
Object.assign(window, { framegate: shared });

/** @typedef {{ name: string, version: string, description: string, state: string, error?: string }} Processor */
/** @type {{ name: string, processors: Processor[] }[]} */ let pipelines = [];
/** @type {Run | null} */ let run = null;
/** @type {File | null} */ let file = null;
let renders = 0;

/** @param {string} name @returns {HTMLInputElement[]} */
const radios = (name) => [...document.querySelectorAll('input')].filter((input) => input.name === name);

/** @param {string} name */
const chosen = (name) => radios(name).find(({ checked }) => checked)?.value ?? '';

/** @param {string} name @param {string | null} value */
function choose(name, value) {
  for (const input of radios(name)) if (input.value === value) input.checked = true;
}

/** @param {keyof typeof STATES} state */
function showState(state) {
  $('state').textContent = STATES[state];
  $('state').dataset.state = state;
  $('summary').textContent = STATES[state];
  const button = $('start');
  button.textContent = run ? 'Stop' : 'Start';
  button.toggleAttribute('data-running', run !== null);
  $('empty').hidden = run !== null;
}

/** @returns {Promise<import('./sources.js').Source>} */
async function openSource() {
  const kind = chosen('source');
  if (kind === 'pattern') return patternSource(params.has('numbered'));
  if (kind === 'camera') return cameraSource($('camera').value);
  if (!file) {
    throw new FramegateError('no_file', 'No video file is chosen.', 'Choose one above, or drop it on the picture.');
  }
  return fileSource(file);
}

async function start() {
  hideError();
  panels.reset();
  /** @type {Run} */ const mine = run = { abort: new AbortController() };
  showState('requesting');
  try {
    mine.source = await openSource();
    if (run !== mine) return mine.source.stop();
    $('mirror').checked = mine.source.mirror;
    $('video').srcObject = mine.source.stream;
    fitStage(mine.source.stream);
    if (chosen('source') === 'camera') await listCameras(mine.source.stream);
    const session = await connect({
      url: `/whip/${encodeURIComponent($('pipeline').value)}`, stream: mine.source.stream, signal: mine.abort.signal,
      on: {
        state: (state) => { if (run === mine && state !== 'closed') showState(state); },
        hello: ({ server }) => { $('version').textContent = String(server).slice(0, 32); },
        event: (event) => panels.event(event),
        log: ({ level, text }) => panels.line(TONES.get(level) ?? '', `${level}:`, String(text)),
        counts: ({ counts }) => { panels.counts = counts; },
        error: (error) => { if (run === mine) fail(error); },
        result: (result) => {
          const captured = mine.session?.captured(result) ?? null;
          panels.add(result, captured === null ? null : performance.now() - captured);
        },
      },
    });
    if (run !== mine) return void session.close();
    mine.session = shared.session = session;
    attach();
  } catch (error) {
    if (run === mine) fail(error);
  }
}

/** @param {any} error */
function fail(error) {
  release();
  showState('failed');
  showError(error);
  panels.line('bad', 'Ended', error.message);
}

// Lets go of what the run holds; the server's side is the session's own business.
function release() {
  run?.abort.abort();
  run?.overlay?.();
  run?.source?.stop();
  run = null;
  shared.overlay = null;
  $('video').srcObject = null;
}

async function stop() {
  const session = run?.session;
  const closing = session?.close();
  release();
  showState('idle');
  const summary = await closing;
  if (!summary?.counts || run) return;
  panels.counts = summary.counts;
  panels.render();
  panels.line('', 'Ended', `${summary.counts.received} frames, ${summary.counts.ok} results`);
}

async function restart() {
  if (!run) return;
  await stop();
  await start();
}

function attach() {
  const current = run;
  if (!current?.session) return;
  current.overlay?.();
  const mode = /** @type {'exact' | 'live'} */ (chosen('mode'));
  /** @type {import('../sdk/framegate.js').OverlayOptions} */
  const options = { mode: params.get('mode') === 'arrival' ? 'arrival' : mode, mirror: $('mirror').checked };
  current.overlay = shared.overlay = overlay(current.session, $('video'), $('canvas'), options);
}

/** The stage takes the shape of the video. @param {MediaStream} stream */
function fitStage(stream) {
  const { width, height } = stream.getVideoTracks()[0].getSettings();
  if (width && height) $('stage').style.aspectRatio = `${width} / ${height}`;
}

/** @param {MediaStream} [stream] */
async function listCameras(stream) {
  const all = await cameras();
  const current = stream?.getVideoTracks()[0].getSettings().deviceId;
  $('camera').replaceChildren(...all.map(({ deviceId, label }, index) =>
    new Option(label || `Camera ${index + 1}`, deviceId, false, deviceId === current)));
  showFields();
}

function showFields() {
  $('camera-field').hidden = chosen('source') !== 'camera' || $('camera').options.length === 0;
  $('file-field').hidden = chosen('source') !== 'file';
}

async function listPipelines() {
  const select = $('pipeline');
  try {
    const response = await fetch('/v1/pipelines');
    if (!response.ok) throw new Error(`status ${response.status}`);
    const answer = await response.json();
    pipelines = answer.pipelines;
    const wanted = params.get('pipeline') ?? answer.default;
    select.replaceChildren(...pipelines.map(({ name, processors }) => {
      const broken = processors.some(({ error }) => error);
      return new Option(broken ? `${name} (does not load)` : name, name, false, name === wanted);
    }));
    const none = pipelines.length === 0;
    if (none) select.replaceChildren(new Option('None'));
    select.disabled = $('start').disabled = none;
    about();
  } catch (cause) {
    select.replaceChildren(new Option('Unknown'));
    showError(new FramegateError('server_unreachable', 'This server does not say what it can run.',
      'See whether framegate runs, then reload the page.', { cause }));
  }
}

function about() {
  if (pipelines.length === 0) {
    $('about').textContent = 'No algorithm is loaded. Start the server with one: framegate -p ./my_algorithm.so';
    return;
  }
  const processors = pipelines.find(({ name }) => name === $('pipeline').value)?.processors ?? [];
  const words = processors.map(({ name, version, description, error }) =>
    error ? `${name} does not load: ${error}` : [`${name} ${version}`, description].filter(Boolean).join(': '));
  $('about').textContent = words.join(' → ');
}

function showMatching() {
  const words = {
    calibrating: 'Calibrating: waiting for the clock of the stream, boxes follow.',
    exact: 'Exact: each picture is shown together with its own result.',
    nearest: 'Nearest: this source has no capture times, a box may be a frame off.',
  };
  const session = run?.session;
  const live = 'Live: the newest result over the undelayed picture, with its age.';
  const age = panels.ageMs(0.5);
  const slow = age !== null && age > 250 ? ' Results come too late to wait for: choose Live.' : '';
  $('matching').textContent = !session ? '' : chosen('mode') === 'live' ? live : words[session.matching] + slow;
}

async function tick() {
  showMatching();
  const session = run?.session;
  if (!session) return;
  renders++;
  if (renders % MEASURE_EVERY === 0) panels.measure((await session.stats()).framesEncoded);
  panels.render();
  if (renders % SAY_EVERY !== 0 || session.state !== 'live') return;
  const found = panels.result?.detections?.length ?? 0;
  $('summary').textContent = `${panels.resultRate.toFixed(0)} results a second, ${found} found in the last`;
}

/** Keeps the address a link to what is chosen. */
function remember() {
  params.set('source', chosen('source'));
  if (pipelines.length) params.set('pipeline', $('pipeline').value);
  if (params.get('mode') !== 'arrival') params.set('mode', chosen('mode'));
  history.replaceState(null, '', `?${params}`);
}

/** @param {File | undefined} given */
async function useFile(given) {
  if (!given) return;
  file = given;
  choose('source', 'file');
  showFields();
  if (run) await stop();
  await start();
}

function wire() {
  $('start').addEventListener('click', () => (run ? stop() : start()));
  $('error-close').addEventListener('click', hideError);
  $('mirror').addEventListener('change', attach);
  $('camera').addEventListener('change', restart);
  $('pipeline').addEventListener('change', () => { about(); remember(); restart(); });
  $('file').addEventListener('change', () => useFile($('file').files[0]));
  $('pause').addEventListener('click', () => {
    panels.paused = !panels.paused;
    $('pause').textContent = panels.paused ? 'Resume' : 'Pause';
    $('pause').setAttribute('aria-pressed', String(panels.paused));
  });
  document.addEventListener('change', ({ target }) => {
    const { name } = /** @type {HTMLInputElement} */ (target);
    if (name !== 'source' && name !== 'mode') return;
    if (name === 'mode' && params.get('mode') === 'arrival') params.delete('mode');
    showFields();
    remember();
    if (name === 'mode') attach();
    else if (chosen('source') !== 'file' || file) restart();
  });
  const stage = $('stage');
  stage.addEventListener('dragover', (/** @type {DragEvent} */ event) => {
    event.preventDefault();
    stage.classList.add('dropping');
  });
  stage.addEventListener('dragleave', () => stage.classList.remove('dropping'));
  stage.addEventListener('drop', (/** @type {DragEvent} */ event) => {
    event.preventDefault();
    stage.classList.remove('dropping');
    useFile(event.dataTransfer?.files[0]);
  });
}

wire();
choose('source', params.get('source'));
choose('mode', params.get('mode'));
panels.render();
showFields();
setInterval(tick, RENDER_MS);
await listPipelines();
await listCameras();
if (params.get('autostart') === '1' && pipelines.length) start();
