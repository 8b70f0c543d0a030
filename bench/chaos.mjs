// Scenarios that do harm: engines killed at every moment of a frame's life, sessions that come, go and vanish.
import { readFileSync, readdirSync } from 'node:fs';
import { get as request } from 'node:http';
import { join } from 'node:path';

const SETTLE_SECONDS_MAX = 30;
const KILLS = 1000;
const KILL_INTERVAL_MS = 100;
const SINGLE_KILLS = 100;
const SINGLE_KILL_MS_MIN = 600; // above the 500 ms between two keyframe requests
const SESSIONS = 1000;
const ROUND_SECONDS = 20; // above the 15 s that a vanished session stays
const GROWTH_KIB_MAX = 5 * 1024;

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** GET without keep-alive: an idle connection would be a descriptor of the gateway's. */
function get(url) {
  return new Promise((done, fail) => {
    request(url, { agent: false }, (answer) => {
      let text = '';
      answer.on('data', (data) => { text += data; });
      answer.once('end', () => done(JSON.parse(text)));
    }).once('error', fail);
  });
}

export const sessionsOf = async (server) => (await get(`${server.base}/v1/sessions`)).sessions;

/** What the gateway holds: its own descriptors, threads and memory, and the processes below it. */
export function holdings({ child: { pid } }) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const field = (name) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)[1]);
  const all = readdirSync('/proc').filter((name) => /^\d+$/.test(name)).flatMap((name) => {
    try {
      const [state, parent] = readFileSync(`/proc/${name}/stat`, 'utf8').replace(/^.*\) /s, '').split(' ');
      return [{ pid: Number(name), state, parent: Number(parent) }];
    } catch { return []; } // it ended meanwhile
  });
  const family = new Set([pid]);
  for (let before = 0; before !== family.size;) {
    before = family.size;
    for (const one of all) if (family.has(one.parent)) family.add(one.pid);
  }
  const below = all.filter((one) => one.pid !== pid && family.has(one.pid));
  return {
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    threads: field('Threads'),
    processes: below.length,
    zombies: below.filter((one) => one.state === 'Z').length,
    rss_kib: field('VmRSS'),
  };
}

/** Waits until the gateway holds no more than before; says how long that took. */
export async function settled(server, before) {
  const start = Date.now();
  for (;;) {
    const after = holdings(server);
    const back = ['descriptors', 'threads', 'processes', 'zombies'].every((name) => after[name] <= before[name]);
    const seconds = (Date.now() - start) / 1000;
    if (back || seconds >= SETTLE_SECONDS_MAX) return { back, seconds, before, after };
    await pause(50);
  }
}

/** Waits until there are no sessions and no processes but the nurseries. */
export async function quiet(server, nurseries) {
  while ((await sessionsOf(server)).length > 0 || holdings(server).processes > nurseries) await pause(50);
}

export function verdict(report, rest, server) {
  const bad = readFileSync(server.log, 'utf8').split('\n').filter((text) => /ERROR|panicked/.test(text));
  const why = report.why_not;
  if (!rest.back) why.push('the gateway holds more than before');
  if (rest.after.zombies > 0) why.push(`${rest.after.zombies} zombies`);
  if (bad.length > 0) why.push(`${bad.length} errors in the log, the first: ${bad[0]}`);
  report.counts_as_held = why.length === 0;
}

const holds = ({ descriptors, threads, processes, zombies, rss_kib: rss }) =>
  `${descriptors} descriptors, ${threads} threads, ${processes} processes, ${zombies} zombies, ${rss} KiB`;
export const told = ({ back, seconds, before, after }) =>
  `the gateway held ${holds(before)} before and ${holds(after)} ${seconds.toFixed(1)} s after${back ? '' : ', which is too much'}`;

export function percentiles(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (part) => sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))];
  return { count: sorted.length, p50: at(0.5), p90: at(0.9), p99: at(0.99), max: sorted.at(-1) };
}
export const spread = ({ count, p50, p99, max }) => `p50 ${p50.toFixed(0)}, p99 ${p99.toFixed(0)}, max ${max.toFixed(0)} ms of ${count}`;

/** Kills a process at a moment that is known to the microsecond: when the millisecond of the wall clock changes. */
export function killNow(pid) {
  const begun = Date.now();
  while (Date.now() === begun);
  const at = Date.now();
  try {
    process.kill(pid, 'SIGKILL');
  } catch { return undefined; } // it died of itself, or of an earlier kill
  return at;
}

async function victimPid(server, other) {
  for (const start = Date.now(); Date.now() - start < 10_000;) {
    const victim = (await sessionsOf(server)).find((session) => session.stream === 'victim');
    if (!victim) throw new Error('the victim has lost its session');
    if (victim.engine_pid && victim.engine_pid !== other) return victim.engine_pid;
    await pause(1);
  }
  throw new Error('the victim has had no engine for 10 s');
}

/** Kills the victim's engines one after another; gives the moments, in milliseconds of the Unix epoch. */
async function killing(server, count, next) {
  const killed = [];
  let due = Date.now();
  let pid;
  while (killed.length < count) {
    pid = await victimPid(server, pid);
    due = next(due, killed.length);
    if (due > Date.now()) await pause(due - Date.now());
    const at = killNow(pid);
    if (at !== undefined) killed.push(at);
  }
  return killed;
}

