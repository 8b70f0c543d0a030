// What the hand-over of a 1280x720 frame to Python costs, and what each of 20 sessions holds of memory when its module
// imports numpy and onnxruntime. See README.md.
//   node bench/python.mjs [--repeat N] [--seconds S]
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { cpus, loadavg, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const bin = process.env.FRAMEGATE_BIN ?? join(root, 'target/release');
const python = process.env.FRAMEGATE_PYTHON ?? join(root, 'target/venv-python/bin/python');
const TARGET_US = 60;
const argv = process.argv.slice(2);
const option = (name, otherwise) => (argv.includes(name) ? Number(argv[argv.indexOf(name) + 1]) : otherwise);
const repeat = option('--repeat', 5);
const seconds = option('--seconds', 10);
const run = (program, ...args) => execFileSync(program, args.map(String), { encoding: 'utf8', cwd: root });
const work = mkdtempSync(join(tmpdir(), 'framegate-bench-'));

const freePort = () => new Promise((done) => {
  const server = createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address();
    server.close(() => done(port));
  });
});

/** A process and all below it. */
function family(pid) {
  const below = readdirSync(`/proc/${pid}/task`).flatMap((task) => {
    try {
      return readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ').filter(Boolean);
    } catch {
      return []; // It has just ended.
    }
  });
  return [Number(pid), ...below.flatMap((child) => { try { return family(child); } catch { return []; } })];
}

/** CPU time of a process, in nanoseconds: what the scheduler counts, not ticks. */
const cpuOf = (pid) => readdirSync(`/proc/${pid}/task`).reduce((sum, task) => {
  try {
    return sum + Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]);
  } catch {
    return sum; // A thread that has just ended.
  }
}, 0);

