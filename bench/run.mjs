// Runs the fixed scenarios against a release build and writes bench/results/*.json and summary.md. See README.md.
//   node bench/run.mjs [--repeat N] [--seconds S] [scenario …]
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { churn, kills } from './chaos.mjs';
import { restarts } from './restarts.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const bin = process.env.FRAMEGATE_BIN ?? join(root, 'target/release');
const results = join(root, 'bench/results');
const STEAL_PERCENT_MAX = 2; // above it the hypervisor was busy elsewhere, and the run says little
const TRIES = 3;
const READY_TRIES = 1200; // tenths of a second: a C++ source may have to be compiled first

// pipeline, clip and what `framegate load` is told; one entry of `steps` is one run. Those with `drive` do their own.
const steps = (...sessions) => sessions.map((n) => ['-n', n]);
const scenarios = {
  cost: { pipeline: 'readall', clip: 'large', args: ['-s', 10, '--raw'], steps: steps(8), repeat: 3 },
  latency: { pipeline: 'framecode', clip: 'large', args: ['-s', 10], steps: steps(8), repeat: 3 },
  small: { pipeline: 'readall', clip: 'small', args: ['-s', 10, '--raw'], steps: steps(8), repeat: 1 },
  ladder: { pipeline: 'readall', clip: 'large', args: ['-s', 10], steps: steps(24, 28, 32, 36, 40, 44), repeat: 1 },
  overload: { pipeline: 'readall', clip: 'large', args: ['-s', 30, '--accept-skips'], steps: steps(54), repeat: 1 },
  slow: { pipeline: 'slow', clip: 'large', args: ['-s', 30, '--accept-skips'], steps: steps(2), repeat: 1 },
  churn: { pipeline: 'readall', clip: 'large', args: ['-s', 30, '--hold', 2], steps: steps(4), repeat: 1 },
  memory: { pipeline: 'readall', clip: 'large', args: ['-s', 5], steps: steps(1, 16), repeat: 1 },
  faces: { pipeline: 'faces', only: 'examples/cpp/faces.cpp', clip: 'small', args: ['-s', 5, '--accept-skips'], steps: steps(1, 20), repeat: 1 },
  kills: { drive: kills, env: { FRAMEGATE_ENGINE__CRASHES_MAX: '1000' } },
  churn1000: { drive: churn },
  restarts: { drive: restarts, env: { FRAMEGATE_ENGINE__CRASHES_MAX: '1000' } },
};

const argv = process.argv.slice(2);
const option = (name) => {
  const at = argv.indexOf(name);
  return at >= 0 ? Number(argv.splice(at, 2)[1]) : undefined;
};
const repeat = option('--repeat');
const seconds = option('--seconds');
const chosen = argv.length ? argv : Object.keys(scenarios);
const unknown = chosen.filter((name) => !scenarios[name]);
if (unknown.length) throw new Error(`no scenario ${unknown}; there are ${Object.keys(scenarios)}`);

const run = (program, ...args) => execFileSync(program, args.map(String), { encoding: 'utf8', cwd: root });
const engine = join(bin, 'framegate-engine');
const work = mkdtempSync(join(tmpdir(), 'framegate-bench-'));
const compile = (source, name, ...defines) => {
  const library = join(work, `${name}.so`);
  run('cc', '-shared', '-fPIC', '-O2', ...defines, '-I', 'crates/framegate-abi/include', source, '-o', library);
  return library;
};
const clip = (name, size, kbit) => {
  const path = join(work, `${name}.ivf`);
  run(engine, 'clip', '--output', path, '--size', size, '--rate', 30, '--frames', 600, '--kbit', kbit,
    '--key-interval', 75, '--seed', 1);
  return path;
};

