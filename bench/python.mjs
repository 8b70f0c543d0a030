// What the hand-over of a frame to Python costs: CPU of gateway and all its descendants per frame, with a Python function
// that does nothing and with a C function that does nothing, at 1280x720 and at 64x64. See README.md.
//   node bench/python.mjs [--repeat N] [--seconds S]
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { cpus, tmpdir } from 'node:os';
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
  writeFileSync(join(work, 'mean_py.py'), `import framegate
@framegate.processor(name="mean_py")
def mean(frame):
    """Touches some pixels and says a number."""
    return {"mean": frame.image[::16, ::16].mean()}
`);
  const pipelines = ['nothing_c.so', 'nothing_py.py', 'mean_py.py'].map((file) =>
    `[[pipelines]]\nname = "${file.split('.')[0]}"\nprocessor = "${join(work, file)}"\npython = "${python}"\n`);
  writeFileSync(join(work, 'framegate.toml'), pipelines.join('\n'));
}

/** CPU µs per processed frame of one session, by what uses it. */
async function measure(pipeline, clip) {
  const listen = `127.0.0.1:${await freePort()}`;
  const server = spawn(join(bin, 'framegate'), ['serve', '--listen', listen, '--config', join(work, 'framegate.toml')],
    { cwd: work, stdio: 'ignore' });
  const ended = new Promise((done) => server.once('exit', done));
  try {
    for (let tries = 0; ; tries++) {
      if (await fetch(`http://${listen}/readyz`).then((answer) => answer.ok, () => false)) break;
      if (server.exitCode !== null || tries > 300) throw new Error(`framegate serve is not ready: ${pipeline}`);
      await new Promise((done) => setTimeout(done, 100));
    }
    const load = spawn(join(bin, 'framegate'),
      ['load', `http://${listen}/whip/${pipeline}`, '--clip', clip, '-n', 1, '-s', seconds, '--json'].map(String),
      { stdio: ['ignore', 'pipe', 'inherit'] });
    let text = '';
    load.stdout.on('data', (data) => { text += data; });
    // Between two moments within the window, counted by the results that the server has.
    const frames = async () => {
      const metrics = await fetch(`http://${listen}/metrics`).then((answer) => answer.text());
      const lines = metrics.split('\n').filter((line) => /^framegate_frames(_processed)?_total\{.*outcome="ok"/.test(line));
      return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
    };
    const left = new Promise((done) => load.once('exit', done));
    while (await frames() < 45) await Promise.race([left.then(() => { throw new Error('no frames came'); }),
      new Promise((done) => setTimeout(done, 50))]);
    const look = async () => ({ frames: await frames(), cpu: Object.fromEntries(family(server.pid).map((pid) => [pid, cpuOf(pid)])) });
    const before = await look();
    await new Promise((done) => setTimeout(done, (seconds - 4) * 1000));
    const after = await look();
    await left;
    const report = JSON.parse(text);
    const count = after.frames - before.frames;
    const spent = Object.entries(after.cpu).reduce((sum, [pid, cpu]) => sum + cpu - (before.cpu[pid] ?? 0), 0);
    return { us: spent / 1000 / count, frames: count, steal_percent: report.cpu?.steal_percent ?? 0 };
  } finally {
    server.kill('SIGTERM');
    await ended;
  }
}

const middle = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const round = (value) => Math.round(value * 10) / 10;

try {
  writeProcessors();
  const runs = [];
  for (const size of ['1280x720', '64x64']) {
    const clip = join(work, `${size}.ivf`);
    run(join(bin, 'framegate-engine'), 'clip', '--output', clip, '--size', size, '--rate', 30, '--frames', 300, '--kbit', 1500,
      '--key-interval', 75, '--seed', 1);
    for (let turn = 0; turn < repeat; turn++) {
      for (const pipeline of ['nothing_c', 'nothing_py', 'mean_py']) {
        const one = await measure(pipeline, clip);
        runs.push({ size, turn, pipeline, ...one, us: round(one.us) });
        console.error(`${size} ${pipeline}: ${round(one.us)} µs`);
      }
    }
  }
  const of = (size, pipeline) => runs.filter((one) => one.size === size && one.pipeline === pipeline);
  const handover = Object.fromEntries(['1280x720', '64x64'].map((size) => {
    const differences = of(size, 'nothing_py').map((one, turn) => round(one.us - of(size, 'nothing_c')[turn].us));
    return [size, { median_us: middle(differences), least_us: Math.min(...differences), most_us: Math.max(...differences) }];
  }));
  const result = {
    scenario: 'python', command: `node bench/python.mjs --repeat ${repeat} --seconds ${seconds}`,
    commit: run('git', 'describe', '--always', '--dirty').trim(), machine: `${cpus().length} × ${cpus()[0].model}`,
    python: execFileSync(python, ['-c', 'import numpy, sys; print(sys.version.split()[0], "numpy", numpy.__version__)'], { encoding: 'utf8' }).trim(),
    target_us: TARGET_US, handover, runs,
  };
  writeFileSync(join(root, 'bench/results/python.json'), JSON.stringify(result, null, 1) + '\n');
  console.log(JSON.stringify(handover, null, 1));
} finally {
  rmSync(work, { recursive: true });
}
