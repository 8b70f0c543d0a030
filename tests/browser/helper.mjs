// What every test needs: a server of its own with given processors, a clip as the camera, and Chromium.
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const bin = process.env.FRAMEGATE_BIN ?? join(process.env.CARGO_TARGET_DIR ?? join(root, 'target'), 'debug');
const browser = process.env.FRAMEGATE_CHROMIUM ?? '/usr/bin/chromium';
const out = join(root, 'tests/browser/out');
export const work = mkdtempSync(join(tmpdir(), 'framegate-browser-'));
mkdirSync(out, { recursive: true });
process.once('exit', () => rmSync(work, { recursive: true, force: true }));

/** Compiles a processor into the work folder; its name becomes the pipeline's. */
export function compile(source, name, ...defines) {
  const library = join(work, `${name}.so`);
  const include = join(root, 'crates/framegate-abi/include');
  execFileSync('cc', ['-shared', '-fPIC', '-O2', ...defines, '-I', include, join(root, source), '-o', library]);
  return library;
}

/** Makes a numbered clip; the ending of the name says which kind. */
export function clip(name, ...options) {
  const path = join(work, name);
  execFileSync(join(bin, 'framegate-engine'), ['clip', '--output', path, ...options.map(String)]);
  return path;
}

/** Waits until `condition` gives something true, and gives that; fails with `what` after `ms`. */
export async function until(what, condition, ms = 15_000) {
  const end = Date.now() + ms;
  for (;;) {
    const found = await condition();
    if (found) return found;
    if (Date.now() > end) throw new Error(`after ${ms} ms still not: ${what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

export function freePort() {
  return new Promise((done) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

/** Starts `framegate serve` and waits until it is ready. `env` are variables such as FRAMEGATE_SERVER__ORIGINS. */
export async function serve({ processors, port, env = {}, patient = true }) {
  port ??= await freePort();
  const base = `http://127.0.0.1:${port}`;
  const args = ['serve', '--listen', `127.0.0.1:${port}`, ...processors.flatMap((file) => ['-p', file])];
  // What is right is judged here, on cores that the browser's encoder keeps busy: being late is not.
  const patience = patient ? { FRAMEGATE_ENGINE__LATE_MS: '5000' } : {};
  const child = spawn(join(bin, 'framegate'), args, { cwd: work, env: { ...patience, ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => { log = (log + text).slice(-100_000); });
  const ended = new Promise((done) => child.once('exit', done));
  const end = (signal) => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    return ended;
  };
  const server = { base, port, pid: child.pid, log: () => log, stop: () => end('SIGTERM'), kill: () => end('SIGKILL') };
  try {
    await until(`ready: ${base}`, () => {
      if (child.exitCode !== null) throw new Error(`framegate serve ended with ${child.exitCode}: ${log}`);
      return fetch(`${base}/readyz`).then((answer) => answer.ok, () => false);
    });
  } catch (error) {
    await server.kill();
    throw error;
  }
  return server;
}

/** Starts Chromium. `camera` is a clip, or `null` for a machine without a camera; `ask` leaves the permission open. */
export function launch({ camera, ask = false } = {}) {
  const args = ['--headless=new', '--no-sandbox', '--disable-background-networking', '--disable-component-update',
    '--disable-sync', '--no-first-run', '--disable-gpu', '--mute-audio'];
  if (camera !== null) args.push('--use-fake-device-for-media-stream');
  if (camera) args.push(`--use-file-for-fake-video-capture=${camera}`);
  if (!ask) args.push('--use-fake-ui-for-media-stream');
  return chromium.launch({ executablePath: browser, headless: true, args, ignoreDefaultArgs: ['--headless=old'] });
}

/** Opens a page that keeps what its console says and where its requests go. */
export async function open(chrome, url, options = {}) {
  const page = await chrome.newPage({ viewport: { width: 1280, height: 860 }, ...options });
  const seen = { errors: [], requests: [] };
  page.on('console', (message) => { if (message.type() === 'error') seen.errors.push(message.text()); });
  page.on('pageerror', (error) => seen.errors.push(String(error)));
  page.on('request', (request) => seen.requests.push(request.url()));
  await page.goto(url);
  return Object.assign(page, { seen });
}

export const screenshot = (page, name) => page.screenshot({ path: join(out, `${name}.png`), fullPage: true });

/** Keeps a picture or a log beside the screenshots. */
export const keep = (name, data) => writeFileSync(join(out, name), data);