/** From each kill to the first result of a frame that was sent after it: the next engine's for sure. */
function recoveries(killed, results) {
  const times = [];
  let index = 0;
  for (const at of killed) {
    while (index < results.length && results[index].sent_us < at * 1000) index++;
    if (index < results.length) times.push(results[index].received_us / 1000 - at);
  }
  return times;
}

/** One session's engine is killed a thousand times; eight others must not notice. */
export async function kills({ server, load, clips, work }) {
  const whip = (name) => `${server.base}/whip/${name}`;
  const sends = ['--clip', clips.large];
  for (const name of ['readall', 'framecode_slow']) await load([whip(name), ...sends, '-s', 1, '--warm-up', 0]);
  await quiet(server, 2);
  const before = holdings(server);
  const seconds = (KILLS * KILL_INTERVAL_MS * 1.1 + SINGLE_KILLS * (SINGLE_KILL_MS_MIN + 250)) / 1000;
  const trace = join(work, 'victim.jsonl');
  const running = [
    load([`${whip('framecode_slow')}?stream=victim`, ...sends, '-s', seconds, '--accept-skips', '--trace', trace]),
    load([whip('readall'), ...sends, '-s', seconds, '-n', 4]),
    load([whip('framecode_slow'), ...sends, '-s', seconds, '-n', 4]),
  ];
  const up = (session) => session.counts.ok > 30;
  for (let all = []; all.length < 9 || !all.every(up); all = await sessionsOf(server)) await pause(100);

  // Ten a second, at any moment of a frame; one in ten as soon as the new engine is there.
  const many = await killing(server, KILLS, (due, index) =>
    (index % 10 === 9 ? due : Math.max(due, Date.now()) + KILL_INTERVAL_MS + (index * 7) % 34 - 17));
  const single = await killing(server, SINGLE_KILLS, () => Date.now() + SINGLE_KILL_MS_MIN + Math.random() * 250);

  const [victim, ...others] = await Promise.all(running);
  const rest = await settled(server, before);
  const results = readFileSync(trace, 'utf8').trim().split('\n').map((text) => JSON.parse(text));
  const [manyMs, singleMs] = [many, single].map((killed) => percentiles(recoveries(killed, results)));
  const [report, sharing] = others;
  const sum = (pick) => pick(report) + pick(sharing);
  report.why_not.push(...sharing.why_not, ...victim.why_not.map((why) => `victim: ${why}`));
  if (sum((one) => one.frames.ok) < sum((one) => one.frames.sent)) report.why_not.push('not every frame of the others was processed');
  if (Object.keys({ ...report.events, ...sharing.events }).some((kind) => !/^engine_(starting|ready)$/.test(kind))) {
    report.why_not.push('the others had events of their own');
  }
  verdict(report, rest, server);
  const took = (many.at(-1) - many[0]) / 1000;
  return {
    ...report, cpu: undefined, memory_after_kib: undefined, sharing, victim, holdings: rest,
    recovery_ms: { ten_a_second: manyMs, single: singleMs },
    findings: [
      `${many.length} kills in ${took.toFixed(0)} s: next result ${spread(manyMs)}; single kills: ${spread(singleMs)}`,
      `the eight others: ${sum((one) => one.frames.ok)} of ${sum((one) => one.frames.sent)} frames processed`,
      `the victim: ${JSON.stringify(victim.frames.missed)}, ${victim.frames.ok} ok and ${victim.frames.missing} missing of ${victim.frames.sent}; ${JSON.stringify(victim.events)}`,
      told(rest),
    ],
  };
}

/** A thousand sessions that come and go; every third goes without a word. */
export async function churn({ server, load, clips }) {
  const args = (seconds) => [`${server.base}/whip/readall`, '--clip', clips.small, '-n', 20, '--ramp', 0.05, '--warm-up', 0,
    '-s', seconds, '--hold', 1, '--vanish', 3, '--accept-skips'];
  // As long as a round, so that as many vanished sessions wait for their time-out: memory once needed is kept for reuse.
  await load(args(ROUND_SECONDS));
  await quiet(server, 1);
  const before = holdings(server);
  const rounds = [];
  const begun = () => rounds.reduce((sum, one) => sum + one.sessions.begun, 0);
  while (begun() < SESSIONS && rounds.length < 20) rounds.push(await load(args(ROUND_SECONDS)));
  const peak = holdings(server);
  const rest = await settled(server, before);
  const report = rounds.at(-1);
  report.why_not = rounds.flatMap((one) => one.why_not);
  const growth = rest.after.rss_kib - before.rss_kib;
  if (growth > GROWTH_KIB_MAX) report.why_not.push(`the gateway has grown by ${growth} KiB`);
  verdict(report, rest, server);
  const vanished = rounds.reduce((sum, one) => sum + one.sessions.vanished, 0);
  const failed = rounds.reduce((sum, one) => sum + one.sessions.failed, 0);
  return {
    ...report, holdings: { ...rest, peak }, growth_kib: growth, begun: begun(), vanished, failed,
    findings: [`${begun()} sessions begun, ${vanished} vanished, ${failed} failed; at the end of the last round ${holds(peak)}`, told(rest)],
  };
}
