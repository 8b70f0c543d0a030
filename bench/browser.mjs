// What a person with Chromium waits for: press Start → first result, and engine killed → next result.
//   node bench/browser.mjs [--connects N] [--kills N]      needs `npm ci --prefix tests/browser` and `make build`
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

process.env.FRAMEGATE_BIN ??= new URL('../target/release', import.meta.url).pathname;
const { clip, compile, launch, open, root, serve, until } = await import('../tests/browser/helper.mjs');

const option = (name, value) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? value : Number(process.argv[at + 1]);
};
const KILL_INTERVAL_MS = 700; // above the 500 ms between two keyframe requests
const percentile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
const spread = (values) => {
  const sorted = values.toSorted((a, b) => a - b);
  return { n: sorted.length, p50: percentile(sorted, 0.5), p99: percentile(sorted, 0.99), max: sorted.at(-1) };
};

/** Connects once with the SDK; milliseconds from the call of `connect` to the first result. Runs in the page. */
async function firstResult() {
  const { connect } = await import('/sdk/framegate.js');
  const stream = await navigator.mediaDevices.getUserMedia({ video: true });
  const start = performance.now();
  const session = await connect({ url: '/whip/framecode', stream });
  for await (const _ of session.results()) break;
  const waited = performance.now() - start;
  await session.close();
  stream.getTracks().forEach((track) => track.stop());
  return waited;
}

const [server, chrome] = await Promise.all([
  serve({
    processors: [compile('examples/c/framecode.c', 'framecode')],
    env: { FRAMEGATE_ENGINE__CRASHES_MAX: '1000' },
    patient: false, // what is measured has the defaults of what is shipped
  }),
  launch({ camera: clip('bench.mjpeg', '--frames', 300) }),
]);
const page = await open(chrome, server.base);
const connects = [];
for (let i = 0; i < option('connects', 20); i++) connects.push(await page.evaluate(`(${firstResult})()`));

await page.evaluate(async () => {
  window.arrivals = [];
  const { connect } = await import('/sdk/framegate.js');
  window.session = await connect({ url: '/whip/framecode', stream: 'camera', on: { result: () => window.arrivals.push(Date.now()) } });
});
const kills = [];
for (let i = 0; i < option('kills', 200); i++) {
  await until('a result', () => page.evaluate(() => window.arrivals.splice(0).length > 0));
  const { sessions } = await fetch(`${server.base}/v1/sessions`).then((answer) => answer.json());
  const killed = Date.now();
  process.kill(sessions[0].engine_pid, 'SIGKILL');
  // A result already on its way is not the next engine's: the next one comes after a keyframe, not within a millisecond.
  const next = await until('the next result', () => page.evaluate((after) => window.arrivals.find((at) => at > after), killed + 5));
  kills.push(next - killed);
  await new Promise((done) => setTimeout(done, Math.max(0, killed + KILL_INTERVAL_MS - Date.now())));
}
const { counts } = await page.evaluate(() => window.session.close());
await Promise.all([chrome.close(), server.stop()]);

const report = {
  command: 'node bench/browser.mjs',
  commit: execFileSync('git', ['describe', '--always', '--dirty'], { cwd: root, encoding: 'utf8' }).trim(),
  first_result_ms: spread(connects),
  kill_to_next_result_ms: spread(kills),
  counts,
};
mkdirSync(join(root, 'bench/results'), { recursive: true });
writeFileSync(join(root, 'bench/results/browser.json'), `${JSON.stringify(report, null, 1)}\n`);
console.log(JSON.stringify(report, null, 1));
