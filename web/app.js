// @ts-check
// The try-it page: choose a source and a pipeline, start, see what is found.

import { FramegateError, connect, overlay } from '../sdk/framegate.js';
import { $, say } from './dom.js';
import { Form } from './form.js';
import { Log } from './logs.js';
import { Panels, hideError, showError } from './panels.js';
import { Picker } from './picker.js';
import { Returned } from './returned.js';
import { cameraSource, cameras, fileSource, patternSource } from './sources.js';

/** @typedef {import('../sdk/framegate.js').Session} Session */
/** @typedef {{ abort: AbortController, source?: import('./sources.js').Source, session?: Session,
 *   overlay?: import('../sdk/framegate.js').Overlay }} Run one press of Start */

const RENDER_MS = 250;
const MEASURE_EVERY = 4; // renders
const SAY_EVERY = 20; // renders: what a screen reader is told
const LOOK_MS = 2000; // between two looks at the state and cost of the pipelines
const NARROW = matchMedia('(max-width: 900px)');
const STATES = {
  idle: 'Ready', requesting: 'Asking for video', connecting: 'Connecting', live: 'Live', reconnecting: 'Reconnecting',
  failed: 'Failed', closed: 'Ready',
};
const params = new URLSearchParams(location.search);
const panels = new Panels();
const log = new Log();
const form = new Form();
const picker = new Picker();
const returned = new Returned();
const shared = { session: /** @type {Session | null} */ (null), overlay: /** @type {any} */ (null) };
Object.assign(window, { framegate: shared });

/** @type {Run | null} */ let run = null;
/** @type {File | null} */ let file = null;
let renders = 0;
let isLost = false; // whether the server has not said what it can run

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
  showForm();
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
      url: `/whip/${encodeURIComponent(picker.value)}`, stream: mine.source.stream, signal: mine.abort.signal,
      on: {
        state: (state) => { if (run === mine && state !== 'closed') showState(state); },
        hello: ({ server }) => { $('version').textContent = String(server).slice(0, 32); },
        event: (event) => panels.event(event),
        log: ({ level, text }) => log.add(String(level), String(text)),
        processors: (processors) => { if (run === mine) showParams(processors); },
        params: (answer) => form.update(answer),
        image: () => { if (run === mine) showPicture(); },
        counts: ({ counts }) => { panels.counts = counts; },
        error: (error) => { if (run === mine) fail(error); },
        result: (result) => {
          const captured = mine.session?.captured(result) ?? null;
          returned.note(result.seq, captured);
          panels.add(result, captured === null ? null : performance.now() - captured);
        },
      },
    });
    if (run !== mine) return void session.close();
    mine.session = shared.session = session;
    attach();
    showParams(session.processors);
    showPicture();
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
  form.connect(null);
  showPicture();
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

/** Looks at what there is to run, and at what it costs. */
async function listPipelines() {
  try {
    const response = await fetch('/v1/pipelines', { signal: AbortSignal.timeout(LOOK_MS) });
    if (!response.ok) throw new Error(`status ${response.status}`);
    const { pipelines, default: first } = await response.json();
    if (isLost) hideError();
    isLost = false;
    picker.show(pipelines, params.get('pipeline') ?? first);
    $('start').disabled = pipelines.length === 0;
    showForm();
  } catch (cause) {
    // While something runs, its session says what is wrong.
    if (picker.pipelines.length || isLost) return;
    isLost = true;
    showError(new FramegateError('server_unreachable', 'This server does not say what it can run.',
      'See whether framegate runs: this page looks for it every two seconds.', { cause }));
  }
}

/** The form of the chosen pipeline while it does not run. */
function showForm() {
  if (run?.session?.processors.length) return;
  form.show(picker.value, picker.chosen?.processors ?? []);
}

/** The form of the running pipeline. @param {import('../sdk/framegate.js').Processor[]} processors */
function showParams(processors) {
  const session = run?.session;
  if (!session || !processors.length) return;
  form.connect((values, processor) => session.setParams(values, { processor }));
  form.show(picker.value, processors);
}

/** The camera's picture or the one the pipeline returns, which is there only while it runs. */
function showPicture() {
  const session = run?.session;
  const canReturn = session?.returnsImage ?? false;
  const isReturned = canReturn && chosen('picture') === 'processed';
  $('picture-switch').hidden = !canReturn;
  $('mode-switch').hidden = $('mirror-field').hidden = isReturned;
  returned.show(isReturned ? session ?? null : null);
}

/** On narrow screens what is set follows what is seen. */
function arrange() {
  if (NARROW.matches) $('picture').after($('parameters'), $('about-card'));
  else $('side').append($('parameters'), $('about-card'));
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
  const text = chosen('mode') === 'live' ? live : words[session?.matching ?? 'calibrating'] + slow;
  say($('matching'), !session || $('mode-switch').hidden ? '' : text);
}

async function tick() {
  showMatching();
  log.render();
  returned.render();
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
  if (picker.value) params.set('pipeline', picker.value);
  params.set('picture', chosen('picture'));
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
  $('file').addEventListener('change', () => useFile($('file').files[0]));
  $('pause').addEventListener('click', () => {
    panels.paused = !panels.paused;
    $('pause').textContent = panels.paused ? 'Resume' : 'Pause';
    $('pause').setAttribute('aria-pressed', String(panels.paused));
  });
  document.addEventListener('change', ({ target }) => {
    const { name } = /** @type {HTMLInputElement} */ (target);
    if (!['source', 'mode', 'picture', 'pipeline'].includes(name)) return;
    if (name === 'mode' && params.get('mode') === 'arrival') params.delete('mode');
    showFields();
    remember();
    if (name === 'pipeline') picker.about();
    if (name === 'mode') attach();
    else if (name === 'picture') showPicture();
    else if (name === 'pipeline' && !run) showForm();
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
arrange();
NARROW.addEventListener('change', arrange);
choose('source', params.get('source'));
choose('mode', params.get('mode'));
choose('picture', params.get('picture'));
panels.render();
showFields();
setInterval(tick, RENDER_MS);
setInterval(() => { if (!document.hidden) listPipelines(); }, LOOK_MS);
await listPipelines();
await listCameras();
if (params.get('autostart') === '1' && picker.value) start();