function writeProcessors() {
  const c = join(work, 'nothing_c.c');
  writeFileSync(c, `#include <framegate.h>
static int32_t process(const fg_frame *frame, const fg_out *out) { (void)frame; (void)out; return FG_NO_RESULT; }
FG_PROCESSOR("nothing_c", "1", "Does nothing.", process)
`);
  run('cc', '-shared', '-fPIC', '-O2', '-I', 'crates/framegate-abi/include', c, '-o', join(work, 'nothing_c.so'));
  writeFileSync(join(work, 'nothing_py.py'), `import framegate
@framegate.processor(name="nothing_py")
def nothing(frame):
    """Does nothing."""
`);
  writeFileSync(join(work, 'cost_py.py'), `import framegate, time
@framegate.processor(name="cost_py")
def cost(frame):
    """Says what CPU time its process has used."""
    return time.process_time_ns()
`);
  writeFileSync(join(work, 'imports_py.py'), `import framegate, numpy, onnxruntime
@framegate.processor(name="imports_py")
def imports(frame):
    """Has imported much and does little."""
    return {"mean": frame.image[::16, ::16].mean()}
`);
  const pipelines = ['nothing_c.so', 'nothing_py.py', 'imports_py.py'].map((file) =>
    `[[pipelines]]\nname = "${file.split('.')[0]}"\nprocessor = "${join(work, file)}"\npython = "${python}"\n`);
  writeFileSync(join(work, 'framegate.toml'), pipelines.join('\n'));
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

async function serve() {
  const listen = `127.0.0.1:${await freePort()}`;
  const child = spawn(join(bin, 'framegate'), ['serve', '--listen', listen, '--config', join(work, 'framegate.toml')],
    { cwd: work, stdio: 'ignore', env: { ...process.env, FRAMEGATE_ADMISSION__CPU_MAX: '10' } });
  const ended = new Promise((done) => child.once('exit', done));
  for (let tries = 0; !await fetch(`http://${listen}/readyz`).then((answer) => answer.ok, () => false); tries++) {
    if (child.exitCode !== null || tries > 300) throw new Error('framegate serve is not ready');
    await sleep(100);
  }
  return { listen, pid: child.pid, stop: () => { child.kill('SIGTERM'); return ended; } };
}

/** Frames that became results so far. */
async function results({ listen }) {
  const metrics = await fetch(`http://${listen}/metrics`).then((answer) => answer.text());
  const lines = metrics.split('\n').filter((line) => /^framegate_frames_total\{.*outcome="ok"/.test(line));
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

/** Runs `framegate load` and `look` once as many frames became results; the report of the one and the answer of the other. */
async function during(server, pipeline, clip, sessions, frames, look) {
  const args = ['load', `http://${server.listen}/whip/${pipeline}`, '--clip', clip, '-n', sessions, '-s', seconds, '--json'];
  const load = spawn(join(bin, 'framegate'), args.map(String), { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  load.stdout.on('data', (data) => { text += data; });
  let code;
  const left = new Promise((done) => load.once('exit', (status) => { code = status; done(); }));
  while (await results(server) < frames) {
    if (code !== undefined) throw new Error(`framegate load ended with ${code} before ${frames} frames of ${pipeline}`);
    await sleep(50);
  }
  const seen = await look();
  await left;
  return [JSON.parse(text), seen];
}

/** CPU µs per frame of one live session: of its Python process, and of its engine. */
async function measure(pipeline, clip) {
  const server = await serve();
  try {
    const look = async () => ({ frames: await results(server), cpu: Object.fromEntries(family(server.pid).map((pid) => [pid, cpuOf(pid)])) });
    const [report, [before, after, isPython]] = await during(server, pipeline, clip, 1, 45, async () => {
      const before = await look();
      const isPython = Object.fromEntries(Object.keys(before.cpu).map((pid) =>
        [pid, readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('framegate._host')]));
      await sleep((seconds - 4) * 1000);
      return [before, await look(), isPython];
    });
    const count = after.frames - before.frames;
    const spent = (wanted) => Object.keys(before.cpu).filter((pid) => Number(pid) !== server.pid && isPython[pid] === wanted)
      .reduce((sum, pid) => sum + (after.cpu[pid] ?? before.cpu[pid]) - before.cpu[pid], 0) / 1000 / count;
    return { python_us: round(spent(true)), engine_us: round(spent(false)), frames: count, steal_percent: report.cpu?.steal_percent ?? 0 };
  } finally {
    await server.stop();
  }
}

/** CPU µs per frame of the Python process when frames come back to back: of each frame, by its own clock. */
function backToBack(clip) {
  const text = execFileSync(join(bin, 'framegate'), ['run', clip, '-p', join(work, 'cost_py.py')],
    { encoding: 'utf8', maxBuffer: 1 << 28, stdio: ['ignore', 'pipe', 'ignore'], env: { ...process.env, VIRTUAL_ENV: dirname(dirname(python)) } });
  const clocks = text.trim().split('\n').map((line) => JSON.parse(line).data);
  const costs = clocks.slice(31).map((clock, index) => (clock - clocks[index + 30]) / 1000).sort((x, y) => x - y);
  const at = (share) => round(costs[Math.floor(costs.length * share)]);
  return { frames: costs.length, p10_us: at(0.1), median_us: at(0.5), p90_us: at(0.9) };
}

/** Private memory of each Python process of 20 sessions, and how long their first results took. */
async function memory(clip) {
  const server = await serve();
  try {
    const [report, processes] = await during(server, 'imports_py', clip, 20, 20 * 20, () => family(server.pid)
      .filter((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('framegate._host'))
      .map((pid) => {
        const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
        const kib = (name) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1] ?? 0);
        return { private_kib: kib('Private_Clean') + kib('Private_Dirty'), pss_kib: kib('Pss'), rss_kib: kib('Rss') };
      }));
    const of = (name) => processes.map((one) => one[name]).sort((a, b) => a - b);
    return { sessions: 20, processes: processes.length, private_kib: of('private_kib'), pss_kib: of('pss_kib'),
      rss_kib: of('rss_kib'), first_result_ms: report.setup_ms.first_result };
  } finally {
    await server.stop();
  }
}

const middle = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const round = (value) => Math.round(value * 10) / 10;

try {
  writeProcessors();
  const clip = join(work, 'clip.ivf');
  run(join(bin, 'framegate-engine'), 'clip', '--output', clip, '--size', '1280x720', '--rate', 30, '--frames', 300, '--kbit', 1500,
    '--key-interval', 75, '--seed', 1);
  const back_to_back = Array.from({ length: repeat }, () => backToBack(clip));
  const live = [];
  for (let turn = 0; turn < repeat; turn++) {
    for (const pipeline of ['nothing_c', 'nothing_py']) {
      live.push({ turn, pipeline, ...await measure(pipeline, clip) });
      console.error(JSON.stringify(live.at(-1)));
    }
  }
  const held = await memory(clip);
  const medians = back_to_back.map((one) => one.median_us);
  const result = {
    scenario: 'python', command: `node bench/python.mjs --repeat ${repeat} --seconds ${seconds}`,
    commit: run('git', 'describe', '--always', '--dirty').trim(), machine: `${cpus().length} × ${cpus()[0].model}`,
    load_average: loadavg().map(round),
    python: execFileSync(python, ['-c', 'import numpy, sys; print(sys.version.split()[0], "numpy", numpy.__version__)'], { encoding: 'utf8' }).trim(),
    target_us: TARGET_US, handover_us: { median: middle(medians), least: Math.min(...medians), most: Math.max(...medians) },
    back_to_back, live, memory: held,
  };
  writeFileSync(join(root, 'bench/results/python.json'), JSON.stringify(result, null, 1) + '\n');
  console.log(JSON.stringify({ handover_us: result.handover_us, private_kib_median: middle(held.private_kib), first_result_ms: held.first_result_ms }, null, 1));
} finally {
  rmSync(work, { recursive: true });
}