function freePort() {
  return new Promise((done) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

async function serve(libraries, more = {}) {
  const base = `http://127.0.0.1:${await freePort()}`;
  const listen = base.slice('http://'.length);
  // The scenarios are about what the machine can do, so admission is opened as far as it goes.
  const env = { ...process.env, FRAMEGATE_ADMISSION__CPU_MAX: '10', ...more };
  const args = ['serve', '--listen', listen, ...libraries.flatMap((library) => ['-p', library])];
  const log = join(work, 'server.log');
  const child = spawn(join(bin, 'framegate'), args.map((arg) => (arg.endsWith('.cpp') ? join(root, arg) : arg)), { env, cwd: work, stdio: ['ignore', 'ignore', openSync(log, 'w')] });
  const ended = new Promise((done) => child.once('exit', done));
  for (let tries = 0; tries < READY_TRIES; tries++) {
    if (child.exitCode !== null) {
      throw new Error(`framegate serve ended with ${child.exitCode}: ${readFileSync(log, 'utf8')}`);
    }
    const ready = await fetch(`${base}/readyz`).then((answer) => answer.ok, () => false);
    if (ready) return { base, child, log, stop: () => { child.kill('SIGTERM'); return ended; } };
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new Error(`framegate serve is not ready after ${READY_TRIES / 10} s`);
}

const lasting = (args) => (seconds ? args.with(args.indexOf('-s') + 1, seconds) : args);

/** One run of `framegate load`; it exits with 1 when the run does not count, and says so in its JSON. */
function load(args) {
  return new Promise((done, fail) => {
    const child = spawn(join(bin, 'framegate'), ['load', ...args.map(String), '--json'], { stdio: ['ignore', 'pipe', 'inherit'] });
    let text = '';
    child.stdout.on('data', (data) => { text += data; });
    child.once('exit', (code) => {
      if (code > 1 || !text) fail(new Error(`framegate load ended with ${code}`));
      else done(JSON.parse(text));
    });
  });
}

const rss = (pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]);
const commit = run('git', 'describe', '--always', '--dirty').trim();
const clips = { large: clip('large', '640x480', 1000), small: clip('small', '320x240', 300) };
const libraries = [compile('examples/c/readall.c', 'readall'), compile('examples/c/framecode.c', 'framecode'),
  compile('testdata/processors/slow.c', 'slow', '-DMS=200'),
  compile('testdata/processors/framecode_slow.c', 'framecode_slow', '-DMS=8')];
mkdirSync(results, { recursive: true });

try {
  for (const name of chosen) {
    const { pipeline, clip: size, args, steps, repeat: usual } = scenarios[name];
    const runs = [];
    if (scenarios[name].drive) {
      const server = await serve(libraries, scenarios[name].env);
      const idle = rss(server.child.pid);
      const report = await scenarios[name].drive({ server, load, clips, work });
      await server.stop();
      runs.push({ ...report, gateway_idle_rss_kib: idle });
      console.error(`${name}: ${report.counts_as_held ? 'counts' : report.why_not.join('; ')}`);
    }
    for (const step of steps ?? []) {
      for (let turn = 0; turn < (repeat ?? usual); turn++) {
        // A fresh server each time: nothing is carried over, and its idle memory is known.
        const server = await serve(scenarios[name].only ? [scenarios[name].only] : libraries);
        const idle = rss(server.child.pid);
        let report;
        for (let tries = 1; tries <= TRIES; tries++) {
          report = await load([`${server.base}/whip/${pipeline}`, '--clip', clips[size], ...lasting(args), ...step]);
          if ((report.cpu?.steal_percent ?? 0) <= STEAL_PERCENT_MAX) break;
        }
        await server.stop();
        runs.push({ ...report, gateway_idle_rss_kib: idle });
        console.error(`${name} ${step.join(' ')}: ${report.counts_as_held ? 'counts' : report.why_not.join('; ')}`);
      }
    }
    const command = `node bench/run.mjs ${name}${seconds ? ` --seconds ${seconds}` : ''}`;
    writeFileSync(join(results, `${name}.json`), JSON.stringify({ scenario: name, command, commit, runs }, withoutFolders, 1) + '\n');
  }
  summarise();
} finally {
  rmSync(work, { recursive: true });
}

/** Results are for every machine: programs and clips by name, not by where they were. */
function withoutFolders(_, value) {
  return typeof value === 'string' && value.startsWith('/') ? basename(value) : value;
}

/** Median, and in brackets smallest and largest. */
function spread(values, digits) {
  const sorted = values.filter((value) => Number.isFinite(value)).sort((a, b) => a - b);
  if (!sorted.length) return '–';
  const text = (value) => value.toFixed(digits);
  const median = text(sorted[Math.floor(sorted.length / 2)]);
  return sorted.length > 1 ? `${median} (${text(sorted[0])}–${text(sorted.at(-1))})` : median;
}

function summarise() {
  const rows = [];
  const findings = [];
  let machine = '';
  for (const name of Object.keys(scenarios)) {
    const path = join(results, `${name}.json`);
    if (!existsSync(path)) continue;
    const file = JSON.parse(readFileSync(path, 'utf8'));
    for (const one of file.runs) findings.push(...(one.findings ?? []).map((text) => `- \`${name}\` (${file.commit}): ${text}`));
    for (const sessions of new Set(file.runs.map((one) => one.sessions.asked))) {
      const runs = file.runs.filter((one) => one.sessions.asked === sessions);
      const of = (pick, digits) => spread(runs.map((one) => { try { return pick(one); } catch { return NaN; } }), digits);
      machine = runs[0].machine;
      rows.push([name, sessions, `${runs.filter((one) => one.counts_as_held).length}/${runs.length}`,
        of((one) => 100 * one.frames.ok / one.frames.sent, 2), of((one) => one.frames.missing, 0),
        of((one) => one.cpu.gateway_ms_per_frame + one.cpu.engines_ms_per_frame, 3), of((one) => one.raw.ratio ?? NaN, 2),
        of((one) => one.latency_ms.p50, 2), of((one) => one.latency_ms.p99, 2), of((one) => one.setup_ms.first_result.p50, 0),
        of((one) => one.memory_after_kib.gateway_rss - one.gateway_idle_rss_kib, 0),
        of((one) => one.memory_after_kib.engine_private_mean, 0), of((one) => one.cpu.steal_percent, 1), file.commit]);
    }
  }
  const head = ['scenario', 'sessions', 'runs that count', 'ok %', 'missing', 'CPU ms/frame', '× raw', 'p50 ms', 'p99 ms',
    'set-up ms', 'gateway KiB above idle', 'KiB per engine', 'steal %', 'commit'];
  const line = (cells) => `| ${cells.join(' | ')} |`;
  const text = ['# Results', '', `${machine}. Median, in brackets smallest and largest; made by \`node bench/run.mjs\`.`, '',
    line(head), line(head.map(() => '---')), ...rows.map(line), '', ...findings, ...(findings.length ? [''] : [])].join('\n');
  writeFileSync(join(results, 'summary.md'), text);
  process.stdout.write(text);
}
